"""Time grids: where a sampler evaluates the denoiser.

A grid of N steps has N + 1 levels, from the process's end to its start, and in place of the start, unless it is asked
for, the data themselves: α = 1 and σ = 0. The way there from the level before is one step, and takes the denoiser's
word for it.

Karras: Tero Karras, Miika Aittala, Timo Aila and Samuli Laine 2022, arXiv:2206.00364, equation 5. Log-SNR: Cheng Lu et
al. 2022, arXiv:2206.00927.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, final

import jax
import jax.numpy as jnp
import numpy as np

from genjax.core import Array
from genjax.diffusion.process import Level, NoiseProcess, level
from genjax.ops import check_at_least

FINITE_LOG_SNR = 12.0  # stands for infinity


class Grid(Protocol):
    """Where a sampler evaluates the denoiser."""

    def times(self, process: NoiseProcess, num_times: int) -> Array:
        """Return falling times (num_times,), from the process's end to its start."""
        ...


@final
@dataclass(frozen=True)
class Uniform:
    """Times in equal steps.

    >>> from genjax.diffusion import LinearPath
    >>> Uniform().times(LinearPath(start=0.0), 3).tolist()
    [1.0, 0.5, 0.0]
    """

    def times(self, process: NoiseProcess, num_times: int) -> Array:
        """See ``Grid``."""
        return _line(process.end, process.start, num_times)


@final
@dataclass(frozen=True)
class LogSNR:
    """Log-SNRs in equal steps, from and to ±12 where they are infinite."""

    def times(self, process: NoiseProcess, num_times: int) -> Array:
        """See ``Grid``."""
        lowest, highest = _log_snrs(process)
        return _ends_kept(process, process.time(_line(lowest, highest, num_times)))


@final
@dataclass(frozen=True)
class Karras:
    """The ρ-th roots of σ/α in equal steps, with ends as of ``LogSNR``.

    Attributes:
      rho: ρ; the more, the shorter the steps near the data.
    """

    rho: float = 7.0

    def __post_init__(self) -> None:
        check_at_least("rho", self.rho, 1)

    def times(self, process: NoiseProcess, num_times: int) -> Array:
        """See ``Grid``."""
        largest, smallest = (math.exp(-0.5 * log_snr / self.rho) for log_snr in _log_snrs(process))  # of the roots
        roots = _line(largest, smallest, num_times)
        return _ends_kept(process, process.time(-2 * self.rho * jnp.log(roots)))


@final
@dataclass(frozen=True)
class Times:
    """Times given one by one, as many as a sampler has steps.

    Attributes:
      values: falling.
    """

    values: tuple[float, ...]

    def __post_init__(self) -> None:
        check_at_least("the number of values", len(self.values), 1)
        steps = np.diff(self.values)
        if not np.all(steps < 0):
            wrong = int(np.flatnonzero(~(steps < 0))[0])
            raise ValueError(
                f"values go from {self.values[wrong]} to {self.values[wrong + 1]}, but times must fall, from noise to "
                "data; turn them around, and leave out doubles"
            )

    def times(self, process: NoiseProcess, num_times: int) -> Array:
        """See ``Grid``.

        Raises:
          ValueError: for another number of times.
        """
        if num_times != len(self.values):
            raise ValueError(f"the grid has {len(self.values)} times, but {num_times} are needed; set num_steps so")
        return jnp.asarray(self.values, float)


def levels(process: NoiseProcess, grid: Grid, num_steps: int, *, to_data: bool = True) -> Level:
    """Return the levels of a grid, each field (num_steps + 1,).

    Args:
      process: the noise process.
      grid: where its times lie.
      num_steps: N.
      to_data: whether the last level is that of data; otherwise it is the process's start.

    Raises:
      ValueError: for no steps, or log-SNRs of the grid that do not rise.
    """
    check_at_least("num_steps", num_steps, 1, "; few-step samplers take 10 to 50, DDPM 1,000")
    # Known numbers in compiled functions too, so that what samplers ask of them can be checked.
    with jax.ensure_compile_time_eval():
        if not to_data:
            return level(process, grid.times(process, num_steps + 1))
        noisy = level(process, grid.times(process, num_steps))
        data = Level(t=jnp.zeros(1), alpha=jnp.ones(1), sigma=jnp.zeros(1), log_snr=jnp.full(1, jnp.inf))
        return jax.tree.map(lambda *parts: jnp.concatenate(parts), noisy, data)


def _log_snrs(process: NoiseProcess) -> tuple[float, float]:
    """λ at the end and the start of a process, or what stands for it where it is infinite."""
    with jax.ensure_compile_time_eval():
        lowest, highest = (float(process.log_snr(jnp.asarray(t, float))) for t in (process.end, process.start))
    bound = FINITE_LOG_SNR
    return -bound if math.isinf(lowest) else lowest, bound if math.isinf(highest) else highest


def _line(first: Array | float, last: Array | float, num_times: int) -> Array:
    return jnp.linspace(first, last, num_times) if num_times > 1 else jnp.full(1, first, float)


def _ends_kept(process: NoiseProcess, times: Array) -> Array:
    """Put the process's ends where rounding may have missed them."""
    if len(times) > 1:
        times = times.at[-1].set(process.start)
    return times.at[0].set(process.end)
