"""Every model also works with 64-bit types enabled, on data of either precision.

Types are wrong while a program is traced or never, so nothing is compiled here.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import pytest

from genjax import capabilities
from genjax.capabilities import likelihoods
from genjax.learners import gradient_learner
from tests.contract.batches import NUM_EXAMPLES
from tests.contract.case import Case
from tests.contract.training import label_option


def uses(model: Any, case: Case, x_dtype: Any):
    """Return the results of everything that a model can do, with data of one type."""
    batch = dict(case.batch(jax.random.key(0)))
    if jnp.issubdtype(batch["x"].dtype, jnp.floating):
        batch["x"] = batch["x"].astype(x_dtype)
    learner = gradient_learner(model, case.optimizers, schedule=case.schedule, ema_decay=0.5)
    batches = batch if learner.minibatches == 1 else jax.tree.map(lambda a: jnp.stack([a] * learner.minibatches), batch)
    state = learner.init(jax.random.key(1), batch)
    stepped, _ = learner.step(state, jax.random.key(2), batches)
    variables, x, label = stepped.variables, batch["x"], label_option(model, NUM_EXAMPLES)
    results = {"state": (state, stepped), "sample": model.sample(variables, jax.random.key(3), NUM_EXAMPLES, **label)}
    for method in likelihoods(model):
        key = () if method == "log_prob" else (jax.random.key(4),)
        draws = (2,) if method == "log_prob_estimate" else ()
        results[method] = getattr(model, method)(variables, *key, x, *draws, **label)
    if isinstance(model, capabilities.Reconstructs):
        results["reconstruct"] = model.reconstruct(variables, jax.random.key(5), x, **label)
    if isinstance(model, capabilities.Encodes) and isinstance(model, capabilities.Decodes):
        results["decode"] = model.decode(variables, model.encode(variables, x, **label), **label)
    return results


@pytest.mark.slow
@pytest.mark.parametrize("x_dtype", ["float32", "float64"])
def test_everything_traces_with_64_bit_types(case: Case, x_dtype: str):
    with jax.enable_x64(True), jax.debug_key_reuse(False):
        results = jax.eval_shape(lambda: uses(case.model(), case, x_dtype))
    before, after = results["state"]
    assert jax.tree.map(lambda a: a.dtype, before) == jax.tree.map(lambda a: a.dtype, after)
    for method in set(results) & {"log_prob", "log_prob_lower_bound", "log_prob_estimate"}:
        assert results[method].shape == (NUM_EXAMPLES,), method
