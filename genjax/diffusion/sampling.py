"""Sampling: from noise to data, level by level, in one ``scan``.

A sampler is a rule for one step of a grid: from x_t at one level to x_s at the next, with less noise. It sees the
denoiser as a function, so that guidance, thresholds and exact answers take the place of a network as they like.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from genjax.core import Array, PyTree
from genjax.diffusion.parametrization import Prediction
from genjax.diffusion.process import Level, NoiseProcess, conditional_variance
from genjax.ops import check_at_least

LEAST = -1e6  # a log-SNR that stands in for −∞: no signal, and no infinite differences
Denoise = Callable[[Array, Array], Prediction]  # (x_t (N, ...), t ()) -> x₀ and ε, (N, ...) each


class Step(NamedTuple):
    """What a sampler makes of a step.

    Attributes:
      x: x_s, (N, ...).
      memory: what it wants to know at the next step.
      data: what the denoiser says of x₀ at x_t, (N, ...).
    """

    x: Array
    memory: PyTree
    data: Array


@runtime_checkable
class Sampler(Protocol):
    """A rule for one step. Those that inherit it call the denoiser once, need no signal and remember nothing."""

    @property
    def evaluations(self) -> int:
        """How often a step calls the denoiser; the last one to data once."""
        return 1

    @property
    def needs_signal(self) -> bool:
        """Whether a step divides by α, so that it cannot begin where that is 0."""
        return False

    def memory(self, x: Array) -> PyTree:
        """Return what there is to remember before the first step."""
        del x
        return ()

    def step(
        self,
        process: NoiseProcess,
        denoise: Denoise,
        here: Level,
        there: Level,
        key: Array,
        x: Array,
        memory: PyTree,
    ) -> Step:
        """Go from one level to the next, both scalars; σ is positive at both."""
        ...


class Moment(NamedTuple):
    """What may be seen of a way while it is gone: the level, x_t before the step, and the denoiser's x₀."""

    here: Level
    x: Array
    data: Array


def walk(
    sampler: Sampler,
    process: NoiseProcess,
    denoise: Denoise,
    levels: Level,
    key: Array,
    x: Array,
    *,
    observe: Callable[[Moment], PyTree] | None = None,
    constrain: Callable[[Array, Level, Array], Array] | None = None,
    repeats: int = 1,
) -> tuple[Array, PyTree]:
    """Take all steps of a grid.

    Args:
      sampler: the rule.
      process: the noise process.
      denoise: the denoiser.
      levels: of the grid, (num_steps + 1,) each; see ``grid.levels``.
      key: a typed key.
      x: at the first level, (N, ...).
      observe: what to keep of every step, such as ``lambda moment: moment.data``; None for nothing.
      constrain: ``(key, level, x) -> x`` after every step, for what is known of x.
      repeats: how often each step is taken but one to data, with noise in between that leads back to where it began:
        what a constraint has put in then agrees with the rest of x. Observed is the last time.

    Returns:
      x at the last level, and what was observed, stacked, (num_steps, ...).

    Raises:
      ValueError: for a sampler that needs a signal where a level has none, or steps to be repeated by one that
        remembers earlier ones.
    """
    _check_signal(sampler, process, levels)
    _check_repeats(sampler, repeats, x)
    here, there = (jax.tree.map(lambda a, s=s: a[s], levels) for s in (slice(None, -1), slice(1, None)))

    def body(carry: tuple[Array, PyTree], inputs: tuple[Level, Level, Array]) -> tuple[tuple[Array, PyTree], PyTree]:
        x, memory = carry
        here, there, key = inputs
        done = there.sigma == 0
        # A level with half the noise stands in for data, so that no step divides by 0, in gradients neither.
        begin = here._replace(log_snr=jnp.maximum(here.log_snr, LEAST))
        nearer = Level(here.t, here.alpha, 0.5 * here.sigma, begin.log_snr + 2 * math.log(2))
        end = jax.tree.map(lambda a, b: jnp.where(done, a, b), nearer, there)

        def once(key: Array, x: Array) -> tuple[Array, Step]:
            step_key, constrain_key = jax.random.split(key)
            step = sampler.step(process, denoise, begin, end, step_key, x, memory)
            x_next = jnp.where(done, step.data, step.x)
            return x_next if constrain is None else constrain(constrain_key, there, x_next), step

        def there_and_back(x: Array, key: Array) -> tuple[Array, None]:
            step_key, noise_key = jax.random.split(key)
            noise = jnp.sqrt(conditional_variance(begin, end)) * jax.random.normal(noise_key, x.shape, x.dtype)
            back = begin.alpha / end.alpha * once(step_key, x)[0] + noise
            return jnp.where(done, x, back), None

        if repeats > 1:
            key, repeats_key = jax.random.split(key)
            x, _ = jax.lax.scan(there_and_back, x, jax.random.split(repeats_key, repeats - 1))
        x_next, step = once(key, x)
        return (x_next, step.memory), None if observe is None else observe(Moment(here, x, step.data))

    keys = jax.random.split(key, len(levels.t) - 1)
    (x, _), observed = jax.lax.scan(body, (x, sampler.memory(x)), (here, there, keys))
    return x, observed


def _check_repeats(sampler: Sampler, repeats: int, x: Array) -> None:
    check_at_least("repeats", repeats, 1)
    if repeats > 1 and jax.tree.leaves(sampler.memory(x)):
        raise ValueError(
            f"repeats is {repeats}, but {type(sampler).__name__} remembers earlier steps, which those with other noise "
            "are not: use DDIM() or Ancestral(), or repeats=1"
        )


def _check_signal(sampler: Sampler, process: NoiseProcess, levels: Level) -> None:
    if not sampler.needs_signal or isinstance(levels.alpha, Tracer):
        return
    t, alpha = np.asarray(levels.t), np.asarray(levels.alpha)
    lost = np.flatnonzero(~(alpha > 0))
    if lost.size:
        raise ValueError(
            f"alpha of {type(process).__name__} is 0 at t = {t[lost[0]]:.4g}, but {type(sampler).__name__} divides by "
            "it: let the process end earlier, with end=0.999 for example, or use DDIM(), DPMSolverPP(), or Euler() or "
            "Heun() without churn"
        )
