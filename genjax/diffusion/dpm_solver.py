"""DPM-Solver and DPM-Solver++: exponential integrators of the diffusion's ordinary differential equation.

Between two levels, of half log-SNRs l_t and l_s = l_t + h, the equation has the solution

    x_s = α_s/α_t x_t − σ_s ∫_0^h e^{h − u} ε̂(u) du  = σ_s/σ_t x_t + α_s ∫_0^h e^{u − h} x̂₀(u) du,                (1)

whose integrals are exact where ε̂ or x̂₀ is a polynomial of u. DPM-Solver-2 evaluates ε̂ half way in l; DPM-Solver++
takes what it knows of earlier steps: with D_i the i-th x̂₀ before this one, h_i the steps between, r_i = h_i / h,

    D⁽¹⁾ = (D_0 − D_1) / r_1,                                                                     order 2
    D⁽¹⁾ = d_1 + r_1 (d_1 − d_2) / (r_1 + r_2),   D⁽²⁾ = 2 (d_1 − d_2) / (r_1 + r_2),             order 3         (2)
        where d_1 = (D_0 − D_1) / r_1,   d_2 = (D_1 − D_2) / r_2,

    x_s = σ_s/σ_t x_t + α_s (φ_1 D_0 + φ_2 D⁽¹⁾ + φ_3 D⁽²⁾),                                                      (3)
        φ_1 = 1 − e^{−h},   φ_2 = 1 − φ_1 / h (½ φ_1 in order 2),   φ_3 = ½ − φ_2 / h.

and the same for the stochastic equation,

    x_s = σ_s/σ_t e^{−h} x_t + α_s (1 − e^{−2h}) (D_0 + ½ D⁽¹⁾) + σ_s √(1 − e^{−2h}) z.                            (4)

Differences from the authors' program, and those that follow it: its D⁽²⁾ of the multistep method is half of this one,
which is no second derivative, and leaves the method at order 2. The step of order 1 that order 3 begins with costs an
error of order 2 too, but little where the process ends in noise, as x̂₀ hardly changes there.

Cheng Lu, Yuhao Zhou, Fan Bao, Jianfei Chen, Chongxuan Li and Jun Zhu 2022, arXiv:2206.00927 and arXiv:2211.01095.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, final

import jax
import jax.numpy as jnp

from genjax.core import Array, PyTree
from genjax.diffusion.process import Level, NoiseProcess, level
from genjax.diffusion.sampling import Denoise, Sampler, Step
from genjax.ops import check_choice


@final
@dataclass(frozen=True)
class DPMSolver2(Sampler):
    """Order 2 with two evaluations a step. The process must have α > 0 at its end."""

    @property
    def evaluations(self) -> int:
        """See ``Sampler``."""
        return 2

    @property
    def needs_signal(self) -> bool:
        """See ``Sampler``."""
        return True

    def step(
        self, process: NoiseProcess, denoise: Denoise, here: Level, there: Level, key: Array, x: Array, memory: PyTree
    ) -> Step:
        """See ``Sampler``."""
        del key
        data, noise = denoise(x, here.t)
        h = 0.5 * (there.log_snr - here.log_snr)
        middle = level(process, process.time(0.5 * (here.log_snr + there.log_snr)))
        half = middle.alpha / here.alpha * x - middle.sigma * jnp.expm1(0.5 * h) * noise
        noise = denoise(half, middle.t).noise
        x = there.alpha / here.alpha * x - there.sigma * jnp.expm1(h) * noise  # equation 1
        return Step(x, memory, data)


class Past(NamedTuple):
    """What is remembered of earlier steps, the newest first.

    Attributes:
      data: x̂₀, (order - 1, N, ...).
      half_log_snr: l, (order - 1,).
      count: how many steps there were, int32 ().
    """

    data: Array
    half_log_snr: Array
    count: Array


@final
@dataclass(frozen=True)
class DPMSolverPP(Sampler):
    """Multistep DPM-Solver++, with one evaluation a step; the first steps are of lower orders.

    Attributes:
      order: 1 (which is DDIM), 2 ("2M") or 3 ("3M").
      stochastic: equation 4, of orders 1 and 2; these are those of the distribution's moments.
    """

    order: int = 2
    stochastic: bool = False

    def __post_init__(self) -> None:
        check_choice("order", self.order, (1, 2, 3))
        if self.stochastic and self.order == 3:
            raise ValueError("order is 3, but the stochastic equation has 1 and 2; use order=2")

    def memory(self, x: Array) -> Past:
        """See ``Sampler``."""
        return Past(jnp.zeros((self.order - 1, *x.shape), x.dtype), jnp.zeros(self.order - 1), jnp.int32(0))

    def step(
        self, process: NoiseProcess, denoise: Denoise, here: Level, there: Level, key: Array, x: Array, memory: Past
    ) -> Step:
        """See ``Sampler``."""
        del process
        data, _ = denoise(x, here.t)
        now, h = 0.5 * here.log_snr, 0.5 * (there.log_snr - here.log_snr)
        slope, bend = self._differences(memory, data, now, h)
        grown = -jnp.expm1(-h)  # φ_1
        ratio = there.sigma / here.sigma
        if self.stochastic:
            share = -jnp.expm1(-2 * h)
            noise = jax.random.normal(key, x.shape, x.dtype)
            x = ratio * jnp.exp(-h) * x + there.alpha * share * (data + 0.5 * slope)
            x = x + there.sigma * jnp.sqrt(share) * noise  # equation 4
        else:
            second = 0.5 * grown if self.order < 3 else 1 - grown / h
            x = ratio * x + there.alpha * (grown * data + second * slope)  # equation 3
            if self.order == 3:
                x = x + there.alpha * (0.5 - second / h) * bend
        past = Past(
            jnp.concatenate([data[None], memory.data])[: self.order - 1],
            jnp.concatenate([now[None], memory.half_log_snr])[: self.order - 1],
            memory.count + 1,
        )
        return Step(x, past, data)

    def _differences(self, past: Past, data: Array, now: Array, h: Array) -> tuple[Array, Array]:
        """D⁽¹⁾ and D⁽²⁾ of equation 2, as far as there is a past for them."""
        nothing = jnp.zeros_like(data)
        if self.order == 1:
            return nothing, nothing
        r1 = _positive((now - past.half_log_snr[0]) / h, past.count >= 1)
        d1 = (data - past.data[0]) / r1
        first = jnp.where(past.count >= 1, d1, nothing)
        if self.order == 2:
            return first, nothing
        r2 = _positive((past.half_log_snr[0] - past.half_log_snr[1]) / h, past.count >= 2)
        d2 = (past.data[0] - past.data[1]) / r2
        bend = 2 * (d1 - d2) / (r1 + r2)
        full = past.count >= 2
        return jnp.where(full, d1 + 0.5 * r1 * bend, first), jnp.where(full, bend, nothing)


def _positive(ratio: Array, known: Array) -> Array:
    return jnp.where(known, ratio, 1.0)
