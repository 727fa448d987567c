"""What a model is asked for, and the answer of models that declare nothing."""

import numpy as np
import pytest

from genjax.capabilities import conditioning, conditions, label_condition, num_classes, num_values, stop_token


class Plain:
    """A model that declares nothing."""


class WithClasses:
    num_classes = 3


class WithConditions(WithClasses):
    conditions = label_condition(3)


def test_a_model_that_declares_nothing_has_nothing():
    assert conditions(Plain()) == ()
    assert num_classes(Plain()) is None
    assert num_values(Plain()) is None
    assert stop_token(Plain()) is None
    assert conditioning(Plain(), {"x": np.zeros(2), "label": np.zeros(2)}) == {}


def test_a_batch_gives_the_conditions_that_are_declared():
    assert num_classes(WithConditions()) == 3
    picked = conditioning(WithConditions(), {"x": np.zeros(2), "label": np.array([0, 2], np.uint8)})
    assert picked["label"].dtype == np.int32
    np.testing.assert_array_equal(picked["label"], [0, 2])
    with pytest.raises(ValueError, match=r"the batch has \['x'\], but WithConditions is conditioned on 'label'"):
        conditioning(WithConditions(), {"x": np.zeros(2)})


def test_classes_without_conditions_are_refused():
    with pytest.raises(ValueError, match=r"WithClasses has num_classes=3, but declares no conditions; add"):
        conditions(WithClasses())
