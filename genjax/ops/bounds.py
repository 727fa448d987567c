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
    return jax.lax.stop_gradient(jnp.clip(value, low, high)) + (value - jax.lax.stop_gradient(value))


def at_least_float32(value: Array) -> Array:
    """Widen half precision to float32 and leave the rest: log-likelihoods are never summed in half precision."""
    return value.astype(jnp.promote_types(value.dtype, jnp.float32))
