"""Score matching: how a denoiser's errors are estimated in training.

Denoising score matching knows the noise ε that is in x_t = α x₀ + σ ε, and so the error itself,

    ‖ε̂ − ε‖².                                                                                                    (1)

Sliced score matching asks for samples x_t alone. Integration by parts turns the distance of a score s from that of the
density of x_t into

    ½ E‖s − ∇ log q‖² = E[vᵀ (∂s/∂x) v + ½ ‖s‖²] + ½ E‖∇ log q‖²,        E[v vᵀ] = I,                               (2)

and with s = −ε̂/σ into an estimate of the mean of equation 1 over all examples, given t, without bias,

    ‖ε̂‖² − 2 σ vᵀ (∂ε̂/∂x) v + D,                                                                                 (3)

so that both have one expectation and one minimum: the last term of (2), and D, depend on no parameters. An example's
own estimate may be negative, and its variance is that of a whole ‖ε̂‖², also where ε̂ is next to right; the less noise
there is, the larger is ∂ε̂/∂x besides. It costs a derivative along each direction, which training differentiates once
more. As all errors are one in different units, those of x₀ and of the network's output follow from (3) by the factors
that are theirs, which grow as 1/α² for all parametrizations but those of the noise and the score.

Equation 1: Pascal Vincent 2011. Equation 2: Yang Song, Sahaj Garg, Jiaxin Shi and Stefano Ermon 2019, arXiv:1905.07088,
in the form with less variance, where the mean of (vᵀ s)² is known. Differences from the paper: the density is that of
data with noise, at all levels, in place of that of data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, final

import jax
import jax.numpy as jnp

from genjax.core import Array, PyTree
from genjax.diffusion.parametrization import Parametrization, Prediction, level_for
from genjax.diffusion.process import NoiseProcess
from genjax.diffusion.weighting import Errors
from genjax.ops import check_at_least, sum_except_batch

Says = Callable[[Array], tuple[Array, PyTree]]  # x_t (B, ...) -> the network's output (B, ...), and its new state


class ScoreMatching(Protocol):
    """An estimate of the errors of a denoiser."""

    def errors(
        self,
        process: NoiseProcess,
        parametrization: Parametrization,
        says: Says,
        key: Array,
        t: Array,
        truth: Prediction,
    ) -> tuple[Errors, PyTree]:
        """Return errors (B,), and the network's new state, at times (B,) with data and noise (B, ...)."""
        ...


@final
@dataclass(frozen=True)
class Denoising:
    """Equation 1."""

    def errors(
        self,
        process: NoiseProcess,
        parametrization: Parametrization,
        says: Says,
        key: Array,
        t: Array,
        truth: Prediction,
    ) -> tuple[Errors, PyTree]:
        """See ``ScoreMatching``."""
        del key
        noisy = _noisy(process, t, truth)
        output, state = says(noisy)
        predicted = parametrization.predict(process, t, noisy, output)
        target = parametrization.target(process, t, truth)
        data, noise, own = (
            sum_except_batch(jnp.square(a - b))
            for a, b in (*zip(predicted, truth, strict=True), (output, target))  # equation 1
        )
        return Errors(data, noise, own, size=noisy[0].size), state


@final
@dataclass(frozen=True)
class Sliced:
    """Equation 3, for the weightings ``Simple`` and ``MinSNR``: others give too much weight to its variance.

    There must be a signal, α > 0, at all times of training.

    Attributes:
      num_directions: v for each example, of ±1.
    """

    num_directions: int = 1

    def __post_init__(self) -> None:
        check_at_least("num_directions", self.num_directions, 1)

    def errors(
        self,
        process: NoiseProcess,
        parametrization: Parametrization,
        says: Says,
        key: Array,
        t: Array,
        truth: Prediction,
    ) -> tuple[Errors, PyTree]:
        """See ``ScoreMatching``."""
        noisy, here = _noisy(process, t, truth), level_for(process, t, truth.data)

        def noise_in(x: Array) -> tuple[Array, PyTree]:
            output, state = says(x)
            return parametrization.predict(process, t, x, output).noise, state

        predicted, derivative, state = jax.linearize(noise_in, noisy, has_aux=True)
        directions = jax.random.rademacher(key, (self.num_directions, *noisy.shape), noisy.dtype)
        slopes = jnp.mean(jax.vmap(lambda v: v * derivative(v))(directions), axis=0)
        size = noisy[0].size
        noise = sum_except_batch(jnp.square(predicted) - 2 * here.sigma * slopes) + size  # equation 3
        # Of one more ε there is σ/α less x₀, at the same x_t; and q moves as both tell it.
        less = -jnp.exp(-0.5 * process.log_snr(t))
        one = jnp.ones((len(t), 1), noisy.dtype)
        unit = parametrization.target(process, t, Prediction(less[:, None] * one, one))[:, 0]
        return Errors(jnp.square(less) * noise, noise, jnp.square(unit) * noise, size=size), state


def _noisy(process: NoiseProcess, t: Array, truth: Prediction) -> Array:
    here = level_for(process, t, truth.data)
    return here.alpha * truth.data + here.sigma * truth.noise
