"""Paths between two latent codes.

For t from 0 to 1 and the angle Ω between the codes a and b,

    linear(t) = (1 − t) a + t b,        spherical(t) = sin((1 − t) Ω) / sin Ω · a + sin(t Ω) / sin Ω · b.

Under a standard normal prior in many dimensions, codes lie near a sphere. The spherical path stays there; the linear
path passes through codes that are very unlikely under the prior (Tom White 2016, arXiv:1609.04468).
"""

from __future__ import annotations

from typing import Annotated

import jax.numpy as jnp
import numpy as np
from annotated_types import Ge

from genjax.arguments import check_arguments
from genjax.core import Array

NumPoints = Annotated[int, Ge(2)]  # of a path, both ends included


@check_arguments
def linear_path(start: Array, end: Array, num_steps: NumPoints) -> Array:
    """Interpolate linearly between codes (B, ...); the paths (B, num_steps, ...) include both ends.

    >>> linear_path(jnp.array([[0.0]]), jnp.array([[2.0]]), 3)[0, :, 0].tolist()
    [0.0, 1.0, 2.0]
    """
    t = _times(num_steps, start)
    return (1.0 - t) * start[:, None] + t * end[:, None]


@check_arguments
def spherical_path(start: Array, end: Array, num_steps: NumPoints) -> Array:
    """Interpolate spherically; see ``linear_path`` for the shapes.

    Codes of equal or opposite directions, between which the arc is not defined, are interpolated linearly.
    """
    t = _times(num_steps, start)
    axes = tuple(range(1, start.ndim))
    a, b = (z / jnp.maximum(jnp.sqrt(jnp.sum(z**2, axes, keepdims=True)), 1e-40) for z in (start, end))
    # Kahan's formula keeps the digits of angles near 0 and π, which the arc cosine loses.
    angle = 2 * jnp.arctan2(*(jnp.sqrt(jnp.sum(z**2, axes, keepdims=True)) for z in (a - b, a + b)))[:, None]
    sine = jnp.sin(angle)
    safe = jnp.where(sine > 1e-4, sine, 1.0)
    arc = (jnp.sin((1.0 - t) * angle) * start[:, None] + jnp.sin(t * angle) * end[:, None]) / safe
    return jnp.where(sine > 1e-4, arc, linear_path(start, end, num_steps))


def _times(num_steps: int, like: Array) -> Array:
    return jnp.asarray(np.linspace(0.0, 1.0, num_steps), like.dtype).reshape(1, num_steps, *[1] * (like.ndim - 1))
