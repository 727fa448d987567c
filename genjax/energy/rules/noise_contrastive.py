"""Noise-contrastive estimation: the energy is trained to classify data against samples of the base.

With ν samples x′ of the base for each example, the log-odds of data against noise are

    log p(x) − log p₀(x) − log ν = −E(x) − log ν,                                                                 (1)

if Z = 1, which the optimal energy satisfies. The loss is the cross-entropy of the classifier,

    E softplus(E(x) + log ν) + ν E softplus(−E(x′) − log ν).                                                      (2)

The closer the base is to the data, the more informative its samples are: a trained flow (``Pretrained``) is a good
base, and the energy learns what the flow misses.

Michael Gutmann and Aapo Hyvärinen 2010, "Noise-contrastive estimation: a new estimation principle for unnormalized
statistical models"; flows: Ruiqi Gao et al. 2020, arXiv:1912.00589.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import jax
import jax.numpy as jnp

from genjax.arguments import PositiveFloat, PositiveInt, check_arguments
from genjax.core import Array, PyTree
from genjax.energy.density import EnergyDensity
from genjax.energy.rules.base import Rule, RuleOutput
from genjax.ops import discriminator_accuracy, logistic_fake_loss, logistic_real_loss


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class NoiseContrastive(Rule):
    """Noise-contrastive estimation, equation 2.

    Attributes:
      num_noise: ν, number of samples of the base per example.
      weight: factor on the loss.
    """

    num_noise: PositiveInt = 1
    weight: PositiveFloat = 1.0

    def loss(
        self, density: EnergyDensity, key: Array, x: Array, label: Array | None, state: PyTree, step: Array
    ) -> RuleOutput:
        """See ``Rule``; the metric ``accuracy`` is the balanced accuracy of the classifier."""
        del label, step
        noise = jax.lax.stop_gradient(density.sample_base(key, self.num_noise * x.shape[0]))
        offset = math.log(self.num_noise)
        data_logits, noise_logits = (-density.energy(each) - offset for each in (x, noise))  # equation 1
        noise_loss = self.num_noise * jnp.mean(logistic_fake_loss(noise_logits))
        loss = jnp.mean(logistic_real_loss(data_logits)) + noise_loss  # equation 2
        return RuleOutput(loss, state, {"accuracy": discriminator_accuracy(data_logits, noise_logits)})
