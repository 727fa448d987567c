"""Samplers that draw from Gaussian transitions: DDPM and DDIM.

With the denoiser's x̂₀ and ε̂ at x_t, the next x_s is drawn from

    p(x_s | x_t) = N(α_s x̂₀ + √(σ_s² − v) ε̂, w),                                                                 (1)

    DDIM(η)              v = w = η² σ_s² (1 − e^{λ_t − λ_s})
    Ancestral, lower     v = w =    σ_s² (1 − e^{λ_t − λ_s}), the variance of q(x_s | x_t, x₀)
    Ancestral, upper     v as above, w = σ_t² (1 − e^{λ_t − λ_s}), the variance of q(x_t | x_s)

Any v gives the right distribution of x_s if x̂₀ = x₀; the sampler is deterministic if η = 0. DDPM's lower variance is
exact if the data are a single point, the upper one if they are N(0, I).

Jonathan Ho, Ajay Jain and Pieter Abbeel 2020, arXiv:2006.11239; Jiaming Song, Chenlin Meng and Stefano Ermon 2021,
arXiv:2010.02502.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, final

import jax
import jax.numpy as jnp
from annotated_types import Interval

from genjax.arguments import Cure, check_arguments
from genjax.core import Array, PyTree
from genjax.diffusion.processes import Level, NoiseProcess, conditional_variance
from genjax.diffusion.samplers.base import Denoise, Sampler, Step


@final
@check_arguments
@dataclass(frozen=True)
class DDIM(Sampler):
    """Equation 1 with a fraction of the noise: 0 is deterministic, 1 is ancestral sampling.

    Attributes:
      eta: η, in [0, 1].
    """

    eta: Annotated[float, Interval(ge=0, le=1), Cure("; 0 is deterministic, 1 is ancestral")] = 0.0

    def step(
        self, process: NoiseProcess, denoise: Denoise, t: Level, s: Level, key: Array, x: Array, carry: PyTree
    ) -> Step:
        """See ``Sampler``."""
        del process
        data, noise = denoise(x, t.time)
        ratio = -jnp.square(self.eta) * jnp.expm1(t.log_snr - s.log_snr)  # v / σ_s²
        x = s.alpha * data + s.sigma * jnp.sqrt(1 - ratio) * noise  # equation 1
        if self.eta > 0:
            x = x + s.sigma * jnp.sqrt(ratio) * jax.random.normal(key, x.shape, x.dtype)
        return Step(x, carry, data)


@final
@check_arguments
@dataclass(frozen=True)
class Ancestral(Sampler):
    """Equation 1 with all of the noise: DDPM.

    Attributes:
      variance: "lower" (β̃ in DDPM's notation) or "upper" (β).
    """

    variance: Literal["lower", "upper"] = "lower"

    def step(
        self, process: NoiseProcess, denoise: Denoise, t: Level, s: Level, key: Array, x: Array, carry: PyTree
    ) -> Step:
        """See ``Sampler``."""
        if self.variance == "lower":
            return DDIM(eta=1.0).step(process, denoise, t, s, key, x, carry)
        data, noise = denoise(x, t.time)
        scale = jnp.exp(0.5 * (t.log_snr - s.log_snr))  # √(1 − v / σ_s²)
        std = jnp.sqrt(conditional_variance(t, s))
        mean = s.alpha * data + s.sigma * scale * noise  # equation 1
        return Step(mean + std * jax.random.normal(key, x.shape, x.dtype), carry, data)
