"""Time distributions that are uniform in time, in log-SNR, or over the steps of a discrete process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import jax.numpy as jnp

from genjax.core import Array
from genjax.diffusion.processes import NoiseProcess
from genjax.diffusion.times.base import clip_to_process
from genjax.ops import check_at_least


@final
@dataclass(frozen=True)
class UniformTimes:
    """Uniform in time."""

    def quantile(self, process: NoiseProcess, u: Array) -> Array:
        """See ``TimeDistribution``."""
        return process.start + (process.end - process.start) * u


@final
@dataclass(frozen=True)
class UniformLogSNR:
    """Uniform in log-SNR: the variational bound is then proportional to the mean squared error of the noise.

    Attributes:
      log_snr_min: smallest log-SNR, for processes without any signal at their end.
    """

    log_snr_min: float = -20.0

    def quantile(self, process: NoiseProcess, u: Array) -> Array:
        """See ``TimeDistribution``."""
        log_snr_max = process.log_snr(jnp.float32(process.start))
        log_snr_min = jnp.maximum(process.log_snr(jnp.float32(process.end)), self.log_snr_min)
        return clip_to_process(process, process.time(log_snr_max + (log_snr_min - log_snr_max) * u))


@final
@dataclass(frozen=True)
class DiscreteTimes:
    """Uniform over evenly spaced times, start and end included: DDPM.

    Attributes:
      num_times: number of times; as many as ``DiscreteVariancePreserving`` has steps.
    """

    num_times: int = 1_000

    def __post_init__(self) -> None:
        check_at_least("num_times", self.num_times, 2)

    def quantile(self, process: NoiseProcess, u: Array) -> Array:
        """See ``TimeDistribution``."""
        fraction = jnp.floor(u * self.num_times) / (self.num_times - 1)
        return process.start + (process.end - process.start) * jnp.minimum(fraction, 1.0)
