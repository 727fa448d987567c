"""Straight-through gradients: replace a value, but differentiate as if it had not been replaced.

Rounding, quantizing and clipping have zero gradients almost everywhere. The straight-through estimator uses the
derivative of the identity instead, so that a value outside its bounds still receives a gradient that can bring it back
(Yoshua Bengio, Nicholas Léonard and Aaron Courville 2013, arXiv:1308.3432).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from genjax.core import Array


def clip_straight_through(value: Array, low: float, high: float) -> Array:
    """Clip to [low, high], with the gradient of the identity.

    >>> clip_straight_through(jnp.float32(100.0), -20.0, 20.0).item()
    20.0
    >>> jax.grad(clip_straight_through)(100.0, -20.0, 20.0).item()
    1.0
    """
    return straight_through(value, jnp.clip(value, low, high))


@jax.custom_jvp
def straight_through(value: Array, replacement: Array) -> Array:
    """Return ``replacement``, of the same shape, and pass its gradient to ``value``; none reaches ``replacement``.

    >>> jax.grad(lambda z: straight_through(z, jnp.round(z)) ** 2)(0.9).item()
    2.0
    """
    del value
    return replacement


@straight_through.defjvp
def _identity_tangent(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    return primals[1], tangents[0]
