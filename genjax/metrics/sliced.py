"""Sliced Wasserstein distance: one-dimensional optimal transport averaged over random directions.

    SW_p^p = E_θ W_p^p(θ·x, θ·y),    W_p^p(a, b) = ∫₀¹ |F_a⁻¹(q) − F_b⁻¹(q)|^p dq,    θ uniform on the sphere   (1)

(Rabin, Peyré, Delon & Bernot, "Wasserstein barycenter and its application to texture mixing", 2012; Bonneel, Rabin,
Peyré & Pfister, "Sliced and Radon Wasserstein barycenters of measures", 2015). The quantile functions F⁻¹ of N and M
points are step functions with steps at multiples of 1/N and 1/M; the integral is a finite sum over the merged steps,
exact also for N ≠ M.
"""

from __future__ import annotations

import functools
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge

from genjax.arguments import Cure, check_arguments
from genjax.core import Array
from genjax.metrics.checks import checked_features
from genjax.metrics.distances import middle
from genjax.metrics.metric import Values
from genjax.metrics.progress import ProgressCallback, chunks

NUM_PROJECTIONS = 256
PROJECTION_BATCH_SIZE = 16


@check_arguments
def sliced_wasserstein(
    key: Array,
    reference: Array | np.ndarray,
    generated: Array | np.ndarray,
    *,
    num_projections: Annotated[int, Ge(2), Cure(", for a standard error")] = NUM_PROJECTIONS,
    order: Literal[1, 2] = 2,
    progress: ProgressCallback | None = None,
) -> Values:
    """Return the sliced Wasserstein distance (1) of order p = ``order``, 1 or 2.

    ``num_projections``, at least 2, is the number of random directions, which ``progress`` counts.

    Returns:
      ``sliced_wasserstein``, SW_p in units of the features, and ``sliced_wasserstein_standard_error``, over the choice
      of directions alone. With finite samples SW_p is biased upwards.

    Example:
      In one dimension there is only one direction; here every point moves by 2:

      >>> x = np.array([[0.0], [1.0], [5.0]])
      >>> round(float(sliced_wasserstein(jax.random.key(0), x, x + 2, num_projections=2)["sliced_wasserstein"]), 5)
      2.0
    """
    reference, generated = checked_features(reference, generated)
    center = middle(reference)[None]  # changes no distance, only the rounding of projections
    reference, generated = reference - center, generated - center
    directions = jax.random.normal(key, (num_projections, reference.shape[1]))
    directions /= jnp.linalg.norm(directions, axis=1, keepdims=True)
    rows, columns, weights = _steps(len(reference), len(generated))
    powers = []
    for part in chunks(num_projections, PROJECTION_BATCH_SIZE, progress):
        powers.append(_distances(reference, generated, directions[part], rows, columns, weights, order=order))
    mean = jnp.mean(jnp.concatenate(powers))
    spread = jnp.std(jnp.concatenate(powers), ddof=1) / num_projections**0.5
    value = mean ** (1 / order)
    # To first order, d m^(1/p) = m^(1/p) / (p m) dm.
    error = jnp.where(mean > 0, value / (order * mean) * spread, 0.0)
    return {"sliced_wasserstein": value, "sliced_wasserstein_standard_error": error}


def _steps(n: int, m: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return, for each merged step of the quantile functions, the indices of both sorted points and its length."""
    # Steps are integers in units of 1/(n m), so that rounding does not affect which of them coincide.
    ends = np.union1d(np.arange(1, n + 1, dtype=np.int64) * m, np.arange(1, m + 1, dtype=np.int64) * n)
    starts = np.concatenate([[0], ends[:-1]])
    return starts // m, starts // n, ((ends - starts) / (n * m)).astype(np.float32)


@functools.partial(jax.jit, static_argnames="order")
def _distances(
    x: Array, y: Array, directions: Array, rows: Array, columns: Array, weights: Array, *, order: int
) -> Array:
    """Return W_p^p of each direction, the integral of equation 1."""
    sorted_x, sorted_y = (
        jnp.sort(jnp.matmul(directions, side.T, precision=jax.lax.Precision.HIGHEST), axis=1) for side in (x, y)
    )
    return jnp.sum(weights[None] * jnp.abs(sorted_x[:, rows] - sorted_y[:, columns]) ** order, axis=1)
