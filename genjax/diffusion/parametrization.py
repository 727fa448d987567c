"""Parametrizations: what a denoiser's network predicts, and what follows from it.

Everything that networks predict is a sum of the data and the noise of x_t = α x₀ + σ ε, so that two equations,

    x_t = α x₀ + σ ε,        q = a x₀ + b ε,                                                                     (1)

have both as their solution:

    x₀ = (b x_t − σ q) / Δ,        ε = (α q − a x_t) / Δ,        Δ = α b − σ a.                                    (2)

    parametrization     q                                     a          b          Δ
    Noise               ε                                     0          1          α
    Data                x₀                                    1          0          −σ
    Score               ∇ log q(x_t) = −ε/σ                   0          −1/σ       −α/σ
    Velocity            α ε − σ x₀                            −σ         α          α² + σ²
    Flow                dx_t/dt = α′ x₀ + σ′ ε                α′         σ′         α σ′ − σ α′
    Preconditioned      what the best linear guess leaves     σ/(s r)    −α s/r     −r/s

with r² = α² s² + σ² for data of standard deviation s. Networks see x_t / r, which has unit variance at every time, and
those of the last three have outputs to predict that are of one size at every time too.

Where a network is the mean of q given x_t, as the square error makes it, x₀ and ε are their means given x_t, and the
score is that of the density of x_t: ∇ log q(x_t) = −E[ε | x_t] / σ, Tweedie's formula.

Noise: Jonathan Ho, Ajay Jain and Pieter Abbeel 2020, arXiv:2006.11239. Velocity: Tim Salimans and Jonathan Ho 2022,
arXiv:2202.00512. Flow: Yaron Lipman et al. 2023, arXiv:2210.02747. Score: Yang Song and Stefano Ermon 2019,
arXiv:1907.05600. Preconditioned: Tero Karras, Miika Aittala, Timo Aila and Samuli Laine 2022, arXiv:2206.00364.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import NamedTuple, final

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from genjax.core import Array
from genjax.diffusion.process import Level, NoiseProcess, level, rates
from genjax.ops import check_positive


class Prediction(NamedTuple):
    """What a denoiser says of x_t: the data x₀ and the noise ε in it, each of the shape of x_t."""

    data: Array
    noise: Array


@dataclass(frozen=True)
class Parametrization(abc.ABC):
    """What a network predicts. Times are scalars, or (B,) for x (B, ...).

    Attributes:
      data_scale: s, the standard deviation of the data.
    """

    data_scale: float = 1.0

    def __post_init__(self) -> None:
        check_positive("data_scale", self.data_scale, "; 1.0 is usual")

    def input_scale(self, here: Level) -> Array:
        """Return 1/r, by which the network sees x_t."""
        return 1 / _norm(self.data_scale, here)

    @abc.abstractmethod
    def predict(self, process: NoiseProcess, t: Array, x: Array, output: Array) -> Prediction:
        """Return x₀ and ε for the network's output q at x_t: equation 2."""

    @abc.abstractmethod
    def target(self, process: NoiseProcess, t: Array, prediction: Prediction) -> Array:
        """Return q for x₀ and ε: equation 1."""


@final
@dataclass(frozen=True)
class Noise(Parametrization):
    """q = ε. It does not tell x₀ where α = 0."""

    def predict(self, process: NoiseProcess, t: Array, x: Array, output: Array) -> Prediction:
        """See ``Parametrization``."""
        here = level_for(process, t, x)
        return Prediction((x - here.sigma * output) / here.alpha, output)

    def target(self, process: NoiseProcess, t: Array, prediction: Prediction) -> Array:
        """See ``Parametrization``."""
        return prediction.noise


@final
@dataclass(frozen=True)
class Data(Parametrization):
    """q = x₀. It does not tell ε where σ = 0."""

    def predict(self, process: NoiseProcess, t: Array, x: Array, output: Array) -> Prediction:
        """See ``Parametrization``."""
        here = level_for(process, t, x)
        return Prediction(output, (x - here.alpha * output) / here.sigma)

    def target(self, process: NoiseProcess, t: Array, prediction: Prediction) -> Array:
        """See ``Parametrization``."""
        return prediction.data


@final
@dataclass(frozen=True)
class Score(Parametrization):
    """q = −ε/σ. It does not tell x₀ where α = 0, and there is none where σ = 0 unless ε is 0 too."""

    def predict(self, process: NoiseProcess, t: Array, x: Array, output: Array) -> Prediction:
        """See ``Parametrization``."""
        here = level_for(process, t, x)
        noise = -here.sigma * output
        return Prediction((x - here.sigma * noise) / here.alpha, noise)

    def target(self, process: NoiseProcess, t: Array, prediction: Prediction) -> Array:
        """See ``Parametrization``."""
        return -prediction.noise / level_for(process, t, prediction.noise).sigma


