"""Memorization: are generated samples closer to the training data than held-out data are?

With d(z) the distance from z to its nearest training example, generated samples y and held-out examples h,

    share_closer = P(d(y) < d(h)) + ½ P(d(y) = d(h))                                                        (1)

over all M · L pairs. It is the area under an ROC curve: ½ if samples are as far from the training data as held-out data
are, 1 if the model repeats its training data, and below ½ if samples are farther away. (1) is the Mann–Whitney
statistic divided by M L. If d(y) and d(h) have the same distribution, its mean is ½ and its variance

    (n + 1 − Σ (t³ − t) / (n (n − 1))) / (12 M L),        n = M + L,                                        (2)

with t the sizes of groups of equal distances; the z-score is (share_closer − ½) divided by the square root of (2).

Casey Meehan, Kamalika Chaudhuri and Sanjoy Dasgupta, "A non-parametric test to detect data-copying in generative
models", 2020, arXiv:2004.05675: their test over the whole space instead of cell by cell, with the opposite sign of the
z-score. The standard error of the share, from the variances over y and over h: Elizabeth DeLong, David DeLong and
Daniel Clarke-Pearson, 1988.
"""

from __future__ import annotations

from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from genjax.arguments import NonNegativeFloat, PositiveInt, check_arguments
from genjax.core import Array
from genjax.metrics.checks import checked_features
from genjax.metrics.detection import auroc
from genjax.metrics.distances import decide, middle, squared_distances_with_error
from genjax.metrics.metric import Values
from genjax.metrics.progress import ProgressCallback

TREE_DIMENSIONS = 8  # largest number of dimensions in which a k-d tree is faster than all pairs
TIE = 1e-12  # largest relative difference of distances that differ by rounding alone


@check_arguments
def nearest_neighbours(
    queries: Array | np.ndarray,
    reference: Array | np.ndarray,
    *,
    chunk_size: PositiveInt = 1024,
    progress: ProgressCallback | None = None,
) -> tuple[Array, Array]:
    """Return the distance from each query (N, D) to its nearest reference sample, and the index of that sample.

    Distances are float32 of shape (N,), zero for copies; indices are int32 of shape (N,), the first among ties.

    >>> distances, indices = nearest_neighbours(np.array([[0.0, 0.0], [3.0, 4.0]]), np.array([[0.0, 2.0], [3.0, 4.0]]))
    >>> distances.tolist(), indices.tolist()
    ([2.0, 0.0], [0, 1])
    """
    reference, queries = checked_features(reference, queries)
    if queries.shape[1] <= TREE_DIMENSIONS:
        outputs = _nearest_by_tree(*(np.asarray(x, np.float64) for x in (queries, reference)))
        if progress is not None:
            progress(len(queries))
        return outputs
    center = middle(reference)
    distances, indices = np.zeros(len(queries), np.float32), np.zeros(len(queries), np.int32)

    def compare(rows: np.ndarray, dtype: str) -> np.ndarray:
        outputs = _nearest(queries, reference, center, rows, dtype=dtype)
        undecided, distances[rows], indices[rows] = (np.asarray(a) for a in outputs)
        return undecided

    decide(compare, len(queries), chunk_size, progress)
    return jnp.asarray(distances), jnp.asarray(indices)


def _nearest_by_tree(queries: np.ndarray, reference: np.ndarray) -> tuple[Array, Array]:
    """Return the result of ``nearest_neighbours`` by a k-d tree, which needs far fewer distances in few dimensions."""
    from scipy.spatial import KDTree

    distinct, first = np.unique(reference, axis=0, return_index=True)
    tree, two_nearest = KDTree(distinct), cast(Any, [1, 2])
    distances, nearest = map(np.asarray, tree.query(queries, k=two_nearest))
    indices, limit = first[nearest[:, 0]], distances[:, 0] * (1 + TIE)
    tied = distances[:, 1] <= limit
    others = tree.query_ball_point(queries[tied], limit[tied])
    indices[tied] = [first[near].min() for near in others]
    return jnp.asarray(distances[:, 0], jnp.float32), jnp.asarray(indices, jnp.int32)


@partial(jax.jit, static_argnames="dtype")
def _nearest(queries: Array, reference: Array, center: Array, rows: Array, *, dtype: str) -> tuple[Array, Array, Array]:
    squared, error = squared_distances_with_error(queries[rows], reference, center, dtype)
    tied = squared <= jnp.min(squared, axis=1, keepdims=True) + error
    first = jnp.argmax(tied, axis=1)
    difference = queries[rows].astype(jnp.float64) - reference[first]
    return jnp.sum(tied, axis=1) != 1, jnp.linalg.norm(difference, axis=1), first


@check_arguments
def data_copying(
    train: Array | np.ndarray,
    held_out: Array | np.ndarray,
    generated: Array | np.ndarray,
    *,
    copy_distance: NonNegativeFloat = 0.0,
    chunk_size: PositiveInt = 1024,
    progress: ProgressCallback | None = None,
) -> Values:
    """Test for data-copying in the feature space of the samples; return the values of ``copying_statistics``.

    ``train`` (N, D) and ``held_out`` (L, D) come from one distribution. ``progress`` counts M + L rows.
    """
    to_generated, _ = nearest_neighbours(generated, train, chunk_size=chunk_size, progress=progress)
    to_held_out, _ = nearest_neighbours(held_out, train, chunk_size=chunk_size, progress=progress)
    return copying_statistics(to_generated, to_held_out, copy_distance=copy_distance)


@check_arguments
def copying_statistics(generated: Array, held_out: Array, *, copy_distance: NonNegativeFloat = 0.0) -> Values:
    """Compare distances (M,) and (L,) to the nearest training example, as returned by ``nearest_neighbours``.

    Returns:
      ``share_closer`` (1); its ``standard_error``, NaN if M or L is 1; ``z_score``, large if the share exceeds ½ by
      more than chance; ``share_copies``, the fraction of generated samples within ``copy_distance`` of a training
      example; and ``held_out_share_copies``, the same fraction of held-out examples.

    Raises:
      ValueError: if the distances have other shapes.

    >>> values = copying_statistics(jnp.array([0.0, 0.0, 2.0]), jnp.array([1.0, 2.0]))
    >>> {name: round(float(value), 3) for name, value in values.items() if "copies" not in name}
    {'share_closer': 0.75, 'standard_error': 0.264, 'z_score': 0.913}
    """
    near, far = (np.asarray(x, np.float64) for x in (generated, held_out))
    if near.ndim != 1 or far.ndim != 1 or not near.size or not far.size:
        raise ValueError(f"distances have shapes {near.shape} and {far.shape}, but must be (M,) and (L,) and not empty")
    share, error = auroc(-near, -far)  # equation 1
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
