"""Time grids: where a sampler evaluates the denoiser.

A grid of N steps has N + 1 noise levels, from the process's end towards its start. The last level is by default that of
the data, α = 1 and σ = 0, in place of the start: the last step returns the denoiser's x̂₀.
"""

from __future__ import annotations

from typing import Protocol

import jax
import jax.numpy as jnp

from genjax.core import Array
from genjax.diffusion.processes import Level, NoiseProcess, level_at
from genjax.ops import check_at_least


class Grid(Protocol):
    """Times at which a sampler evaluates the denoiser."""

    def times(self, process: NoiseProcess, num_times: int) -> Array:
        """Return decreasing times (num_times,), from the process's end to its start."""
        ...


def levels(process: NoiseProcess, grid: Grid, num_steps: int, *, to_data: bool = True) -> Level:
    """Return the noise levels of a grid, each field (num_steps + 1,).

    Args:
      process: noise process.
      grid: time grid.
      num_steps: number of steps, N.
      to_data: whether the last level is that of the data; otherwise it is the process's start.

    Raises:
      ValueError: if ``num_steps`` is less than 1.
    """
    check_at_least("num_steps", num_steps, 1, "; few-step samplers take 10 to 50, DDPM 1,000")
    # Concrete numbers inside compiled functions too, so that what a sampler requires of them can be checked.
    with jax.ensure_compile_time_eval():
        if not to_data:
            return level_at(process, grid.times(process, num_steps + 1))
        noisy = level_at(process, grid.times(process, num_steps))
        data = Level(time=jnp.zeros(1), alpha=jnp.ones(1), sigma=jnp.zeros(1), log_snr=jnp.full(1, jnp.inf))
        return jax.tree.map(lambda *parts: jnp.concatenate(parts), noisy, data)
