"""Langevin dynamics, unadjusted and Metropolis-adjusted.

Both kernels propose, with a step size h, a temperature τ and ξ ~ N(0, I),

    x′ = x + h ∇ log p(x) + √(2 h τ) ξ.                                                                           (1)

The unadjusted kernel accepts every x′. At τ = 1, its stationary distribution approaches p as h → 0. For p = N(0, s²),
it is the Gaussian with variance

    s² / (1 − h / (2 s²)),        if h < 2 s².                                                                     (2)

At other temperatures, it approaches p^(1/τ), normalized. For images, short chains with large steps and little noise are
common, such as 20 steps with h = 1 and √(2 h τ) = 0.01 (Will Grathwohl et al. 2020, arXiv:1912.03263); their samples
are not distributed as the model.

The adjusted kernel (MALA) has τ = 1 and accepts x′ by ``metropolis``, with q(x′ | x) = N(x + h ∇ log p(x), 2 h I).

Ulf Grenander and Michael Miller 1994; Gareth Roberts and Richard Tweedie 1996; optimal acceptance 0.574: Gareth Roberts
and Jeffrey Rosenthal 1998; temperatures and clipped gradients: Erik Nijkamp, Mitch Hill, Song-Chun Zhu and Ying Nian Wu
2019, arXiv:1904.09770, Yilun Du and Igor Mordatch 2019, arXiv:1903.08689.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast, final

import jax
import jax.numpy as jnp

from genjax.arguments import Fraction, NonNegativeFloat, PositiveFloat, check_arguments
from genjax.core import Array
from genjax.energy.kernels.base import Kernel, KernelInfo, KernelState, LogDensity, metropolis, with_gradient
from genjax.ops import sum_except_batch


@final
@check_arguments
@dataclass(frozen=True)
class Langevin(Kernel):
    """Unadjusted Langevin dynamics, equation 1.

    Attributes:
      step_size: h.
      temperature: τ; 1 targets p, 0 is gradient ascent on log p.
      max_gradient: norm to which ∇ log p of each chain is clipped; None for no clipping.
    """

    step_size: PositiveFloat = 0.01
    temperature: NonNegativeFloat = 1.0
    max_gradient: PositiveFloat | None = None
    adjusted = False

    def step(self, log_density: LogDensity, key: Array, state: KernelState) -> tuple[KernelState, KernelInfo]:
        """See ``Kernel``."""
        gradient = state.gradient if self.max_gradient is None else clip_norm(state.gradient, self.max_gradient)
        noise = jax.random.normal(key, state.x.shape, state.x.dtype)
        x = state.x + self.step_size * gradient + jnp.sqrt(2 * self.step_size * self.temperature) * noise  # equation 1
        new = with_gradient(log_density, x)
        return new, KernelInfo(jnp.ones_like(new.log_density))


@final
@check_arguments
@dataclass(frozen=True)
class AnnealedLangevin(Kernel):
    """Unadjusted Langevin dynamics whose temperature changes linearly from ``initial_temperature`` to 1 during a run.

    A high initial temperature lets chains cross between modes first. With an initial temperature of 0, noise first
    follows the gradient to the data, as in energy matching (``rules.FlowMatching``).

    Attributes:
      step_size: h.
      initial_temperature: τ at the start of the run.
      start: fraction of the run at which the temperature begins to change.
      stop: fraction of the run at which the temperature reaches 1, at least ``start``.
    """

    step_size: PositiveFloat = 0.01
    initial_temperature: NonNegativeFloat = 10.0
    start: Fraction = 0.0
    stop: Fraction = 0.8
    adjusted = False

    def __post_init__(self) -> None:
        if self.stop < self.start:
            raise ValueError(f"stop is {self.stop}, but must be at least start={self.start}; raise stop")

    def step(self, log_density: LogDensity, key: Array, state: KernelState) -> tuple[KernelState, KernelInfo]:
        """Take a step at the final temperature, 1."""
        return Langevin(self.step_size).step(log_density, key, state)

    def at(self, fraction: Array) -> Langevin:
        """Return ``Langevin`` with the temperature at this fraction of the run."""
        change = jnp.clip((fraction - self.start) / max(self.stop - self.start, 1e-6), 0.0, 1.0)
        temperature = self.initial_temperature + change * (1.0 - self.initial_temperature)
        return Langevin(self.step_size, cast(float, temperature))


@final
@check_arguments
@dataclass(frozen=True)
class MALA(Kernel):
    """Metropolis-adjusted Langevin algorithm: equation 1 at τ = 1, accepted by ``metropolis``.

    Attributes:
      step_size: h.
    """

    step_size: PositiveFloat = 0.01
    target_acceptance = 0.574

    def tempered(self, beta: Array | float) -> MALA:
        """See ``Kernel``; h is a squared length."""
        return MALA(self.step_size / cast(float, beta))

    def step(self, log_density: LogDensity, key: Array, state: KernelState) -> tuple[KernelState, KernelInfo]:
        """See ``Kernel``."""
        noise_key, accept_key = jax.random.split(key)
        forward = jnp.sqrt(2 * self.step_size) * jax.random.normal(noise_key, state.x.shape, state.x.dtype)
        x = state.x + self.step_size * state.gradient + forward  # equation 1
        proposal = with_gradient(log_density, x)
        backward = state.x - x - self.step_size * proposal.gradient
        log_ratio = sum_except_batch(jnp.square(forward) - jnp.square(backward)) / (4 * self.step_size)
        return metropolis(accept_key, state, proposal, log_ratio)


def clip_norm(gradient: Array, limit: float) -> Array:
    """Clip the norm of each gradient (N, ...) to the limit.

    >>> clip_norm(jnp.array([[3.0, 4.0], [0.1, 0.0]]), 1.0).round(3).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.10000000149011612, 0.0]]
    """
    norms = jnp.sqrt(sum_except_batch(jnp.square(gradient)))
    factors = jnp.minimum(1.0, limit / jnp.maximum(norms, 1e-12))
    return factors.reshape(-1, *[1] * (gradient.ndim - 1)) * gradient
