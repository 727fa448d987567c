"""The discrete process of DDPM: T steps that each add noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, final

import jax.numpy as jnp
import numpy as np
from annotated_types import Ge

from genjax.arguments import check_arguments
from genjax.core import Array
from genjax.diffusion.processes.variance_preserving import LogAlphaProcess


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class DiscreteVariancePreserving(LogAlphaProcess):
    """DDPM: α² + σ² = 1, in T steps of noise with variances β_i.

        α(i/T)² = Π_{j ≤ i} (1 − β_j),

    and log α is linear in t between two steps. ``start`` is one step away from the data.

    Jonathan Ho, Ajay Jain and Pieter Abbeel 2020, arXiv:2006.11239; cosine: Alex Nichol and Prafulla Dhariwal 2021,
    arXiv:2102.09672.

    Attributes:
      num_steps: number of steps, T.
      schedule: "linear", from ``beta_min`` to ``beta_max``; "cosine", where α(t) is nearly
        cos(π/2 · (t + 0.008) / 1.008) and β_i is at most 0.999; or the T values of β_i.
      beta_min: β_1 of the linear schedule.
      beta_max: β_T of the linear schedule.

    >>> process = DiscreteVariancePreserving()
    >>> [round(float(process.alpha(jnp.float32(t))) ** 2, 5) for t in (process.start, process.end)]
    [0.9999, 4e-05]
    """

    num_steps: Annotated[int, Ge(2)] = 1_000
    schedule: Literal["linear", "cosine"] | tuple[float, ...] = "linear"
    beta_min: float = 1e-4
    beta_max: float = 0.02

    def __post_init__(self) -> None:
        betas = self.betas
        if len(betas) != self.num_steps:
            raise ValueError(f"schedule has {len(betas)} betas, but num_steps is {self.num_steps}; make them the same")
        wrong = betas[~((betas > 0) & (betas < 1))]
        if wrong.size:
            raise ValueError(f"a beta of schedule is {wrong[0]}, but all must be in (0, 1): every step adds noise")

    @property
    def betas(self) -> np.ndarray:
        """β_1 … β_T, float64."""
        if not isinstance(self.schedule, str):
            return np.asarray(self.schedule, np.float64)
        if self.schedule == "linear":
            return np.linspace(self.beta_min, self.beta_max, self.num_steps)
        t = np.arange(self.num_steps + 1) / self.num_steps
        squared = np.cos(0.5 * np.pi * (t + 0.008) / 1.008) ** 2
        return np.minimum(1 - squared[1:] / squared[:-1], 0.999)

    @property
    def start(self) -> float:
        """Time of the first step, 1/T."""
        return 1 / self.num_steps

    @property
    def end(self) -> float:
        """Time of the last step, 1."""
        return 1.0

    def _log_alpha(self, t: Array) -> Array:
        return jnp.interp(t, *self._tables).astype(jnp.result_type(t))

    def _time_of_log_alpha(self, log_alpha: Array) -> Array:
        times, log_alphas = self._tables
        return jnp.interp(-log_alpha, -log_alphas, times).astype(jnp.result_type(log_alpha))

    @property
    def _tables(self) -> tuple[Array, Array]:
        """The times of the data and of all steps, and log α there."""
        times = np.arange(self.num_steps + 1) / self.num_steps
        log_alphas = np.concatenate([[0.0], 0.5 * np.cumsum(np.log1p(-self.betas))])
        return jnp.asarray(times, float), jnp.asarray(log_alphas, float)
