"""The kernel two-sample test: all permutations of tiny samples, level and power."""

from __future__ import annotations

import itertools

import jax
import numpy as np
import pytest
from scipy import stats

from genjax.metrics.kernels import median_bandwidths, mmd_squared
from genjax.metrics.two_sample import MAX_POINTS, mmd_test


def double_loop(width, x, y):
    def kernel(a, b):
        return np.exp(-((a - b) ** 2).sum() / (2 * width**2))

    within = [np.mean([kernel(a, b) for a, b in itertools.permutations(side, 2)]) for side in (x, y)]
    return sum(within) - 2 * np.mean([kernel(a, b) for a, b in itertools.product(x, y)])


def all_dealings(width, x, y):
    points = np.concatenate([x, y]).astype(np.float64)
    values = []
    for first in itertools.combinations(range(len(points)), len(x)):
        second = np.setdiff1d(range(len(points)), first)
        values.append(double_loop(width, points[list(first)], points[second]))
    return np.array(values)


@pytest.mark.parametrize(("n", "m"), [(4, 3), (4, 4)])
def test_p_value_and_threshold_are_those_of_all_dealings(n, m):
    """For equal sample sizes every permutation ties with its complement, and ties count as large."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(n, 2)).astype(np.float32), (rng.normal(size=(m, 2)) + 0.8).astype(np.float32)
    values = all_dealings(1.0, x, y)
    observed, permutations = double_loop(1.0, np.float64(x), np.float64(y)), 19_999
    exact = np.mean(values >= observed - 1e-9)
    result = mmd_test(jax.random.key(1), x, y, bandwidths=(1.0,), num_permutations=permutations)
    np.testing.assert_allclose(result["mmd2"], observed, atol=1e-6)
    assert abs(float(result["p_value"]) - exact) < 4 * np.sqrt(exact * (1 - exact) / permutations)
    # At most 5 % of all permutations exceed the threshold, and more than 5 % reach it.
    above, from_it_on = (np.mean(values > result["threshold"] + shift) for shift in (1e-5, -1e-5))
    assert above <= 0.05 < from_it_on


def test_the_statistic_is_that_of_the_kernels():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(60, 3)) + 50, 1.2 * rng.normal(size=(45, 3)) + 50
    for bandwidths in (None, (0.3, 1.0, 2.0)):
        result = mmd_test(jax.random.key(0), x, y, num_permutations=19, bandwidths=bandwidths)
        expected = mmd_squared(x, y, bandwidths=result["bandwidths"].tolist())["mmd2"]
        np.testing.assert_allclose(result["mmd2"], expected, atol=2e-6)


def test_default_bandwidths_are_those_of_both_samples_together():
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(30, 2)).astype(np.float32), rng.normal(size=(20, 2)).astype(np.float32) + 3
    result = mmd_test(jax.random.key(0), x, y, num_permutations=19)
    np.testing.assert_allclose(result["bandwidths"], median_bandwidths(np.concatenate([x, y])), rtol=1e-6)


def test_p_values_of_equal_distributions_are_uniform():
    """Of 300 tests with equal distributions, 5 % reject, and the threshold agrees with p ≤ 5 %."""
    rng = np.random.default_rng(3)
    p_values, rejected = [], []
    for seed in range(300):
        x, y = rng.exponential(size=(20, 2)), rng.exponential(size=(15, 2))
        result = jax.device_get(mmd_test(jax.random.key(seed), x, y, num_permutations=99))
        p_values.append(result["p_value"])
        rejected.append(result["mmd2"] > result["threshold"])
    np.testing.assert_array_equal(np.array(rejected), np.array(p_values) <= 0.05 + 1e-6)
    assert stats.binomtest(int(np.sum(rejected)), len(rejected), 0.05).pvalue > 1e-3
    ranks = np.round(np.array(p_values) * 100).astype(int)  # rank of the observed value among 100, 1 to 100
    assert stats.chisquare(np.histogram(ranks, bins=10, range=(1, 101))[0]).pvalue > 1e-3


@pytest.mark.parametrize("change", [lambda y: y + 0.4, lambda y: 1.4 * y, lambda y: np.sign(y) * np.sqrt(2 / np.pi)])
def test_differences_are_found(change):
    """Changes of location, of scale and, at nearly equal mean and variance, of shape."""
    rng = np.random.default_rng(4)
    x, y = rng.normal(size=(300, 2)), change(rng.normal(size=(200, 2)))
    result = mmd_test(jax.random.key(0), x, y, num_permutations=199)
    assert result["p_value"] == np.float32(1 / 200)
    assert result["mmd2"] > result["threshold"]


def test_equal_points_are_not_told_apart():
    result = mmd_test(jax.random.key(0), np.ones((5, 2)), np.ones((4, 2)), num_permutations=19)
    assert result["p_value"] == 1
    assert not result["mmd2"] > result["threshold"]


def test_refusals():
    key, x = jax.random.key(0), np.zeros((3, 2))
    many = np.zeros((MAX_POINTS - 2, 2))
    with pytest.raises(ValueError, match=r"have 8001 points in total, but .* at most 8000 rows; give 4000 of each"):
        mmd_test(key, many, x)
    with pytest.raises(ValueError, match="num_permutations is 18, but must be at least 19, for the 5 % level"):
        mmd_test(key, x, x, num_permutations=18)
    with pytest.raises(ValueError, match="generated has 1 samples, but at least 2 are needed"):
        mmd_test(key, x, x[:1])
    with pytest.raises(ValueError, match="generated has 1 features, but reference has 2"):
        mmd_test(key, x, x[:, :1])
    with pytest.raises(ValueError, match=r"bandwidths are \(0.0,\), but must be at least one, and between"):
        mmd_test(key, x, x, bandwidths=(0.0,))
