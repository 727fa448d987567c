"""Grids of equal steps in time, in log-SNR, or in a root of σ/α.

Karras: Tero Karras, Miika Aittala, Timo Aila and Samuli Laine 2022, arXiv:2206.00364, equation 5. Log-SNR: Cheng Lu et
al. 2022, arXiv:2206.00927.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import jax
import jax.numpy as jnp

from genjax.core import Array
from genjax.diffusion.processes import NoiseProcess
from genjax.ops import check_at_least

MAX_LOG_SNR = 12.0  # replaces infinite log-SNRs


@final
@dataclass(frozen=True)
class Uniform:
    """Equal steps in time.

    >>> from genjax.diffusion.processes import LinearPath
    >>> Uniform().times(LinearPath(start=0.0), 3).tolist()
    [1.0, 0.5, 0.0]
    """

    def times(self, process: NoiseProcess, num_times: int) -> Array:
        """See ``Grid``."""
        return _linspace(process.end, process.start, num_times)


@final
@dataclass(frozen=True)
class LogSNR:
    """Equal steps in log-SNR, where ±12 replaces infinite ones."""

    def times(self, process: NoiseProcess, num_times: int) -> Array:
        """See ``Grid``."""
        return _set_ends(process, process.time(_linspace(*_finite_log_snrs(process), num_times)))


@final
@dataclass(frozen=True)
class Karras:
    """Equal steps in the ρ-th root of σ/α, with the ends of ``LogSNR``.

    Attributes:
      rho: ρ, at least 1; larger values give shorter steps near the data.
    """

    rho: float = 7.0

    def __post_init__(self) -> None:
        check_at_least("rho", self.rho, 1)

    def times(self, process: NoiseProcess, num_times: int) -> Array:
        """See ``Grid``."""
        first, last = (math.exp(-0.5 * log_snr / self.rho) for log_snr in _finite_log_snrs(process))
        roots = _linspace(first, last, num_times)
        return _set_ends(process, process.time(-2 * self.rho * jnp.log(roots)))


def _finite_log_snrs(process: NoiseProcess) -> tuple[float, float]:
    """Return λ at the end and the start of a process, or ±12 if it is infinite."""
    with jax.ensure_compile_time_eval():
        at_end, at_start = (float(process.log_snr(jnp.asarray(t, float))) for t in (process.end, process.start))
    return -MAX_LOG_SNR if math.isinf(at_end) else at_end, MAX_LOG_SNR if math.isinf(at_start) else at_start


def _linspace(first: Array | float, last: Array | float, num_times: int) -> Array:
    return jnp.linspace(first, last, num_times) if num_times > 1 else jnp.full(1, first, float)


def _set_ends(process: NoiseProcess, times: Array) -> Array:
    """Set the first and last times to the process's ends, which rounding may have moved."""
    if len(times) > 1:
        times = times.at[-1].set(process.start)
    return times.at[0].set(process.end)
