"""Precision, recall, density and coverage: two samples compared through balls around their points.

Around every point x of a sample X lies the closed ball to its k-th nearest neighbour,

    B(x) = {z : |x − z| ≤ r(x)},    r(x) = distance from x to its k-th nearest other point of X.

For N real points X and M generated points Y

    precision = share of y in some B(x)             recall   = share of x in some B(y)                      (1)
    density   = 1/(k M) Σ_x |Y ∩ B(x)|              coverage = share of x with some y in B(x)               (2)

(1) Tuomas Kynkäänniemi, Tero Karras, Samuli Laine, Jaakko Lehtinen and Timo Aila, 2019, arXiv:1904.06991. (2) Muhammad
Ferjad Naeem, Seong Joon Oh, Youngjung Uh, Yunjey Choi and Jaejun Yoo, 2020, arXiv:2002.09797.

Closed balls hold the duplicates of their center even when the radius is zero. For density, B(x) stands for k points of
X, x among them; those strictly inside count fully and those on the edge share what is left of k, and Y counts alike:

    |Y ∩ B(x)| = inside(Y) + edge(Y) (k − inside(X)) / edge(X).                                             (3)

Without ties edge(X) is the k-th neighbour alone and inside(X) is k, so this counts Y in the open ball. With any number
of ties, X has density 1 in itself. Comparisons are those of ``genjax.metrics.distances``: exact but for ties.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genjax.core import Array
from genjax.metrics.checks import checked_features, checked_samples
from genjax.metrics.distances import decide, middle, squared_distances_with_error
from genjax.metrics.metric import Values
from genjax.metrics.progress import Done


class _Balls(NamedTuple):
    """The ball of every point: r² in float64, and how many points are inside and on the edge; shapes (N,)."""

    squared_radii: np.ndarray
    inside: np.ndarray
    edge: np.ndarray


def precision_recall_density_coverage(
    reference: Array | np.ndarray,
    generated: Array | np.ndarray,
    *,
    num_neighbours: int = 5,
    chunk_size: int = 1024,
    progress: Done | None = None,
) -> Values:
    """Return how much of the generated looks real (precision, density), and how much of the real is generated.

    Args:
      reference: features of real data, shape (N, D).
      generated: features of samples, shape (M, D).
      num_neighbours: k. Density and coverage are published with 5, precision and recall with 3; all grow with k.
      chunk_size: rows whose distances to all N or M columns are in memory at once.
      progress: called with the number of rows just finished, 2 N + M in all.

    Returns:
      ``precision``, ``recall`` and ``coverage`` in [0, 1], and ``density``, at least 0 and above 1 where samples crowd
      in dense regions: float32 scalars. They depend on N, M and k: compare numbers of equal counts only.

    Raises:
      ValueError: for fewer than k + 1 samples, different numbers of features, or any that is not finite.

    Example:
      Samples from one of two clusters:

      >>> reference = np.array([[0.0], [1.0], [2.0], [10.0], [11.0], [12.0]])
      >>> values = precision_recall_density_coverage(reference, reference[:3], num_neighbours=2)
      >>> {name: round(float(value), 4) for name, value in values.items()}
      {'precision': 1.0, 'recall': 0.5, 'density': 1.0, 'coverage': 0.5}
    """
    reference, generated = checked_features(reference, generated)
    center = middle(reference)
    balls, (generated_radii, _, _) = (
        _balls(name, x, center, num_neighbours, chunk_size, progress)
        for name, x in (("reference", reference), ("generated", generated))
    )
    precise = np.zeros(len(generated), bool)
    recalled, covered, mass = (np.zeros(len(reference), dtype) for dtype in (bool, bool, float))

    def compare(rows: np.ndarray, dtype: str) -> np.ndarray:
        radii = balls.squared_radii[rows]
        found = _compare(reference, generated, center, rows, radii, generated_radii, dtype=dtype)
        undecided, in_some, recalled[rows], covered[rows], inside, edge = (np.asarray(a) for a in found)
        np.logical_or(precise, in_some, out=precise)
        mass[rows] = inside + edge * (num_neighbours - balls.inside[rows]) / balls.edge[rows]  # equation 3
        return undecided

    decide(compare, len(reference), chunk_size, progress)
    density = mass.sum() / (num_neighbours * len(generated))
    means = {"precision": precise.mean(), "recall": recalled.mean(), "density": density, "coverage": covered.mean()}
    return {name: jnp.float32(mean) for name, mean in means.items()}


def neighbour_radii(
    x: Array | np.ndarray, *, num_neighbours: int = 5, chunk_size: int = 1024, progress: Done | None = None
) -> Array:
    """Return the distance from every sample to its k-th nearest other one, float32 of shape (N,).

    Args:
      x: samples, shape (N, D).
      num_neighbours: k.
      chunk_size: rows whose distances to all N columns are in memory at once.
      progress: called with the number of rows just finished, N in all.

    Raises:
      ValueError: for fewer than k + 1 samples, or any that is not finite.

    >>> neighbour_radii(np.array([[0.0], [1.0], [3.0]]), num_neighbours=1).tolist()
    [1.0, 1.0, 2.0]
    """
    x = checked_samples("x", x)
    balls = _balls("x", x, middle(x), num_neighbours, chunk_size, progress)
    return jnp.asarray(np.sqrt(balls.squared_radii), jnp.float32)


def _balls(name: str, x: Array, center: Array, k: int, chunk_size: int, progress: Done | None) -> _Balls:
    if k < 1:
        raise ValueError(f"num_neighbours is {k}, but must be at least 1; the papers take 3 and 5")
    if len(x) <= k:
        raise ValueError(
            f"{name} has {len(x)} samples, but num_neighbours={k} needs at least {k + 1}; "
            "draw more, or ask for fewer neighbours"
        )
    balls = _Balls(np.zeros(len(x)), np.zeros(len(x), int), np.zeros(len(x), int))

    def compare(rows: np.ndarray, dtype: str) -> np.ndarray:
        for kept, found in zip(balls, _measure(x, center, rows, num_neighbours=k, dtype=dtype), strict=True):
            kept[rows] = found
        return balls.edge[rows] > 1

    decide(compare, len(x), chunk_size, progress)
    return balls


@partial(jax.jit, static_argnames=("num_neighbours", "dtype"))
def _measure(x: Array, center: Array, rows: Array, *, num_neighbours: int, dtype: str) -> tuple[Array, Array, Array]:
    """Squared radii, and numbers inside and on the edge; the edge is the k-th neighbour, and what ties with it."""
    squared, error = squared_distances_with_error(x[rows], x, center, dtype)
    squared = jnp.where(jnp.arange(len(x))[None] == rows[:, None], 0, squared)
    radius = _kth_smallest(squared, num_neighbours + 1)  # the point itself is the first
    inside, beyond = squared < radius - error, squared > radius + error
    nearest = x[jnp.argmin(jnp.abs(squared - radius), axis=1)]
    exact = jnp.sum((x[rows].astype(jnp.float64) - nearest) ** 2, axis=1)
    return exact, _count(inside), _count(~inside & ~beyond)


@partial(jax.jit, static_argnames="dtype")
def _compare(
    reference: Array, generated: Array, center: Array, rows: Array, radii: Array, generated_radii: Array, *, dtype: str
) -> tuple[Array, ...]:
    """Compare rows of the reference, whose radii are given, with all that was generated.

    Returns:
      For rows, whether a comparison is undecided; for columns, whether they are in the ball of a row that is decided;
      for rows, whether they are in some generated ball, whether something is in theirs, and how much is inside of it
      and how much on its edge.
    """
    squared, error = squared_distances_with_error(reference[rows], generated, center, dtype)
    radii, generated_radii = radii.astype(dtype)[:, None], generated_radii.astype(dtype)[None]
    inside, beyond = squared < radii - error, squared > radii + error
    in_generated, beyond_generated = squared < generated_radii - error, squared > generated_radii + error
    undecided = jnp.any(~(inside | beyond) | ~(in_generated | beyond_generated), axis=1)
    stands = ~beyond & ~undecided[:, None] if dtype == "float32" else ~beyond
    return (
        undecided,
        jnp.any(stands, axis=0),
        jnp.any(~beyond_generated, axis=1),
        jnp.any(~beyond, axis=1),
        _count(inside),
        _count(~inside & ~beyond),
    )


def _kth_smallest(x: Array, k: int) -> Array:
    """The k-th smallest number of every row, shape (B, 1)."""
    if x.dtype == jnp.float32:
        return -jnp.min(jax.lax.top_k(-x, k)[0], axis=1, keepdims=True)

    def step(_: int, smallest: Array) -> Array:
        larger = jnp.min(x, axis=1, keepdims=True, where=x > smallest, initial=jnp.inf)
        return jnp.where(_count(x <= smallest)[:, None] < k, larger, smallest)

    # ``top_k`` of float64 sorts the whole row on CPUs: go from one number to the next larger one instead.
    return jax.lax.fori_loop(0, k, step, jnp.full((len(x), 1), -jnp.inf, x.dtype))


def _count(where: Array) -> Array:
    return jnp.sum(where, axis=1, dtype=jnp.int32)
