"""Score matching: how the errors of a denoiser are estimated in training.

Denoising score matching knows the noise ε in x_t = α x₀ + σ ε, and so the error itself,

    ‖ε̂ − ε‖².                                                                                                    (1)

Sliced score matching needs only samples x_t. Integration by parts turns the distance between a score s and that of the
density of x_t into

    ½ E‖s − ∇ log q‖² = E[vᵀ (∂s/∂x) v + ½ ‖s‖²] + ½ E‖∇ log q‖²,        E[v vᵀ] = I,                               (2)

and with s = −ε̂/σ this gives an unbiased estimate of the mean of equation 1 over examples at time t,

    2 σ² (vᵀ (∂s/∂x) v + ½ ‖s‖²) + D.                                                                             (3)

Equations 1 and 3 have the same expectation and the same minimizer: the last term of (2) and D do not depend on the
parameters. The estimate of a single example may be negative. Its variance is that of ‖ε̂‖², even if ε̂ is nearly right,
and ∂ε̂/∂x grows as the noise falls. Each direction costs a Jacobian–vector product, which training differentiates again.
The errors of x₀ and of the network's output follow from (3) by a change of units, whose factors grow as 1/α² except for
the noise and the score.

Equation 1: Pascal Vincent 2011. Equation 2: Yang Song, Sahaj Garg, Jiaxin Shi and Stefano Ermon 2019, arXiv:1905.07088,
in its variance-reduced form, with E(vᵀ s)² in closed form. Difference from the paper: the density is that of noisy
data, at all levels, rather than that of the data.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

import jax
import jax.numpy as jnp

from genjax.arguments import PositiveInt, check_arguments
from genjax.core import Array, PyTree
from genjax.diffusion.parametrizations import Parametrization, Prediction, broadcast_level
from genjax.diffusion.processes import NoiseProcess
from genjax.diffusion.weightings import Errors
from genjax.ops import implicit_score_loss, sum_except_batch

NetworkFn = Callable[[Array], tuple[Array, PyTree]]  # x_t (B, ...) -> the network's output (B, ...) and its new state


@runtime_checkable
class ScoreMatching(Protocol):
    """An estimator of the errors of a denoiser."""

    def errors(
        self,
        process: NoiseProcess,
        parametrization: Parametrization,
        network: NetworkFn,
        key: Array,
        t: Array,
        truth: Prediction,
    ) -> tuple[Errors, PyTree]:
        """Return errors (B,) at times (B,) for true data and noise (B, ...), and the network's new state."""
        ...


@final
@check_arguments
@dataclass(frozen=True)
class Denoising:
    """Denoising score matching: equation 1."""

    def errors(
        self,
        process: NoiseProcess,
        parametrization: Parametrization,
        network: NetworkFn,
        key: Array,
        t: Array,
        truth: Prediction,
    ) -> tuple[Errors, PyTree]:
        """See ``ScoreMatching``."""
        del key
        x_t = _add_noise(process, t, truth)
        output, state = network(x_t)
        prediction = parametrization.predict(process, t, x_t, output)
        target = parametrization.target(process, t, truth)
        data, noise, output = (
            sum_except_batch(jnp.square(a - b))
            for a, b in (*zip(prediction, truth, strict=True), (output, target))  # equation 1
        )
        return Errors(data, noise, output, size=x_t[0].size), state


@final
@check_arguments
@dataclass(frozen=True)
class Sliced:
    """Sliced score matching: equation 3.

    For the weightings ``Simple`` and ``MinSNR`` only; others give too much weight to its variance. All times of
    training must have a signal, α > 0.

    Attributes:
      num_directions: number of random directions v per example, with entries ±1.
    """

    num_directions: PositiveInt = 1

    def errors(
        self,
        process: NoiseProcess,
        parametrization: Parametrization,
        network: NetworkFn,
        key: Array,
        t: Array,
        truth: Prediction,
    ) -> tuple[Errors, PyTree]:
        """See ``ScoreMatching``."""
        x_t, level = _add_noise(process, t, truth), broadcast_level(process, t, truth.data)

        def score(x: Array) -> tuple[Array, PyTree]:
            output, state = network(x)
            return -parametrization.predict(process, t, x, output).noise / level.sigma, state

        directions = jax.random.rademacher(key, (self.num_directions, *x_t.shape), x_t.dtype)
        loss, state = implicit_score_loss(score, x_t, directions, has_aux=True)
        size, variance = x_t[0].size, jnp.square(level.sigma).reshape(-1)
        noise = 2 * variance * loss + size  # equation 3
        # At fixed x_t, dx₀/dε = −σ/α; q changes accordingly.
        data_change = -jnp.exp(-0.5 * process.log_snr(t))
        ones = jnp.ones((t.shape[0], 1), x_t.dtype)
        output_change = parametrization.target(process, t, Prediction(data_change[:, None] * ones, ones))[:, 0]
        return Errors(jnp.square(data_change) * noise, noise, jnp.square(output_change) * noise, size=size), state


def _add_noise(process: NoiseProcess, t: Array, truth: Prediction) -> Array:
    """Return x_t."""
    level = broadcast_level(process, t, truth.data)
    return level.alpha * truth.data + level.sigma * truth.noise
