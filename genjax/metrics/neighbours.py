"""Precision, recall, density and coverage: comparison of two samples through nearest-neighbour balls.

The ball of a point x in a sample X is closed and reaches to its k-th nearest neighbour,

    B(x) = {z : |x − z| ≤ r(x)},    r(x) = distance from x to its k-th nearest other point of X.

For N real points X and M generated points Y,

    precision = fraction of y in some B(x)          recall   = fraction of x in some B(y)                   (1)
    density   = 1/(k M) Σ_x |Y ∩ B(x)|              coverage = fraction of x with some y in B(x)            (2)

(1) Tuomas Kynkäänniemi, Tero Karras, Samuli Laine, Jaakko Lehtinen and Timo Aila, 2019, arXiv:1904.06991. (2) Muhammad
Ferjad Naeem, Seong Joon Oh, Youngjung Uh, Yunjey Choi and Jaejun Yoo, 2020, arXiv:2002.09797.

A closed ball contains the duplicates of its center even if its radius is zero. For the density, B(x) has a mass of k
points of X, including x: points strictly inside have weight one, and points on the edge share the remaining mass. The
points of Y have the same weights:

    |Y ∩ B(x)| = inside(Y) + edge(Y) (k − inside(X)) / edge(X).                                             (3)

Without ties, the edge holds the k-th neighbour alone and inside(X) is k, so that (3) counts Y in the open ball. With
any ties, the density of X with respect to itself is 1. Comparisons of distances are those of
``genjax.metrics.distances``, exact up to ties.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from genjax.arguments import PositiveInt, check_arguments
from genjax.core import Array
from genjax.metrics.checks import checked_features, checked_samples
from genjax.metrics.distances import decide, middle, squared_distances_with_error
from genjax.metrics.metric import Values
from genjax.metrics.progress import ProgressCallback


class _Balls(NamedTuple):
    """Balls of N points: r² in float64, and numbers of points inside and on the edge; shape (N,) each."""

    squared_radii: np.ndarray
    inside: np.ndarray
    edge: np.ndarray


@check_arguments
def precision_recall_density_coverage(
    reference: Array | np.ndarray,
    generated: Array | np.ndarray,
    *,
    num_neighbours: PositiveInt = 5,
    chunk_size: PositiveInt = 1024,
    progress: ProgressCallback | None = None,
) -> Values:
    """Return fidelity (precision, density) and diversity (recall, coverage) of generated samples.

    ``num_neighbours`` is k, at least 1 and below N and M. The papers use 5 for density and coverage, and 3 for
    precision and recall; all four grow with k. ``progress`` counts 2 N + M rows.

    Returns:
      ``precision``, ``recall`` and ``coverage`` in [0, 1], and ``density``, at least 0, and above 1 if samples
      concentrate in dense regions. They depend on N, M and k: compare values at equal counts only.

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
        outputs = _compare(reference, generated, center, rows, radii, generated_radii, dtype=dtype)
        undecided, in_ball, recalled[rows], covered[rows], inside, edge = (np.asarray(a) for a in outputs)
        np.logical_or(precise, in_ball, out=precise)
        mass[rows] = inside + edge * (num_neighbours - balls.inside[rows]) / balls.edge[rows]  # equation 3
        return undecided

    decide(compare, len(reference), chunk_size, progress)
    density = mass.sum() / (num_neighbours * len(generated))
    means = {"precision": precise.mean(), "recall": recalled.mean(), "density": density, "coverage": covered.mean()}
    return {name: jnp.float32(mean) for name, mean in means.items()}


@check_arguments
def neighbour_radii(
    x: Array | np.ndarray,
    *,
    num_neighbours: PositiveInt = 5,
    chunk_size: PositiveInt = 1024,
    progress: ProgressCallback | None = None,
) -> Array:
    """Return the distance from each of N samples, N > k, to its k-th nearest neighbour, float32 of shape (N,).

    >>> neighbour_radii(np.array([[0.0], [1.0], [3.0]]), num_neighbours=1).tolist()
    [1.0, 1.0, 2.0]
    """
    x = checked_samples("x", x)
    balls = _balls("x", x, middle(x), num_neighbours, chunk_size, progress)
    return jnp.asarray(np.sqrt(balls.squared_radii), jnp.float32)


