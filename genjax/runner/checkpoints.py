"""Checkpoints through orbax: asynchronous, atomic, checked when read.

Orbax writes a checkpoint to a temporary folder and renames it when it is complete, so a killed process leaves all of it
or nothing. To detect later damage, each checkpoint stores the checksum Σ_i (2 i + 1) b_i mod 2³² of the bit patterns
b_i of all arrays: the weights are odd, so a change of any single element changes the sum.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, final

import jax
import jax.numpy as jnp

from genjax.core import Array, PyTree


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
        from orbax.checkpoint.checkpoint_managers import preservation_policy as policy

        logging.getLogger("absl").addFilter(_not_orbax)
        self._ocp = ocp
        self._folder = folder.absolute()
        self._metric, self._sign = metric, 1 if higher_is_better else -1
        policies: list[policy.PreservationPolicy] = [policy.LatestN(keep)]
        if metric is not None:
            best = policy.BestN(
                get_metric_fn=lambda m: self._sign * m[metric], n=1, keep_checkpoints_without_metrics=False
            )
            policies.append(best)
        self._manager = ocp.CheckpointManager(
            self._folder,
            options=ocp.CheckpointManagerOptions(
                preservation_policy=policy.AnyPreservationPolicy(policies),
                cleanup_tmp_directories=not read_only,
                read_only=read_only,
            ),
        )

    def save(self, step: int, state: PyTree, metrics: Mapping[str, float]) -> None:
        """Start writing a checkpoint, unless the step has one.

        Args:
          step: number of finished steps.
          state: pytree of arrays, which may be donated as soon as this returns.
          metrics: held-out metrics by name; without ``metric``, the checkpoint cannot become the best one.

        Raises:
          CheckpointError: if this write fails, or the previous one has failed.
        """
        if step in self.steps():
            return
        ocp = self._ocp
        # Orbax reads the buffers while training continues and donates them, so it gets a copy.
        state = jax.tree.map(jnp.copy, state)
        best_by = self._metric if self._metric in metrics else None
        facts = {"checksum": int(checksum(state)), "metrics": dict(metrics), "best_by": best_by, "sign": self._sign}
        with self._writing():
            self._manager.save(
                step,
                args=ocp.args.Composite(state=ocp.args.StandardSave(state), facts=ocp.args.JsonSave(facts)),
                metrics=dict(metrics) if best_by else None,
                force=True,
            )

    def restore(self, abstract: PyTree, step: int | None = None) -> tuple[int, PyTree] | None:
        """Return step and state of the newest intact checkpoint, or of that of a step; None if there is no checkpoint.

        ``abstract`` has the state's shapes, dtypes and shardings, as from ``jax.eval_shape``. Without ``step``, damaged
        checkpoints are skipped with a warning.

        Raises:
          CheckpointError: if the step has no checkpoint or a damaged one, or if all checkpoints are damaged.
        """
        steps = self.steps()
        if step is not None and step not in steps:
            raise CheckpointError(
                f"there is no checkpoint of step {step} in {self._folder}; there are {steps}: use one of these"
            )
        candidates = steps[::-1] if step is None else [step]
        for candidate in candidates:
            try:
                return candidate, self._read(candidate, abstract)
            except Exception as error:  # orbax and tensorstore raise many types for incomplete files
                reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
                damage = f"checkpoint of step {candidate} in {self._folder} is damaged ({reason})"
                if step is not None:
                    raise CheckpointError(f"the {damage}; there are {steps}: use another one") from error
                warnings.warn(f"{damage}; trying the one before", stacklevel=2)
        if candidates:
            raise CheckpointError(
                f"none of the checkpoints {candidates} in {self._folder} can be read for this model; "
                "train again with --overwrite"
            )
        return None

    def steps(self) -> list[int]:
        """Return the steps of the finished checkpoints, ascending."""
        return sorted(self._manager.all_steps())

    def best_step(self) -> int | None:
        """Return the step of the checkpoint with the best held-out metric, or None if no checkpoint has one."""
        facts_by_step = {step: self._facts(step) for step in self.steps()}
        scores = {
            step: facts.get("sign", 1) * facts["metrics"][facts["best_by"]]
            for step, facts in facts_by_step.items()
            if facts.get("best_by")
        }
        return max(scores, key=lambda step: scores[step]) if scores else None

    def metrics(self, step: int) -> dict[str, float]:
        """Return the held-out metrics stored with a checkpoint."""
        return dict(self._facts(step).get("metrics", {}))

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
        self.wait()
        self._manager.close()

    def _facts(self, step: int) -> dict[str, Any]:
        args = self._ocp.args.Composite(facts=self._ocp.args.JsonRestore())
        try:
            return self._manager.restore(step, args=args)["facts"]
        except Exception:  # a damaged checkpoint has no facts; ``restore`` reports the damage
            return {}

    def _read(self, step: int, abstract: PyTree) -> PyTree:
        ocp = self._ocp
        args = ocp.args.Composite(state=ocp.args.StandardRestore(abstract), facts=ocp.args.JsonRestore())
        stored = self._manager.restore(step, args=args)
        actual, expected = int(checksum(stored["state"])), stored["facts"]["checksum"]
        if actual != expected:
            raise ValueError(f"its checksum is {actual}, but {expected} was written")
        return stored["state"]

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            # Tensorstore reports a full disk as a ValueError, the file system as an OSError.
            steps = self.steps()
            text = " ".join(str(error).split())[:300]
            intact = f"the checkpoint of step {steps[-1]} is intact" if steps else "no earlier checkpoint exists"
            raise CheckpointError(
                f"cannot write a checkpoint to {self._folder}: {text}; {intact}; "
                "free space and continue with --resume, or start again with another --workdir"
            ) from error


def _not_orbax(record: logging.LogRecord) -> bool:
    """Filter out orbax's log of every read and failure; this module's own message says what to do."""
    return "orbax" not in record.pathname


@jax.jit
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
