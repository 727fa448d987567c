"""scikit-learn's own checks of its conventions, with Gaussian units because the checks use real numbers."""

from __future__ import annotations

import pytest
from sklearn.utils.estimator_checks import estimator_checks_generator

from genjax import boltzmann
from genjax.estimators import RBM

ESTIMATOR = RBM(
    n_components=2,
    units=boltzmann.GaussianUnits(),
    negative_phase=boltzmann.ContrastiveDivergence(),
    learning_rate=1e-4,  # the checks' data are not standardized
    batch_size=100,
    n_iter=1,
)
# By default only checks with few fits run, because each new shape of the data compiles again.
QUICK = {
    "check_do_not_raise_errors_in_init_or_set_params",
    "check_dict_unchanged",
    "check_estimator_cloneable",
    "check_estimator_repr",
    "check_estimator_sparse_array",
    "check_estimator_tags_renamed",
    "check_estimators_empty_data_messages",
    "check_estimators_pickle",
    "check_fit1d",
    "check_fit2d_1sample",
    "check_fit_check_is_fitted",
    "check_get_params_invariance",
    "check_mixin_order",
    "check_n_features_in",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_set_params",
    "check_transformers_unfitted",
    "check_valid_tag_types",
}


def parameter(estimator, check):
    name = check.func.__name__
    return pytest.param(estimator, check, id=name, marks=() if name in QUICK else pytest.mark.slow)


CHECKS = [parameter(*pair) for pair in estimator_checks_generator(ESTIMATOR, mark=None)]


@pytest.mark.parametrize(("estimator", "check"), CHECKS)
def test_convention(estimator, check):
    check(estimator)


def test_quick_checks_exist():
    assert {parameter.id for parameter in CHECKS} >= QUICK
