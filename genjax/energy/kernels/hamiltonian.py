"""Hamiltonian Monte Carlo and the no-U-turn sampler, as implemented by ``blackjax``, for N chains at once.

Hamiltonian Monte Carlo draws a momentum v ~ N(0, I), follows Hamilton's equations for

    H(x, v) = −log p(x) + ½ ‖v‖²                                                                                 (1)

by leapfrog steps of size h to (x′, v′), and accepts x′ with probability min(1, exp(H(x, v) − H(x′, v′))). The no-U-turn
sampler doubles the trajectory until it turns back on itself, and draws the next state from its points.

Simon Duane, Anthony Kennedy, Brian Pendleton and Duncan Roweth 1987; Radford Neal 2011, arXiv:1206.1901; Matthew
Hoffman and Andrew Gelman 2014, arXiv:1111.4246; blackjax: Alberto Cabezas et al. 2024, arXiv:2402.10797.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast, final

import jax
import jax.numpy as jnp

from genjax.arguments import PositiveFloat, PositiveInt, check_arguments
from genjax.core import Array
from genjax.energy.kernels.base import Kernel, KernelInfo, KernelState, LogDensity


@final
@check_arguments
@dataclass(frozen=True)
class HMC(Kernel):
    """Hamiltonian Monte Carlo.

    Attributes:
      step_size: h, size of a leapfrog step.
      num_leapfrog: number of leapfrog steps per proposal.
    """

    step_size: PositiveFloat = 0.1
    num_leapfrog: PositiveInt = 10
    target_acceptance = 0.8

    def tempered(self, beta: Array | float) -> HMC:
        """See ``Kernel``."""
        return HMC(self.step_size * cast(float, beta) ** -0.5, self.num_leapfrog)

    def step(self, log_density: LogDensity, key: Array, state: KernelState) -> tuple[KernelState, KernelInfo]:
        """See ``Kernel``."""
        from blackjax.mcmc import hmc  # imported where it is used, because few programs need it

        transition = hmc.build_kernel()
        return _for_each_chain(
            transition, log_density, key, state, self.step_size, num_integration_steps=self.num_leapfrog
        )


@final
@check_arguments
@dataclass(frozen=True)
class NUTS(Kernel):
    """No-U-turn sampler.

    Attributes:
      step_size: h, size of a leapfrog step.
      max_doublings: maximum number of doublings of the trajectory; all chains wait for the longest trajectory.
    """

    step_size: PositiveFloat = 0.1
    max_doublings: PositiveInt = 8
    differentiable = False
    target_acceptance = 0.8

    def tempered(self, beta: Array | float) -> NUTS:
        """See ``Kernel``."""
        return NUTS(self.step_size * cast(float, beta) ** -0.5, self.max_doublings)

    def step(self, log_density: LogDensity, key: Array, state: KernelState) -> tuple[KernelState, KernelInfo]:
        """See ``Kernel``."""
        from blackjax.mcmc import nuts

        transition = nuts.build_kernel()
        return _for_each_chain(
            transition, log_density, key, state, self.step_size, max_num_doublings=self.max_doublings
        )


def _for_each_chain(
    transition: Callable[..., Any],
    log_density: LogDensity,
    key: Array,
    state: KernelState,
    step_size: float,
    **settings: int,
) -> tuple[KernelState, KernelInfo]:
    """Apply a blackjax kernel, which moves one chain, to each chain, with a unit mass matrix."""
    from blackjax.mcmc.hmc import HMCState

    masses = jnp.ones(state.x[0].size, state.x.dtype)

    def single(x: Array) -> Array:
        return log_density(x[None])[0]

    def move(key: Array, chain: KernelState) -> tuple[KernelState, KernelInfo]:
        start = HMCState(*cast(tuple[Any, ...], chain))
        new, info = transition(key, start, single, step_size, masses, **settings)
        return KernelState(*new), KernelInfo(info.acceptance_rate)

    return jax.vmap(move)(jax.random.split(key, state.x.shape[0]), state)
