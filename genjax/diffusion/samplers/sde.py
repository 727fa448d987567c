"""The Euler–Maruyama method for the reverse-time stochastic differential equation.

    dx = (α′/α x + g²/σ ε̂) dt + g dw,        backwards in time,                                                  (1)

where ε̂ is the mean of ε given x_t, has the marginals of the process.

Yang Song et al. 2021, arXiv:2011.13456.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import jax
import jax.numpy as jnp

from genjax.arguments import check_arguments
from genjax.core import Array, PyTree
from genjax.diffusion.processes import Level, NoiseProcess, rates
from genjax.diffusion.samplers.base import Denoise, Sampler, Step


@final
@check_arguments
@dataclass(frozen=True)
class EulerMaruyama(Sampler):
    """Equation 1 by the Euler–Maruyama method, of weak order 1. The process must have α > 0 at its end."""

    needs_signal = True

    def step(
        self, process: NoiseProcess, denoise: Denoise, t: Level, s: Level, key: Array, x: Array, carry: PyTree
    ) -> Step:
        """See ``Sampler``."""
        data, noise = denoise(x, t.time)
        rate, h = rates(process, t.time), s.time - t.time
        drift = rate.alpha / t.alpha * x + rate.diffusion / t.sigma * noise
        z = jax.random.normal(key, x.shape, x.dtype)
        return Step(x + h * drift + jnp.sqrt(-h * rate.diffusion) * z, carry, data)  # equation 1
