"""DEIS: an Adams-Bashforth method for the probability-flow equation, with one evaluation a step.

With x̄ = x / α and ρ = σ / α, the equation of a noise prediction has no linear term,

    dx̄/dρ = ε̂(x_ρ, ρ).                                                                                          (1)

The ε̂ of the last k levels, ρ_0 = ρ_t being the latest, give a polynomial in Newton's form with the divided differences

    [01] = (ε_0 − ε_1) / (ρ_0 − ρ_1),    [012] = ([01] − [12]) / (ρ_0 − ρ_2),                                    (2)

whose integral over the step h = ρ_s − ρ_t is exact:

    x̄_s = x̄_t + h ε_0 + h²/2 [01] + (h³/3 + h²/2 (ρ_0 − ρ_1)) [012].                                             (3)

Order 1 is DDIM. This is the variant that the paper calls ρAB-DEIS. The first steps have too short a history and are of
lower order.

Qinsheng Zhang and Yongxin Chen 2023, arXiv:2204.13902.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

from genjax.arguments import check_arguments
from genjax.core import Array
from genjax.diffusion.processes import Level, NoiseProcess
from genjax.diffusion.samplers.base import Denoise, History, Sampler, Step


@final
@check_arguments
@dataclass(frozen=True)
class DEIS(Sampler):
    """ρAB-DEIS, with one evaluation a step; the process must have α > 0 at its end.

    Attributes:
      order: order of convergence, 1 (DDIM), 2 or 3.
    """

    order: Literal[1, 2, 3] = 3

    needs_signal = True

    def init_carry(self, x: Array) -> History:
        """See ``Sampler``."""
        return History.empty(x, self.order - 1)

    def step(
        self, process: NoiseProcess, denoise: Denoise, t: Level, s: Level, key: Array, x: Array, carry: History
    ) -> Step:
        """See ``Sampler``."""
        del process, key
        data, noise = denoise(x, t.time)
        rho, h = t.sigma / t.alpha, s.sigma / s.alpha - t.sigma / t.alpha
        past = carry.push(noise, rho)
        first, second = past.differences()
        change = h * (noise + 0.5 * h * first)  # equation 3
        if self.order == 3:
            change = change + h**2 * (h / 3 + 0.5 * (rho - past.positions[1])) * second
        return Step(s.alpha * (x / t.alpha + change), past.latest(self.order - 1), data)
