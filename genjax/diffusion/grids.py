"""Time grids: where a sampler evaluates the denoiser. Every grid is a ``Grid``.

A grid of N steps has N + 1 noise levels, from the process's end towards its start. The last level is by default that of
the data, α = 1 and σ = 0, in place of the start: the last step returns the denoiser's x̂₀.

``GRIDS`` holds grids with their usual settings by name, as the command line takes them; a new grid needs a row there
and its name in ``GridName``.

>>> GRIDS["karras"]
Karras(rho=7.0)

Karras: Tero Karras, Miika Aittala, Timo Aila and Samuli Laine 2022, arXiv:2206.00364, equation 5. Log-SNR: Cheng Lu et
al. 2022, arXiv:2206.00927.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal, Protocol, final, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, MinLen

from genjax.arguments import Cure, check_arguments
from genjax.core import Array
from genjax.diffusion.processes import Level, NoiseProcess, level_at

MAX_LOG_SNR = 12.0  # replaces infinite log-SNRs

NumSteps = Annotated[int, Ge(1), Cure("; few-step samplers take 10 to 50, DDPM 1,000")]


@runtime_checkable
class Grid(Protocol):
    """Times at which a sampler evaluates the denoiser."""

    def times(self, process: NoiseProcess, num_times: int) -> Array:
        """Return decreasing times (num_times,), from the process's end to its start."""
        ...


@final
@check_arguments
@dataclass(frozen=True)
class Uniform:
    """Equal steps in time.

    >>> from genjax.diffusion.processes import LinearPath
    >>> Uniform().times(LinearPath(start=0.0), 3).tolist()
    [1.0, 0.5, 0.0]
    """

    def times(self, process: NoiseProcess, num_times: int) -> Array:
        """See ``Grid``."""
        return jnp.linspace(process.end, process.start, num_times)


@final
@check_arguments
@dataclass(frozen=True)
class LogSNR:
    """Equal steps in log-SNR, where ±12 replaces infinite ones."""

    def times(self, process: NoiseProcess, num_times: int) -> Array:
        """See ``Grid``."""
        return _set_ends(process, process.time(jnp.linspace(*finite_log_snrs(process), num_times)))


@final
@check_arguments
@dataclass(frozen=True)
class Karras:
    """Equal steps in the ρ-th root of σ/α, with the ends of ``LogSNR``.

    Attributes:
      rho: ρ, at least 1; larger values give shorter steps near the data.
    """

    rho: Annotated[float, Ge(1)] = 7.0

    def times(self, process: NoiseProcess, num_times: int) -> Array:
        """See ``Grid``."""
        first, last = (math.exp(-0.5 * log_snr / self.rho) for log_snr in finite_log_snrs(process))
        roots = jnp.linspace(first, last, num_times)
        return _set_ends(process, process.time(-2 * self.rho * jnp.log(roots)))


@final
@check_arguments
@dataclass(frozen=True)
class Nested:
    """Another grid without its last time, so that the last step leads from the time before it to the data.

    Then the levels of N steps are every second one of those of 2N steps, as progressive distillation needs them, if the
    steps of the other grid are equal in any scale, as those of all grids above are.

    Attributes:
      grid: the other grid.

    >>> from genjax.diffusion.processes import LinearPath
    >>> Nested(Uniform()).times(LinearPath(start=0.0), 4).tolist()
    [1.0, 0.75, 0.5, 0.25]
    """

    grid: Grid = field(default_factory=Uniform)

    def times(self, process: NoiseProcess, num_times: int) -> Array:
        """See ``Grid``."""
        return self.grid.times(process, num_times + 1)[:-1]


@final
@check_arguments
@dataclass(frozen=True)
class Custom:
    """Decreasing times of your own, one for each step of the sampler."""

    values: Annotated[tuple[float, ...], MinLen(1)]

    def __post_init__(self) -> None:
        rises = np.flatnonzero(~(np.diff(self.values) < 0))
        if rises.size:
            i = int(rises[0])
            raise ValueError(
                f"values go from {self.values[i]} to {self.values[i + 1]}, but times must decrease, from noise to "
                "data; reverse them and drop duplicates"
            )

    def times(self, process: NoiseProcess, num_times: int) -> Array:
        """See ``Grid``; raises ValueError if ``num_times`` is not the number of values."""
        if num_times != len(self.values):
            raise ValueError(f"the grid has {len(self.values)} times, but needs {num_times}; change num_steps")
        return jnp.asarray(self.values, float)


GridName = Literal["uniform", "log-snr", "karras"]
GRIDS: Mapping[str, Grid] = {"uniform": Uniform(), "log-snr": LogSNR(), "karras": Karras()}


@check_arguments
def levels(process: NoiseProcess, grid: Grid, num_steps: NumSteps, *, to_data: bool = True) -> Level:
    """Return the noise levels of a grid of at least one step, each field (num_steps + 1,).

    The last level is that of the data, or with ``to_data=False`` the process's start.
    """
    # Concrete numbers inside compiled functions too, so that what a sampler requires of them can be checked.
    with jax.ensure_compile_time_eval():
        if not to_data:
            return level_at(process, grid.times(process, num_steps + 1))
        noisy = level_at(process, grid.times(process, num_steps))
        data = Level(time=jnp.zeros(1), alpha=jnp.ones(1), sigma=jnp.zeros(1), log_snr=jnp.full(1, jnp.inf))
        return jax.tree.map(lambda *parts: jnp.concatenate(parts), noisy, data)


def finite_log_snrs(process: NoiseProcess) -> tuple[float, float]:
    """Return λ at the end and the start of a process, or ±12 where it is infinite."""
    with jax.ensure_compile_time_eval():
        at_end, at_start = (float(process.log_snr(jnp.asarray(t, float))) for t in (process.end, process.start))
    return -MAX_LOG_SNR if math.isinf(at_end) else at_end, MAX_LOG_SNR if math.isinf(at_start) else at_start


def _set_ends(process: NoiseProcess, times: Array) -> Array:
    """Set the first and last times to the process's ends, which rounding may have moved."""
    return times.at[-1].set(process.start).at[0].set(process.end)
