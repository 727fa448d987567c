"""The weights of a finished run in one file, which samples without the optimizer's state and opens anywhere.

A file of weights holds the arrays of ``Run.variables`` by path, such as "params/decoder/Dense_0/kernel", and in its
metadata the number of steps and the CRC-32 of the arrays in the order of their names. A run folder has one by the name
``weights.safetensors``.
"""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np

from genjax.core import Array, Variables, stream_key
from genjax.data.io import replace_file, require_file
from genjax.experiment import Experiment
from genjax.ops import check_leaf_shapes, leaves_by_path

FILE = "weights.safetensors"


def save_weights(folder: Path, variables: Variables, step: int) -> None:
    """Write the variables of a finished run to ``weights.safetensors`` in its folder; see ``write_weights``."""
    write_weights(folder / FILE, variables, step)


def write_weights(file: Path, variables: Variables, step: int) -> None:
    """Write variables to a file.

    Args:
      file: safetensors file, which is replaced.
      variables: variables of the model, with a leading axis of replicas for several seeds.
      step: number of learner steps, over all stages.
    """
    from safetensors.numpy import save

    arrays = {name: np.asarray(array) for name, array in leaves_by_path(variables).items()}
    replace_file(file, save(arrays, {"step": str(step), "crc32": _checksum(arrays)}))


def read_weights(file: Path, like: Variables) -> tuple[Variables, int]:
    """Return the variables of a file and their number of learner steps.

    Args:
      file: safetensors file that ``write_weights`` wrote.
      like: variables whose structure, shapes and dtypes the file must have.

    Raises:
      FileNotFoundError: if there is no such file.
      ValueError: if the file is damaged, no run wrote it, or its arrays do not fit.
    """
    from safetensors import SafetensorError

    try:
        arrays, metadata = _read(require_file(file))
    except SafetensorError as error:
        raise ValueError(f"{file} is no readable safetensors file ({error}); save the weights again") from None
    if not metadata.get("step", "").isdecimal():
        raise ValueError(f"{file} holds no weights of a run; write it with run.save_weights")
    if metadata.get("crc32") != _checksum(arrays):
        raise ValueError(f"{file} is damaged; save the weights again")
    needed = leaves_by_path(like)
    cure = "load weights of the same experiment and number of seeds"
    check_leaf_shapes(str(file), arrays, needed, cure)
    for name, leaf in needed.items():
        if arrays[name].dtype != leaf.dtype:
            raise ValueError(f"{file} has {name!r} as {arrays[name].dtype}, but the model needs {leaf.dtype}; {cure}")
    return jax.tree.unflatten(jax.tree.structure(like), [arrays[name] for name in needed]), int(metadata["step"])


def saved_step(folder: Path) -> int | None:
    """Return the number of steps of the weights in a run folder, or None if it has no readable weights."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / FILE, framework="numpy") as stored:
            return int((stored.metadata() or {})["step"])
    except (OSError, SafetensorError, KeyError, ValueError):
        return None


def load_weights(folder: Path, experiment: Experiment, num_seeds: int, step: int) -> Variables | None:
    """Return the variables of a finished run, or None if its weights are missing, outdated, damaged or do not fit.

    Args:
      folder: run folder.
      experiment: experiment of the run.
      num_seeds: number of replicas.
      step: number of learner steps that the weights must have.
    """
    from safetensors import SafetensorError

    file, arrays = folder / FILE, {}
    if not file.is_file() or saved_step(folder) not in (step, None):
        return None
    try:
        arrays, metadata = _read(file)
        if metadata.get("step") != str(step):
            return None
        is_damaged = metadata.get("crc32") != _checksum(arrays)
    except SafetensorError:
        is_damaged = True
    if is_damaged:
        warnings.warn(f"{file} is damaged; reading the newest checkpoint instead", stacklevel=2)
        return None
    try:
        like = _abstract(experiment, num_seeds)
    except Exception:  # the model no longer fits the data: reading the checkpoint says why
        return None
    expected = {name: (leaf.shape, leaf.dtype) for name, leaf in leaves_by_path(like).items()}
    if expected != {name: (array.shape, array.dtype) for name, array in arrays.items()}:
        return None  # the experiment has changed: reading the checkpoint says how
    return jax.tree.unflatten(jax.tree.structure(like), [arrays[name] for name in expected])


def _read(file: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Return the arrays of a safetensors file by name, and its metadata."""
    from safetensors import safe_open

    with safe_open(file, framework="numpy") as stored:
        arrays = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (it has no __iter__)
        return arrays, stored.metadata() or {}


def _abstract(experiment: Experiment, num_seeds: int) -> Variables:
    """Return the shapes and dtypes of the model's variables, computing nothing and reading no data."""

    def init(key: Array, batch: Mapping[str, Array]) -> Variables:
        batch = experiment.preprocess(stream_key(key, "batch"), batch)
        return experiment.model.init(stream_key(key, "init"), batch)

    batch = experiment.data.batch_spec(experiment.batch_size)
    variables = jax.eval_shape(init, jax.eval_shape(jax.random.key, 0), batch)
    axis = (num_seeds,) if num_seeds > 1 else ()
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((*axis, *leaf.shape), leaf.dtype), variables)


def _checksum(arrays: Mapping[str, np.ndarray]) -> str:
    """Return the CRC-32 of arrays in the order of their names."""
    checksum = 0
    for name in sorted(arrays):
        checksum = zlib.crc32(arrays[name].tobytes(), checksum)
    return str(checksum)
