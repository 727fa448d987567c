"""The noise processes in use: continuous and discrete ones of DDPM, score matching, EDM and flow matching.

Each is a frozen dataclass with its formulas at its top; ``genjax.diffusion.process`` has what all of them share.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, final

import jax
import jax.numpy as jnp
import numpy as np

from genjax.core import Array
from genjax.ops import check_at_least, check_choice


@final
@dataclass(frozen=True, kw_only=True)
class VariancePreserving:
    """α² + σ² = 1 and g² = β_min + t (β_max − β_min): the continuous form of DDPM with its linear schedule.

    Yang Song et al. 2021, arXiv:2011.13456, appendix B.

    Attributes:
      beta_min: g² at t = 0.
      beta_max: g² at t = 1.
      start: see ``NoiseProcess``.
      end: likewise.

    >>> process = VariancePreserving()
    >>> t = process.time(jnp.float32(0.0))
    >>> round(float(process.sigma(t) ** 2), 4)
    0.5
    """

    beta_min: float = 0.1
    beta_max: float = 20.0
    start: float = 1e-3
    end: float = 1.0

    def __post_init__(self) -> None:
        _check_betas(self.beta_min, self.beta_max)

    def alpha(self, t: Array) -> Array:
        """exp(−∫ g²/2)."""
        return jnp.exp(_log_alpha(self, t))

    def sigma(self, t: Array) -> Array:
        """√(1 − α²)."""
        return jnp.sqrt(-jnp.expm1(2 * _log_alpha(self, t)))

    def log_snr(self, t: Array) -> Array:
        """Equation 2."""
        twice = 2 * _log_alpha(self, t)
        return twice - jnp.log(-jnp.expm1(twice))

    def time(self, log_snr: Array) -> Array:
        """The inverse of ``log_snr``."""
        return _time_of_log_alpha(self, 0.5 * jax.nn.log_sigmoid(log_snr))


@final
@dataclass(frozen=True, kw_only=True)
class SubVariancePreserving:
    """The same α, with σ = 1 − α²: less noise at every time.

    Yang Song et al. 2021, arXiv:2011.13456, equation 14.

    Attributes:
      beta_min: see ``VariancePreserving``.
      beta_max: likewise.
      start: see ``NoiseProcess``.
      end: likewise.
    """

    beta_min: float = 0.1
    beta_max: float = 20.0
    start: float = 1e-3
    end: float = 1.0

    def __post_init__(self) -> None:
        _check_betas(self.beta_min, self.beta_max)

    def alpha(self, t: Array) -> Array:
        """As of ``VariancePreserving``."""
        return jnp.exp(_log_alpha(self, t))

    def sigma(self, t: Array) -> Array:
        """1 − α²."""
        return -jnp.expm1(2 * _log_alpha(self, t))

    def log_snr(self, t: Array) -> Array:
        """Equation 2."""
        twice = 2 * _log_alpha(self, t)
        return twice - 2 * jnp.log(-jnp.expm1(twice))

    def time(self, log_snr: Array) -> Array:
        """The inverse of ``log_snr``: 1/α − α = e^{−λ/2}, so that −log α is an inverse hyperbolic sine."""
        ratio = jnp.exp(-0.5 * log_snr)  # σ / α
        return _time_of_log_alpha(self, -jnp.arcsinh(0.5 * ratio))


@final
@dataclass(frozen=True, kw_only=True)
class VarianceExploding:
    """α = 1, and σ grows by a constant factor in a constant time, from σ_min at t = 0 to σ_max at t = 1.

    Yang Song and Stefano Ermon 2019, arXiv:1907.05600; Yang Song et al. 2021, arXiv:2011.13456.

    Attributes:
      sigma_min: σ(0), in units of the data.
      sigma_max: σ(1); about the largest distance of two examples.
      start: see ``NoiseProcess``.
      end: likewise.
    """

    sigma_min: float = 0.01
    sigma_max: float = 50.0
    start: float = 0.0
    end: float = 1.0

    def __post_init__(self) -> None:
        _check_sigmas(self.sigma_min, self.sigma_max)

    def alpha(self, t: Array) -> Array:
        """1."""
        return jnp.ones_like(t)

    def sigma(self, t: Array) -> Array:
        """σ_min (σ_max / σ_min)^t."""
        return self.sigma_min * jnp.exp(t * self._rate)

    def log_snr(self, t: Array) -> Array:
        """Equation 2."""
        return -2 * (math.log(self.sigma_min) + t * self._rate)

    def time(self, log_snr: Array) -> Array:
        """The inverse of ``log_snr``."""
        return (-0.5 * log_snr - math.log(self.sigma_min)) / self._rate

    @property
    def _rate(self) -> float:
        return math.log(self.sigma_max / self.sigma_min)


@final
@dataclass(frozen=True, kw_only=True)
class EDM:
    """α = 1 and σ = t: time is the noise's standard deviation itself.

    Tero Karras, Miika Aittala, Timo Aila and Samuli Laine 2022, arXiv:2206.00364.

    Attributes:
      start: σ_min, in units of the data.
      end: σ_max.
    """

    start: float = 0.002
    end: float = 80.0

    def __post_init__(self) -> None:
        _check_sigmas(self.start, self.end)

    def alpha(self, t: Array) -> Array:
        """1."""
        return jnp.ones_like(t)

    def sigma(self, t: Array) -> Array:
        """The time."""
        return t

    def log_snr(self, t: Array) -> Array:
        """Equation 2."""
        return -2 * jnp.log(t)

    def time(self, log_snr: Array) -> Array:
        """The inverse of ``log_snr``."""
        return jnp.exp(-0.5 * log_snr)


@final
@dataclass(frozen=True, kw_only=True)
class Cosine:
    """α = cos φ and σ = sin φ, with an angle φ that grows in proportion to time.

    Alex Nichol and Prafulla Dhariwal 2021, arXiv:2102.09672; with ends of finite log-SNR, and a shift for images with
    more pixels than 64 × 64, as in Emiel Hoogeboom, Jonathan Heek and Tim Salimans 2023, arXiv:2301.11093.

    Attributes:
      log_snr_max: λ(0).
      log_snr_min: λ(1).
      shift: added to all log-SNRs, ends included: 2 log (64 / d) for images of d × d pixels.
      start: see ``NoiseProcess``.
      end: likewise.
    """

    log_snr_max: float = 12.0
    log_snr_min: float = -10.0
    shift: float = 0.0
    start: float = 0.0
    end: float = 1.0

    def __post_init__(self) -> None:
        if not self.log_snr_min < self.log_snr_max:
            raise ValueError(
                f"log_snr_min is {self.log_snr_min} and log_snr_max is {self.log_snr_max}, but the signal must fade: "
                "use -10 and 12, for example"
            )

    def alpha(self, t: Array) -> Array:
        """√ sigmoid λ."""
        return jnp.exp(0.5 * jax.nn.log_sigmoid(self.log_snr(t)))

    def sigma(self, t: Array) -> Array:
        """√ sigmoid −λ."""
        return jnp.exp(0.5 * jax.nn.log_sigmoid(-self.log_snr(t)))

    def log_snr(self, t: Array) -> Array:
        """−2 log tan φ, plus the shift."""
        first, last = self._angles
        angle = first + (last - first) * t
        # Near φ = π/2 the digits are in what is left of it.
        rest = (math.pi / 2 - last) + (last - first) * (1 - t)
        return 2 * jnp.log(jnp.sin(rest) / jnp.sin(angle)) + self.shift

    def time(self, log_snr: Array) -> Array:
        """The inverse of ``log_snr``."""
        first, last = self._angles
        angle = jnp.arctan(jnp.exp(-0.5 * (log_snr - self.shift)))
        return (angle - first) / (last - first)

    @property
    def _angles(self) -> tuple[float, float]:
        return math.atan(math.exp(-0.5 * self.log_snr_max)), math.atan(math.exp(-0.5 * self.log_snr_min))


@final
@dataclass(frozen=True, kw_only=True)
class LinearPath:
    """α = 1 − t and σ = t: straight lines from data to noise, the process of flow matching and rectified flow.

    Yaron Lipman, Ricky Chen, Heli Ben-Hamu, Maximilian Nickel and Matt Le 2023, arXiv:2210.02747; Xingchao Liu,
    Chengyue Gong and Qiang Liu 2023, arXiv:2209.03003. Their time runs the other way: it is 1 − t.

    Attributes:
      sigma_min: σ(0); σ = σ_min + (1 − σ_min) t.
      start: see ``NoiseProcess``.
      end: likewise.
    """

    sigma_min: float = 0.0
    start: float = 1e-3
    end: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.sigma_min < 1:
            raise ValueError(f"sigma_min is {self.sigma_min}, but must be in [0, 1); 0 is usual")

    def alpha(self, t: Array) -> Array:
        """1 − t."""
        return 1 - t

    def sigma(self, t: Array) -> Array:
        """σ_min + (1 − σ_min) t."""
        return self.sigma_min + (1 - self.sigma_min) * t

    def log_snr(self, t: Array) -> Array:
        """Equation 2; −∞ at t = 1."""
        return 2 * (jnp.log1p(-t) - jnp.log(self.sigma(t)))

    def time(self, log_snr: Array) -> Array:
        """The inverse of ``log_snr``: (1 − t) e^{−λ/2} = σ."""
        ratio = jnp.exp(-0.5 * log_snr)  # σ / α
        return jnp.where(jnp.isinf(ratio), 1.0, (ratio - self.sigma_min) / (ratio + 1 - self.sigma_min))


@final
@dataclass(frozen=True, kw_only=True)
class DiscreteVariancePreserving:
    """DDPM: α² + σ² = 1, in T steps that each add noise of variance β_i.

        α(i/T)² = Π_{j ≤ i} (1 − β_j),

    and between two steps log α is linear. ``start`` is one step from the data.

    Jonathan Ho, Ajay Jain and Pieter Abbeel 2020, arXiv:2006.11239; cosine: Alex Nichol and Prafulla Dhariwal 2021,
    arXiv:2102.09672.

    Attributes:
      num_steps: T.
      schedule: of β_i: "linear" from ``beta_min`` to ``beta_max``; "cosine", where α(t) is nearly
        cos(π/2 · (t + 0.008) / 1.008) and no β exceeds 0.999; or the numbers themselves, as many as T.
      beta_min: of the linear schedule.
      beta_max: likewise.

    >>> process = DiscreteVariancePreserving()
    >>> [round(float(process.alpha(jnp.float32(t))) ** 2, 5) for t in (process.start, process.end)]
    [0.9999, 4e-05]
    """

    num_steps: int = 1_000
    schedule: Literal["linear", "cosine"] | tuple[float, ...] = "linear"
    beta_min: float = 1e-4
    beta_max: float = 0.02

    def __post_init__(self) -> None:
        check_at_least("num_steps", self.num_steps, 2)
        if isinstance(self.schedule, str):
            check_choice("schedule", self.schedule, ("linear", "cosine"))
        betas = self.betas
        if len(betas) != self.num_steps:
            raise ValueError(
                f"schedule has {len(betas)} numbers, but num_steps is {self.num_steps}; make them the same"
            )
        wrong = betas[~((betas > 0) & (betas < 1))]
        if wrong.size:
            raise ValueError(f"a beta of schedule is {wrong[0]}, but each must be in (0, 1): every step adds noise")

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
        """One step."""
        return 1 / self.num_steps

    @property
    def end(self) -> float:
        """T steps."""
        return 1.0

    def alpha(self, t: Array) -> Array:
        """See above."""
        return jnp.exp(self._log_alpha(t))

    def sigma(self, t: Array) -> Array:
        """√(1 − α²)."""
        return jnp.sqrt(-jnp.expm1(2 * self._log_alpha(t)))

    def log_snr(self, t: Array) -> Array:
        """Equation 2."""
        twice = 2 * self._log_alpha(t)
        return twice - jnp.log(-jnp.expm1(twice))

    def time(self, log_snr: Array) -> Array:
        """The inverse of ``log_snr``."""
        times, log_alphas = (jnp.asarray(table, float) for table in self._tables)
        return jnp.interp(-0.5 * jax.nn.log_sigmoid(log_snr), -log_alphas, times)

    def _log_alpha(self, t: Array) -> Array:
        times, log_alphas = (jnp.asarray(table, float) for table in self._tables)
        return jnp.interp(t, times, log_alphas)

    @property
    def _tables(self) -> tuple[np.ndarray, np.ndarray]:
        times = np.arange(self.num_steps + 1) / self.num_steps
        return times, np.concatenate([[0.0], 0.5 * np.cumsum(np.log1p(-self.betas))])


def _log_alpha(process: VariancePreserving | SubVariancePreserving, t: Array) -> Array:
    return -0.25 * jnp.square(t) * (process.beta_max - process.beta_min) - 0.5 * t * process.beta_min


def _time_of_log_alpha(process: VariancePreserving | SubVariancePreserving, log_alpha: Array) -> Array:
    """The root of a quadratic equation, in the form that loses no digits near t = 0."""
    half = 0.5 * process.beta_min
    slope = process.beta_max - process.beta_min
    return -2 * log_alpha / (half + jnp.sqrt(half**2 - slope * log_alpha))


def _check_betas(beta_min: float, beta_max: float) -> None:
    if not 0 < beta_min <= beta_max:
        raise ValueError(f"beta_min is {beta_min} and beta_max is {beta_max}, but need 0 < beta_min <= beta_max")


def _check_sigmas(smallest: float, largest: float) -> None:
    if not 0 < smallest < largest:
        raise ValueError(f"the noise runs from {smallest} to {largest}, but must grow, from above 0")
