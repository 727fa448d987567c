"""What the models of a suite have in common: a recipe for each, and the experiment that follows from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import optax

from genjax import Experiment, data
from genjax.core import GenerativeModel


@dataclass(frozen=True, kw_only=True)
class View:
    """How a model sees the data.

    Attributes:
      preprocess: transform of a batch.
      display: function from samples to what is compared; None for the default.
    """

    preprocess: Callable[..., Any] = data.unchanged
    display: Callable[..., Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A model and how it is trained.

    Attributes:
      model: function that makes the model.
      steps: number of training steps.
      view: how it sees the data.
      learning_rate: initial learning rate of AdamW, which decays to zero along a cosine.
      weight_decay: weight decay of AdamW.
      batch_size: number of examples in a minibatch.
      schedule: order of the objectives.
      beta: decay of AdamW's average of gradients.
      square_beta: decay of its average of squared gradients.
    """

    model: Callable[[], GenerativeModel]
    steps: int
    view: View = View()
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    batch_size: int = 128
    schedule: tuple[str, ...] | None = None
    beta: float = 0.9
    square_beta: float = 0.999

    def experiment(self, dataset: data.Dataset, learning_rate_factor: float, steps: int | None) -> Experiment:
        """Return the experiment, which evaluates, samples and saves once, at its end."""
        steps = steps or self.steps
        schedule = optax.cosine_decay_schedule(learning_rate_factor * self.learning_rate, steps)
        adam = optax.adamw(schedule, b1=self.beta, b2=self.square_beta, weight_decay=self.weight_decay)
        whole = -(-steps // 100) * 100
        return Experiment(
            model=self.model(),
            data=dataset,
            preprocess=self.view.preprocess,
            display=self.view.display,
            optimizer=optax.chain(optax.clip_by_global_norm(1.0), adam),
            schedule=self.schedule,
            ema_decay=0.999,
            steps=steps,
            batch_size=self.batch_size,
            evaluate_every=whole,
            sample_every=whole,
            checkpoint_every=whole,
        )
