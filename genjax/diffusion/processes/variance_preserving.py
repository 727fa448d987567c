"""Variance-preserving processes with a linear g²: the continuous limits of DDPM.

Yang Song et al. 2021, arXiv:2011.13456.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import jax
import jax.numpy as jnp

from genjax.core import Array


@final
@dataclass(frozen=True, kw_only=True)
class VariancePreserving:
    """α² + σ² = 1 and g² = β_min + t (β_max − β_min): the continuous form of DDPM with its linear schedule.

    Yang Song et al. 2021, arXiv:2011.13456, appendix B.

    Attributes:
      beta_min: g² at t = 0.
      beta_max: g² at t = 1.
      start: see ``NoiseProcess``.
      end: see ``NoiseProcess``.

    >>> process = VariancePreserving()
    >>> t = process.time(jnp.float32(0.0))
    >>> round(float(process.sigma(t) ** 2), 4)
    0.5
    """

    beta_min: float = 0.1
    beta_max: float = 20.0
    start: float = 1e-3
    end: float = 1.0

    def __post_init__(self) -> None:
        _check_betas(self.beta_min, self.beta_max)

    def alpha(self, t: Array) -> Array:
        """Return exp(−½ ∫₀ᵗ g²)."""
        return jnp.exp(_log_alpha(self, t))

    def sigma(self, t: Array) -> Array:
        """Return √(1 − α²)."""
        return jnp.sqrt(-jnp.expm1(2 * _log_alpha(self, t)))

    def log_snr(self, t: Array) -> Array:
        """Return λ(t), equation 2 of ``processes.base``."""
        twice = 2 * _log_alpha(self, t)
        return twice - jnp.log(-jnp.expm1(twice))

    def time(self, log_snr: Array) -> Array:
        """Return the time of a log-SNR."""
        return _time_of_log_alpha(self, 0.5 * jax.nn.log_sigmoid(log_snr))


@final
@dataclass(frozen=True, kw_only=True)
class SubVariancePreserving:
    """The α of ``VariancePreserving`` with σ = 1 − α²: less noise at every time.

    Yang Song et al. 2021, arXiv:2011.13456, equation 14.

    Attributes:
      beta_min: see ``VariancePreserving``.
      beta_max: see ``VariancePreserving``.
      start: see ``NoiseProcess``.
      end: see ``NoiseProcess``.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0
    start: float = 1e-3
    end: float = 1.0

    def __post_init__(self) -> None:
        _check_betas(self.beta_min, self.beta_max)

    def alpha(self, t: Array) -> Array:
        """Return the α of ``VariancePreserving``."""
        return jnp.exp(_log_alpha(self, t))

    def sigma(self, t: Array) -> Array:
        """Return 1 − α²."""
        return -jnp.expm1(2 * _log_alpha(self, t))

    def log_snr(self, t: Array) -> Array:
        """Return λ(t), equation 2 of ``processes.base``."""
        twice = 2 * _log_alpha(self, t)
        return twice - 2 * jnp.log(-jnp.expm1(twice))

    def time(self, log_snr: Array) -> Array:
        """Return the time of a log-SNR: 1/α − α = e^{−λ/2}, so −log α = arcsinh(½ e^{−λ/2})."""
        ratio = jnp.exp(-0.5 * log_snr)  # σ / α
        return _time_of_log_alpha(self, -jnp.arcsinh(0.5 * ratio))


def _log_alpha(process: VariancePreserving | SubVariancePreserving, t: Array) -> Array:
    return -0.25 * jnp.square(t) * (process.beta_max - process.beta_min) - 0.5 * t * process.beta_min


def _time_of_log_alpha(process: VariancePreserving | SubVariancePreserving, log_alpha: Array) -> Array:
    """Solve the quadratic equation for t, in the form that does not cancel near t = 0."""
    half = 0.5 * process.beta_min
    slope = process.beta_max - process.beta_min
    return -2 * log_alpha / (half + jnp.sqrt(half**2 - slope * log_alpha))


def _check_betas(beta_min: float, beta_max: float) -> None:
    if not 0 < beta_min <= beta_max:
        raise ValueError(
            f"beta_min is {beta_min} and beta_max is {beta_max}, but must satisfy 0 < beta_min <= beta_max"
        )
