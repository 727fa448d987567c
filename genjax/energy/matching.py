"""Energy matching: flow matching of a potential, then contrastive divergence, as two stages of one energy model.

The first stage minimizes the ``FlowMatching`` rules of the model alone and needs no chains; the second minimizes all
rules and starts from the parameters of the first. See ``rules.FlowMatching``.

Michal Balcerak et al. 2025, arXiv:2504.10612.
"""

from __future__ import annotations

from dataclasses import replace

import optax

from genjax.arguments import PositiveInt, check_arguments
from genjax.core import Array, Batch, Learner, Variables
from genjax.energy.energy_model import EnergyModel
from genjax.energy.rules import FlowMatching
from genjax.learners import Decay, Frozen, Stage, gradient_learner

MATCHING, TUNING = "flow_matching", "tuning"


@check_arguments
def energy_matching(
    model: EnergyModel,
    *,
    optimizers: tuple[optax.GradientTransformation, optax.GradientTransformation],
    steps: tuple[PositiveInt, PositiveInt],
    ema_decay: Decay | None = None,
) -> tuple[Stage, Stage]:
    """Return the two stages, for ``Experiment(model=model, stages=…)``.

    Args:
      model: model whose rules are ``FlowMatching`` and others, such as ``ContrastiveDivergence``.
      optimizers: optimizer of each stage.
      steps: number of learner steps of each stage.
      ema_decay: decay of the moving average of the parameters; the second stage starts from the first one's average.

    Raises:
      ValueError: if the model lacks a ``FlowMatching`` rule, or has no other.
    """
    matching = tuple(rule for rule in model.rules if isinstance(rule, FlowMatching))
    if len(matching) in (0, len(model.rules)):
        names = [type(rule).__name__ for rule in model.rules]
        raise ValueError(
            f"rules are {names}, but energy matching needs FlowMatching and another rule; use "
            "rules=(FlowMatching(), ContrastiveDivergence())"
        )
    potential = replace(model, rules=matching)

    def second(finished: Frozen) -> Learner:
        def init(key: Array, batch: Batch) -> Variables:
            return Variables(finished[MATCHING].params, model.init(key, batch).state)

        return gradient_learner(model, optimizers[1], ema_decay=ema_decay, init=init)

    first = gradient_learner(potential, optimizers[0], ema_decay=ema_decay)
    return (
        Stage(name=MATCHING, learner=lambda _: first, steps=steps[0], model=potential),
        Stage(name=TUNING, learner=second, steps=steps[1]),
    )
