"""Univariate transformations: increasing maps of the real line, whose parameters a network predicts.

With parameters θ_i for each element, y_i = τ(x_i; θ_i) acts elementwise, so that the Jacobian matrix is diagonal and

    log |det ∂y/∂x| = Σ_i log τ′(x_i; θ_i).                                                                      (1)

Coupling and autoregressive layers share these maps and differ in which elements θ_i may depend on.
(arXiv:1912.02762, section 3.1, calls τ the "transformer" and the network the "conditioner".)

* ``Additive``: y = x − μ, with log-determinant 0 (NICE; Laurent Dinh, David Krueger and Yoshua Bengio, 2015,
  arXiv:1410.8516).
* ``Affine``: y = (x − μ) exp(s) (Laurent Dinh, Jascha Sohl-Dickstein and Samy Bengio, 2017, arXiv:1605.08803).
* ``RationalQuadraticSpline``: see ``genjax.flow.spline``.

Each is the identity when all its parameters are 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

import jax.numpy as jnp

from genjax.core import Array

LOG_SCALE_BOUND = 2.0  # larger scales fit no better and send rare points far out


@runtime_checkable
class UnivariateTransform(Protocol):
    """An increasing map of the real line onto itself. Elements x (..., C) have parameters (..., num_params, C)."""

    @property
    def num_params(self) -> int:
        """Number of parameters per element."""
        ...

    def forward(self, params: Array, x: Array) -> tuple[Array, Array]:
        """Return y and log τ′(x), each with the shape of x."""
        ...

    def inverse(self, params: Array, y: Array) -> tuple[Array, Array]:
        """Return x and the log-derivative of the inverse, −log τ′(x), each with the shape of y."""
        ...


@final
@dataclass(frozen=True)
class Additive:
    """The translation y = x − μ."""

    num_params = 1  # μ

    def forward(self, params: Array, x: Array) -> tuple[Array, Array]:
        """See ``UnivariateTransform``."""
        return x - params[..., 0, :], jnp.zeros_like(x)

    def inverse(self, params: Array, y: Array) -> tuple[Array, Array]:
        """See ``UnivariateTransform``."""
        return y + params[..., 0, :], jnp.zeros_like(y)


@final
@dataclass(frozen=True)
class Affine:
    """The affine map y = (x − μ) exp(s), with |s| < 2.

    Subtracting μ before scaling keeps the rounding error of the inverse at that of μ, whatever the scale.

    >>> Affine().forward(jnp.array([[1.0], [0.0]]), jnp.array([3.0]))[0].tolist()
    [2.0]
    """

    num_params = 2  # μ and the unbounded s

    def forward(self, params: Array, x: Array) -> tuple[Array, Array]:
        """See ``UnivariateTransform``."""
        log_scale = _bounded_log_scale(params[..., 1, :])
        return (x - params[..., 0, :]) * jnp.exp(log_scale), log_scale

    def inverse(self, params: Array, y: Array) -> tuple[Array, Array]:
        """See ``UnivariateTransform``."""
        log_scale = _bounded_log_scale(params[..., 1, :])
        return y * jnp.exp(-log_scale) + params[..., 0, :], -log_scale


def _bounded_log_scale(raw: Array) -> Array:
    """Bound the log-scale smoothly, with slope 1 at 0; cheaper than tanh."""
    return raw / (1 + jnp.abs(raw) / LOG_SCALE_BOUND)
