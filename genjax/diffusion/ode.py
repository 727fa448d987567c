"""Solvers of the diffusion's ordinary differential equation in time, and of the stochastic one.

All x_t of a process have the same densities as the solutions of

    dx/dt = α′ x̂₀ + σ′ ε̂,                                                                                        (1)
    dx    = (α′/α x + g²/σ ε̂) dt + g dw,        backwards in time,                                                (2)

where x̂₀ and ε̂ are means given x_t: the probability-flow equation, and the reverse-time stochastic one. Euler's method
takes the slope at the beginning of a step, Heun's the mean of those at both ends. With churn, each step begins by
adding noise, up to σ/α times 1 + γ, which lets later steps mend what earlier ones did wrong.

Yang Song et al. 2021, arXiv:2011.13456; Heun and churn: Tero Karras, Miika Aittala, Timo Aila and Samuli Laine 2022,
arXiv:2206.00364, algorithm 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import final

import jax
import jax.numpy as jnp

from genjax.core import Array, PyTree
from genjax.diffusion.parametrization import Prediction
from genjax.diffusion.process import Level, NoiseProcess, conditional_variance, level, rates
from genjax.diffusion.sampling import Denoise, Sampler, Step
from genjax.ops import Solver, check_at_least, check_positive


@final
@dataclass(frozen=True)
class Churn:
    """Noise that is added before a step.

    Attributes:
      gamma: γ, in [0, √2 − 1]: EDM's S_churn over the number of steps.
      sigma_min: least σ/α where it is added.
      sigma_max: greatest.
      scale: of the noise, a little above 1 where a denoiser takes too much away.
    """

    gamma: float
    sigma_min: float = 0.0
    sigma_max: float = math.inf
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.gamma <= math.sqrt(2) - 1 + 1e-6:
            raise ValueError(
                f"gamma is {self.gamma}, but must be in [0, √2 - 1 = 0.414]: more would double the variance"
            )

    def __call__(self, process: NoiseProcess, here: Level, key: Array, x: Array) -> tuple[Level, Array]:
        """Return the level with more noise, and x there."""
        ratio = jnp.exp(-0.5 * here.log_snr)
        gamma = jnp.where((ratio >= self.sigma_min) & (ratio <= self.sigma_max), self.gamma, 0.0)
        t = process.time(here.log_snr - 2 * jnp.log1p(gamma))
        there = level(process, jnp.where(gamma > 0, t, here.t))
        # Of the level as it is: a process of discrete steps has none beyond its end.
        added = self.scale * jnp.sqrt(jnp.maximum(conditional_variance(there, here), 0.0))
        x = there.alpha / here.alpha * x + added * jax.random.normal(key, x.shape, x.dtype)
        return there, x


def slope(process: NoiseProcess, t: Array, prediction: Prediction) -> Array:
    """Return dx/dt of equation 1."""
    change = rates(process, t)
    return change.alpha * prediction.data + change.sigma * prediction.noise


@final
@dataclass(frozen=True)
class Euler(Sampler):
    """Euler's method: order 1.

    Attributes:
      churn: noise before each step, or None; with it the process must have α > 0 at its end.
    """

    churn: Churn | None = None

    @property
    def needs_signal(self) -> bool:
        """See ``Sampler``."""
        return self.churn is not None

    def step(
        self, process: NoiseProcess, denoise: Denoise, here: Level, there: Level, key: Array, x: Array, memory: PyTree
    ) -> Step:
        """See ``Sampler``."""
        if self.churn is not None:
            here, x = self.churn(process, here, key, x)
        prediction = denoise(x, here.t)
        x = x + (there.t - here.t) * slope(process, here.t, prediction)
        return Step(x, memory, prediction.data)


@final
@dataclass(frozen=True)
class Heun(Sampler):
    """Heun's method: order 2, with two evaluations a step.

    Attributes:
      churn: see ``Euler``.
    """

    churn: Churn | None = None

    @property
    def evaluations(self) -> int:
        """See ``Sampler``."""
        return 2

    @property
    def needs_signal(self) -> bool:
        """See ``Sampler``."""
        return self.churn is not None

    def step(
        self, process: NoiseProcess, denoise: Denoise, here: Level, there: Level, key: Array, x: Array, memory: PyTree
    ) -> Step:
        """See ``Sampler``."""
        if self.churn is not None:
            here, x = self.churn(process, here, key, x)
        prediction, h = denoise(x, here.t), there.t - here.t
        first = slope(process, here.t, prediction)
        second = slope(process, there.t, denoise(x + h * first, there.t))
        return Step(x + 0.5 * h * (first + second), memory, prediction.data)


@final
@dataclass(frozen=True)
class ProbabilityFlow(Sampler):
    """Equation 1 solved to a tolerance between the levels of the grid, by as many evaluations as it takes.

    A grid of two steps is enough: from end to start, and from there to data.

    Attributes:
      solver: tolerances and steps.
    """

    solver: Solver = field(default_factory=Solver)

    @property
    def evaluations(self) -> int:
        """The least: a step of order 5, and the level's own."""
        return 7

    def step(
        self, process: NoiseProcess, denoise: Denoise, here: Level, there: Level, key: Array, x: Array, memory: PyTree
    ) -> Step:
        """See ``Sampler``; NaN where there are not enough steps for the tolerance."""
        del key

        def change(t: Array, state: PyTree, args: PyTree) -> PyTree:
            del args
            (x,), _ = state
            return (slope(process, t, denoise(x, t)),), nothing

        data, nothing = denoise(x, here.t).data, (jnp.zeros(()),)
        ((x,), _), reached, _ = self.solver.solve(change, here.t, there.t, ((x,), nothing), None)
        return Step(jnp.where(reached, x, jnp.nan), memory, data)


