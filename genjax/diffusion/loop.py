"""The sampling loop: from noise to data along a time grid, in one ``scan``."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from genjax.arguments import PositiveInt, check_arguments
from genjax.core import Array, PyTree
from genjax.diffusion.processes import Level, NoiseProcess, conditional_variance
from genjax.diffusion.samplers import Denoise, Sampler, SelfConditioned, Step

MIN_LOG_SNR = -1e6  # replaces −∞ where there is no signal, so that differences are finite


class StepInfo(NamedTuple):
    """What an observer receives at each step.

    Attributes:
      level: noise level before the step.
      x: x_t, (N, ...).
      data: the denoiser's x̂₀, (N, ...).
    """

    level: Level
    x: Array
    data: Array


@check_arguments
def sample_loop(
    sampler: Sampler,
    process: NoiseProcess,
    denoise: Denoise,
    levels: Level,
    key: Array,
    x: Array,
    *,
    observe: Callable[[StepInfo], PyTree] | None = None,
    constrain: Callable[[Array, Level, Array], Array] | None = None,
    repeats: PositiveInt = 1,
) -> tuple[Array, PyTree]:
    """Take all steps of a grid.

    Args:
      sampler: rule for one step.
      process: noise process.
      denoise: denoiser; a ``SelfConditioned`` one gets its estimate of the step before.
      levels: noise levels of the grid, (num_steps + 1,) each; see ``grids.levels``.
      key: typed key.
      x: x_t at the first level, (N, ...).
      observe: what to record at each step, such as ``lambda info: info.data``; None for nothing.
      constrain: ``(key, level, x) -> x``, applied after every step, such as to insert known values.
      repeats: number of times each step but the last is taken. In between, noise leads back to level t, so that the
        rest of x comes to agree with the constraint. The last repetition is recorded.

    Returns:
      x at the last level, and the records, stacked along a first axis of length num_steps.

    Raises:
      ValueError: if the sampler needs a signal and α is 0 at some level, or has a carry and steps are repeated.
    """
    _check_signal(sampler, process, levels)
    _check_repeats(sampler, repeats, x)
    first, second = (jax.tree.map(lambda a, i=i: a[i], levels) for i in (slice(None, -1), slice(1, None)))

    def body(carry: PyTree, inputs: tuple[Level, Level, Array]) -> tuple[PyTree, PyTree]:
        x, sampler_carry, data = carry
        level, next_level, key = inputs
        is_last = next_level.sigma == 0
        t, s = _finite_levels(level, next_level, is_last)
        denoise_now = denoise.given(data) if isinstance(denoise, SelfConditioned) else denoise

        def take_step(key: Array, x: Array) -> tuple[Array, Step]:
            step_key, constrain_key = jax.random.split(key)
            step = sampler.step(process, denoise_now, t, s, step_key, x, sampler_carry)
            x_s = jnp.where(is_last, step.data, step.x)
            return x_s if constrain is None else constrain(constrain_key, next_level, x_s), step

        def step_and_return(x: Array, key: Array) -> tuple[Array, None]:
            step_key, noise_key = jax.random.split(key)
            noise = jnp.sqrt(conditional_variance(t, s)) * jax.random.normal(noise_key, x.shape, x.dtype)
            return t.alpha / s.alpha * take_step(step_key, x)[0] + noise, None

        if repeats > 1:
            key, repeats_key = jax.random.split(key)
            keys = jax.random.split(repeats_key, repeats - 1)
            x = jax.lax.cond(is_last, lambda x: x, lambda x: jax.lax.scan(step_and_return, x, keys)[0], x)
        x_s, step = take_step(key, x)
        data = step.data if isinstance(denoise, SelfConditioned) else None
        return (x_s, step.carry, data), None if observe is None else observe(StepInfo(level, x, step.data))

    keys = jax.random.split(key, len(levels.time) - 1)
    data = jnp.zeros_like(x) if isinstance(denoise, SelfConditioned) else None
    (x, *_), records = jax.lax.scan(body, (x, sampler.init_carry(x), data), (first, second, keys))
    return x, records


def _finite_levels(t: Level, s: Level, is_last: Array) -> tuple[Level, Level]:
    """Return levels with which no step divides by 0, in its gradient either.

    In the last step, a level at the same time with half of the noise stands in for data.
    """
    t = t._replace(log_snr=jnp.maximum(t.log_snr, MIN_LOG_SNR))
    stand_in = Level(t.time, t.alpha, 0.5 * t.sigma, t.log_snr + 2 * math.log(2))
    return t, jax.tree.map(lambda a, b: jnp.where(is_last, a, b), stand_in, s)


def _check_repeats(sampler: Sampler, repeats: int, x: Array) -> None:
    if repeats > 1 and jax.tree.leaves(sampler.init_carry(x)):
        raise ValueError(
            f"repeats is {repeats}, but {type(sampler).__name__} is a multistep method, whose earlier steps had other "
            "noise: use DDIM() or Ancestral(), or repeats=1"
        )


def _check_signal(sampler: Sampler, process: NoiseProcess, levels: Level) -> None:
    if not sampler.needs_signal or isinstance(levels.alpha, Tracer):
        return
    times, alpha = np.asarray(levels.time), np.asarray(levels.alpha)
    no_signal = np.flatnonzero(~(alpha > 0))
    if no_signal.size:
        raise ValueError(
            f"alpha of {type(process).__name__} is 0 at t = {times[no_signal[0]]:.4g}, but {type(sampler).__name__} "
            "divides by it: let the process end earlier, with end=0.999 for example, or use DDIM(), DPMSolverPP(), or "
            "Euler() or Heun() without churn"
        )
