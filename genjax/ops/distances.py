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
    """Return equation 1 for all pairs.

    Args:
      x: shape (..., D), in coordinates whose origin is near the data.
      y: shape (M, D), in the same coordinates.

    Returns:
      Distances, shape (..., M).

    >>> squared_distances(jnp.array([[0.0, 0.0], [3.0, 0.0]]), jnp.array([[0.0, 4.0]])).tolist()
    [[16.0], [25.0]]
    """
    x_norms, y_norms = jnp.sum(x**2, axis=-1)[..., None], _norms(y, x.ndim)
    return jnp.maximum(x_norms + y_norms - 2.0 * matmul(x, y.T), 0.0)


def nearest(x: Array, y: Array) -> Array:
    """Return the index of the row of ``y`` nearest to each x, the first of equals; moves the origin to the mean of y.

    Args:
      x: shape (..., D).
      y: shape (M, D).

    Returns:
      int32 (...).
    """
    center = jnp.mean(y, axis=0)
    y, x = y - center[None], x - center.reshape((1,) * (x.ndim - 1) + center.shape)
    # Equation 1 less |x|², which does not decide, and would cost digits.
    return jnp.argmin(_norms(y, x.ndim) - 2.0 * matmul(x, y.T), axis=-1).astype(jnp.int32)


def rounding(dim: int, dtype: str) -> float:
    """Return the largest error of equation 1 as a share of |x|² + |y|², for vectors of length ``dim``."""
    # Rounding of D products adds up like a random walk; measured errors stay below, for constant features too.
    return (4 + 2 * dim**0.5) * float(jnp.finfo(dtype).eps)


def matmul(a: Array, b: Array) -> Array:
    """Multiply matrices with all digits; by default accelerators keep 8 or 11 bits, too few for what cancels."""
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


def _norms(y: Array, ndim: int) -> Array:
    """Return |y|² of each row (M, D), along the last of ``ndim`` axes."""
    return jnp.sum(y**2, axis=-1).reshape((1,) * (ndim - 1) + (len(y),))
