"""Parametrizations: what a denoiser's network predicts, and how x₀ and ε follow from it. Each is a ``Parametrization``.

Every parametrization q is linear in the data and the noise of x_t = α x₀ + σ ε, so that the two equations

    x_t = α x₀ + σ ε,        q = a x₀ + b ε                                                                      (1)

have the solution

    x₀ = (b x_t − σ q) / Δ,        ε = (α q − a x_t) / Δ,        Δ = α b − σ a.                                    (2)

    parametrization     q                                     a          b          Δ
    Noise               ε                                     0          1          α
    Data                x₀                                    1          0          −σ
    Score               ∇ log q(x_t) = −ε/σ                   0          −1/σ       −α/σ
    Velocity            α ε − σ x₀                            −σ         α          α² + σ²
    Flow                dx_t/dt = α′ x₀ + σ′ ε                α′         σ′         α σ′ − σ α′
    Preconditioned      normalized residual of the best       σ/(s r)    −α s/r     −r/s
                        linear estimate of x₀

with r² = α² s² + σ² for data of standard deviation s. Networks receive x_t / r, which has unit variance at every time;
the targets of the last three parametrizations are of about unit size at every time too.

A network that minimizes the squared error is the mean of q given x_t. Then x₀ and ε are means given x_t as well, and
the score of the density of x_t is ∇ log q(x_t) = −E[ε | x_t] / σ (Tweedie's formula).

Noise: Jonathan Ho, Ajay Jain and Pieter Abbeel 2020, arXiv:2006.11239. Velocity: Tim Salimans and Jonathan Ho 2022,
arXiv:2202.00512. Flow: Yaron Lipman et al. 2023, arXiv:2210.02747. Score: Yang Song and Stefano Ermon 2019,
arXiv:1907.05600. Preconditioned: Tero Karras, Miika Aittala, Timo Aila and Samuli Laine 2022, arXiv:2206.00364.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Annotated, NamedTuple, final

import jax.numpy as jnp
import numpy as np
from annotated_types import Gt
from jax.core import Tracer

from genjax.arguments import Cure, check_arguments
from genjax.core import Array
from genjax.diffusion.processes import Level, NoiseProcess, level_at, rates


class Prediction(NamedTuple):
    """A denoiser's estimates of the data x₀ and the noise ε in x_t, each of the shape of x_t."""

    data: Array
    noise: Array


@dataclass(frozen=True)
class Parametrization(abc.ABC):
    """What a network predicts. Times are scalars, or (B,) for x (B, ...).

    Attributes:
      data_scale: standard deviation of the data, s.
    """

    data_scale: Annotated[float, Gt(0), Cure("; 1.0 is usual")] = 1.0

    def input_scale(self, level: Level) -> Array:
        """Return 1/r, the factor of x_t in the network's input."""
        return 1 / input_norm(self.data_scale, level)

    @abc.abstractmethod
    def predict(self, process: NoiseProcess, t: Array, x: Array, output: Array) -> Prediction:
        """Return x₀ and ε for the network's output q at x_t: equation 2."""

    @abc.abstractmethod
    def target(self, process: NoiseProcess, t: Array, prediction: Prediction) -> Array:
        """Return q for x₀ and ε: equation 1."""


@final
@check_arguments
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
@check_arguments
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
@check_arguments
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


class _Combination(Parametrization):
    """q = a x₀ + b ε, a combination of both."""

    @abc.abstractmethod
    def _coefficients(self, process: NoiseProcess, t: Array) -> tuple[Array, Array]:
        """Return a and b of equation 1."""

    def predict(self, process: NoiseProcess, t: Array, x: Array, output: Array) -> Prediction:
        """See ``Parametrization``."""
        t = broadcast_times(t, x)
        level, (a, b) = level_at(process, t), self._coefficients(process, t)
        determinant = level.alpha * b - level.sigma * a
        return Prediction((b * x - level.sigma * output) / determinant, (level.alpha * output - a * x) / determinant)

    def target(self, process: NoiseProcess, t: Array, prediction: Prediction) -> Array:
        """See ``Parametrization``."""
        a, b = self._coefficients(process, broadcast_times(t, prediction.data))
        return a * prediction.data + b * prediction.noise


@final
@check_arguments
@dataclass(frozen=True)
class Velocity(_Combination):
    """q = α ε − σ x₀, v-prediction. It determines x₀ and ε at every time."""

    def _coefficients(self, process: NoiseProcess, t: Array) -> tuple[Array, Array]:
        return -process.sigma(t), process.alpha(t)


@final
@check_arguments
@dataclass(frozen=True)
class Flow(_Combination):
    """q = α′ x₀ + σ′ ε, the velocity of x_t: flow matching."""

    def _coefficients(self, process: NoiseProcess, t: Array) -> tuple[Array, Array]:
        rate = rates(process, t)
        return rate.alpha, rate.sigma


@final
@check_arguments
@dataclass(frozen=True)
class Preconditioned(_Combination):
    """The residual of the best linear estimate of x₀, scaled to unit variance: the preconditioning of EDM."""

    def _coefficients(self, process: NoiseProcess, t: Array) -> tuple[Array, Array]:
        level = level_at(process, t)
        norm = input_norm(self.data_scale, level)
        return level.sigma / (self.data_scale * norm), -level.alpha * self.data_scale / norm


def broadcast_times(t: Array, x: Array) -> Array:
    """Reshape times () or (B,) to broadcast against x (B, ...)."""
    return t if jnp.ndim(t) == 0 else t.reshape(-1, *[1] * (x.ndim - 1))


def broadcast_level(process: NoiseProcess, t: Array, x: Array) -> Level:
    """Return the noise level at times () or (B,), shaped to broadcast against x (B, ...)."""
    return level_at(process, broadcast_times(t, x))


def input_norm(data_scale: float, level: Level) -> Array:
    """Return r, the standard deviation of x_t."""
    return jnp.sqrt(jnp.square(data_scale * level.alpha) + jnp.square(level.sigma))


def convert(
    process: NoiseProcess, t: Array, x: Array, value: Array, *, source: Parametrization, target: Parametrization
) -> Array:
    """Convert a network's output q, (B, ...), at x_t and t, () or (B,), from one parametrization to another.

    Where α or σ is 0, the result is the exact limit if that exists; else compiled functions return NaN or infinity.

    Raises:
      ValueError: if ``value`` does not determine the result, outside of compiled functions.
    """
    converted = target.target(process, t, source.predict(process, t, x, value))
    if not isinstance(converted, Tracer) and not np.all(np.isfinite(converted)) and np.all(np.isfinite(value)):
        level = level_at(process, jnp.asarray(t, jnp.float32))
        raise ValueError(
            f"{type(source).__name__} does not determine {type(target).__name__} where alpha is "
            f"{np.min(level.alpha):.3g} and sigma is {np.min(level.sigma):.3g}: keep times between {process.start} and "
            f"{process.end}, away from alpha = 0 and sigma = 0, or predict Velocity"
        )
    return converted
