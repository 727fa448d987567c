"""Classification by energies: the discriminative term of a joint energy-based model.

With classes, the log-likelihood is log p(x, y) = log p(x) + log p(y | x). Contrastive divergence on E(x) raises the
first term. The second is minus the cross-entropy loss of a classifier,

    −log p(y | x) = E(x, y) + log Σ_y′ exp(−E(x, y′)).                                                            (1)

Will Grathwohl et al. 2020, arXiv:1912.03263.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import jax.numpy as jnp

from genjax.arguments import PositiveFloat, check_arguments
from genjax.core import Array, PyTree
from genjax.energy.density import EnergyDensity
from genjax.energy.rules.base import Rule, RuleOutput


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class Classification(Rule):
    """Cross-entropy of the labels, equation 1.

    Attributes:
      weight: factor on the loss.
    """

    weight: PositiveFloat = 1.0
    needs_classes = True

    def loss(
        self, density: EnergyDensity, key: Array, x: Array, label: Array | None, state: PyTree, step: Array
    ) -> RuleOutput:
        """See ``Rule``; the metric ``class_accuracy`` is the accuracy of the most probable class."""
        del key, step
        assert label is not None  # because the model has classes
        log_probs = density.class_log_probs(x)
        loss = -jnp.mean(jnp.take_along_axis(log_probs, label[:, None], axis=1))  # equation 1
        return RuleOutput(loss, state, {"class_accuracy": jnp.mean(jnp.argmax(log_probs, axis=1) == label)})
