"""Reliable comparisons of distances between the rows of two arrays, one chunk at a time.

The distances of ``genjax.ops.distances`` have an error of about ε (|x|² + |y|²) once features are centered. They are
therefore computed in float32, and rows with a comparison within that error again in float64. Comparisons that remain
undecided are ties: duplicates compare as equal, whatever their order and array, and no distance is negative.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from genjax.core import Array
from genjax.metrics.progress import ProgressCallback, chunks
from genjax.ops import distances

TILE = 1024  # number of columns centered and converted at once


def middle(x: Array) -> Array:
    """Return the mean of the rows, shape (D,), which float32 distances subtract from both arrays."""
    with jax.enable_x64(True):  # a sum of rows may overflow float32
        return jnp.mean(x, axis=0, dtype=jnp.float64).astype(jnp.float32)


def squared_distances_with_error(rows: Array, columns: Array, center: Array, dtype: str) -> tuple[Array, Array]:
    """Return squared distances of rows (B, D) and columns (N, D), and bounds on their errors, shape (B, N) each.

    Columns are processed in tiles, so that they are never copied whole. The ``center`` (D,) is subtracted from both,
    which changes the error, not the distances. The computation runs in ``dtype``, "float32" or "float64".
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
    compare: Callable[[np.ndarray, str], np.ndarray], count: int, chunk_size: int, progress: ProgressCallback | None
) -> None:
    """Compare ``count`` rows in float32, and undecided ones again in float64.

    ``compare`` takes indices of rows, always equally many, and a dtype. It stores its results by index and returns a
    boolean array of the undecided rows; its float64 results are final. ``progress`` counts the rows decided by each
    call.
    """
    chunk_size = min(chunk_size, count)
    rows = np.arange(count)
    for dtype, size in (("float32", chunk_size), ("float64", max(1, chunk_size // 4))):
        left = [rows[:0]]
        for part in chunks(len(rows), size):
            chunk = rows[part]
            with jax.enable_x64(True):
                undecided = compare(np.resize(chunk, size), dtype)  # repeat rows in the last chunk, for one shape
            left.append(chunk[undecided[: len(chunk)] & (dtype == "float32")])
            if progress is not None:
                progress(len(chunk) - len(left[-1]))
        rows = np.concatenate(left)
