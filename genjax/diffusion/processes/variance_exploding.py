"""Variance-exploding processes: α = 1, and σ grows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import jax.numpy as jnp

from genjax.arguments import check_arguments
from genjax.core import Array
from genjax.diffusion.processes.base import Times


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class VarianceExploding:
    """α = 1, and σ grows geometrically from σ_min at t = 0 to σ_max at t = 1.

    Yang Song and Stefano Ermon 2019, arXiv:1907.05600; Yang Song et al. 2021, arXiv:2011.13456.

    Attributes:
      sigma_min: σ(0), in the units of the data.
      sigma_max: σ(1), about the largest distance between two examples.
      start, end: see ``NoiseProcess``.
    """

    sigma_min: float = 0.01
    sigma_max: float = 50.0
    start: float = 0.0
    end: float = 1.0

    def __post_init__(self) -> None:
        _check_sigmas(self.sigma_min, self.sigma_max)

    def alpha(self, t: Times) -> Array:
        """Return 1."""
        return jnp.ones_like(t)

    def sigma(self, t: Times) -> Array:
        """Return σ_min (σ_max / σ_min)^t."""
        return self.sigma_min * jnp.exp(t * self._rate)

    def log_snr(self, t: Times) -> Array:
        """Return λ(t), equation 2 of ``processes.base``."""
        return -2 * (math.log(self.sigma_min) + t * self._rate)

    def time(self, log_snr: Times) -> Array:
        """Return the time of a log-SNR."""
        return (-0.5 * log_snr - math.log(self.sigma_min)) / self._rate

    @property
    def _rate(self) -> float:
        return math.log(self.sigma_max / self.sigma_min)


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class EDM:
    """α = 1 and σ = t: time is the standard deviation of the noise.

    Tero Karras, Miika Aittala, Timo Aila and Samuli Laine 2022, arXiv:2206.00364.

    Attributes:
      start: σ_min, in the units of the data.
      end: σ_max.
    """

    start: float = 0.002
    end: float = 80.0

    def __post_init__(self) -> None:
        _check_sigmas(self.start, self.end)

    def alpha(self, t: Times) -> Array:
        """Return 1."""
        return jnp.ones_like(t)

    def sigma(self, t: Times) -> Array:
        """Return t."""
        return t

    def log_snr(self, t: Times) -> Array:
        """Return λ(t), equation 2 of ``processes.base``."""
        return -2 * jnp.log(t)

    def time(self, log_snr: Times) -> Array:
        """Return the time of a log-SNR."""
        return jnp.exp(-0.5 * log_snr)


def _check_sigmas(sigma_min: float, sigma_max: float) -> None:
    if not 0 < sigma_min < sigma_max:
        raise ValueError(f"sigma runs from {sigma_min} to {sigma_max}, but must grow and be positive")
