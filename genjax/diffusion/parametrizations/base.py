"""Parametrizations: what a denoiser's network predicts, and how x₀ and ε follow from it.

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
from typing import NamedTuple

import jax.numpy as jnp

from genjax.core import Array
from genjax.diffusion.processes import Level, NoiseProcess, level_at
from genjax.ops import check_positive


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

    data_scale: float = 1.0

    def __post_init__(self) -> None:
        check_positive("data_scale", self.data_scale, "; 1.0 is usual")

    def input_scale(self, level: Level) -> Array:
        """Return 1/r, the factor of x_t in the network's input."""
        return 1 / input_norm(self.data_scale, level)

    @abc.abstractmethod
    def predict(self, process: NoiseProcess, t: Array, x: Array, output: Array) -> Prediction:
        """Return x₀ and ε for the network's output q at x_t: equation 2."""

    @abc.abstractmethod
    def target(self, process: NoiseProcess, t: Array, prediction: Prediction) -> Array:
        """Return q for x₀ and ε: equation 1."""


def broadcast_times(t: Array, x: Array) -> Array:
    """Reshape times () or (B,) to broadcast against x (B, ...)."""
    return t if jnp.ndim(t) == 0 else t.reshape(-1, *[1] * (x.ndim - 1))


def broadcast_level(process: NoiseProcess, t: Array, x: Array) -> Level:
    """Return the noise level at times () or (B,), shaped to broadcast against x (B, ...)."""
    return level_at(process, broadcast_times(t, x))


def input_norm(data_scale: float, level: Level) -> Array:
    """Return r, the standard deviation of x_t."""
    return jnp.sqrt(jnp.square(data_scale * level.alpha) + jnp.square(level.sigma))
