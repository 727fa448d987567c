"""Runs of untrained models, for tests of what follows training."""

import jax
import numpy as np

from genjax import Experiment
from genjax.core import Learner
from genjax.data import Dataset
from genjax.data.source import ArraySource
from genjax.runner import Run


def untrained_run(case):
    """Return a run of a contract case with random numbers for variables, which takes no compiling."""
    model, batch = case.model(), case.batch(jax.random.key(0))
    examples = ArraySource({name: np.asarray(array) for name, array in batch.items()})
    experiment = Experiment(
        model=model,
        data=Dataset(name=case.name, splits={"train": examples}),
        learner=Learner(init=lambda *_: None, step=lambda *_: (None, {})),
        steps=1,
        batch_size=2,
    )
    shapes, rng = jax.eval_shape(model.init, jax.random.key(1), batch), np.random.default_rng(0)
    variables = jax.tree.map(lambda leaf: rng.uniform(0, 0.2, leaf.shape).astype(leaf.dtype), shapes)
    return Run(experiment=experiment, variables=variables, seeds=(0,), step=0, rows=(), folder=None)
