"""The sliced Wasserstein distance against exact transport in one dimension, and closed forms."""

from __future__ import annotations

import jax
import numpy as np
import pytest
import scipy.stats

from genjax.metrics.sliced import sliced_wasserstein


@pytest.mark.parametrize(("n", "m"), [(7, 7), (7, 12), (6, 4), (1, 5)])
def test_one_dimension_is_exact_for_unequal_sizes(n, m):
    rng = np.random.default_rng(n * m)
    x, y = rng.normal(size=(n, 1)), rng.normal(size=(m, 1)) * 2 + 1
    values = sliced_wasserstein(jax.random.key(0), x, y, num_projections=4, order=1)
    np.testing.assert_allclose(
        values["sliced_wasserstein"], scipy.stats.wasserstein_distance(x[:, 0], y[:, 0]), rtol=1e-5
    )
    assert float(values["sliced_wasserstein_standard_error"]) < 1e-6


def test_order_two_by_hand():
    """{0, 0, 3} and {1, 2}: quantiles differ by 1 on [0, ½], 2 on [½, ⅔], 1 on [⅔, 1]."""
    values = sliced_wasserstein(
        jax.random.key(0), np.array([[0.0], [0.0], [3.0]]), np.array([[2.0], [1.0]]), num_projections=2
    )
    np.testing.assert_allclose(values["sliced_wasserstein"], (1 / 2 + 4 / 6 + 1 / 3) ** 0.5, rtol=1e-6)


def test_a_shift_keeps_its_share_in_every_dimension():
    """For a shift δ, W₂ along θ is |θ·δ|, whose mean square is |δ|²/D."""
    x = np.random.default_rng(0).normal(size=(50, 8))
    shift = np.array([3.0, 0, 0, 4.0, 0, 0, 0, 0])
    values = sliced_wasserstein(jax.random.key(1), x, (x + shift)[::-1], num_projections=2000)
    error = float(values["sliced_wasserstein_standard_error"])
    assert abs(float(values["sliced_wasserstein"]) - 5 / 8**0.5) < 4 * error < 0.15


def test_order_two_is_transport_of_repeated_points():
    """6 points repeated twice and 4 points repeated three times are matched in sorted order, 12 each."""
    rng = np.random.default_rng(1)
    x, y, directions = rng.normal(size=(6, 3)), rng.normal(size=(4, 3)), rng.normal(size=(4000, 3))
    values = sliced_wasserstein(jax.random.key(2), x, y, num_projections=4000)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    a, b = (np.sort(np.repeat(side, 12 // len(side), axis=0) @ directions.T, axis=0) for side in (x, y))
    powers = ((a - b) ** 2).mean(axis=0)
    error = powers.std() / np.sqrt(4000) / (2 * np.sqrt(powers.mean()))
    np.testing.assert_allclose(values["sliced_wasserstein_standard_error"], error, rtol=0.1)
    assert abs(float(values["sliced_wasserstein"]) - np.sqrt(powers.mean())) < 4 * np.sqrt(2) * error


def test_it_does_not_depend_on_where_the_data_lies():
    rng = np.random.default_rng(4)
    x, y = (np.round(64 * rng.normal(size=(n, 3))) / 64 for n in (30, 20))  # float32 is exact for them even far away
    here, there = (sliced_wasserstein(jax.random.key(0), x + c, y + c) for c in (0, 2**17))
    np.testing.assert_allclose(there["sliced_wasserstein"], here["sliced_wasserstein"], rtol=1e-4)


def test_scaled_gaussians_are_apart_by_the_difference_of_their_scales():
    """Along every direction, W₂ between N(0, 1) and N(0, s²) is |s − 1|."""
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(20_000, 3)), 1.5 * rng.normal(size=(15_000, 3))
    values = sliced_wasserstein(jax.random.key(3), x, y, num_projections=32)
    np.testing.assert_allclose(values["sliced_wasserstein"], 0.5, atol=0.02)


def test_progress_counts_every_direction():
    done = []
    x = np.random.default_rng(0).normal(size=(5, 2))
    sliced_wasserstein(jax.random.key(0), x, x + 1, num_projections=20, progress=done.append)
    assert sum(done) == 20


def test_equal_samples_are_at_distance_zero():
    x = np.random.default_rng(0).normal(size=(20, 3))
    values = sliced_wasserstein(jax.random.key(0), x, x[::-1], num_projections=20)
    assert float(values["sliced_wasserstein"]) == 0.0
    assert float(values["sliced_wasserstein_standard_error"]) == 0.0


def test_what_cannot_be_compared_is_refused():
    x = np.ones((4, 2))
    with pytest.raises(ValueError, match="order is 3, but must be 1 or 2"):
        sliced_wasserstein(jax.random.key(0), x, x, order=3)
    with pytest.raises(ValueError, match="num_projections is 1"):
        sliced_wasserstein(jax.random.key(0), x, x, num_projections=1)
    with pytest.raises(ValueError, match="reference has 0 samples"):
        sliced_wasserstein(jax.random.key(0), x[:0], x)
