"""Feature networks: fixed functions from images to feature vectors, on which samples are compared."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, final

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge

from genjax.arguments import Fraction, PositiveInt, check_arguments
from genjax.compilation import jit
from genjax.core import Array, PyTree
from genjax.metrics.metric import Samples, SamplesState


class Outputs(NamedTuple):
    """Features, float32 of shape (N, D), and class logits, (N, K), or None if the network is not a classifier."""

    features: Array
    logits: Array | None


@final
@check_arguments
@dataclass(frozen=True, kw_only=True, eq=False)
class FeatureNetwork:
    """A fixed network. Its weights are an argument of ``apply``, so that compiled programs hold no copies.

    Attributes:
      name: name in results: "pixels", "classifier-mnist", "inception-v3".
      hash: first eight hexadecimal digits of the SHA-256 of the weights; None without weights.
      variables: weights.
      apply: pure function ``(variables, images) -> Outputs`` of float32 images in [0, 1], shape (B, H, W, C).
      requires_images: whether the data must be images; False for a network that takes any data as the model sees it.
      levels: number of levels of integer images, whose values 0 … levels − 1 map to [0, 1]; None for a network that
        takes integers as they are.
      accuracy: accuracy on held-out examples; None if not measured.
    """

    name: str
    hash: str | None
    variables: PyTree
    apply: Callable[[PyTree, Array], Outputs]
    requires_images: bool = True
    levels: Annotated[int, Ge(2)] | None = 256
    accuracy: Fraction | None = None

    @property
    def protocol(self) -> dict[str, str]:
        """Protocol entries for results on these features."""
        return {"features": self.name} | ({} if self.hash is None else {"features_hash": self.hash})


@check_arguments
def extract(network: FeatureNetwork, batches: Iterable[Array | np.ndarray], count: PositiveInt) -> Outputs:
    """Extract features of ``count`` images into one buffer on the device, so that they are in memory once only.

    Batches have shape (B, H, W, C), values in [0, 1], or integers of any type with ``network.levels`` levels; other
    values, and more than ``count`` images, raise ValueError. Smaller batches are padded to the size of earlier ones, to
    compile once.
    """
    state: tuple[SamplesState, ...] | None = None
    size = 0
    for batch in batches:
        if len(batch) == 0:
            continue
        x = _as_images(batch, network.levels) if network.requires_images else as_numbers(batch, network.levels)
        valid, size = len(x), max(size, len(x))
        x = jnp.pad(x, [(0, size - valid)] + [(0, 0)] * (x.ndim - 1))
        if state is None:
            shapes = [s.shape[1:] for s in jax.eval_shape(network.apply, network.variables, x) if s is not None]
            state = tuple(Samples(shape=shape, capacity=count).init() for shape in shapes)
        state = _append(network.apply, count, state, network.variables, x, jnp.int32(valid))
    if state is None:
        raise ValueError("there are no batches; give at least one to extract features")
    rows = [part.rows for part in state]
    return Outputs(rows[0], rows[1] if len(rows) > 1 else None)


def arrays_hash(arrays: PyTree) -> str:
    """Return the first eight hexadecimal digits of the SHA-256 of arrays with their names, shapes and dtypes."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(arrays):
        array = np.ascontiguousarray(leaf)
        digest.update(f"{jax.tree_util.keystr(path)} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()[:8]


@functools.partial(jit, static_argnums=(0, 1), donate_argnums=2)
def _append(
    apply: Callable[[PyTree, Array], Outputs],
    count: int,
    state: tuple[SamplesState, ...],
    variables: PyTree,
    x: Array,
    valid: Array,
) -> tuple[SamplesState, ...]:
    """Append outputs, but count the first ``valid`` rows alone, so that the next batch overwrites the padding."""
    outputs = [part for part in apply(variables, x) if part is not None]
    return tuple(
        Samples(shape=rows.shape[1:], capacity=count).update(part, rows).replace(count=part.count + valid)
        for part, rows in zip(state, outputs, strict=True)
    )


def as_numbers(x: Any, levels: int | None) -> Array:
    """Return float32, with the integers 0 … levels − 1 scaled to [0, 1]."""
    x = jnp.asarray(x)
    top = 1 if levels is None or not jnp.issubdtype(x.dtype, jnp.integer) else levels - 1
    return x.astype(jnp.float32) / top


def _as_images(x: Any, levels: int | None) -> Array:
    x = as_numbers(x, levels)
    if x.ndim != 4:
        raise ValueError(f"images have shape {x.shape}, but the network takes (B, H, W, C); use features=pixels")
    low, high = float(x.min()), float(x.max())
    if not (low >= -1e-6 and high <= 1 + 1e-6):
        raise ValueError(
            f"images have values in [{low:.3g}, {high:.3g}], but the network takes [0, 1], or bytes with {levels} "
            "levels; scale them, in an experiment by its display"
        )
    return x
