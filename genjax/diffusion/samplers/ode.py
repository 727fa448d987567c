"""Euler's and Heun's methods for the probability-flow equation, with optional churn.

The solutions of the ordinary differential equation

    dx/dt = α′ x̂₀ + σ′ ε̂,                                                                                        (1)

where x̂₀ and ε̂ are means given x_t, have the marginals of the process. Euler's method takes the slope at the beginning
of a step, Heun's the mean of the slopes at both ends. With churn, each step first adds noise, up to 1 + γ times σ/α,
so that later steps correct the errors of earlier ones.

Yang Song et al. 2021, arXiv:2011.13456; Heun and churn: Tero Karras, Miika Aittala, Timo Aila and Samuli Laine 2022,
arXiv:2206.00364, algorithm 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, final

import jax
import jax.numpy as jnp
from annotated_types import Ge, Interval

from genjax.arguments import Cure, Infinite, NonNegativeFloat, check_arguments
from genjax.core import Array, PyTree
from genjax.diffusion.parametrizations import Prediction
from genjax.diffusion.processes import Level, NoiseProcess, conditional_variance, level_at, rates
from genjax.diffusion.samplers.base import Denoise, Sampler, Step, unless_last


@final
@check_arguments
@dataclass(frozen=True)
class Churn:
    """Noise added before a step.

    Attributes:
      gamma: γ, in [0, √2 − 1]: EDM's S_churn divided by the number of steps.
      sigma_min: smallest σ/α at which noise is added.
      sigma_max: largest σ/α at which noise is added.
      scale: standard deviation of the noise, S_noise; slightly above 1 if the denoiser removes too much.
    """

    gamma: Annotated[
        float, Interval(ge=0, le=math.sqrt(2) - 1 + 1e-6), Cure(", √2 - 1: more would double the variance")
    ]
    sigma_min: NonNegativeFloat = 0.0
    sigma_max: Annotated[float, Ge(0), Infinite()] = math.inf
    scale: NonNegativeFloat = 1.0

    def __call__(self, process: NoiseProcess, t: Level, key: Array, x: Array) -> tuple[Level, Array]:
        """Return the level after adding noise, and x there."""
        ratio = jnp.exp(-0.5 * t.log_snr)
        gamma = jnp.where((ratio >= self.sigma_min) & (ratio <= self.sigma_max), self.gamma, 0.0)
        time = process.time(t.log_snr - 2 * jnp.log1p(gamma))
        noisier = level_at(process, jnp.where(gamma > 0, time, t.time))
        # The variance of the level reached: a discrete process has none beyond its end.
        std = self.scale * jnp.sqrt(jnp.maximum(conditional_variance(noisier, t), 0.0))
        x = noisier.alpha / t.alpha * x + std * jax.random.normal(key, x.shape, x.dtype)
        return noisier, x


def flow_velocity(process: NoiseProcess, t: Array, prediction: Prediction) -> Array:
    """Return dx/dt of equation 1."""
    rate = rates(process, t)
    return rate.alpha * prediction.data + rate.sigma * prediction.noise


@final
@check_arguments
@dataclass(frozen=True)
class Euler(Sampler):
    """Euler's method, of order 1.

    Attributes:
      churn: noise before each step, or None; it requires α > 0 at the end of the process.
    """

    churn: Churn | None = None

    @property
    def needs_signal(self) -> bool:
        """See ``Sampler``."""
        return self.churn is not None

    def step(
        self, process: NoiseProcess, denoise: Denoise, t: Level, s: Level, key: Array, x: Array, carry: PyTree
    ) -> Step:
        """See ``Sampler``."""
        if self.churn is not None:
            t, x = self.churn(process, t, key, x)
        prediction = denoise(x, t.time)
        x = x + (s.time - t.time) * flow_velocity(process, t.time, prediction)
        return Step(x, carry, prediction.data)


@final
@check_arguments
@dataclass(frozen=True)
class Heun(Sampler):
    """Heun's method, of order 2, with two evaluations a step; ``churn`` is that of ``Euler``."""

    evaluations = 2
    churn: Churn | None = None

    @property
    def needs_signal(self) -> bool:
        """See ``Sampler``."""
        return self.churn is not None

    def step(
        self, process: NoiseProcess, denoise: Denoise, t: Level, s: Level, key: Array, x: Array, carry: PyTree
    ) -> Step:
        """See ``Sampler``."""
        begin, x_t = (t, x) if self.churn is None else self.churn(process, t, key, x)
        prediction, h = denoise(x_t, begin.time), s.time - begin.time
        first = flow_velocity(process, begin.time, prediction)

        def slope_at_end() -> Array:
            return flow_velocity(process, s.time, denoise(x_t + h * first, s.time))

        second = unless_last(t, s, slope_at_end, first)
        return Step(x_t + 0.5 * h * (first + second), carry, prediction.data)
