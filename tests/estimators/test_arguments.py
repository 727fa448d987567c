"""What an annotation forbids is refused by ``fit``; scikit-learn wants constructors to take anything."""

import re
import typing

import numpy as np
import pytest

from genjax.arguments import ArgumentError
from genjax.estimators import DBN, RBM
from tests.test_bad_arguments import shown, wrong_values

X = np.zeros((4, 3))


@pytest.mark.parametrize("estimator", [RBM, DBN])
def test_settings_that_the_annotations_forbid(estimator):
    hints = typing.get_type_hints(estimator, include_extras=True)
    for name in estimator().get_params(deep=False):
        for value in wrong_values(hints[name]):
            with pytest.raises(ArgumentError, match=rf"{name} is {re.escape(shown(value))}, but must be "):
                estimator(**{name: value}).fit(X)
