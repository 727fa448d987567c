"""Bins of data: the test of equal shares on numbers of one's own, and its rate on samples of the data."""

import numpy as np
import pytest

from genjax.metrics import different_bins

POINTS = np.array([[0.0], [10.0]])


def samples(first, second):
    return np.repeat(POINTS, [first, second], axis=0)


@pytest.mark.parametrize(
    ("generated", "share"),
    [
        (samples(20, 20), 0.0),
        (samples(12, 28), 0.0),  # z = 0.2 / √(0.4 · 0.6 · 2 / 40) = 1.826
        (samples(11, 29), 1.0),  # z = 0.225 / √(0.3875 · 0.6125 · 2 / 40) = 2.066
        (samples(0, 80), 1.0),
    ],
)
def test_two_bins_differ_where_the_test_of_equal_shares_rejects(generated, share):
    values = different_bins(samples(20, 20), generated)
    assert (values["bins"], values["different_bins"]) == (2, share)


def test_sizes_of_both_samples_count():
    # z = 0.15 / √(r (1 − r) (1 / 40 + 1 / 400)) with r = (20 + 140) / 440
    assert 0.15 / np.sqrt(16 / 44 * 28 / 44 * (1 / 40 + 1 / 400)) < 1.96
    assert different_bins(samples(20, 20), samples(140, 260))["different_bins"] == 0.0
    assert different_bins(samples(200, 200), samples(140, 260))["different_bins"] == 1.0


def test_bins_of_data_differ_at_the_rate_of_the_test():
    rng = np.random.default_rng(0)
    values = [different_bins(rng.normal(size=(600, 3)), rng.normal(size=(600, 3))) for _ in range(20)]
    assert {float(value["bins"]) for value in values} == {30.0}
    assert 0.01 < np.mean([value["different_bins"] for value in values]) < 0.08


def test_there_are_at_most_a_hundred_bins():
    x = np.random.default_rng(0).normal(size=(2_400, 2))
    assert different_bins(x, x)["bins"] == 100
    assert different_bins(x, x)["different_bins"] == 0
    assert different_bins(x, x[:100])["bins"] == 5
    with pytest.raises(ValueError, match="generated has 39 samples, but at least 40 are needed"):
        different_bins(x, x[:39])
