"""Flow matching of a potential: the first stage of energy matching.

Noise x₀ ~ p₀ and data x₁ are paired by optimal transport within a minibatch. A time-independent gradient field is
fitted to the velocity along the line between them,

    E ‖τ ∇ log p(x_t) − (x₁ − x₀)‖²,        x_t = (1 − t) x₀ + t x₁,  t uniform on [0, 1],                         (1)

where τ is the model's temperature, so that V = −τ log p is the paper's potential. Following τ ∇ log p from noise for
unit time leads to the data; ``AnnealedLangevin`` with an initial temperature of 0 and step size h does so in τ / h
steps. A second, shorter stage adds contrastive divergence to equation 1, so that p fits the density near the data.

Michal Balcerak et al. 2025, arXiv:2504.10612, algorithms 1 and 2.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

import jax
import jax.numpy as jnp

from genjax.arguments import PositiveFloat, check_arguments
from genjax.core import Array, PyTree
from genjax.energy.density import EnergyDensity
from genjax.energy.rules.base import Rule, RuleOutput
from genjax.ops import sum_except_batch
from genjax.ops.couplings import Coupling, SinkhornCoupling


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class FlowMatching(Rule):
    """Flow matching of the potential, equation 1.

    Attributes:
      coupling: coupling that pairs noise with data; None for independent pairs.
      weight: factor on the loss.
    """

    coupling: Coupling | None = field(default_factory=SinkhornCoupling)
    weight: PositiveFloat = 1.0
    discrete = False

    def loss(
        self, density: EnergyDensity, key: Array, x: Array, label: Array | None, state: PyTree, step: Array
    ) -> RuleOutput:
        """See ``Rule``; the metric ``velocity_error`` is the loss per entry."""
        del label, step
        noise_key, pair_key, time_key = jax.random.split(key, 3)
        noise = density.sample_base(noise_key, x.shape[0])
        if self.coupling is not None:
            noise = self.coupling.pair(pair_key, x, noise)
        t = jax.random.uniform(time_key, (x.shape[0], *[1] * (x.ndim - 1)), x.dtype)
        velocity = density.temperature * density.score((1 - t) * noise + t * x)
        loss = jnp.mean(sum_except_batch(jnp.square(velocity - (x - noise))))  # equation 1
        return RuleOutput(loss, state, {"velocity_error": loss / x[0].size})
