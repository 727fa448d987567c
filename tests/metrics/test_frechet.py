"""The Fréchet distance against SciPy in float64, closed forms, and merged states."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from genjax.metrics import frechet


def scipy_distance(x: np.ndarray, y: np.ndarray) -> float:
    """The published formula in float64, with the symmetric root, which exists for every rank."""
    x, y = x.astype(np.float64), y.astype(np.float64)
    values, vectors = scipy.linalg.eigh(np.cov(x, rowvar=False))
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    middle = root @ np.cov(y, rowvar=False) @ root
    cross = np.sqrt(np.maximum(scipy.linalg.eigvalsh(middle), 0)).sum()
    traces = x.var(axis=0, ddof=1).sum() + y.var(axis=0, ddof=1).sum()
    return float(((x.mean(axis=0) - y.mean(axis=0)) ** 2).sum() + traces - 2 * cross)


def features(seed: int, rows: int, dim: int, decay: float, *, offset: float = 0.0, scale: float = 1.0) -> np.ndarray:
    """Correlated features whose standard deviations span ``decay`` decades; half of their mixing matrix is shared."""
    mixing = np.random.default_rng(0).normal(size=(dim, dim)) / np.sqrt(dim)
    own = np.random.default_rng(seed).normal(size=(rows, dim)) * np.logspace(0, -decay, dim)
    return (scale * np.abs(own @ mixing) + offset).astype(np.float32)


@pytest.fixture(scope="module", params=["rank-deficient", "ill-conditioned", "large offset", "nearly equal"])
def pair(request):
    if request.param == "rank-deficient":  # 2,048 dimensions and far fewer samples
        return features(1, 300, 2048, 1), features(2, 400, 2048, 1, scale=1.05)
    if request.param == "ill-conditioned":
        return features(1, 2000, 256, 6), features(2, 2000, 256, 6, scale=1.05)
    if request.param == "large offset":
        return features(1, 1000, 256, 2, offset=100.0), features(2, 1000, 256, 2, offset=100.0, scale=1.05)
    x = features(1, 1000, 256, 3)
    return x, (x + 1e-2 * features(2, 1000, 256, 3)).astype(np.float32)  # the distance is 1e-4 of the traces


def test_agrees_with_float64_scipy(pair):
    value = frechet.frechet_distance(*pair)["frechet_distance"]
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(float(value), scipy_distance(*pair), rtol=1e-4)
    assert not jax.config.jax_enable_x64


@pytest.mark.parametrize(("rows", "dim", "decay"), [(50, 128, 0), (500, 128, 6), (3, 128, 2)])
def test_equal_samples_are_at_distance_zero_and_never_below(rows, dim, decay):
    x = features(1, rows, dim, decay, offset=3.0)
    value = float(frechet.frechet_distance(x, x[::-1])["frechet_distance"])
    assert 0 <= value < 1e-9


def test_one_dimensional_gaussians_by_hand():
    """N(0, 1) and N(½, 1.44): ½² + 1 + 1.44 − 2 · 1 · 1.2 = 0.29."""
    a = frechet.moments_from_statistics(np.zeros(1), np.ones((1, 1)), 1000)
    b = frechet.moments_from_statistics(np.array([0.5]), np.array([[1.44]]), 10)
    np.testing.assert_allclose(float(frechet.frechet_distance_from_moments(a, b)["frechet_distance"]), 0.29, atol=1e-6)


def test_constant_features_leave_the_distance_of_the_means():
    value = frechet.frechet_distance(np.full((5, 3), 2.0), np.full((7, 3), 4.0))["frechet_distance"]
    np.testing.assert_allclose(float(value), 12.0, rtol=1e-6)


def test_rotation_and_shift_change_nothing():
    x, y = features(1, 200, 16, 1), features(2, 300, 16, 1, scale=2.0)
    rotation = np.linalg.qr(np.random.default_rng(3).normal(size=(16, 16)))[0]
    value = frechet.frechet_distance(x @ rotation + 7, y @ rotation + 7)["frechet_distance"]
    np.testing.assert_allclose(float(value), float(frechet.frechet_distance(x, y)["frechet_distance"]), rtol=1e-5)


@pytest.mark.parametrize("sizes", [(100, 60, 40), (1, 1, 198), (150, 0, 50)])
def test_merging_in_any_order_has_seen_it_all(sizes):
    x = features(1, 200, 24, 2, offset=5.0)
    accumulator = frechet.Moments(num_features=24)
    edges = np.cumsum((0, *sizes))
    parts = [
        accumulator.update(accumulator.init(), x[i:j]) if j > i else accumulator.init()
        for i, j in itertools.pairwise(edges)
    ]
    for order in ((0, 1, 2), (2, 0, 1)):
        merged = accumulator.merge(accumulator.merge(parts[order[0]], parts[order[1]]), parts[order[2]])
        assert float(merged.count) == 200
        np.testing.assert_allclose(merged.mean, x.astype(np.float64).mean(axis=0), rtol=1e-6)
        np.testing.assert_allclose(merged.covariance, np.cov(x.astype(np.float64), rowvar=False), rtol=1e-4, atol=1e-7)


def test_moments_in_chunks_are_those_of_the_whole():
    x = features(1, 230, 24, 2)
    state = frechet.moments(x, chunk_size=100)
    np.testing.assert_allclose(state.covariance, np.cov(x.astype(np.float64), rowvar=False), rtol=1e-4, atol=1e-8)


def test_metric_streams_under_scan_and_jit():
    x, y = features(1, 120, 8, 1), features(2, 120, 8, 1, scale=2.0)
    metric = frechet.frechet_metric(8)

    @jax.jit
    def streamed(x, y):
        state, _ = jax.lax.scan(lambda state, xy: (metric.update(state, *xy), None), metric.init(), (x, y))
        return state

    value = metric.compute(streamed(x.reshape(6, 20, 8), y.reshape(6, 20, 8)))["frechet_distance"]
    np.testing.assert_allclose(float(value), scipy_distance(x, y), rtol=1e-5)


def test_stored_statistics_give_the_distance_of_their_samples():
    x, y = features(1, 60, 96, 2), features(2, 80, 96, 2, scale=1.3)
    stored = frechet.moments_from_statistics(x.mean(axis=0), np.cov(x, rowvar=False), len(x))
    value = frechet.frechet_distance_from_moments(stored, frechet.moments(y))["frechet_distance"]
    np.testing.assert_allclose(float(value), scipy_distance(x, y), rtol=1e-4)


def test_what_cannot_be_compared_is_refused():
    x = features(1, 20, 8, 1)
    with pytest.raises(ValueError, match="generated has 4 features, but reference has 8"):
        frechet.frechet_distance(x, x[:, :4])
    with pytest.raises(ValueError, match="generated has 1 samples, but at least 2"):
        frechet.frechet_distance(x, x[:1])
    with pytest.raises(ValueError, match="reference has 0 samples"):
        frechet.frechet_distance(x[:0], x)
    bad = x.copy()
    bad[3, 1] = np.nan
    with pytest.raises(ValueError, match="1 of 20 samples of generated are not finite, first at index 3"):
        frechet.frechet_distance(x, bad)
    with pytest.raises(ValueError, match=r"generated has 0 samples"):
        metric = frechet.frechet_metric(8)
        metric.compute(metric.update(metric.init(), x, None))
    with pytest.raises(ValueError, match=r"they must be \(D,\) and \(D, D\)"):
        frechet.moments_from_statistics(np.zeros(3), np.eye(2), 10)


@pytest.mark.peers
def test_agrees_with_torch_fidelity(torch_fidelity):
    torch, peer = pytest.importorskip("torch"), torch_fidelity.metric_fid
    x, y = features(1, 600, 64, 2), features(2, 700, 64, 2, scale=1.2)
    theirs = peer.fid_statistics_to_metric(
        *(peer.fid_features_to_statistics(torch.from_numpy(side)) for side in (x, y)), verbose=False
    )
    np.testing.assert_allclose(
        float(frechet.frechet_distance(x, y)["frechet_distance"]), theirs[peer.KEY_METRIC_FID], rtol=1e-5
    )
