"""Parametrizations by a combination of x₀ and ε; see ``genjax.diffusion.parametrizations.base``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from genjax.core import Array
from genjax.diffusion.parametrizations.base import (
    Parametrization,
    Prediction,
    broadcast_level,
    broadcast_times,
    input_norm,
)
from genjax.diffusion.processes import Level, NoiseProcess, rates


@final
@dataclass(frozen=True)
class Velocity(Parametrization):
    """q = α ε − σ x₀, v-prediction. It determines x₀ and ε at every time."""

    def predict(self, process: NoiseProcess, t: Array, x: Array, output: Array) -> Prediction:
        """See ``Parametrization``."""
        level = broadcast_level(process, t, x)
        return _solve(level, -level.sigma, level.alpha, x, output)

    def target(self, process: NoiseProcess, t: Array, prediction: Prediction) -> Array:
        """See ``Parametrization``."""
        level = broadcast_level(process, t, prediction.data)
        return level.alpha * prediction.noise - level.sigma * prediction.data


@final
@dataclass(frozen=True)
class Flow(Parametrization):
    """q = α′ x₀ + σ′ ε, the velocity of x_t: flow matching."""

    def predict(self, process: NoiseProcess, t: Array, x: Array, output: Array) -> Prediction:
        """See ``Parametrization``."""
        rate = rates(process, broadcast_times(t, x))
        return _solve(broadcast_level(process, t, x), rate.alpha, rate.sigma, x, output)

    def target(self, process: NoiseProcess, t: Array, prediction: Prediction) -> Array:
        """See ``Parametrization``."""
        rate = rates(process, broadcast_times(t, prediction.data))
        return rate.alpha * prediction.data + rate.sigma * prediction.noise


@final
@dataclass(frozen=True)
class Preconditioned(Parametrization):
    """The residual of the best linear estimate of x₀, scaled to unit variance: the preconditioning of EDM."""

    def predict(self, process: NoiseProcess, t: Array, x: Array, output: Array) -> Prediction:
        """See ``Parametrization``."""
        level = broadcast_level(process, t, x)
        return _solve(level, *self._coefficients(level), x, output)

    def target(self, process: NoiseProcess, t: Array, prediction: Prediction) -> Array:
        """See ``Parametrization``."""
        a, b = self._coefficients(broadcast_level(process, t, prediction.data))
        return a * prediction.data + b * prediction.noise

    def _coefficients(self, level: Level) -> tuple[Array, Array]:
        """Return a and b of equation 1."""
        norm = input_norm(self.data_scale, level)
        return level.sigma / (self.data_scale * norm), -level.alpha * self.data_scale / norm


def _solve(level: Level, a: Array, b: Array, x: Array, output: Array) -> Prediction:
    """Return x₀ and ε of equation 2."""
    determinant = level.alpha * b - level.sigma * a
    return Prediction((b * x - level.sigma * output) / determinant, (level.alpha * output - a * x) / determinant)
