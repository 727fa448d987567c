"""Time distributions: the times at which the denoiser is trained. Every one is a ``TimeDistribution``.

A distribution is given by its quantile function, so that the times of a minibatch can be stratified. A non-uniform
distribution weights times as a weighting does, with less variance of the gradient.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, final, runtime_checkable

import jax
import jax.numpy as jnp
from annotated_types import Ge, Gt

from genjax.arguments import Cure, check_arguments
from genjax.core import Array
from genjax.diffusion.processes import NoiseProcess

StandardDeviation = Annotated[float, Gt(0), Cure("; 1.0 is usual")]


@runtime_checkable
class TimeDistribution(Protocol):
    """Distribution of the times at which the denoiser is trained."""

    def quantile(self, process: NoiseProcess, u: Array) -> Array:
        """Return times between the process's start and end for u in [0, 1), monotone in u."""
        ...


@final
@check_arguments
@dataclass(frozen=True)
class UniformTimes:
    """Uniform in time."""

    def quantile(self, process: NoiseProcess, u: Array) -> Array:
        """See ``TimeDistribution``."""
        return process.start + (process.end - process.start) * u


@final
@check_arguments
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
        return jnp.clip(process.time(log_snr_max + (log_snr_min - log_snr_max) * u), process.start, process.end)


@final
@check_arguments
@dataclass(frozen=True)
class DiscreteTimes:
    """Uniform over evenly spaced times, start and end included: DDPM.

    Attributes:
      num_times: number of times; as many as ``DiscreteVariancePreserving`` has steps.
    """

    num_times: Annotated[int, Ge(2)] = 1_000

    def quantile(self, process: NoiseProcess, u: Array) -> Array:
        """See ``TimeDistribution``."""
        fraction = jnp.floor(u * self.num_times) / (self.num_times - 1)
        return process.start + (process.end - process.start) * jnp.minimum(fraction, 1.0)


@final
@check_arguments
@dataclass(frozen=True)
class LogNormal:
    """log σ/α ~ N(mean, std²): EDM (Karras et al. 2022, arXiv:2206.00364, table 1).

    Attributes:
      mean: mean of log σ/α.
      std: standard deviation of log σ/α.
    """

    mean: float = -1.2
    std: StandardDeviation = 1.2

    def quantile(self, process: NoiseProcess, u: Array) -> Array:
        """See ``TimeDistribution``."""
        log_ratio = self.mean + self.std * _normal_quantile(u)
        return jnp.clip(process.time(-2 * log_ratio), process.start, process.end)


@final
@check_arguments
@dataclass(frozen=True)
class LogitNormal:
    """logit(τ) ~ N(mean, std²), with τ the time scaled to [0, 1] (Esser et al. 2024, arXiv:2403.03206).

    Attributes:
      mean: mean of logit(τ).
      std: standard deviation of logit(τ).
    """

    mean: float = 0.0
    std: StandardDeviation = 1.0

    def quantile(self, process: NoiseProcess, u: Array) -> Array:
        """See ``TimeDistribution``."""
        tau = jax.nn.sigmoid(self.mean + self.std * _normal_quantile(u))
        return process.start + (process.end - process.start) * tau


def _normal_quantile(u: Array) -> Array:
    return math.sqrt(2) * jax.scipy.special.erfinv(jnp.clip(2 * u - 1, -1 + 1e-6, 1 - 1e-6))


def stratified_mean(
    draw: Callable[[Array, Array], Array], key: Array, num_examples: int, num_samples: int, dtype: Any = jnp.float32
) -> Array:
    """Return the mean of ``draw(key, u)``, (B,), over draws whose u (B,) are evenly spaced in [0, 1) for each example.

    >>> stratified_mean(lambda key, u: jnp.floor(4 * u), jax.random.key(0), 2, 4).tolist()
    [1.5, 1.5]
    """
    offset_key, draws_key = jax.random.split(key)
    offset = jax.random.uniform(offset_key, (num_examples,), dtype)

    def add(total: Array, inputs: tuple[Array, Array]) -> tuple[Array, None]:
        shift, key = inputs
        return total + draw(key, jnp.mod(offset + shift, 1.0)), None

    inputs = (jnp.arange(num_samples, dtype=dtype) / num_samples, jax.random.split(draws_key, num_samples))
    return jax.lax.scan(add, jnp.zeros(num_examples, dtype), inputs)[0] / num_samples


def stratified(key: Array, num: int) -> Array:
    """Draw evenly spaced numbers in [0, 1) with one random offset, (num,), each uniform.

    Kingma et al. 2021, arXiv:2107.00630, appendix I.1.

    >>> u = stratified(jax.random.key(0), 4)
    >>> jnp.sort(jnp.floor(4 * u)).tolist()
    [0.0, 1.0, 2.0, 3.0]
    """
    return jnp.mod(jax.random.uniform(key) + jnp.arange(num) / num, 1.0)
