"""Samplers that draw from Gaussian transitions: DDPM's, and DDIM's family.

With the denoiser's x̂₀ and ε̂ at x_t, the next one is drawn from

    p(x_s | x_t) = N(α_s x̂₀ + √(σ_s² − v) ε̂, w),                                                                 (1)

    DDIM(η)              v = w = η² σ_s² (1 − e^{λ_t − λ_s})
    Ancestral, lower     v = w =    σ_s² (1 − e^{λ_t − λ_s}), the variance of q(x_s | x_t, x₀)
    Ancestral, upper     v as above, w = σ_t² (1 − e^{λ_t − λ_s}), that of q(x_t | x_s)

Any v leaves the distribution of x_s right where x̂₀ is x₀; with η = 0 nothing is random. The two variances of DDPM are
right where data are one point, and where they are N(0, I).

Jonathan Ho, Ajay Jain and Pieter Abbeel 2020, arXiv:2006.11239; Jiaming Song, Chenlin Meng and Stefano Ermon 2021,
arXiv:2010.02502.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

import jax
import jax.numpy as jnp

from genjax.core import Array, PyTree
from genjax.diffusion.process import Level, NoiseProcess, conditional_variance
from genjax.diffusion.sampling import Denoise, Sampler, Step
from genjax.ops import check_choice


@final
@dataclass(frozen=True)
class DDIM(Sampler):
    """Equation 1 with a share of the noise: 0 for none, 1 for ancestral sampling.

    Attributes:
      eta: η, in [0, 1].
    """

    eta: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta is {self.eta}, but must be in [0, 1]; 0 is deterministic, 1 is ancestral")

    def step(
        self, process: NoiseProcess, denoise: Denoise, here: Level, there: Level, key: Array, x: Array, memory: PyTree
    ) -> Step:
        """See ``Sampler``."""
        del process
        data, noise = denoise(x, here.t)
        # v / σ_s²
        share = -jnp.square(self.eta) * jnp.expm1(here.log_snr - there.log_snr)
        x = there.alpha * data + there.sigma * jnp.sqrt(1 - share) * noise  # equation 1
        if self.eta > 0:
            x = x + there.sigma * jnp.sqrt(share) * jax.random.normal(key, x.shape, x.dtype)
        return Step(x, memory, data)


@final
@dataclass(frozen=True)
class Ancestral(Sampler):
    """Equation 1 with all of the noise: DDPM.

    Attributes:
      variance: "lower" or "upper"; in DDPM's terms the posterior's, and β.
    """

    variance: Literal["lower", "upper"] = "lower"

    def __post_init__(self) -> None:
        check_choice("variance", self.variance, ("lower", "upper"))

    def step(
        self, process: NoiseProcess, denoise: Denoise, here: Level, there: Level, key: Array, x: Array, memory: PyTree
    ) -> Step:
        """See ``Sampler``."""
        if self.variance == "lower":
            return DDIM(eta=1.0).step(process, denoise, here, there, key, x, memory)
        data, noise = denoise(x, here.t)
        kept = jnp.exp(0.5 * (here.log_snr - there.log_snr))  # √(1 − v / σ_s²)
        deviation = jnp.sqrt(conditional_variance(here, there))
        mean = there.alpha * data + there.sigma * kept * noise  # equation 1
        return Step(mean + deviation * jax.random.normal(key, x.shape, x.dtype), memory, data)
