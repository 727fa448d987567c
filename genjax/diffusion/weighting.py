"""What training minimizes: errors of a denoiser, weighted over times.

With x_t of data x₀ and noise ε, a denoiser says x̂₀ and ε̂, by a network that says q̂ where q is right. As x_t is known,
all three have one error, in different units:

    ε̂ − ε = −(α/σ) (x̂₀ − x₀).                                                                                   (1)

Losses of an example at time t, of D numbers, are

    Output            ‖q̂ − q‖² / D         what the parametrization asks for: DDPM's L_simple with Noise, flow matching
                                           with Flow, EDM's weighting with Preconditioned
    Simple            ‖ε̂ − ε‖² / D         L_simple, whatever the network says
    MinSNR            min(SNR, γ) ‖x̂₀ − x₀‖² / D,  SNR = α²/σ²
    VariationalBound  −½ λ′(t) ‖ε̂ − ε‖²    whose integral over t bounds −log p(x), but for its two ends           (2)

Simple: Jonathan Ho, Ajay Jain and Pieter Abbeel 2020, arXiv:2006.11239. MinSNR: Tiankai Hang et al. 2023,
arXiv:2303.09556. VariationalBound: Diederik Kingma, Tim Salimans, Ben Poole and Jonathan Ho 2021, arXiv:2107.00630; in
the limit of infinitely many steps of DDPM's bound.

Times of training are quantiles of a distribution, so that those of a minibatch can be spread over it evenly. A
distribution that is not uniform weights times as a weighting does, with less noise in the gradient.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, Protocol, final

import jax
import jax.numpy as jnp

from genjax.core import Array
from genjax.diffusion.process import NoiseProcess, rates
from genjax.ops import check_at_least, check_positive


class Errors(NamedTuple):
    """Squared errors of x₀, ε and q, added up over each example, (B,) each, and D."""

    data: Array
    noise: Array
    output: Array
    size: int


class Weighting(Protocol):
    """A loss for each example."""

    def __call__(self, process: NoiseProcess, t: Array, errors: Errors) -> Array:
        """Return losses (B,) at times (B,)."""
        ...


@final
@dataclass(frozen=True)
class Output:
    """The error of what the network predicts."""

    def __call__(self, process: NoiseProcess, t: Array, errors: Errors) -> Array:
        """See ``Weighting``."""
        return errors.output / errors.size


@final
@dataclass(frozen=True)
class Simple:
    """The error of the noise."""

    def __call__(self, process: NoiseProcess, t: Array, errors: Errors) -> Array:
        """See ``Weighting``."""
        return errors.noise / errors.size


@final
@dataclass(frozen=True)
class MinSNR:
    """The error of the data, in units of the noise but where there is little.

    Attributes:
      gamma: γ, the greatest weight.
    """

    gamma: float = 5.0

    def __post_init__(self) -> None:
        check_positive("gamma", self.gamma, "; 5.0 is usual")

    def __call__(self, process: NoiseProcess, t: Array, errors: Errors) -> Array:
        """See ``Weighting``."""
        return jnp.minimum(jnp.exp(process.log_snr(t)), self.gamma) * errors.data / errors.size


@final
@dataclass(frozen=True)
class VariationalBound:
    """Equation 2: nats per example, for times from start to end."""

    def __call__(self, process: NoiseProcess, t: Array, errors: Errors) -> Array:
        """See ``Weighting``."""
        speed = rates(process, t).diffusion / jnp.square(process.sigma(t))  # −λ′
        return 0.5 * (process.end - process.start) * speed * errors.noise


class TimeDistribution(Protocol):
    """Where training looks."""

    def quantile(self, process: NoiseProcess, u: Array) -> Array:
        """Return times between the process's start and end for u in [0, 1), rising with u."""
        ...


@final
@dataclass(frozen=True)
class UniformTimes:
    """All times alike."""

    def quantile(self, process: NoiseProcess, u: Array) -> Array:
        """See ``TimeDistribution``."""
        return process.start + (process.end - process.start) * u


@final
@dataclass(frozen=True)
class UniformLogSNR:
    """All log-SNRs alike: the variational bound is then the plain mean error of the noise, times a constant.

    Attributes:
      least: log-SNRs below are left out, for processes in which there is no signal at the end.
    """

    least: float = -20.0

    def quantile(self, process: NoiseProcess, u: Array) -> Array:
        """See ``TimeDistribution``."""
        highest = process.log_snr(jnp.float32(process.start))
        lowest = jnp.maximum(process.log_snr(jnp.float32(process.end)), self.least)
        return _within(process, process.time(highest + (lowest - highest) * u))


@final
@dataclass(frozen=True)
class LogNormal:
    """log σ/α ~ N(mean, deviation²): EDM (Karras et al. 2022, arXiv:2206.00364, table 1)."""

    mean: float = -1.2
    deviation: float = 1.2

    def __post_init__(self) -> None:
        _check_deviation(self.deviation)

    def quantile(self, process: NoiseProcess, u: Array) -> Array:
        """See ``TimeDistribution``."""
        return _within(process, process.time(-2 * (self.mean + self.deviation * _normal_quantile(u))))


@final
@dataclass(frozen=True)
class LogitNormal:
    """log s/(1 − s) ~ N(mean, deviation²) of the share s of the way (Esser et al. 2024, arXiv:2403.03206)."""

    mean: float = 0.0
    deviation: float = 1.0

    def __post_init__(self) -> None:
        _check_deviation(self.deviation)

    def quantile(self, process: NoiseProcess, u: Array) -> Array:
        """See ``TimeDistribution``."""
        share = jax.nn.sigmoid(self.mean + self.deviation * _normal_quantile(u))
        return process.start + (process.end - process.start) * share


@final
@dataclass(frozen=True)
class DiscreteTimes:
    """The times of a uniform grid alone, start and end among them: DDPM.

    Attributes:
      num_times: as many as the steps of ``DiscreteVariancePreserving``.
    """

    num_times: int = 1_000

    def __post_init__(self) -> None:
        check_at_least("num_times", self.num_times, 2)

    def quantile(self, process: NoiseProcess, u: Array) -> Array:
        """See ``TimeDistribution``."""
        share = jnp.floor(u * self.num_times) / (self.num_times - 1)
        return process.start + (process.end - process.start) * jnp.minimum(share, 1.0)


def stratified(key: Array, num: int) -> Array:
    """Return numbers in [0, 1), (num,), each uniform, and all of them spread evenly.

    Kingma et al. 2021, arXiv:2107.00630, appendix I.1.

    >>> u = stratified(jax.random.key(0), 4)
    >>> jnp.sort(jnp.floor(4 * u)).tolist()
    [0.0, 1.0, 2.0, 3.0]
    """
    return jnp.mod(jax.random.uniform(key) + jnp.arange(num) / num, 1.0)


def _within(process: NoiseProcess, t: Array) -> Array:
    return jnp.clip(t, process.start, process.end)


def _normal_quantile(u: Array) -> Array:
    return math.sqrt(2) * jax.scipy.special.erfinv(jnp.clip(2 * u - 1, -1 + 1e-6, 1 - 1e-6))


def _check_deviation(deviation: float) -> None:
    check_positive("deviation", deviation, "; 1.0 is usual")
