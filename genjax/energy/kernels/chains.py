"""Runs of Markov chains, with convergence diagnostics.

A run records K scalars of each chain at each step: the log-density, and the coordinates or, in more than 16 dimensions,
16 random projections. It reports

* the smallest effective sample size of these scalars, the number of independent draws whose mean is as accurate;
* the largest split R̂, the standard deviation of all draws over that within half chains: near 1 if chains agree with one
  another and with their own past. If it is above 1.01, the chains have not mixed.

Aki Vehtari, Andrew Gelman, Daniel Simpson, Bob Carpenter and Paul-Christian Bürkner 2021, arXiv:1903.08008, without
rank normalization; both are computed by ``blackjax``.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from genjax.arguments import PositiveInt, check_arguments
from genjax.core import Array
from genjax.energy.kernels.base import Kernel, LogDensity

NUM_PROJECTIONS = 16
MIN_STEPS = 4  # minimum length of a run with diagnostics; half a chain needs a variance


class Chains(NamedTuple):
    """Result of a run of N chains.

    Attributes:
      x: last positions, (N, ...).
      log_density: log p(x) up to a constant, nats, (N,).
      acceptance: mean acceptance over chains and steps, (); 1 for an unadjusted kernel.
      effective_sample_size: smallest effective sample size of the scalars, over all chains together, ().
      r_hat: largest split R̂ of the scalars, ().
      draws: recorded scalars, (steps, N, K), log-density first.
    """

    x: Array
    log_density: Array
    acceptance: Array
    effective_sample_size: Array
    r_hat: Array
    draws: Array


@check_arguments
def run_chains(kernel: Kernel, log_density: LogDensity, key: Array, x: Array, num_steps: PositiveInt) -> Chains:
    """Run at least 2 chains from x, (N, ...), for at least 4 steps, and diagnose their convergence.

    >>> from genjax.energy.kernels import MALA
    >>> log_density = lambda x: -0.5 * jnp.sum(x**2, axis=-1)
    >>> chains = run_chains(MALA(0.5), log_density, jax.random.key(0), jnp.zeros((100, 2)), 200)
    >>> bool(chains.r_hat < 1.05)
    True
    """
    from blackjax.diagnostics import effective_sample_size, potential_scale_reduction

    if x.shape[0] < 2 or num_steps < MIN_STEPS:
        raise ValueError(
            f"there are {x.shape[0]} chains of {num_steps} steps, but diagnostics need 2 chains of {MIN_STEPS} steps; "
            "add chains or steps"
        )
    projection_key, key = jax.random.split(key)
    size = math.prod(x.shape[1:])
    projections = None
    if size > NUM_PROJECTIONS:
        projections = jax.random.normal(projection_key, (size, NUM_PROJECTIONS), x.dtype) / math.sqrt(size)

    def record(state: Any) -> Array:
        flat = state.x.reshape(state.x.shape[0], -1)
        numbers = flat if projections is None else flat @ projections
        return jnp.concatenate([state.log_density[:, None], numbers], axis=1)

    state, acceptance, draws = advance(kernel, log_density, key, x, num_steps, record=record)
    half = num_steps // 2
    halves = jnp.concatenate([draws[:half], draws[num_steps - half :]], axis=1)
    r_hat = jax.vmap(lambda a: potential_scale_reduction(a.T), in_axes=2)(halves)
    sizes = jax.vmap(lambda a: effective_sample_size(a.T), in_axes=2)(draws)
    return Chains(state.x, state.log_density, acceptance, jnp.min(sizes), jnp.max(r_hat), draws)


def advance(
    kernel: Kernel, log_density: LogDensity, key: Array, x: Array, num_steps: int, *, record: Any = lambda _: None
) -> tuple[Any, Array, Any]:
    """Run chains from x, (N, ...); return their last state, mean acceptance, (), and the records of all steps."""

    def step(state: Any, inputs: tuple[Array, Array]) -> tuple[Any, tuple[Array, Any]]:
        key, fraction = inputs
        state, info = kernel.at(fraction).step(log_density, key, state)
        return state, (jnp.mean(info.acceptance), record(state))

    fractions = (jnp.arange(num_steps) + 1.0) / num_steps
    state = kernel.init(log_density, x)
    state, (acceptance, records) = jax.lax.scan(step, state, (jax.random.split(key, num_steps), fractions))
    return state, jnp.mean(acceptance), records