def _balls(name: str, x: Array, center: Array, k: int, chunk_size: int, progress: ProgressCallback | None) -> _Balls:
    if len(x) <= k:
        raise ValueError(
            f"{name} has {len(x)} samples, but num_neighbours={k} needs at least {k + 1}; "
            "draw more, or use fewer neighbours"
        )
    balls = _Balls(np.zeros(len(x)), np.zeros(len(x), int), np.zeros(len(x), int))

    def compare(rows: np.ndarray, dtype: str) -> np.ndarray:
        for field, values in zip(balls, _measure(x, center, rows, num_neighbours=k, dtype=dtype), strict=True):
            field[rows] = values
        return balls.edge[rows] > 1

    decide(compare, len(x), chunk_size, progress)
    return balls


@partial(jax.jit, static_argnames=("num_neighbours", "dtype"))
def _measure(x: Array, center: Array, rows: Array, *, num_neighbours: int, dtype: str) -> tuple[Array, Array, Array]:
    """Return squared radii, and numbers of points inside and on the edge: the k-th neighbour and its ties."""
    squared, error = squared_distances_with_error(x[rows], x, center, dtype)
    squared = jnp.where(jnp.arange(len(x))[None] == rows[:, None], 0, squared)
    radius = _kth_smallest(squared, num_neighbours + 1)  # the first is the point itself
    inside, beyond = squared < radius - error, squared > radius + error
    nearest = x[jnp.argmin(jnp.abs(squared - radius), axis=1)]
    exact = jnp.sum((x[rows].astype(jnp.float64) - nearest) ** 2, axis=1)
    return exact, _count(inside), _count(~inside & ~beyond)


@partial(jax.jit, static_argnames="dtype")
def _compare(
    reference: Array, generated: Array, center: Array, rows: Array, radii: Array, generated_radii: Array, *, dtype: str
) -> tuple[Array, ...]:
    """Compare rows of the reference, with radii ``radii``, to all generated samples.

    Return for each row, whether a comparison is undecided; for each column, whether it is in the ball of a decided row;
    and for each row, whether it is in some generated ball, whether its own ball contains a generated sample, and the
    numbers of generated samples inside and on the edge of its ball.
    """
    squared, error = squared_distances_with_error(reference[rows], generated, center, dtype)
    radii, generated_radii = radii.astype(dtype)[:, None], generated_radii.astype(dtype)[None]
    inside, beyond = squared < radii - error, squared > radii + error
    in_generated, beyond_generated = squared < generated_radii - error, squared > generated_radii + error
    undecided = jnp.any(~(inside | beyond) | ~(in_generated | beyond_generated), axis=1)
    in_ball = ~beyond & ~undecided[:, None] if dtype == "float32" else ~beyond
    return (
        undecided,
        jnp.any(in_ball, axis=0),
        jnp.any(~beyond_generated, axis=1),
        jnp.any(~beyond, axis=1),
        _count(inside),
        _count(~inside & ~beyond),
    )


def _kth_smallest(x: Array, k: int) -> Array:
    """Return the k-th smallest number of each row, shape (B, 1)."""
    if x.dtype == jnp.float32:
        return -jnp.min(jax.lax.top_k(-x, k)[0], axis=1, keepdims=True)

    def step(_: int, smallest: Array) -> Array:
        larger = jnp.min(x, axis=1, keepdims=True, where=x > smallest, initial=jnp.inf)
        return jnp.where(_count(x <= smallest)[:, None] < k, larger, smallest)

    # On CPUs ``top_k`` of float64 sorts whole rows: step from each number to the next larger one instead.
    return jax.lax.fori_loop(0, k, step, jnp.full((len(x), 1), -jnp.inf, x.dtype))


def _count(where: Array) -> Array:
    return jnp.sum(where, axis=1, dtype=jnp.int32)
