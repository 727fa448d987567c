"""The classifier two-sample test on data with known best accuracy."""

from __future__ import annotations

import math

import jax
import numpy as np
import pytest
from scipy.stats import fisher_exact, norm
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression

from genjax.metrics.classifier_test import classifier_two_sample_test


def gaussian(seed, count, shift=0.0):
    return np.random.default_rng(seed).normal(size=(count, 2)) + np.array([shift, 0.0])


def test_equal_distributions_cannot_be_told_apart():
    """p is uniform: about four of forty tests are below 0.1, and more than twelve with probability 1e-4."""
    p = [
        float(classifier_two_sample_test(jax.random.key(i), gaussian(i, 100), gaussian(100 + i, 120))["p_value"])
        for i in range(40)
    ]
    assert sum(value < 0.1 for value in p) <= 12
    assert sum(value > 0.5 for value in p) >= 8


def test_accuracy_is_near_the_best_there_is():
    """For two Gaussians at distance δ, the best classifier has an accuracy of Φ(δ/2)."""
    values = classifier_two_sample_test(jax.random.key(0), gaussian(0, 2000), gaussian(1, 3000, shift=2.0))
    best, error = norm.cdf(1.0), float(values["classifier_accuracy_standard_error"])
    np.testing.assert_allclose(error, 0.5 / np.sqrt(2000), rtol=1e-6)  # 1,000 of each sample are held out
    assert best - 0.03 < float(values["classifier_accuracy"]) < best + 4 * error
    assert float(values["p_value"]) < 1e-6


def test_a_classifier_of_the_right_form_is_as_good_as_the_best_there_is():
    values = classifier_two_sample_test(
        jax.random.key(0), gaussian(0, 4000), gaussian(1, 4000, shift=1.0), classifier=LogisticRegression()
    )
    error = float(values["classifier_accuracy_standard_error"])
    assert abs(float(values["classifier_accuracy"]) - norm.cdf(0.5)) < 4 * error < 0.04


def test_p_value_is_that_of_the_exact_test():
    """A linear threshold classifier, with different error rates for the labels."""

    class Line:
        def fit(self, x, y):
            del x, y

        def predict(self, x):
            called = (x[:, 0] > 1.0).astype(int)
            tables.append([np.sum(called[10:]), np.sum(1 - called[10:]), np.sum(called[:10]), np.sum(1 - called[:10])])
            return called

    tables = []
    values = classifier_two_sample_test(
        jax.random.key(0), gaussian(0, 20), gaussian(1, 20, shift=1.0), classifier=Line()
    )
    table = np.reshape(tables[0], (2, 2))
    assert 0 < table[0, 0] < 10
    np.testing.assert_allclose(values["p_value"], fisher_exact(table, alternative="greater").pvalue, rtol=1e-5)
    np.testing.assert_allclose(values["classifier_accuracy"], (table[0, 0] + table[1, 1]) / 20, rtol=1e-6)


def test_the_key_decides_what_a_classifier_draws_and_the_given_one_is_left_alone():
    forest = ExtraTreesClassifier(3, max_depth=3)
    x, y = gaussian(0, 200), gaussian(1, 200, shift=0.5)
    accuracies = [
        float(classifier_two_sample_test(jax.random.key(seed), x, y, classifier=forest)["classifier_accuracy"])
        for seed in (0, 0, 1)
    ]
    assert accuracies[0] == accuracies[1] != accuracies[2]
    assert forest.random_state is None
    assert not hasattr(forest, "estimators_")


def test_separated_samples_are_always_told_apart():
    values = classifier_two_sample_test(jax.random.key(0), gaussian(0, 40), gaussian(1, 40, shift=50.0))
    assert float(values["classifier_accuracy"]) == 1.0
    # One of all divisions of forty held-out examples.
    np.testing.assert_allclose(values["p_value"], 1 / math.comb(40, 20), rtol=1e-5)


def test_constant_features_tell_nothing():
    done = []
    values = classifier_two_sample_test(jax.random.key(0), np.ones((40, 3)), np.ones((30, 3)), progress=done.append)
    assert float(values["classifier_accuracy"]) == 0.5
    assert float(values["p_value"]) == 1.0
    assert sum(done) == 30


def test_held_out_points_are_not_learned_from():
    """A classifier gains nothing from memorizing its training points."""

    class Rote:
        def fit(self, x, y):
            self.known = {row.tobytes() for row in x}
            assert abs(y.mean() - 0.5) < 1e-9

        def predict(self, x):
            assert not any(row.tobytes() in self.known for row in x)
            return np.zeros(len(x))

    values = classifier_two_sample_test(jax.random.key(0), gaussian(0, 31), gaussian(1, 50), classifier=Rote())
    assert float(values["classifier_accuracy"]) == 0.5


def test_few_samples_are_refused():
    with pytest.raises(ValueError, match="generated has 9 samples, but at least 10"):
        classifier_two_sample_test(jax.random.key(0), gaussian(0, 40), gaussian(1, 9))
