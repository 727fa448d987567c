"""The deep belief net as a scikit-learn estimator; see ``genjax.boltzmann.deep_belief_net`` for its mathematics."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, final

import jax.numpy as jnp
import numpy as np
import optax
from annotated_types import MinLen

from genjax import boltzmann, data
from genjax.arguments import Cure, NonNegativeInt, PositiveInt
from genjax.core import Learner
from genjax.estimators.base import DensityTransformer, Rate
from genjax.experiment import Experiment
from genjax.latent import greedy_stages, layer_variables
from genjax.learners import Frozen, Stage, gradient_learner


@final
@dataclass(eq=False, repr=False, kw_only=True)
class DBN(DensityTransformer):
    """Deep belief net, trained greedily from below and then fine-tuned by wake–sleep (Hinton et al. 2006).

    Other arguments and attributes: see ``DensityTransformer``; ``learning_rate``, ``n_iter`` and ``negative_phase`` are
    those of each layer, and annealing is needed only if the top is not tractable.

    Args:
      n_components: number of hidden units of each layer, from below, at least two layers.
      tuning_rate: learning rate of fine-tuning, above 0.
      n_tuning_iter: number of epochs of fine-tuning; 0 turns it off.

    Attributes:
      model_: the ``boltzmann.DeepBeliefNet``, of shape (N,).

    >>> X = np.repeat([[0, 0, 1, 1], [1, 1, 0, 0]], 50, axis=0)
    >>> net = DBN(n_components=(3, 2), n_iter=20, random_state=0).fit(X)
    >>> net.transform(X).shape, net.sample(3).shape, net.score_samples(X).shape
    ((100, 2), (3, 4), (100,))
    """

    n_components: Annotated[Sequence[PositiveInt], MinLen(2), Cure("; use RBM for one layer")] = field(
        default=(256, 256), kw_only=False
    )
    tuning_rate: Rate = 0.01
    n_tuning_iter: NonNegativeInt = 0

    def score_samples(self, X: Any) -> np.ndarray:
        """Return a lower bound on the log-likelihood of each row, nats, (B,), for rows, (B, N).

        The variational bound is estimated with one draw of the hidden units for each row. If the top is too large to
        enumerate, each call runs annealed importance sampling; see ``boltzmann.DeepBeliefNet.log_prob_lower_bound``.
        """
        self._check_settings()
        options = {"num_particles": self.n_particles, "num_temperatures": self.n_temperatures}
        rows = self._rows(X)
        return np.asarray(self.model_.log_prob_lower_bound(self.variables_, self._key(), rows, **options))

    @property
    def _n_features_out(self) -> int:  # scikit-learn derives column names from it
        return self.model_.num_hidden[-1]

    def _experiment(self, X: np.ndarray) -> Experiment:
        """See ``DensityTransformer``."""
        model = boltzmann.DeepBeliefNet(
            shape=X.shape[1:], num_hidden=tuple(self.n_components), **self._units_and_phase()
        )
        model.units.encode(jnp.asarray(X), model.shape)  # compiled training cannot check values
        epochs = self._epochs(len(X))

        def layer(number: int, finished: Frozen) -> Learner:
            below = layer_variables(finished)
            start = functools.partial(model.init_layer, below[-1], number=number) if below else None
            return gradient_learner(model.layers[number], optax.sgd(self.learning_rate), init=start)

        def fine_tuning(finished: Frozen) -> Learner:
            start = model.assemble(layer_variables(finished))
            return gradient_learner(model, optax.sgd(self.tuning_rate), init=lambda _key, _batch: start)

        learners = [functools.partial(layer, number) for number in range(len(model.layers))]
        stages = greedy_stages(model.layers, learners, [epochs["steps"]] * len(learners))
        if self.n_tuning_iter:
            steps = epochs["steps"] // self.n_iter * self.n_tuning_iter
            stages = (*stages, Stage(name="fine_tuning", learner=fine_tuning, steps=steps))
        return Experiment(
            model=model,
            data=data.arrays(X, name="X"),
            stages=stages,
            variables=None if self.n_tuning_iter else lambda finished: model.assemble(layer_variables(finished)),
            batch_size=epochs["batch_size"],
            log_every=epochs["log_every"],
        )