@final
@dataclass(frozen=True)
class EulerMaruyama(Sampler):
    """Equation 2 by the Euler–Maruyama method: weak order 1. The process must have α > 0 at its end."""

    @property
    def needs_signal(self) -> bool:
        """See ``Sampler``."""
        return True

    def step(
        self, process: NoiseProcess, denoise: Denoise, here: Level, there: Level, key: Array, x: Array, memory: PyTree
    ) -> Step:
        """See ``Sampler``."""
        data, noise = denoise(x, here.t)
        change, h = rates(process, here.t), there.t - here.t
        drift = change.alpha / here.alpha * x + change.diffusion / here.sigma * noise
        random = jax.random.normal(key, x.shape, x.dtype)
        return Step(x + h * drift + jnp.sqrt(-h * change.diffusion) * random, memory, data)  # equation 2


@final
@dataclass(frozen=True)
class PredictorCorrector(Sampler):
    """Langevin steps at every level, then a step of another sampler to the next one.

        x ← x + δ ∇ log q(x) + √(2δ) z,        δ = 2 (r σ)²,                                                      (3)

    which keep the density that x_t should have, and mend what it is not. Where there is no predictor, x_t/α_t is taken
    over as it is: annealed Langevin dynamics (Yang Song and Stefano Ermon 2019, arXiv:1907.05600). Then the process
    must have α > 0 at its end, and each of many levels takes tens of steps until its noise has left. The step is Yang
    Song et al.'s (2021, arXiv:2011.13456, algorithm 4), with the mean norms of z and the score in place of a batch's.

    Attributes:
      predictor: a sampler, or None.
      num_corrections: Langevin steps at each level.
      snr: r; 0.16 in the paper.
    """

    predictor: Sampler | None = None
    num_corrections: int = 1
    snr: float = 0.16

    def __post_init__(self) -> None:
        check_at_least("num_corrections", self.num_corrections, 1, "; or use the predictor alone")
        check_positive("snr", self.snr, "; 0.16 is usual")

    @property
    def evaluations(self) -> int:
        """See ``Sampler``."""
        return self.num_corrections + (1 if self.predictor is None else self.predictor.evaluations)

    @property
    def needs_signal(self) -> bool:
        """See ``Sampler``."""
        return self.predictor is None or self.predictor.needs_signal

    def memory(self, x: Array) -> PyTree:
        """See ``Sampler``."""
        return super().memory(x) if self.predictor is None else self.predictor.memory(x)

    def step(
        self, process: NoiseProcess, denoise: Denoise, here: Level, there: Level, key: Array, x: Array, memory: PyTree
    ) -> Step:
        """See ``Sampler``."""
        corrector_key, predictor_key = jax.random.split(key)
        size = 2 * jnp.square(self.snr * here.sigma)

        def correct(x: Array, key: Array) -> tuple[Array, None]:
            score = -denoise(x, here.t).noise / here.sigma
            return x + size * score + jnp.sqrt(2 * size) * jax.random.normal(key, x.shape, x.dtype), None  # equation 3

        x, _ = jax.lax.scan(correct, x, jax.random.split(corrector_key, self.num_corrections))
        if self.predictor is not None:
            return self.predictor.step(process, denoise, here, there, predictor_key, x, memory)
        return Step(there.alpha / here.alpha * x, memory, denoise(x, here.t).data)
