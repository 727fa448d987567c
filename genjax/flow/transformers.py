"""Transformers: increasing maps of single numbers, whose parameters a network gives.

With parameters θ for every element, y = τ(x; θ) acts on each element alone, so that its Jacobian matrix is diagonal and

    log |det ∂y/∂x| = Σ_i log τ′(x_i; θ_i).                                                                      (1)

Coupling and autoregressive layers differ in which elements θ may depend on; this is what they share. (The
name is that of arXiv:1912.02762, section 3.1, and has nothing to do with attention.)

* ``Additive``: y = x − μ, whose log-determinant is 0 (NICE; Laurent Dinh, David Krueger and Yoshua Bengio, 2015,
  arXiv:1410.8516).
* ``Affine``: y = (x − μ) exp(s) (Laurent Dinh, Jascha Sohl-Dickstein and Samy Bengio, 2017, arXiv:1605.08803).
* ``RationalQuadraticSpline`` has a file of its own.

Where all parameters are 0 each of them is the identity.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

import jax.numpy as jnp

from genjax.core import Array

LOG_SCALE_BOUND = 2.0  # of Affine: layers that stretch more fit no better, and throw rare points far out


@runtime_checkable
class Transformer(Protocol):
    """An increasing map of the real line onto itself, with some parameters.

    Parameters of elements x (..., C) come as an array (..., num_params, C).
    """

    @property
    def num_params(self) -> int:
        """Number of parameters of one element."""
        ...

    def forward(self, params: Array, x: Array) -> tuple[Array, Array]:
        """Return y and log τ′(x), both of the shape of x."""
        ...

    def inverse(self, params: Array, y: Array) -> tuple[Array, Array]:
        """Return x and the log-derivative −log τ′(x) of the inverse, both of the shape of y."""
        ...


@final
@dataclass(frozen=True)
class Additive:
    """y = x − μ."""

    @property
    def num_params(self) -> int:
        """One: μ."""
        return 1

    def forward(self, params: Array, x: Array) -> tuple[Array, Array]:
        """See ``Transformer``."""
        return x - params[..., 0, :], jnp.zeros_like(x)

    def inverse(self, params: Array, y: Array) -> tuple[Array, Array]:
        """See ``Transformer``."""
        return y + params[..., 0, :], jnp.zeros_like(y)


@final
@dataclass(frozen=True)
class Affine:
    """y = (x − μ) exp(s), with |s| < 2.

    Subtracting first keeps rounding errors of the way back at those of μ, whatever the scale.

    >>> Affine().forward(jnp.array([[1.0], [0.0]]), jnp.array([3.0]))[0].tolist()
    [2.0]
    """

    @property
    def num_params(self) -> int:
        """Two: μ, and s before it is bounded."""
        return 2

    def forward(self, params: Array, x: Array) -> tuple[Array, Array]:
        """See ``Transformer``."""
        log_scale = _bounded_log_scale(params[..., 1, :])
        return (x - params[..., 0, :]) * jnp.exp(log_scale), log_scale

    def inverse(self, params: Array, y: Array) -> tuple[Array, Array]:
        """See ``Transformer``."""
        log_scale = _bounded_log_scale(params[..., 1, :])
        return y * jnp.exp(-log_scale) + params[..., 0, :], -log_scale


def _bounded_log_scale(raw: Array) -> Array:
    """Squash smoothly, with slope 1 at 0, and cheaper than tanh."""
    return raw / (1 + jnp.abs(raw) / LOG_SCALE_BOUND)
