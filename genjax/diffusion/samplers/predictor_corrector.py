"""Predictor–corrector sampling and annealed Langevin dynamics.

Langevin steps

    x ← x + δ ∇ log q(x) + √(2δ) z,        δ = 2 (r σ)²,                                                          (1)

leave the density of x_t invariant and correct the errors of earlier steps. The step size is that of Yang Song et al.
2021, arXiv:2011.13456, algorithm 4, with the expected norms of z and of the score in place of a batch's.

Without a predictor, x_t/α_t is carried over to the next level: annealed Langevin dynamics, Yang Song and Stefano Ermon
2019, arXiv:1907.05600. It requires α > 0 at the end of the process, and many levels with tens of corrections each.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, final

import jax
import jax.numpy as jnp
from annotated_types import Ge, Gt

from genjax.arguments import Cure, check_arguments
from genjax.core import Array, PyTree
from genjax.diffusion.processes import Level, NoiseProcess
from genjax.diffusion.samplers.base import Denoise, Sampler, Step


@final
@check_arguments
@dataclass(frozen=True)
class PredictorCorrector(Sampler):
    """Langevin steps at every level, followed by a step of another sampler.

    Attributes:
      predictor: sampler of the step to the next level, or None for annealed Langevin dynamics.
      num_corrections: number of Langevin steps at each level.
      snr: signal-to-noise ratio of a Langevin step, r; 0.16 in the paper.
    """

    predictor: Sampler | None = None
    num_corrections: Annotated[int, Ge(1), Cure("; or use the predictor alone")] = 1
    snr: Annotated[float, Gt(0), Cure("; 0.16 is usual")] = 0.16

    @property
    def evaluations(self) -> int:
        """See ``Sampler``."""
        return self.num_corrections + (1 if self.predictor is None else self.predictor.evaluations)

    @property
    def needs_signal(self) -> bool:
        """See ``Sampler``."""
        return self.predictor is None or self.predictor.needs_signal

    def init_carry(self, x: Array) -> PyTree:
        """See ``Sampler``."""
        return super().init_carry(x) if self.predictor is None else self.predictor.init_carry(x)

    def step(
        self, process: NoiseProcess, denoise: Denoise, t: Level, s: Level, key: Array, x: Array, carry: PyTree
    ) -> Step:
        """See ``Sampler``."""
        corrector_key, predictor_key = jax.random.split(key)
        delta = 2 * jnp.square(self.snr * t.sigma)

        def correct(x: Array, key: Array) -> tuple[Array, None]:
            score = -denoise(x, t.time).noise / t.sigma
            z = jax.random.normal(key, x.shape, x.dtype)
            return x + delta * score + jnp.sqrt(2 * delta) * z, None  # equation 1

        x, _ = jax.lax.scan(correct, x, jax.random.split(corrector_key, self.num_corrections))
        if self.predictor is not None:
            return self.predictor.step(process, denoise, t, s, predictor_key, x, carry)
        return Step(s.alpha / t.alpha * x, carry, denoise(x, t.time).data)
