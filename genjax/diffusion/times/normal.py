"""Time distributions that are normal in log σ/α, or in the logit of the time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import jax
import jax.numpy as jnp

from genjax.core import Array
from genjax.diffusion.processes import NoiseProcess
from genjax.diffusion.times.base import clip_to_process
from genjax.ops import check_positive


@final
@dataclass(frozen=True)
class LogNormal:
    """log σ/α ~ N(mean, std²): EDM (Karras et al. 2022, arXiv:2206.00364, table 1).

    Attributes:
      mean: mean of log σ/α.
      std: standard deviation of log σ/α.
    """

    mean: float = -1.2
    std: float = 1.2

    def __post_init__(self) -> None:
        _check_std(self.std)

    def quantile(self, process: NoiseProcess, u: Array) -> Array:
        """See ``TimeDistribution``."""
        return clip_to_process(process, process.time(-2 * (self.mean + self.std * _normal_quantile(u))))


@final
@dataclass(frozen=True)
class LogitNormal:
    """logit(τ) ~ N(mean, std²), with τ the time scaled to [0, 1] (Esser et al. 2024, arXiv:2403.03206).

    Attributes:
      mean: mean of logit(τ).
      std: standard deviation of logit(τ).
    """

    mean: float = 0.0
    std: float = 1.0

    def __post_init__(self) -> None:
        _check_std(self.std)

    def quantile(self, process: NoiseProcess, u: Array) -> Array:
        """See ``TimeDistribution``."""
        tau = jax.nn.sigmoid(self.mean + self.std * _normal_quantile(u))
        return process.start + (process.end - process.start) * tau


def _normal_quantile(u: Array) -> Array:
    return math.sqrt(2) * jax.scipy.special.erfinv(jnp.clip(2 * u - 1, -1 + 1e-6, 1 - 1e-6))


def _check_std(std: float) -> None:
    check_positive("std", std, "; 1.0 is usual")
