"""The weights of a finished run in one file, which samples without the optimizer's state and opens anywhere.

``weights.safetensors`` holds the arrays of ``Run.variables`` by path, such as "params/decoder/Dense_0/kernel",
and in its metadata the number of steps and the CRC-32 of the arrays in the order of their names.
"""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np

from genjax.core import Array, PyTree, Variables, stream_key
from genjax.data.io import replace_file
from genjax.experiment import Experiment

FILE = "weights.safetensors"


def save_weights(folder: Path, variables: Variables, step: int) -> None:
    """Write the weights of a finished run.

    Args:
      folder: run folder.
      variables: variables of the model, with a leading axis of replicas for several seeds.
      step: number of learner steps, over all stages.
    """
    from safetensors.numpy import save

    arrays = {name: np.asarray(array) for name, array in _named(variables).items()}
    replace_file(folder / FILE, save(arrays, {"step": str(step), "crc32": _checksum(arrays)}))


def saved_step(folder: Path) -> int | None:
    """Return the step of the weights that ``save_weights`` wrote, or None if there are none that can be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / FILE, framework="numpy") as stored:
            return int((stored.metadata() or {})["step"])
    except (OSError, SafetensorError, KeyError, ValueError):
        return None


def load_weights(folder: Path, experiment: Experiment, num_seeds: int, step: int) -> Variables | None:
    """Return the variables that ``save_weights`` wrote; None if there are none of this step and this model.

    Args:
      folder: run folder.
      experiment: experiment of the run.
      num_seeds: number of replicas.
      step: number of learner steps that the weights must have.
    """
    file = folder / FILE
    if not file.is_file():
        return None
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(file, framework="numpy") as stored:
            metadata = stored.metadata() or {}
            arrays = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (it has no __iter__)
    except SafetensorError as error:
        arrays, metadata = {}, {"step": str(step), "crc32": str(error)}
    if metadata.get("step") != str(step):
        return None
    if metadata.get("crc32") != _checksum(arrays):
        warnings.warn(f"{file} is damaged; reading the newest checkpoint instead", stacklevel=2)
        return None
    try:
        like = _abstract(experiment, num_seeds)
    except Exception:  # the model does not fit the data any more: reading the checkpoint says why
        return None
    expected = {name: (leaf.shape, leaf.dtype) for name, leaf in _named(like).items()}
    if expected != {name: (array.shape, array.dtype) for name, array in arrays.items()}:
        return None  # the experiment has changed: the checkpoint tells how
    return jax.tree.unflatten(jax.tree.structure(like), [arrays[name] for name in expected])


def _abstract(experiment: Experiment, num_seeds: int) -> Variables:
    """Return the shapes and dtypes of the model's variables, computing nothing and reading no data."""
    batch = {
        name: jax.ShapeDtypeStruct((experiment.batch_size, *entry.shape), entry.dtype)
        for name, entry in experiment.data.spec().items()
    }

    def init(key: Array, batch: Mapping[str, Array]) -> Variables:
        batch = experiment.preprocess(stream_key(key, "batch"), batch)
        return experiment.model.init(stream_key(key, "init"), batch)

    variables = jax.eval_shape(init, jax.eval_shape(jax.random.key, 0), batch)
    axis = (num_seeds,) if num_seeds > 1 else ()
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((*axis, *leaf.shape), leaf.dtype), variables)


def _named(tree: PyTree) -> dict[str, PyTree]:
    """Return the leaves of a tree by path, in the order of the tree."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def _checksum(arrays: Mapping[str, np.ndarray]) -> str:
    """Return the CRC-32 of arrays in the order of their names."""
    checksum = 0
    for name in sorted(arrays):
        checksum = zlib.crc32(arrays[name].tobytes(), checksum)
    return str(checksum)