@final
@dataclass(frozen=True)
class Velocity(Parametrization):
    """q = α ε − σ x₀, usually called v; it tells both at every time."""

    def predict(self, process: NoiseProcess, t: Array, x: Array, output: Array) -> Prediction:
        """See ``Parametrization``."""
        here = level_for(process, t, x)
        return _solved(here, -here.sigma, here.alpha, x, output)

    def target(self, process: NoiseProcess, t: Array, prediction: Prediction) -> Array:
        """See ``Parametrization``."""
        here = level_for(process, t, prediction.data)
        return here.alpha * prediction.noise - here.sigma * prediction.data


@final
@dataclass(frozen=True)
class Flow(Parametrization):
    """q = α′ x₀ + σ′ ε, the velocity of x_t itself: flow matching."""

    def predict(self, process: NoiseProcess, t: Array, x: Array, output: Array) -> Prediction:
        """See ``Parametrization``."""
        change = rates(process, per_example(t, x))
        return _solved(level_for(process, t, x), change.alpha, change.sigma, x, output)

    def target(self, process: NoiseProcess, t: Array, prediction: Prediction) -> Array:
        """See ``Parametrization``."""
        change = rates(process, per_example(t, prediction.data))
        return change.alpha * prediction.data + change.sigma * prediction.noise


@final
@dataclass(frozen=True)
class Preconditioned(Parametrization):
    """What the best linear guess of x₀ leaves, of unit variance: the preconditioning of EDM."""

    def predict(self, process: NoiseProcess, t: Array, x: Array, output: Array) -> Prediction:
        """See ``Parametrization``."""
        here = level_for(process, t, x)
        return _solved(here, *self._coefficients(here), x, output)

    def target(self, process: NoiseProcess, t: Array, prediction: Prediction) -> Array:
        """See ``Parametrization``."""
        a, b = self._coefficients(level_for(process, t, prediction.data))
        return a * prediction.data + b * prediction.noise

    def _coefficients(self, here: Level) -> tuple[Array, Array]:
        norm = _norm(self.data_scale, here)
        return here.sigma / (self.data_scale * norm), -here.alpha * self.data_scale / norm


def convert(
    process: NoiseProcess, t: Array, x: Array, value: Array, *, source: Parametrization, target: Parametrization
) -> Array:
    """Return what a network of one parametrization would say that says ``value`` in another.

    Args:
      process: the noise process.
      t: a time, or (B,).
      x: x_t, (B, ...).
      value: of ``source``, (B, ...).
      source: what ``value`` is.
      target: what is asked for.

    Returns:
      (B, ...), exact in the limit where α or σ is 0 and there is one; NaN or infinite in compiled functions where there
      is none.

    Raises:
      ValueError: where there is none, and values are known.
    """
    converted = target.target(process, t, source.predict(process, t, x, value))
    if not isinstance(converted, Tracer) and not np.all(np.isfinite(converted)) and np.all(np.isfinite(value)):
        here = level(process, jnp.asarray(t, jnp.float32))
        raise ValueError(
            f"{type(source).__name__} does not tell {type(target).__name__} where alpha is "
            f"{np.min(here.alpha):.3g} and sigma is {np.min(here.sigma):.3g}: keep times between {process.start} and "
            f"{process.end}, away from where one of them is 0, or predict Velocity"
        )
    return converted


def per_example(t: Array, x: Array) -> Array:
    """Give times of shape () or (B,) the axes of x (B, ...), each of size 1 but the first."""
    return t if jnp.ndim(t) == 0 else t.reshape(-1, *[1] * (x.ndim - 1))


def level_for(process: NoiseProcess, t: Array, x: Array) -> Level:
    """Return where a process is at times () or (B,), to be multiplied with x (B, ...)."""
    return level(process, per_example(t, x))


def _norm(data_scale: float, here: Level) -> Array:
    return jnp.sqrt(jnp.square(data_scale * here.alpha) + jnp.square(here.sigma))


def _solved(here: Level, a: Array, b: Array, x: Array, output: Array) -> Prediction:
    """Equation 2."""
    determinant = here.alpha * b - here.sigma * a
    return Prediction((b * x - here.sigma * output) / determinant, (here.alpha * output - a * x) / determinant)
