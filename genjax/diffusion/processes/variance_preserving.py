"""Variance-preserving processes with a linear g²: the continuous limits of DDPM.

Yang Song et al. 2021, arXiv:2011.13456.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import final

import jax
import jax.numpy as jnp

from genjax.arguments import check_arguments
from genjax.core import Array
from genjax.diffusion.processes.base import Times


class LogAlphaProcess(abc.ABC):
    """A process given by log α, which keeps the digits of σ and λ near the data; α² + σ² = 1 unless overridden."""

    @abc.abstractmethod
    def _log_alpha(self, t: Array) -> Array:
        """Return log α(t)."""

    @abc.abstractmethod
    def _time_of_log_alpha(self, log_alpha: Array) -> Array:
        """Return the time t at which log α(t) equals ``log_alpha``."""

    def alpha(self, t: Times) -> Array:
        """Return α(t)."""
        return jnp.exp(self._log_alpha(t))

    def sigma(self, t: Times) -> Array:
        """Return √(1 − α²)."""
        return jnp.sqrt(-jnp.expm1(2 * self._log_alpha(t)))

    def log_snr(self, t: Times) -> Array:
        """Return λ(t), equation 2 of ``processes.base``."""
        twice = 2 * self._log_alpha(t)
        return twice - jnp.log(-jnp.expm1(twice))

    def time(self, log_snr: Times) -> Array:
        """Return the time of a log-SNR."""
        return self._time_of_log_alpha(0.5 * jax.nn.log_sigmoid(log_snr))


@dataclass(frozen=True, kw_only=True)
class _LinearBeta(LogAlphaProcess):
    """α = exp(−½ ∫₀ᵗ β) with β = β_min + t (β_max − β_min)."""

    beta_min: float = 0.1
    beta_max: float = 20.0
    start: float = 1e-3
    end: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.beta_min <= self.beta_max:
            raise ValueError(
                f"beta_min is {self.beta_min} and beta_max is {self.beta_max}, but must satisfy "
                "0 < beta_min <= beta_max"
            )

    def _log_alpha(self, t: Array) -> Array:
        return -0.25 * jnp.square(t) * (self.beta_max - self.beta_min) - 0.5 * t * self.beta_min

    def _time_of_log_alpha(self, log_alpha: Array) -> Array:
        """Solve the quadratic equation for t, in the form that does not cancel near t = 0."""
        half = 0.5 * self.beta_min
        slope = self.beta_max - self.beta_min
        return -2 * log_alpha / (half + jnp.sqrt(half**2 - slope * log_alpha))


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class VariancePreserving(_LinearBeta):
    """α² + σ² = 1 and g² = β_min + t (β_max − β_min): the continuous form of DDPM with its linear schedule.

    Yang Song et al. 2021, arXiv:2011.13456, appendix B.

    Attributes:
      beta_min: g² at t = 0.
      beta_max: g² at t = 1.
      start, end: see ``NoiseProcess``.

    >>> process = VariancePreserving()
    >>> t = process.time(jnp.float32(0.0))
    >>> round(float(process.sigma(t) ** 2), 4)
    0.5
    """


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class SubVariancePreserving(_LinearBeta):
    """The α of ``VariancePreserving`` with σ = 1 − α²: less noise at every time.

    Yang Song et al. 2021, arXiv:2011.13456, equation 14. Attributes are those of ``VariancePreserving``.
    """

    def sigma(self, t: Times) -> Array:
        """Return 1 − α²."""
        return -jnp.expm1(2 * self._log_alpha(t))

    def log_snr(self, t: Times) -> Array:
        """Return λ(t), equation 2 of ``processes.base``."""
        twice = 2 * self._log_alpha(t)
        return twice - 2 * jnp.log(-jnp.expm1(twice))

    def time(self, log_snr: Times) -> Array:
        """Return the time of a log-SNR: 1/α − α = e^{−λ/2}, so −log α = arcsinh(½ e^{−λ/2})."""
        ratio = jnp.exp(-0.5 * log_snr)  # σ / α
        return self._time_of_log_alpha(-jnp.arcsinh(0.5 * ratio))
