"""Annealed importance sampling (AIS) of energy models: stochastic lower and upper bounds on log Z, with intervals.

Particles start as samples of the base, whose density is normalized, and move to the model through the densities

    log pₖ(x) = log p₀(x) − βₖ E(x) + const,        0 = β₀ < … < β_K = 1,                                         (1)

by steps of an adjusted kernel. Their weights w satisfy

    log w = −Σₖ (βₖ₊₁ − βₖ) E(xₖ),        E w = Z.                                                                 (2)

The estimate log mean w is biased downwards: slightly if the steps are many, and far if the particles miss modes. The
reverse path, from exact samples of the model to the base, has weights of mean 1 / Z. Its estimate of log Z is biased
upwards, so that both together bracket log Z.

A pilot run tunes the step size at each βₖ to the target acceptance of the kernel. The main run uses these step sizes
with fresh particles, so that its weights stay unbiased.

Radford Neal 2001, arXiv:physics/9803008; both directions: Roger Grosse, Zoubin Ghahramani and Ryan Adams 2015,
arXiv:1511.02543.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import jax
import jax.numpy as jnp

from genjax.arguments import PositiveInt, check_arguments
from genjax.core import Array
from genjax.energy.density import EnergyDensity, check_kernel
from genjax.energy.kernels import HMC, GibbsWithGradients, Kernel, ParallelTempering
from genjax.ops.importance import LogPartition, NumParticles, log_partition_of

PILOT_PARTICLES = 32
ADAPTATION_RATE = 0.1  # change of the log step size, per step and per unit of acceptance above its target


@check_arguments
def annealed_importance_sampling(
    density: EnergyDensity,
    key: Array,
    *,
    num_particles: NumParticles = 100,
    num_temperatures: PositiveInt = 1_000,
    kernel: Kernel | None = None,
    backwards_from: Array | None = None,
) -> LogPartition:
    """Estimate log Z, forward or in reverse.

    Args:
      density: density of the model.
      key: typed key.
      num_particles: number of particles, P, at least 2.
      num_temperatures: number of annealing steps, K, evenly spaced in β; the error falls as K grows.
      kernel: adjusted kernel; None for HMC with 5 leapfrog steps, or ``GibbsWithGradients`` for binary data. Parallel
        tempering is replaced by the kernel of its replicas.
      backwards_from: exact samples of the model, (P, *shape), for the reverse path; None for the forward path.

    Raises:
      ValueError: if the kernel is unadjusted or cannot move the data, or the number of samples is not P.
    """
    kernel = kernel or (GibbsWithGradients() if density.base.discrete else HMC(step_size=0.1, num_leapfrog=5))
    if isinstance(kernel, ParallelTempering):  # its replicas would start anew at every step
        kernel = kernel.kernel
    check_kernel(kernel, density.base)
    if not kernel.adjusted:
        raise ValueError(
            f"kernel is {kernel}, but the weights of annealed importance sampling are exact only for adjusted kernels; "
            "use energy.MALA or energy.HMC"
        )
    backwards = backwards_from is not None
    if backwards and backwards_from.shape[0] != num_particles:
        raise ValueError(
            f"backwards_from has {backwards_from.shape[0]} samples, but num_particles is {num_particles}; "
            f"draw as many samples, or set num_particles={backwards_from.shape[0]}"
        )
    pilot_key, start_key, chain_key = jax.random.split(key, 3)
    x = density.base.check(backwards_from) if backwards else density.sample_base(start_key, num_particles)
    betas = jnp.linspace(0.0, 1.0, num_temperatures + 1, dtype=x.dtype)
    tuned = None if kernel.target_acceptance is None else _tune(density, kernel, pilot_key, betas).astype(x.dtype)
    if backwards:
        betas, tuned = betas[::-1], None if tuned is None else tuned[::-1]
    step_sizes = None if tuned is None else tuned[1:]

    def step(carry: tuple[Array, Array], inputs: Any) -> tuple[tuple[Array, Array], None]:
        (x, log_weight), (beta, next_beta, key, step_size) = carry, inputs
        log_weight -= (next_beta - beta) * density.energy(density.base.fold(x))  # equation 2
        return (_move(density, kernel, key, x, next_beta, step_size)[0], log_weight), None

    inputs = (betas[:-1], betas[1:], jax.random.split(chain_key, num_temperatures), step_sizes)
    (x, log_weight), _ = jax.lax.scan(step, (x, jnp.zeros(x.shape[0], x.dtype)), inputs)
    return log_partition_of(log_weight, density.base.fold(x), backwards=backwards)


def _move(
    density: EnergyDensity, kernel: Kernel, key: Array, x: Array, beta: Array, step_size: Array | None
) -> tuple[Array, Array]:
    """Take a step that leaves equation 1 invariant; return the new positions and the mean acceptance, ()."""
    if step_size is not None:
        kernel = cast(Any, replace)(kernel, step_size=step_size)

    def log_density(x: Array) -> Array:
        x = density.base.fold(x)
        return density.base.log_prob(density.base_variables, x) - beta * density.energy(x)

    state, info = kernel.step(log_density, key, kernel.init(log_density, x))
    return state.x, jnp.mean(info.acceptance)


def _tune(density: EnergyDensity, kernel: Kernel, key: Array, betas: Array) -> Array:
    """Return the step sizes, (K + 1,), at which the kernel has its target acceptance at every βₖ."""
    start_key, key = jax.random.split(key)
    target = cast(float, kernel.target_acceptance)

    def step(carry: tuple[Array, Array], inputs: tuple[Array, Array]) -> tuple[tuple[Array, Array], Array]:
        (x, log_step), (beta, key) = carry, inputs
        x, acceptance = _move(density, kernel, key, x, beta, jnp.exp(log_step))
        return (x, log_step + ADAPTATION_RATE * (acceptance - target)), log_step

    x = density.sample_base(start_key, PILOT_PARTICLES)
    start = (x, jnp.log(jnp.asarray(cast(Any, kernel).step_size, x.dtype)))
    return jnp.exp(jax.lax.scan(step, start, (betas, jax.random.split(key, betas.shape[0])))[1])
