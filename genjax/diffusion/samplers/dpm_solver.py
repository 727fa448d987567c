"""DPM-Solver and DPM-Solver++: exponential integrators of the probability-flow equation.

Between two levels with half log-SNRs l_t and l_s = l_t + h, the equation has the solution

    x_s = α_s/α_t x_t − σ_s ∫_0^h e^{h − u} ε̂(u) du  = σ_s/σ_t x_t + α_s ∫_0^h e^{u − h} x̂₀(u) du,                (1)

whose integrals are exact if ε̂ or x̂₀ is a polynomial of u. DPM-Solver-2 evaluates ε̂ at the midpoint in l.
DPM-Solver++ extrapolates from earlier steps: with the divided differences [01] and [012] of x̂₀ in l, the latest level
being l_0 = l_t, the derivatives times h and h² are

    D⁽¹⁾ = h ([01] + (l_0 − l_1) [012]),   D⁽²⁾ = 2 h² [012],   where [012] = 0 in order 2,                       (2)

    x_s = σ_s/σ_t x_t + α_s (φ_1 x̂₀ + φ_2 D⁽¹⁾ + φ_3 D⁽²⁾),                                                      (3)
        φ_1 = 1 − e^{−h},   φ_2 = 1 − φ_1 / h (½ φ_1 in order 2),   φ_3 = ½ − φ_2 / h.

For the stochastic equation,

    x_s = σ_s/σ_t e^{−h} x_t + α_s (1 − e^{−2h}) (x̂₀ + ½ D⁽¹⁾) + σ_s √(1 − e^{−2h}) z.                            (4)

Differences from the authors' code and its ports: their D⁽²⁾ is half of equation 2, not a second derivative, which
reduces the multistep method to order 2. The first step of the method of order 3 has order 1 and leaves an error of
order 2, which is small if the process ends in noise, because x̂₀ hardly changes there.

Cheng Lu, Yuhao Zhou, Fan Bao, Jianfei Chen, Chongxuan Li and Jun Zhu 2022, arXiv:2206.00927 and arXiv:2211.01095.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import jax
import jax.numpy as jnp

from genjax.core import Array, PyTree
from genjax.diffusion.processes import Level, NoiseProcess, level_at
from genjax.diffusion.samplers.base import Denoise, History, Sampler, Step, unless_last
from genjax.ops import check_choice


@final
@dataclass(frozen=True)
class DPMSolver2(Sampler):
    """DPM-Solver-2: order 2 with two evaluations a step. The process must have α > 0 at its end."""

    evaluations = 2
    needs_signal = True

    def step(
        self, process: NoiseProcess, denoise: Denoise, t: Level, s: Level, key: Array, x: Array, carry: PyTree
    ) -> Step:
        """See ``Sampler``."""
        del key
        data, noise = denoise(x, t.time)
        h = 0.5 * (s.log_snr - t.log_snr)

        def noise_at_midpoint() -> Array:
            middle = level_at(process, process.time(0.5 * (t.log_snr + s.log_snr)))
            x_middle = middle.alpha / t.alpha * x - middle.sigma * jnp.expm1(0.5 * h) * noise
            return denoise(x_middle, middle.time).noise

        middle_noise = unless_last(t, s, noise_at_midpoint, noise)
        x = s.alpha / t.alpha * x - s.sigma * jnp.expm1(h) * middle_noise  # equation 1
        return Step(x, carry, data)


@final
@dataclass(frozen=True)
class DPMSolverPP(Sampler):
    """Multistep DPM-Solver++, with one evaluation a step. Its first steps are of lower order.

    Attributes:
      order: 1 (DDIM), 2 ("2M") or 3 ("3M").
      stochastic: whether to integrate the stochastic equation, in the weak order 1 or 2: equation 4.
    """

    order: int = 2
    stochastic: bool = False

    def __post_init__(self) -> None:
        check_choice("order", self.order, (1, 2, 3))
        if self.stochastic and self.order == 3:
            raise ValueError("order is 3, but must be 1 or 2 if stochastic; use order=2")

    def init_carry(self, x: Array) -> History:
        """See ``Sampler``."""
        return History.empty(x, self.order - 1)

    def step(
        self, process: NoiseProcess, denoise: Denoise, t: Level, s: Level, key: Array, x: Array, carry: History
    ) -> Step:
        """See ``Sampler``."""
        del process
        data, _ = denoise(x, t.time)
        l_t, h = 0.5 * t.log_snr, 0.5 * (s.log_snr - t.log_snr)
        past = carry.push(data, l_t)
        first, second = past.differences()
        d1, d2 = h * (first + self._last_gap(past) * second), 2 * h**2 * second  # equation 2
        phi_1 = -jnp.expm1(-h)
        ratio = s.sigma / t.sigma
        if self.stochastic:
            variance = -jnp.expm1(-2 * h)
            z = jax.random.normal(key, x.shape, x.dtype)
            x = ratio * jnp.exp(-h) * x + s.alpha * variance * (data + 0.5 * d1)
            x = x + s.sigma * jnp.sqrt(variance) * z  # equation 4
        else:
            phi_2 = 0.5 * phi_1 if self.order < 3 else 1 - phi_1 / h
            x = ratio * x + s.alpha * (phi_1 * data + phi_2 * d1)  # equation 3
            if self.order == 3:
                x = x + s.alpha * (0.5 - phi_2 / h) * d2
        return Step(x, past.latest(self.order - 1), data)

    def _last_gap(self, past: History) -> Array | float:
        """Return l_0 − l_1 of the latest two levels, where order 3 needs it."""
        return past.positions[0] - past.positions[1] if self.order == 3 else 0.0
