"""Parametrizations by one of x₀ and ε alone; see ``genjax.diffusion.parametrizations.base``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

from genjax.core import Array
from genjax.diffusion.parametrizations.base import Parametrization, Prediction, broadcast_level
from genjax.diffusion.processes import NoiseProcess


@final
@dataclass(frozen=True)
class Noise(Parametrization):
    """q = ε. It does not determine x₀ where α = 0."""

    def predict(self, process: NoiseProcess, t: Array, x: Array, output: Array) -> Prediction:
        """See ``Parametrization``."""
        level = broadcast_level(process, t, x)
        return Prediction((x - level.sigma * output) / level.alpha, output)

    def target(self, process: NoiseProcess, t: Array, prediction: Prediction) -> Array:
        """See ``Parametrization``."""
        return prediction.noise


@final
@dataclass(frozen=True)
class Data(Parametrization):
    """q = x₀. It does not determine ε where σ = 0."""

    def predict(self, process: NoiseProcess, t: Array, x: Array, output: Array) -> Prediction:
        """See ``Parametrization``."""
        level = broadcast_level(process, t, x)
        return Prediction(output, (x - level.alpha * output) / level.sigma)

    def target(self, process: NoiseProcess, t: Array, prediction: Prediction) -> Array:
        """See ``Parametrization``."""
        return prediction.data


@final
@dataclass(frozen=True)
class Score(Parametrization):
    """q = −ε/σ. It does not determine x₀ where α = 0, and is infinite where σ = 0 unless ε = 0."""

    def predict(self, process: NoiseProcess, t: Array, x: Array, output: Array) -> Prediction:
        """See ``Parametrization``."""
        level = broadcast_level(process, t, x)
        noise = -level.sigma * output
        return Prediction((x - level.sigma * noise) / level.alpha, noise)

    def target(self, process: NoiseProcess, t: Array, prediction: Prediction) -> Array:
        """See ``Parametrization``."""
        return -prediction.noise / broadcast_level(process, t, prediction.noise).sigma
