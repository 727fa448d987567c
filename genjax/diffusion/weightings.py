"""Weightings: training losses from the errors of a denoiser. Every weighting is a ``Weighting``.

For x_t with data x₀ and noise ε, a denoiser estimates x̂₀ and ε̂ from its network's output q̂, an estimate of q. As x_t is
known, all three errors are the same error in different units, ε̂ − ε = −(α/σ) (x̂₀ − x₀). The loss of an example with D
elements at time t is

    Output            ‖q̂ − q‖² / D         error of the parametrization's target: DDPM's L_simple with Noise, flow
                                           matching with Flow, EDM's weighting with Preconditioned
    Simple            ‖ε̂ − ε‖² / D         L_simple, for any parametrization
    MinSNR            min(SNR, γ) ‖x̂₀ − x₀‖² / D,  SNR = α²/σ²
    TruncatedSNR      max(SNR, 1) ‖x̂₀ − x₀‖² / D = max(‖x̂₀ − x₀‖², ‖ε̂ − ε‖²) / D
    VariationalBound  −½ λ′(t) ‖ε̂ − ε‖²    whose integral over t bounds −log p(x), up to its two end terms        (1)

Simple: Jonathan Ho, Ajay Jain and Pieter Abbeel 2020, arXiv:2006.11239. MinSNR: Tiankai Hang et al. 2023,
arXiv:2303.09556. TruncatedSNR: Tim Salimans and Jonathan Ho 2022, arXiv:2202.00512. VariationalBound: Diederik Kingma,
Tim Salimans, Ben Poole and Jonathan Ho 2021, arXiv:2107.00630, the limit of DDPM's bound for infinitely many steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, NamedTuple, Protocol, final, runtime_checkable

import jax.numpy as jnp
from annotated_types import Gt

from genjax.arguments import Cure, check_arguments
from genjax.core import Array
from genjax.diffusion.processes import NoiseProcess, rates


class Errors(NamedTuple):
    """Squared errors of x₀, ε and q, summed over each example.

    Attributes:
      data: ‖x̂₀ − x₀‖², (B,).
      noise: ‖ε̂ − ε‖², (B,).
      output: ‖q̂ − q‖², (B,).
      size: number of elements of an example, D.
    """

    data: Array
    noise: Array
    output: Array
    size: int


@runtime_checkable
class Weighting(Protocol):
    """A loss of each example."""

    def __call__(self, process: NoiseProcess, t: Array, errors: Errors) -> Array:
        """Return losses (B,) at times (B,)."""
        ...


@final
@check_arguments
@dataclass(frozen=True)
class Output:
    """Mean squared error of the network's output."""

    def __call__(self, process: NoiseProcess, t: Array, errors: Errors) -> Array:
        """See ``Weighting``."""
        return errors.output / errors.size


@final
@check_arguments
@dataclass(frozen=True)
class Simple:
    """Mean squared error of the noise."""

    def __call__(self, process: NoiseProcess, t: Array, errors: Errors) -> Array:
        """See ``Weighting``."""
        return errors.noise / errors.size


@final
@check_arguments
@dataclass(frozen=True)
class MinSNR:
    """Mean squared error of the data, weighted by the SNR up to a largest weight.

    Attributes:
      gamma: largest weight, γ.
    """

    gamma: Annotated[float, Gt(0), Cure("; 5.0 is usual")] = 5.0

    def __call__(self, process: NoiseProcess, t: Array, errors: Errors) -> Array:
        """See ``Weighting``."""
        return jnp.minimum(jnp.exp(process.log_snr(t)), self.gamma) * errors.data / errors.size


@final
@check_arguments
@dataclass(frozen=True)
class TruncatedSNR:
    """Mean squared error of the data or of the noise, whichever is larger: for progressive distillation.

    No level gets the weight 0, which the error of the noise alone gives to the first step, where α is nearly 0.
    """

    def __call__(self, process: NoiseProcess, t: Array, errors: Errors) -> Array:
        """See ``Weighting``."""
        return jnp.maximum(errors.data, errors.noise) / errors.size


@final
@check_arguments
@dataclass(frozen=True)
class VariationalBound:
    """Equation 1, nats per example, for uniform times from start to end."""

    def __call__(self, process: NoiseProcess, t: Array, errors: Errors) -> Array:
        """See ``Weighting``."""
        speed = rates(process, t).diffusion / jnp.square(process.sigma(t))  # −λ′
        return 0.5 * (process.end - process.start) * speed * errors.noise
