"""A tiny deep Boltzmann machine, trained layer by layer and then as a whole: three stages, with persistent chains."""

import functools

import numpy as np
import optax

from genjax import boltzmann, data, gradient_learner, latent
from genjax.learners import Stage
from genjax.runner import Experiment


def experiment(steps: int = 200, log_every: int = 10) -> Experiment:
    """Describe the run.

    Args:
      steps: learner steps of each stage.
      log_every: steps a dispatch.
    """
    negative = boltzmann.Persistent(8, 1)
    model = boltzmann.DeepBoltzmannMachine(
        shape=(4, 4, 1), num_hidden=(6, 5), num_mean_field=3, negative_phase=negative
    )
    layers = [
        functools.partial(lambda machine, _: gradient_learner(machine, optax.sgd(0.05)), m) for m in model.pretraining
    ]

    def whole(finished):
        learned = latent.layer_variables(finished)
        start = lambda key, batch: model.assemble(model.init(key, batch), learned)  # noqa: E731
        return gradient_learner(model, optax.sgd(0.05), ema_decay=0.9, init=start)

    x = np.random.default_rng(0).integers(0, 2, (64, 4, 4, 1), dtype=np.uint8)
    return Experiment(
        model=model,
        data=data.arrays(x, name="random", levels=2),
        preprocess=data.dynamic_binarization(levels=2),
        stages=(
            *latent.greedy_stages(model.pretraining, layers, [steps] * len(layers)),
            Stage(name="machine", learner=whole, steps=steps),
        ),
        batch_size=8,
        log_every=log_every,
    )
