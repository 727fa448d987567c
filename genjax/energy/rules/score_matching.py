"""Score matching: training by the score ∇ log p, which needs neither Z nor samples of the model.

Denoising score matching fits the density of noisy data x̃ = x + σ ξ, ξ ~ N(0, I), whose score given x is −ξ / σ,

    ½ E ‖σ ∇ log p(x̃) + ξ‖².                                                                                      (1)

Sliced score matching fits the density of the data, by integration by parts and random directions v with E[v vᵀ] = I,

    E[vᵀ (∇² log p(x)) v + ½ ‖∇ log p(x)‖²].                                                                       (2)

Neither determines the relative weights of well-separated modes.

Equation 1: Pascal Vincent 2011. Equation 2: Yang Song, Sahaj Garg, Jiaxin Shi and Stefano Ermon 2019, arXiv:1905.07088,
with its variance reduction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import jax
import jax.numpy as jnp

from genjax.arguments import PositiveFloat, PositiveInt, check_arguments
from genjax.core import Array, PyTree
from genjax.energy.density import EnergyDensity
from genjax.energy.rules.base import Rule, RuleOutput
from genjax.ops import sum_except_batch
from genjax.ops.divergence import implicit_score_loss


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class DenoisingScoreMatching(Rule):
    """Denoising score matching, equation 1.

    Attributes:
      noise_std: σ, standard deviation of the noise; the model learns the density of the noisy data.
      weight: factor on the loss.
    """

    noise_std: PositiveFloat = 0.1
    weight: PositiveFloat = 1.0
    discrete = False

    def loss(
        self, density: EnergyDensity, key: Array, x: Array, label: Array | None, state: PyTree, step: Array
    ) -> RuleOutput:
        """See ``Rule``; the metric ``score_error`` is twice the loss per entry, and 1 for a score of 0."""
        del label, step
        noise = jax.random.normal(key, x.shape, x.dtype)
        errors = sum_except_batch(jnp.square(self.noise_std * density.score(x + self.noise_std * noise) + noise))
        loss = 0.5 * jnp.mean(errors)  # equation 1
        return RuleOutput(loss, state, {"score_error": 2 * loss / x[0].size})


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class SlicedScoreMatching(Rule):
    """Sliced score matching, equation 2.

    Attributes:
      num_directions: number of random directions v per example, with entries ±1.
      weight: factor on the loss.
    """

    num_directions: PositiveInt = 1
    weight: PositiveFloat = 1.0
    discrete = False

    def loss(
        self, density: EnergyDensity, key: Array, x: Array, label: Array | None, state: PyTree, step: Array
    ) -> RuleOutput:
        """See ``Rule``."""
        del label, step
        directions = jax.random.rademacher(key, (self.num_directions, *x.shape), x.dtype)
        return RuleOutput(jnp.mean(implicit_score_loss(density.score, x, directions)), state, {})  # equation 2
