"""Bounds that keep a parameter representable without stopping its learning.

``bounded(v) = min(max(v, low), high)`` with the derivative of the identity, so that a value beyond a bound still feels
the gradient that can bring it back (Bengio, Léonard & Courville 2013, arXiv:1308.3432, call this straight-through).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from genjax.core import Array


def bounded(value: Array, low: float, high: float) -> Array:
    """Clip to [low, high]; gradients pass as through the identity.

    >>> bounded(jnp.float32(100.0), -20.0, 20.0).item()
    20.0
    >>> jax.grad(bounded)(100.0, -20.0, 20.0).item()
    1.0
    """
    return with_gradient_of(value, jnp.clip(value, low, high))


@jax.custom_jvp
def with_gradient_of(value: Array, replacement: Array) -> Array:
    """Return ``replacement``, of the same shape, as a constant, with gradients to ``value`` as if it were that.

    >>> jax.grad(lambda z: with_gradient_of(z, jnp.round(z)) ** 2)(0.9).item()
    2.0
    """
    del value
    return replacement


@with_gradient_of.defjvp
def _identity_tangent(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    return primals[1], tangents[0]


def at_least_float32(value: Array) -> Array:
    """Widen half precision to float32 and leave the rest: log-likelihoods are never summed in half precision."""
    return value.astype(jnp.promote_types(value.dtype, jnp.float32))
