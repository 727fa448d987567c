"""Checkpoints through orbax: asynchronous, atomic, checked when read.

Orbax writes a checkpoint to a temporary folder and renames it when it is complete, so a killed process leaves all of it
or nothing. To detect later damage, each checkpoint stores the checksum Σ_i (2 i + 1) b_i mod 2³² of the bit patterns
b_i of all arrays: the weights are odd, so a change of any single element changes the sum.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import functools
import glob
import logging
import math
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, final

import jax
import jax.numpy as jnp

from genjax.compilation import jit
from genjax.core import Array, PyTree
from genjax.ops import leaves_by_path
from genjax.sharding import is_communication_error


class CheckpointError(RuntimeError):
    """A checkpoint cannot be written or read; the message says what is intact and what to do."""


@final
class Checkpoints:
    """The checkpoints of one training stage.

    Args:
      folder: folder of the stage's checkpoints, with one subfolder per step.
      keep: number of newest checkpoints to keep, beside the best one.
      metric: name of the held-out metric that selects the best checkpoint; None for no best one.
      higher_is_better: direction of that metric.
      read_only: whether to leave the folder unchanged.
    """

    def __init__(
        self,
        folder: Path,
        *,
        keep: int = 3,
        metric: str | None = None,
        higher_is_better: bool = True,
        read_only: bool = False,
    ) -> None:
        import orbax.checkpoint as ocp

        _silence_orbax()
        self._ocp = ocp
        self._folder = folder.absolute()
        self._keep, self._metric, self._sign = keep, metric, 1 if higher_is_better else -1
        self._scores: dict[int, float] = {}
        if not read_only:
            self._folder.mkdir(parents=True, exist_ok=True)
        self._link = _Link(self._folder)
        self._manager = ocp.CheckpointManager(
            self._link.path,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=_Policy(self._preserved),
                cleanup_tmp_directories=not read_only,
                read_only=read_only,
                # A folder that disappears fails at once, where orbax would wait for it for five minutes.
                async_options=ocp.options.AsyncOptions(create_directories_asynchronously=False),
            ),
        )

    def save(
        self, step: int, state: PyTree, metrics: Mapping[str, float], programs: Mapping[str, int] | None = None
    ) -> None:
        """Start writing a checkpoint, unless the step has one.

        Args:
          step: number of finished steps.
          state: pytree of arrays, which may be donated as soon as this returns.
          metrics: held-out metrics by name; without a finite ``metric``, the checkpoint cannot become the best one.
          programs: checksums of the training programs, see ``StageLoop.programs``.

        Raises:
          CheckpointError: if this write fails, or the previous one has failed.
        """
        if step in self.steps():
            return
        ocp = self._ocp
        # Orbax reads the buffers while training continues and donates them, so it gets a copy.
        state = jax.tree.map(jnp.copy, state)
        best_by = self._metric if self._metric in metrics else None
        facts = {
            "checksum": int(checksum(state)),
            "metrics": dict(metrics),
            "best_by": best_by,
            "sign": self._sign,
            "programs": dict(programs or {}),
        }
        self._scores[step] = _score(facts)
        if best_by and self._scores[step] == -math.inf:
            warnings.warn(
                f"{best_by} is {metrics[best_by]} at step {step}, so its checkpoint cannot be the best one",
                stacklevel=2,
            )
        with self._writing():
            if not self._folder.is_dir():
                raise FileNotFoundError(self._folder)  # orbax would create it anew
            self._manager.save(
                step,
                args=ocp.args.Composite(state=ocp.args.StandardSave(state), facts=ocp.args.JsonSave(facts)),
                force=True,
            )

    def restore(self, abstract: PyTree, step: int | None = None) -> tuple[int, PyTree] | None:
        """Return step and state of the newest intact checkpoint, or of that of a step; None if there is no checkpoint.

        ``abstract`` has the state's shapes, dtypes and shardings, as from ``jax.eval_shape``. Without ``step``, damaged
        checkpoints are skipped with a warning.

        Raises:
          CheckpointError: if the step has no checkpoint or a damaged one, if all checkpoints are damaged, if one holds
            another model, or if the system refuses to read it now.
        """
        steps = self.steps()
        if step is not None and step not in steps:
            raise CheckpointError(
                f"there is no checkpoint of step {step} in {self._folder}; there are {steps}: use one of these"
            )
        candidates = steps[::-1] if step is None else [step]
        for candidate in candidates:
            self._check_fits(candidate, abstract)
            try:
                return candidate, self._read(candidate, abstract)
            except Exception as error:  # orbax and tensorstore raise many types for incomplete files
                if is_communication_error(error):
                    raise  # the checkpoint is not at fault
                self._check_readable(candidate, error)
                damage = f"checkpoint of step {candidate} in {self._folder} is damaged ({_first_line(error)})"
                if step is not None:
                    raise CheckpointError(f"the {damage}; there are {steps}: use another one") from error
                warnings.warn(f"{damage}; trying the one before", stacklevel=2)
        if candidates:
            raise CheckpointError(
                f"all checkpoints in {self._folder}, {candidates}, are damaged; train again with --overwrite"
            )
        return None

    def steps(self) -> list[int]:
        """Return the steps of the finished checkpoints, ascending."""
        return sorted(self._manager.all_steps())

    def best_step(self) -> int | None:
        """Return the step of the checkpoint with the best held-out metric, or None if none has a finite one."""
        return self._best(self.steps())

    def metrics(self, step: int) -> dict[str, float]:
        """Return the held-out metrics stored with a checkpoint."""
        return dict(self._facts(step).get("metrics", {}))

    def programs(self, step: int) -> dict[str, int]:
        """Return the checksums of the training programs stored with a checkpoint."""
        return dict(self._facts(step).get("programs", {}))

    def discard_after(self, step: int) -> None:
        """Delete the checkpoints after a step: damaged ones, which a resumed run writes again."""
        for newer in [s for s in self.steps() if s > step]:
            if jax.process_index() == 0:
                shutil.rmtree(self._folder / str(newer), ignore_errors=True)
        self._manager.reload()

    def wait(self) -> None:
        """Wait until everything is on disk."""
        with self._writing():
            self._manager.wait_until_finished()

    def close(self) -> None:
        """Wait until everything is on disk, and release the folder."""
        try:
            self.wait()
        finally:
            self._manager.close()
            self._link.remove()

    def _preserved(self, steps: list[int]) -> set[int | None]:
        """Return the steps, of ascending ones, whose checkpoints are kept."""
        return {*steps[-self._keep :], self._best(steps)}

    def _best(self, steps: list[int]) -> int | None:
        for step in steps:
            if step not in self._scores:  # written before this process resumed the run
                self._scores[step] = _score(self._facts(step))
        best = max(steps, key=lambda step: self._scores[step], default=None)
        return None if best is None or self._scores[best] == -math.inf else best

    def _facts(self, step: int) -> dict[str, Any]:
        args = self._ocp.args.Composite(facts=self._ocp.args.JsonRestore())
        try:
            return self._manager.restore(step, args=args)["facts"]
        except Exception as error:  # a damaged checkpoint has no facts; ``restore`` reports the damage
            if is_communication_error(error):
                raise
            return {}

    def _read(self, step: int, abstract: PyTree) -> PyTree:
        ocp = self._ocp
        args = ocp.args.Composite(state=ocp.args.StandardRestore(abstract), facts=ocp.args.JsonRestore())
        stored = self._manager.restore(step, args=args)
        actual, expected = int(checksum(stored["state"])), stored["facts"]["checksum"]
        if actual != expected:
            raise ValueError(f"its checksum is {actual}, but {expected} was written")
        return stored["state"]

    def _check_fits(self, step: int, abstract: PyTree) -> None:
        """Raise if a checkpoint holds other arrays than ``abstract``, and name the first one."""
        try:
            metadata = self._ocp.StandardCheckpointer().metadata(self._link.path / str(step) / "state")
            tree = getattr(metadata.item_metadata, "tree")  # noqa: B009 - untyped in orbax
            stored, missing = _layout(tree), [name for name in _fields(abstract) if name not in tree]
        except Exception:  # damaged: reading it says so
            return
        if missing:
            raise CheckpointError(
                f"the checkpoint of step {step} in {self._folder} was written by another version of genjax: its state "
                f"has no {', '.join(missing)}; use that version, or train again with --overwrite"
            )
        expected = _layout(abstract)
        for name in [*expected, *stored]:
            old, new = stored.get(name, "missing"), expected.get(name, "missing")
            if old != new:
                raise CheckpointError(
                    f"the checkpoint of step {step} in {self._folder} does not fit the experiment: {name} is {old} "
                    f"there, but {new} here; use the experiment and the settings that the run began with"
                )

    def _check_readable(self, step: int, error: Exception) -> None:
        """Raise if the system refuses to read a checkpoint now, which is then not proved damaged."""
        refusal = next((refusal for refusal in _REFUSALS if refusal in _text(error)), None)
        try:
            for file in (self._folder / str(step)).rglob("*"):
                if file.is_dir():
                    next(file.iterdir(), None)
                else:
                    file.open("rb").close()
        except OSError as cause:
            refusal = refusal or str(cause)
        if refusal:
            raise CheckpointError(
                f"cannot read the checkpoint of step {step} in {self._folder} now: {refusal}; nothing was deleted, so "
                "mend that and try again"
            ) from error

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            if is_communication_error(error):
                raise  # neither folder nor disk is at fault
            if not self._folder.is_dir() or any(sign in _text(error) for sign in _VANISHED):
                raise CheckpointError(
                    f"cannot write a checkpoint, because {self._folder} was deleted or moved while training; move it "
                    "back and continue with --resume, or start again"
                ) from error
            # Tensorstore reports a full disk as a ValueError, the file system as an OSError.
            steps = self.steps()
            text = " ".join(str(error).split())[:300]
            intact = f"the checkpoint of step {steps[-1]} is intact" if steps else "no earlier checkpoint exists"
            raise CheckpointError(
                f"cannot write a checkpoint to {self._folder}: {text}; {intact}; "
                "free space and continue with --resume, or start again with another --workdir"
            ) from error


_NUMBERS = (errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.ESTALE)
_REFUSALS = (
    *map(os.strerror, _NUMBERS),
    "RESOURCE_EXHAUSTED",
    "MemoryError",
)  # the last two: memory of the device, host


# What orbax, tensorstore and the file system say if the folder disappears while they write; they may create it anew.
_VANISHED = (os.strerror(errno.ENOENT), "NOT_FOUND", "No ArrayMetadata found")


def _text(error: BaseException | None) -> str:
    """Return the messages of an error and its causes."""
    return "" if error is None else f"{error!r} {_text(error.__cause__ or error.__context__)}"


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


def _score(facts: Mapping[str, Any]) -> float:
    """Return the held-out metric of a checkpoint, where higher is better; -inf if it is missing or not finite."""
    if not facts.get("best_by"):
        return -math.inf
    value = facts.get("sign", 1) * facts["metrics"][facts["best_by"]]
    return value if math.isfinite(value) else -math.inf


def _fields(state: PyTree) -> list[str]:
    """Return the names of the fields of a training state; other trees have none."""
    return [field.name for field in dataclasses.fields(state)] if dataclasses.is_dataclass(state) else []


def _layout(tree: PyTree) -> dict[str, str]:
    """Describe type and shape of each array of a tree by its path."""
    return {name: f"{jnp.dtype(leaf.dtype).name}{list(leaf.shape)}" for name, leaf in leaves_by_path(tree).items()}


@final
@dataclasses.dataclass(frozen=True)
class _Policy:
    """Which checkpoints orbax preserves: those whose steps ``select`` returns."""

    select: Callable[[list[int]], set[int | None]]

    def should_preserve(self, checkpoints: Sequence[Any], *, context: object) -> list[bool]:
        """Return whether to preserve each of the checkpoints."""
        del context
        preserved = self.select(sorted(info.step for info in checkpoints))
        return [info.step in preserved for info in checkpoints]


@final
class _Link:
    """A path to a folder without the characters ``*?[``, which orbax would take for patterns, by a link if needed."""

    def __init__(self, folder: Path) -> None:
        self.path, self._temporary = folder, None
        if folder.is_dir() and glob.escape(str(folder)) != str(folder):
            self._temporary = tempfile.mkdtemp(prefix="genjax-")
            self.path = Path(self._temporary, "checkpoints")
            self.path.symlink_to(folder, target_is_directory=True)

    def remove(self) -> None:
        """Remove the link."""
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)


@functools.cache
def _silence_orbax() -> None:
    """Drop orbax's log of reads and failures, and the tracebacks that its threads print after a failure."""
    logging.getLogger("absl").addFilter(lambda record: "orbax" not in record.pathname)
    report = sys.unraisablehook

    def report_others(unraisable: sys.UnraisableHookArgs) -> None:
        if str(unraisable.exc_value) != "Event loop is closed":
            report(unraisable)

    sys.unraisablehook = report_others


@jit
def checksum(tree: PyTree) -> Array:
    """Return Σ_i (2 i + 1) b_i mod 2³² over the bit patterns b_i of all arrays of a pytree, uint32 scalar."""
    total = jnp.uint32(0)
    for number, leaf in enumerate(jax.tree.leaves(tree)):
        bits = _bits(leaf)
        weights = 2 * jnp.arange(bits.size, dtype=jnp.uint32) + 1
        total += jnp.uint32(2 * number + 1) * jnp.sum(bits * weights, dtype=jnp.uint32)
    return total


def _bits(array: Array) -> Array:
    """Return an array's bit patterns as uint32, shape (n,)."""
    array = jnp.asarray(array)
    if array.dtype == jnp.bool_:
        return array.astype(jnp.uint32).ravel()
    width = min(array.dtype.itemsize, 4)
    return jax.lax.bitcast_convert_type(array, jnp.dtype(f"uint{8 * width}")).astype(jnp.uint32).ravel()


def all_finite(tree: PyTree) -> Array:
    """Return whether all floating-point and complex numbers of a pytree are finite, bool scalar."""
    leaves = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
    return jnp.all(jnp.stack(leaves)) if leaves else jnp.bool_(True)
