"""Every model with networks trains in bfloat16 by one switch, and only its products are in bfloat16.

Most is seen while a step is traced, so that only some models compute.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.core import Learner, PyTree
from genjax.learners import gradient_learner
from genjax.nets import computing
from genjax.roofline import count_flops
from tests.contract.case import Case
from tests.contract.registry import CASES

# Boltzmann machines are products of matrices without a network, and this prior is a table of logits.
WITHOUT_NETWORKS = {
    *("rbm", "rbm_by_contrastive_divergence", "rbm_of_gaussian_units", "rbm_of_softmax_units", "class_rbm"),
    *("boltzmann_machine", "exact_boltzmann_machine", "deep_boltzmann_machine", "deep_belief_net"),
    "factorized_categorical",
}
TRACED = {"vae", "gan", "gpt", "made", "real_nvp", "diffusion", "rbm", "gmmn", "energy_by_score_matching"}
COMPUTED = {"vae"}
# Error of a loss, relative to it: eight bits of every product. Some losses are small differences of large numbers.
TOLERANCE = 0.02
TOLERANCE_AFTER_UPDATES = 0.05  # of a loss that sees the updates of others in the same step
MIN_COSINE = 0.9  # of the angle between the updates of all parameters


def some(names: set[str]) -> list[Any]:
    """Return all cases, those outside of some names only for the slow tier."""
    marks = {True: (), False: (pytest.mark.slow,)}
    return [pytest.param(case, id=case.name, marks=marks[case.name in names]) for case in CASES]


def learner_of(case: Case) -> Learner:
    return gradient_learner(case.model(), case.optimizers, schedule=case.schedule)


def batches_of(case: Case, count: int) -> PyTree:
    batch = case.batch(jax.random.key(0))
    return batch, batch if count == 1 else jax.tree.map(lambda a: jnp.stack([a] * count), batch)


def dtypes(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda a: (a.shape, a.dtype), tree)


def updates(before: PyTree, after: PyTree) -> np.ndarray:
    """Return the updates of all parameters in one vector."""
    return np.concatenate([np.ravel(b - a) for a, b in zip(*map(jax.tree.leaves, (before, after)), strict=True)])


@pytest.mark.parametrize("case", some(TRACED))
def test_products_are_in_bfloat16_and_everything_that_is_kept_in_float32(case: Case):
    learner = learner_of(case)
    batch, batches = batches_of(case, learner.minibatches)
    state = jax.eval_shape(learner.init, jax.random.key(1), batch)

    def step(state: Any, batches: Any) -> Any:
        with computing(dtype="bfloat16"):
            return learner.step(state, jax.random.key(2), batches)

    with jax.debug_key_reuse(False):
        program, (stepped, metrics) = jax.make_jaxpr(step, return_shape=True)(state, batches)
    assert (count_flops(program, "bfloat16") > 0) == (case.name not in WITHOUT_NETWORKS)
    assert dtypes(stepped) == dtypes(state)
    assert {jnp.dtype(metric.dtype).name for metric in jax.tree.leaves(metrics)} <= {"float32", "int32"}


@pytest.mark.parametrize("case", some(COMPUTED))
def test_losses_and_updates_agree_with_float32(case: Case):
    learner = learner_of(case)
    batch, batches = batches_of(case, learner.minibatches)
    state = jax.jit(learner.init)(jax.random.key(1), batch)

    def step(dtype: Any) -> Any:
        def take(state: Any, key: Any, batches: Any) -> Any:
            with computing(dtype=dtype):
                return learner.step(state, key, batches)

        return jax.jit(take)(state, jax.random.key(2), batches)

    (wide, metrics), (half, half_metrics) = step("float32"), step("bfloat16")
    for turn, name in enumerate(name for name in metrics if name.rpartition("/")[2] == "loss"):
        tolerance = TOLERANCE if turn == 0 else TOLERANCE_AFTER_UPDATES
        np.testing.assert_allclose(half_metrics[name], metrics[name], rtol=tolerance, atol=tolerance, err_msg=name)
    one, other = (updates(state.params, each.params) for each in (wide, half))
    assert np.isfinite(other).all()
    assert one @ other > MIN_COSINE * np.linalg.norm(one) * np.linalg.norm(other)
