"""The nearest-training-neighbour test against loops, known distributions, and SciPy's Mann–Whitney test."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from genjax.metrics.memorization import TREE_DIMENSIONS, copying_statistics, data_copying, nearest_neighbours


def as_floats(values) -> dict[str, float]:
    return {name: float(value) for name, value in values.items()}


@pytest.fixture(scope="module")
def normal() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(3, 200, 6)).astype(np.float32)


@pytest.mark.parametrize("dim", [5, TREE_DIMENSIONS, TREE_DIMENSIONS + 1])
def test_nearest_neighbours_by_loop(dim):
    generator, rows = np.random.default_rng(1), []
    queries, reference = generator.normal(size=(23, dim)), generator.normal(size=(31, dim))
    distances, indices = nearest_neighbours(queries, reference, chunk_size=7, progress=rows.append)
    assert sum(rows) == 23
    for i, query in enumerate(queries.astype(np.float32)):
        expected = [np.linalg.norm(query - x) for x in reference.astype(np.float32)]
        assert int(indices[i]) == int(np.argmin(expected))
        assert float(distances[i]) == pytest.approx(min(expected), rel=1e-6)


@pytest.mark.parametrize("dim", [2, 300])
def test_copies_are_found_exactly_and_the_first_of_them(dim):
    generator = np.random.default_rng(2)
    train = generator.normal(size=(40, dim)).astype(np.float32) + 1000
    train[20:] = train[:20]
    nearly = train[5:9].copy()
    nearly[:, 0] += 0.001
    order = generator.permutation(20)
    distances, indices = nearest_neighbours(np.concatenate([train[20 + order], nearly]), train)
    assert indices.tolist() == [*order.tolist(), 5, 6, 7, 8]
    assert distances[:20].tolist() == [0] * 20
    assert (np.asarray(distances[20:]) > 0).all()
    np.testing.assert_allclose(distances[20:], nearly[:, 0] - train[5:9, 0], rtol=1e-6)


@pytest.mark.parametrize("dim", [2, 12])
def test_the_first_of_distinct_neighbours_at_one_distance_is_found(dim):
    corners = np.array([[3.0, 0.0], [1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0], [1.0, 0.0]])
    reference = np.pad(corners, [(0, 0), (0, dim - 2)])
    distances, indices = nearest_neighbours(np.zeros((1, dim)), reference)
    assert (distances.tolist(), indices.tolist()) == ([1.0], [1])
    distances, indices = nearest_neighbours(np.zeros((1, dim)), reference[:1])
    assert (distances.tolist(), indices.tolist()) == ([3.0], [0])


@pytest.mark.parametrize("dim", [2, 12])
def test_neighbours_closer_than_float32_products_can_tell(dim):
    points = np.array([[1e4, 0.0], [1e4, 0.25], [-1e4, 0.0], [-1e4, 0.25]], np.float32)
    reference = np.pad(points, [(0, 0), (0, dim - 2)])
    queries = np.pad(np.array([[1e4, 0.1], [1e4, 0.15], [-1e4, 0.15]], np.float32), [(0, 0), (0, dim - 2)])
    distances, indices = nearest_neighbours(queries, reference)
    assert indices.tolist() == [0, 1, 3]
    np.testing.assert_allclose(distances, [0.1, 0.1, 0.1], rtol=1e-6)


def test_copies_are_always_closer(normal):
    train, held_out, _ = normal
    rows = []
    values = as_floats(data_copying(train, held_out, train[::-1][:50], chunk_size=64, progress=rows.append))
    assert values["share_closer"] == 1
    assert values["standard_error"] == 0
    assert values["share_copies"] == 1
    assert values["held_out_share_copies"] == 0
    assert values["z_score"] > 10
    assert sum(rows) == 200 + 50


def test_some_copies_and_their_tolerance(normal):
    train, held_out, fresh = normal
    generated = np.concatenate([train[:50] + 1e-3, fresh[50:]])
    assert float(data_copying(train, held_out, generated)["share_copies"]) == 0
    values = as_floats(data_copying(train, held_out, generated, copy_distance=0.01))
    assert values["share_copies"] == 0.25
    assert values["held_out_share_copies"] == 0
    assert values["z_score"] > 3


def test_fresh_samples_are_not_closer(normal):
    values = as_floats(data_copying(*normal))
    assert abs(values["share_closer"] - 0.5) < 4 * values["standard_error"]
    assert abs(values["z_score"]) < 4
    assert 0.02 < values["standard_error"] < 0.04


def test_held_out_data_against_themselves_are_even(normal):
    train, held_out, _ = normal
    values = as_floats(data_copying(train, held_out, held_out[::-1]))
    assert values["share_closer"] == 0.5
    assert values["z_score"] == 0


def test_samples_far_from_the_data_are_farther(normal):
    train, held_out, fresh = normal
    values = as_floats(data_copying(train, held_out, fresh + 50))
    assert values["share_closer"] == 0
    assert values["z_score"] < -10


def test_share_by_double_loop_with_ties():
    generator = np.random.default_rng(3)
    near, far = generator.integers(0, 5, size=40), generator.integers(1, 6, size=30)
    expected = np.mean([[(a < b) + 0.5 * (a == b) for b in far] for a in near])
    assert float(copying_statistics(jnp.asarray(near), jnp.asarray(far))["share_closer"]) == pytest.approx(
        expected, rel=1e-6
    )


def test_z_score_is_that_of_the_mann_whitney_test():
    generator = np.random.default_rng(4)
    for levels in (3, 1000):
        near, far = generator.integers(0, levels, size=40), generator.integers(0, levels, size=30) + levels // 3
        test = scipy.stats.mannwhitneyu(near, far, alternative="less", use_continuity=False, method="asymptotic")
        z_score = float(copying_statistics(jnp.asarray(near), jnp.asarray(far))["z_score"])
        assert z_score > 1
        assert z_score == pytest.approx(scipy.stats.norm.isf(test.pvalue), rel=1e-4)


def test_errors_are_as_large_as_they_say():
    """For exponential distances with rates 2 and 1, the share is 2/3, and its spread equals the standard error."""
    generator = np.random.default_rng(5)
    draws = [
        as_floats(copying_statistics(*(jnp.asarray(generator.exponential(*a)) for a in ((0.5, 60), (1.0, 90)))))
        for _ in range(400)
    ]
    shares = np.array([draw["share_closer"] for draw in draws])
    errors = np.array([draw["standard_error"] for draw in draws])
    assert abs(shares.mean() - 2 / 3) < 4 * shares.std() / 20
    assert errors.mean() == pytest.approx(shares.std(), rel=0.15)


def test_distances_all_equal():
    values = as_floats(copying_statistics(jnp.zeros(4), jnp.zeros(3)))
    assert values["share_closer"] == 0.5
    assert values["z_score"] == 0
    assert values["share_copies"] == values["held_out_share_copies"] == 1


def test_one_sample_has_no_error():
    assert np.isnan(float(copying_statistics(jnp.zeros(1), jnp.ones(3))["standard_error"]))


def test_errors(normal):
    train, held_out, fresh = normal
    with pytest.raises(ValueError, match="generated has 5 features, but reference has 6"):
        data_copying(train, held_out, fresh[:, :5])
    with pytest.raises(ValueError, match="generated has 0 samples"):
        data_copying(train, held_out, fresh[:0])
    with pytest.raises(ValueError, match="are not finite"):
        data_copying(train, held_out * np.inf, fresh)
    with pytest.raises(ValueError, match=r"distances have shapes \(2, 1\) and \(3,\)"):
        copying_statistics(jnp.zeros((2, 1)), jnp.zeros(3))
