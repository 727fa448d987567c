"""The linear path of flow matching: α = 1 − t and σ = t."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, final

import jax.numpy as jnp
from annotated_types import Ge, Lt

from genjax.arguments import Cure, check_arguments
from genjax.core import Array
from genjax.diffusion.processes.base import Times


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class LinearPath:
    """α = 1 − t and σ = t: straight lines from data to noise, the process of flow matching and rectified flow.

    Yaron Lipman, Ricky Chen, Heli Ben-Hamu, Maximilian Nickel and Matt Le 2023, arXiv:2210.02747; Xingchao Liu,
    Chengyue Gong and Qiang Liu 2023, arXiv:2209.03003. Their time runs the other way: it is 1 − t here.

    Attributes:
      sigma_min: σ(0); σ = σ_min + (1 − σ_min) t.
      start, end: see ``NoiseProcess``.
    """

    sigma_min: Annotated[float, Ge(0), Lt(1), Cure("; 0 is usual")] = 0.0
    start: float = 1e-3
    end: float = 1.0

    def alpha(self, t: Times) -> Array:
        """Return 1 − t."""
        return 1 - t

    def sigma(self, t: Times) -> Array:
        """Return σ_min + (1 − σ_min) t."""
        return self.sigma_min + (1 - self.sigma_min) * t

    def log_snr(self, t: Times) -> Array:
        """Return λ(t), equation 2 of ``processes.base``; −∞ at t = 1."""
        return 2 * (jnp.log1p(-t) - jnp.log(self.sigma(t)))

    def time(self, log_snr: Times) -> Array:
        """Return the time of a log-SNR, the solution of (1 − t) e^{−λ/2} = σ(t)."""
        ratio = jnp.exp(-0.5 * log_snr)  # σ / α
        return jnp.where(jnp.isinf(ratio), 1.0, (ratio - self.sigma_min) / (ratio + 1 - self.sigma_min))
