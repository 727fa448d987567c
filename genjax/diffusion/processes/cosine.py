"""The cosine process: α = cos φ and σ = sin φ."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import jax
import jax.numpy as jnp

from genjax.arguments import check_arguments
from genjax.core import Array
from genjax.diffusion.processes.base import Times


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class Cosine:
    """α = cos φ and σ = sin φ, with an angle φ that grows linearly in time.

    Alex Nichol and Prafulla Dhariwal 2021, arXiv:2102.09672; with finite log-SNRs at both ends, and a shift for images
    larger than 64 × 64 pixels, as in Emiel Hoogeboom, Jonathan Heek and Tim Salimans 2023, arXiv:2301.11093.

    Attributes:
      log_snr_max: λ(0).
      log_snr_min: λ(1).
      shift: constant added to all log-SNRs, ends included: 2 log(64 / d) for images of d × d pixels.
      start, end: see ``NoiseProcess``.
    """

    log_snr_max: float = 12.0
    log_snr_min: float = -10.0
    shift: float = 0.0
    start: float = 0.0
    end: float = 1.0

    def __post_init__(self) -> None:
        if not self.log_snr_min < self.log_snr_max:
            raise ValueError(
                f"log_snr_min is {self.log_snr_min} and log_snr_max is {self.log_snr_max}, but log_snr_min "
                "must be less than log_snr_max; -10 and 12 are usual"
            )

    def alpha(self, t: Times) -> Array:
        """Return √ sigmoid(λ)."""
        return jnp.exp(0.5 * jax.nn.log_sigmoid(self.log_snr(t)))

    def sigma(self, t: Times) -> Array:
        """Return √ sigmoid(−λ)."""
        return jnp.exp(0.5 * jax.nn.log_sigmoid(-self.log_snr(t)))

    def log_snr(self, t: Times) -> Array:
        """Return −2 log tan φ, plus the shift."""
        first, last = self._angles
        angle = first + (last - first) * t
        # cos φ as the sine of the complement, which keeps its digits near φ = π/2.
        complement = (math.pi / 2 - last) + (last - first) * (1 - t)
        return 2 * jnp.log(jnp.sin(complement) / jnp.sin(angle)) + self.shift

    def time(self, log_snr: Times) -> Array:
        """Return the time of a log-SNR."""
        first, last = self._angles
        angle = jnp.arctan(jnp.exp(-0.5 * (log_snr - self.shift)))
        return (angle - first) / (last - first)

    @property
    def _angles(self) -> tuple[float, float]:
        return math.atan(math.exp(-0.5 * self.log_snr_max)), math.atan(math.exp(-0.5 * self.log_snr_min))
