"""An experiment that cannot run raises an error that says how to correct it."""

import dataclasses

import numpy as np
import optax
import pytest

from genjax import capabilities, data
from genjax.core import Variables
from genjax.runner import Experiment


class Model:
    def init(self, key, batch):
        raise NotImplementedError

    def objectives(self):
        return ()

    def sample(self, variables, key, num_samples):
        raise NotImplementedError


def make(**changes):
    x = np.zeros((20, 4, 4, 1), np.uint8)
    fields = {"model": Model(), "data": data.arrays(x, name="zeros"), "optimizer": optax.sgd(1.0), "steps": 1000}
    return Experiment(**{**fields, "batch_size": 10, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"batch_size": 21}, r"batch_size is 21, .* 'zeros' has 20 examples; use a batch_size of at most 20"),
        ({"batch_size": 0}, "batch_size is 0, but must be at least 1"),
        ({"steps": None}, "steps is missing"),
        ({"optimizer": None}, "needs exactly one of optimizer, learner and stages, but has none"),
        ({"evaluate_every": 250}, r"evaluate_every is 250, .* multiple of log_every=100.*; use 300"),
        ({"schedule": ("critic",)}, r"schedule names 'critic', but the model's objectives are \[\]"),
        ({"ema_decay": 1.0}, r"ema_decay is 1.0, but must be in \[0, 1\); use None for no average"),
        ({"optimizer": {"loss": optax.sgd(1.0)}}, r"optimizers are given for \['loss'\]"),
    ],
)
def test_refused_with_value_limit_and_cure(changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)


def test_labels_that_the_model_does_not_have_are_refused():
    class Classes(Model):
        conditions = capabilities.label_condition(3)

    labels = np.arange(20) % 4
    with pytest.raises(ValueError, match=r"num_classes=3, but labels of 'four' are 0 to 3; use num_classes=4"):
        make(model=Classes(), data=data.arrays(np.zeros((20, 2)), label=labels, name="four"))
    make(model=Classes(), data=data.arrays(np.zeros((20, 2)), label=labels % 3, name="three"))


def test_variables_of_several_replicas_are_made_for_each_of_its_own():
    means = make(variables=lambda finished: Variables({"mean": finished["model"].params["w"].mean(keepdims=True)}, {}))
    several = means.model_variables({"model": Variables({"w": np.arange(6.0).reshape(2, 3)}, {})}, 2)
    np.testing.assert_array_equal(several.params["mean"], [[1.0], [4.0]])
    single = means.model_variables({"model": Variables({"w": np.arange(3.0)}, {})})
    np.testing.assert_array_equal(single.params["mean"], [1.0])


def test_intervals_default_to_tenths_in_whole_dispatches():
    experiment = make(log_every=30)
    assert experiment.interval("evaluate_every", 1000) == 90
    assert experiment.interval("evaluate_every", 10) == 30
    assert dataclasses.replace(experiment, evaluate_every=60).interval("evaluate_every", 1000) == 60
