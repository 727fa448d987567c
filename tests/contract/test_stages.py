"""Methods of several stages, where each stage trains on data that earlier stages transform."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from chex import assert_trees_all_equal

from genjax.core import Variables, step_key, stream_key
from genjax.learners import Frozen
from tests.contract.batches import NUM_EXAMPLES, NUM_FEATURES, binary_batch
from tests.contract.case import Pipeline
from tests.contract.cases.boltzmann import belief_net_stages
from tests.contract.registry import PIPELINES
from tests.contract.training import saved


class Trained:
    """All stages of a pipeline, trained in order, with a copy of the finished stages that each one receives."""

    def __init__(self, pipeline: Pipeline, seed: int = 0):
        self.stages = pipeline.stages()
        self.finished: Frozen = {}
        self.num_traces: dict[str, int] = {}
        self.frozen: dict[str, Frozen] = {}
        root = jax.random.key(seed)
        for stage in self.stages:
            stream = stream_key(root, stage.name)
            learner, make_batch = stage.learner(self.finished), stage.batch(self.finished)
            self.frozen[stage.name] = saved(dict(self.finished))
            self.num_traces[stage.name] = 0

            def step(train, key, data, name=stage.name, learner=learner, make_batch=make_batch):
                self.num_traces[name] += 1
                key_batch, key_step = jax.random.split(key)
                return learner.step(train, key_step, make_batch(key_batch, data))

            step = jax.jit(step, donate_argnums=0)
            data = pipeline.batch(stream_key(stream, "data"))
            train = learner.init(stream_key(stream, "init"), make_batch(stream_key(stream, "first"), data))
            for i in range(stage.steps):
                train, _ = step(train, step_key(stream, i), data)
            assert train.step == stage.steps
            self.finished = dict(self.finished) | {stage.name: train.variables}


@pytest.fixture(scope="module", params=PIPELINES, ids=lambda pipeline: pipeline.name)
def trained(request) -> Trained:
    return Trained(request.param)


def test_stages_are_named_apart_and_take_steps(trained):
    assert len({stage.name for stage in trained.stages}) == len(trained.stages) > 1
    assert all(stage.steps > 0 for stage in trained.stages)


def test_each_stage_traces_once(trained):
    assert set(trained.num_traces.values()) == {1}


def test_finished_stages_stay_as_they_were(trained):
    for frozen in trained.frozen.values():
        for name, variables in frozen.items():
            assert_trees_all_equal(saved(trained.finished[name]), variables)


def test_a_stage_sees_the_finished_stages_before_it_and_no_other(trained):
    for i, stage in enumerate(trained.stages):
        assert set(trained.frozen[stage.name]) == {before.name for before in trained.stages[:i]}


def test_the_second_layer_trains_on_the_hidden_units_of_the_finished_first():
    # With these weights the hidden units of the first layer almost surely copy its first four visible units.
    copy = {
        "weights": 40.0 * jnp.eye(NUM_FEATURES, 4),
        "visible_bias": jnp.zeros(NUM_FEATURES),
        "hidden_bias": jnp.full(4, -20.0),
    }
    _, second, _ = belief_net_stages()
    frozen = {"layer_1": Variables({"rbm": copy}, {})}
    data = binary_batch(jax.random.key(0))
    codes = jax.jit(second.batch(frozen))(jax.random.key(1), data)
    np.testing.assert_array_equal(codes["x"], data["x"][:, :4])
    assert codes["x"].shape == (NUM_EXAMPLES, 4)
    train = second.learner(frozen).init(jax.random.key(2), codes)
    assert train.params["rbm"]["weights"].shape == (4, 3)


def test_the_last_stage_starts_from_what_the_others_have_learned(trained):
    tuning = trained.stages[-1]
    start = tuning.learner(trained.finished).init(jax.random.key(0), binary_batch(jax.random.key(1)))
    expected = trained.finished["layer_1"].params["rbm"]["weights"]
    for part in ("recognition", "generative"):
        np.testing.assert_array_equal(start.params[part][0].weights, expected)
    assert start.params["recognition"][0].weights is not trained.finished["layer_1"].params["rbm"]["weights"]
