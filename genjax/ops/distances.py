"""Squared Euclidean distances between the rows of two arrays.

All pairs cost one matrix product,

    |x − y|² = |x|² + |y|² − 2 x·y,                                                                              (1)

whose terms cancel where x and y are close. However small the distance, its absolute error may be ``rounding(D, dtype)``
= ε (4 + 2 √D) times |x|² + |y|². Distances do not depend on the origin, but this error does: move the origin to the
mean of the data first. The product keeps all digits of the dtype on every device, and no distance is negative.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from genjax.core import Array


def squared_distances(x: Array, y: Array) -> Array:
    """Return equation 1 for all pairs, (..., M), of x (..., D) and y (M, D), whose origin should be near the data.

    >>> squared_distances(jnp.array([[0.0, 0.0], [3.0, 0.0]]), jnp.array([[0.0, 4.0]])).tolist()
    [[16.0], [25.0]]
    """
    x_norms = jnp.sum(x**2, axis=-1)[..., None]
    y_norms = jnp.expand_dims(jnp.sum(y**2, axis=-1), range(x.ndim - 1))
    return jnp.maximum(x_norms + y_norms - 2.0 * matmul(x, y.T), 0.0)


def rounding(dim: int, dtype: str) -> float:
    """Return the largest error of equation 1 as a share of |x|² + |y|², for vectors of length ``dim``."""
    # Rounding of D products adds up like a random walk; measured errors stay below, for constant features too.
    return (4 + 2 * dim**0.5) * float(jnp.finfo(dtype).eps)


def matmul(a: Array, b: Array) -> Array:
    """Multiply matrices with all digits; by default accelerators keep 8 or 11 bits, too few for what cancels."""
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


def num_nearest(reference: Array, x: Array) -> Array:
    """Return how many of the reference points (N, ...) are the nearest neighbor of some x (M, ...), float32.

    >>> num_nearest(jnp.array([[0.0], [1.0], [5.0]]), jnp.array([[0.9], [1.2], [9.0]])).item()
    2.0
    """
    reference, x = (points.reshape(points.shape[0], -1).astype(jnp.float32) for points in (reference, x))
    # |x|² does not change which point is nearest.
    distances = jnp.sum(jnp.square(reference), axis=-1)[None] - 2 * x @ reference.T
    nearest = jnp.argmin(distances, axis=-1)
    return jnp.sum(jnp.zeros(reference.shape[0]).at[nearest].set(1.0))
