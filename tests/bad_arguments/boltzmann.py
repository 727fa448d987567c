"""Boltzmann machines, their units and negative phases."""

from functools import partial

import jax
import jax.numpy as jnp

from genjax import boltzmann
from genjax.core import Variables

PACKAGES = (boltzmann,)
EXCEPT = (boltzmann.RBMParams,)  # a pytree, whose leaves may be anything
RBM = {"shape": (4,), "num_hidden": 3}
DEEP = {"shape": (4,), "num_hidden": (3, 2)}
SAMPLE = {"variables": Variables({}, {}), "key": jax.random.key(0), "num_samples": 2}
PARAMS = boltzmann.RBMParams(jnp.zeros((4, 3)), jnp.zeros(4), jnp.zeros(3))
CASES = (
    partial(boltzmann.BinomialUnits, num_copies=2),
    partial(boltzmann.SoftmaxUnits, num_values=3),
    partial(boltzmann.MixedUnits, kinds=(boltzmann.BinaryUnits(),), sizes=(3,)),
    partial(boltzmann.ContrastiveDivergence),
    partial(boltzmann.FastWeights),
    partial(boltzmann.ParallelTempering),
    partial(boltzmann.Persistent),
    partial(boltzmann.RBM, **RBM),
    partial(boltzmann.ClassRBM, num_classes=2, **RBM),
    partial(boltzmann.BoltzmannMachine, **RBM),
    partial(boltzmann.DeepBeliefNet, **DEEP),
    partial(boltzmann.DeepBoltzmannMachine, **DEEP),
    partial(boltzmann.RBM(**RBM).sample, **SAMPLE),
    partial(boltzmann.RBM(**RBM).log_prob_estimate, x=jnp.zeros((2, 4)), **SAMPLE),
    partial(boltzmann.ClassRBM(num_classes=2, **RBM).sample, **SAMPLE),
    partial(boltzmann.BoltzmannMachine(**RBM).sample, **SAMPLE),
    partial(boltzmann.DeepBeliefNet(**DEEP).log_prob_estimate, x=jnp.zeros((2, 4)), **SAMPLE),
    partial(boltzmann.DeepBoltzmannMachine(**DEEP).sample_even, **SAMPLE),
    partial(boltzmann.annealed_importance_sampling, params=PARAMS, base_bias=jnp.zeros(4), key=SAMPLE["key"]),
)
