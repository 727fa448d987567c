"""Likelihoods, priors, pixel distributions, the solver, and functions with settings."""

from functools import partial

import jax
import jax.numpy as jnp

from genjax import ops
from genjax.ops import importance, mmd, quantization

PACKAGES = (ops,)
KEY, X = jax.random.key(0), jnp.zeros((3, 2))
CODES = {"start": X, "end": X, "num_steps": 3}
WEIGHTS = {"log_weights": lambda keys: jnp.zeros((len(keys), 3)), "key": KEY, "num_samples": 2}
CASES = (
    partial(ops.Categorical, num_values=4),
    partial(ops.DiscretizedLogistic),
    partial(ops.Gaussian),
    partial(ops.GaussianMixture),
    partial(ops.LogisticMixture),
    partial(ops.Solver),
    partial(ops.StandardNormal, dim=2),
    partial(ops.SwissRoll),
    partial(ops.StandardNormal(2).sample, key=KEY, num_samples=2),
    partial(ops.SwissRoll().sample, key=KEY, num_samples=2),
    partial(ops.linear_path, **CODES),
    partial(ops.spherical_path, **CODES),
    partial(importance.log_mean_weight, **WEIGHTS),
    partial(importance.mean_log_weight, **WEIGHTS),
    partial(mmd.mean_kernel, x=X, bandwidths=(1.0,)),
    partial(mmd.mmd_loss, x=X, y=X, bandwidths=(1.0,)),
    partial(quantization.kmeans, key=KEY, vectors=X, num_codes=2, num_steps=1),
    partial(ops.sinkhorn, cost=X, epsilon=0.1, num_iterations=2),
    partial(ops.tempered_softmax, logits=X, temperature=1.0),
)
