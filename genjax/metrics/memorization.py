"""Memorization: whether generated samples lie nearer to the training data than fresh data do.

With d(z) the distance from z to its nearest training sample, generated samples y and held-out samples h,

    share_closer = P(d(y) < d(h)) + ½ P(d(y) = d(h))                                                        (1)

over all M · L pairs: the area under an ROC curve, one half for a model that draws fresh samples and one for a model
that repeats what it was trained on; below one half its samples are farther from the data than data are. (1) is the
Mann–Whitney statistic divided by M L. If d(y) and d(h) have one distribution its mean is ½ and its variance

    (n + 1 − Σ (t³ − t) / (n (n − 1))) / (12 M L),        n = M + L,                                        (2)

with t the sizes of groups of equal distances, and the z-score is (share_closer − ½) by the square root of that.

Casey Meehan, Kamalika Chaudhuri and Sanjoy Dasgupta, "A non-parametric test to detect data-copying in generative
models", 2020, arXiv:2004.05675: their test over the whole space, not cell by cell, with the sign of the z-score turned.
The error of the share itself, from the variances over y and over h: Elizabeth DeLong, David DeLong and Daniel
Clarke-Pearson, 1988.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from genjax.core import Array
from genjax.metrics.checks import checked_features
from genjax.metrics.distances import decide, middle, squared_distances_with_error
from genjax.metrics.metric import Values
from genjax.metrics.progress import Done


def nearest_neighbours(
    queries: Array | np.ndarray, reference: Array | np.ndarray, *, chunk_size: int = 1024, progress: Done | None = None
) -> tuple[Array, Array]:
    """Return how far from every query its nearest reference sample is, and which that is; of several, the first.

    Args:
      queries: samples, shape (N, D).
      reference: samples, shape (M, D).
      chunk_size: queries whose distances to all of the reference are in memory at once.
      progress: called with the number of queries just finished, N in all.

    Returns:
      Distances, float32 of shape (N,), zero for copies, and indices, int32 of shape (N,).

    Raises:
      ValueError: for empty input, different numbers of features, or any that is not finite.

    >>> distances, indices = nearest_neighbours(np.array([[0.0, 0.0], [3.0, 4.0]]), np.array([[0.0, 2.0], [3.0, 4.0]]))
    >>> distances.tolist(), indices.tolist()
    ([2.0, 0.0], [0, 1])
    """
    reference, queries = checked_features(reference, queries)
    center = middle(reference)
    distances, indices = np.zeros(len(queries), np.float32), np.zeros(len(queries), np.int32)

    def compare(rows: np.ndarray, dtype: str) -> np.ndarray:
        found = _nearest(queries, reference, center, rows, dtype=dtype)
        undecided, distances[rows], indices[rows] = (np.asarray(a) for a in found)
        return undecided

    decide(compare, len(queries), chunk_size, progress)
    return jnp.asarray(distances), jnp.asarray(indices)


@partial(jax.jit, static_argnames="dtype")
def _nearest(queries: Array, reference: Array, center: Array, rows: Array, *, dtype: str) -> tuple[Array, Array, Array]:
    squared, error = squared_distances_with_error(queries[rows], reference, center, dtype)
    tied = squared <= jnp.min(squared, axis=1, keepdims=True) + error
    first = jnp.argmax(tied, axis=1)
    difference = queries[rows].astype(jnp.float64) - reference[first]
    return jnp.sum(tied, axis=1) != 1, jnp.linalg.norm(difference, axis=1), first


def data_copying(
    train: Array | np.ndarray,
    held_out: Array | np.ndarray,
    generated: Array | np.ndarray,
    *,
    copy_distance: float = 0.0,
    chunk_size: int = 1024,
    progress: Done | None = None,
) -> Values:
    """Return the test for data-copying, in whatever features the samples are given.

    Args:
      train: what the model was trained on, shape (N, D).
      held_out: fresh data of the same distribution, shape (L, D).
      generated: samples of the model, shape (M, D).
      copy_distance: how near a copy is to its original.
      chunk_size: rows whose N distances are in memory at once.
      progress: called with the number of rows just finished, M + L in all.

    Returns:
      See ``copying_statistics``.

    Raises:
      ValueError: for empty input, different numbers of features, or any that is not finite.
    """
    to_generated, _ = nearest_neighbours(generated, train, chunk_size=chunk_size, progress=progress)
    to_held_out, _ = nearest_neighbours(held_out, train, chunk_size=chunk_size, progress=progress)
    return copying_statistics(to_generated, to_held_out, copy_distance=copy_distance)


def copying_statistics(generated: Array, held_out: Array, *, copy_distance: float = 0.0) -> Values:
    """Compare distances to the nearest training sample, as ``nearest_neighbours`` finds them.

    Args:
      generated: distances of generated samples, shape (M,).
      held_out: distances of held-out samples, shape (L,).
      copy_distance: how near a copy is to its original.

    Returns:
      Float32 scalars: ``share_closer`` (1); its ``standard_error``, NaN for a single sample on a side; ``z_score``,
      large when it is above ½ by more than chance; ``share_copies``, the share of generated samples within
      ``copy_distance`` of a training sample, and ``held_out_share_copies``, how often fresh data are.

    Raises:
      ValueError: for shapes other than these.

    >>> values = copying_statistics(jnp.array([0.0, 0.0, 2.0]), jnp.array([1.0, 2.0]))
    >>> {name: round(float(value), 3) for name, value in values.items() if "copies" not in name}
    {'share_closer': 0.75, 'standard_error': 0.264, 'z_score': 0.913}
    """
    near, far = (np.asarray(x, np.float64) for x in (generated, held_out))
    if near.ndim != 1 or far.ndim != 1 or not near.size or not far.size:
        raise ValueError(f"distances have shapes {near.shape} and {far.shape}, but must be (M,) and (L,), not empty")
    closer = _share_above(near, far)  # for each generated sample, the share of held-out ones that are farther
    farther = 1 - _share_above(far, near)
    share = closer.mean()  # equation 1
    with np.errstate(invalid="ignore", divide="ignore"):
        error = np.sqrt(_variance_of_mean(closer) + _variance_of_mean(farther))
    count, (_, ties) = near.size + far.size, np.unique(np.concatenate([near, far]), return_counts=True)
    ties = ties.astype(np.float64)
    variance = (count + 1 - np.sum(ties**3 - ties) / (count * (count - 1))) / (12 * near.size * far.size)  # equation 2
    values = {
        "share_closer": share,
        "standard_error": error,
        "z_score": (share - 0.5) / np.sqrt(variance) if variance > 0 else 0.0,  # all distances are equal
        "share_copies": np.mean(near <= copy_distance),
        "held_out_share_copies": np.mean(far <= copy_distance),
    }
    return {name: jnp.float32(value) for name, value in values.items()}


def _share_above(x: np.ndarray, others: np.ndarray) -> np.ndarray:
    """For each x the share of the others that are larger, equal ones counted half."""
    others = np.sort(others)
    below, up_to = (np.searchsorted(others, x, side=side) for side in ("left", "right"))
    return 1 - (below + up_to) / (2 * len(others))


def _variance_of_mean(x: np.ndarray) -> float:
    return float(np.var(x, ddof=1) / x.size) if x.size > 1 else np.nan
