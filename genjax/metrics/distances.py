"""Comparing distances between the rows of two arrays, reliably and a chunk at a time.

The distances of ``genjax.ops.distances`` have an error of some ε (|x|² + |y|²), with features moved to their mean
first. So they are computed in float32, quickly, and rows where some comparison falls within that error are computed
again in float64. What is too close to call even there is a tie: duplicates in any order, in one array or in
two, compare as equal, and a distance to oneself is no less than zero.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from genjax.core import Array
from genjax.metrics.checks import check_chunk_size
from genjax.metrics.progress import Done
from genjax.ops import distances

TILE = 1024  # columns that are centered and converted at once


def middle(x: Array) -> Array:
    """Mean of the rows, shape (D,), which float32 distances subtract from everything."""
    with jax.enable_x64(True):  # a sum of rows may be more than float32 holds
        return jnp.mean(x, axis=0, dtype=jnp.float64).astype(jnp.float32)


def squared_distances_with_error(rows: Array, columns: Array, center: Array, dtype: str) -> tuple[Array, Array]:
    """Return squared distances, shape (B, N), and the error that they may have, of the same shape.

    Args:
      rows: shape (B, D).
      columns: shape (N, D), taken in tiles so that no second copy of it is made.
      center: subtracted from both; no distance depends on it, but the error does.
      dtype: in which to compute, ``"float32"`` or ``"float64"``.
    """
    count, dim = columns.shape
    tile = min(TILE, count)
    center = center.astype(dtype)[None]
    rows = rows.astype(dtype) - center
    row_norms = jnp.sum(rows**2, axis=1)[:, None]

    def fill(index: Array, filled: tuple[Array, Array]) -> tuple[Array, Array]:
        start = jnp.minimum(index * tile, count - tile)  # the last tile may overlap the one before
        part = jax.lax.dynamic_slice_in_dim(columns, start, tile).astype(dtype) - center
        norms = jnp.sum(part**2, axis=1)[None]
        update = jax.lax.dynamic_update_slice_in_dim
        return update(filled[0], distances.squared_distances(rows, part), start, 1), update(filled[1], norms, start, 1)

    empty = jnp.zeros((len(rows), count), dtype), jnp.zeros((1, count), dtype)
    squared, norms = jax.lax.fori_loop(0, -(-count // tile), fill, empty)
    return squared, distances.rounding(dim, dtype) * (row_norms + norms)


def decide(
    compare: Callable[[np.ndarray, str], np.ndarray], count: int, chunk_size: int, progress: Done | None
) -> None:
    """Compare all rows in float32, and again in float64 those for which that is too coarse.

    Args:
      compare: takes indices of rows, always equally many, and the dtype, and keeps its results by index; it returns
        where they are undecided, a boolean array. In float64 its results stand.
      count: number of rows.
      chunk_size: rows for one call of ``compare``.
      progress: called with the number of rows decided by each call.

    Raises:
      ValueError: for a chunk_size below 1.
    """
    check_chunk_size(chunk_size)
    chunk_size = min(chunk_size, count)
    undecided = _run(compare, np.arange(count), chunk_size, "float32", progress)
    _run(compare, undecided, max(1, chunk_size // 4), "float64", progress)


def _run(
    compare: Callable[[np.ndarray, str], np.ndarray],
    rows: np.ndarray,
    chunk_size: int,
    dtype: str,
    progress: Done | None,
) -> np.ndarray:
    """Compare these rows in chunks, and return those that another dtype must decide."""
    left = [rows[:0]]
    for start in range(0, len(rows), chunk_size):
        chunk = rows[start : start + chunk_size]
        with jax.enable_x64(True):
            undecided = compare(np.resize(chunk, chunk_size), dtype)  # rows repeat in the last chunk: one shape for all
        left.append(chunk[undecided[: len(chunk)] & (dtype == "float32")])
        if progress is not None:
            progress(len(chunk) - len(left[-1]))
    return np.concatenate(left)
