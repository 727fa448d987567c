"""The Inception Score at its extremes, against NumPy in float64 and torch-fidelity, and from merged states."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import entropy

from genjax.metrics.inception_score import InceptionScore, inception_score


def score(logits):
    metric = InceptionScore(num_classes=logits.shape[1])
    return float(metric.compute(metric.update(metric.init(), jnp.asarray(logits)))["inception_score"])


def test_extremes():
    assert score(np.zeros((7, 5))) == 1.0  # uniform predictions
    assert score(np.tile([[100.0, 0, 0, 0]], (9, 1))) == 1.0  # a single class
    np.testing.assert_allclose(score(200.0 * np.tile(np.eye(8), (5, 1))), 8.0, rtol=1e-6)
    assert score(1e30 * np.eye(3)) == pytest.approx(3.0)  # probabilities that are exactly zero
    assert score(200.0 * np.tile(np.eye(7), (101, 1))) <= 7.0  # despite rounding of the exponential
    masked = np.where(np.eye(3), 0.0, -np.inf)  # impossible classes
    assert score(masked) == pytest.approx(3.0)


def test_stays_exact_over_a_thousand_classes():
    logits = np.random.default_rng(3).normal(size=(2000, 1008)).astype(np.float32) * 4
    p = softmax(logits.astype(np.float64), axis=1)
    expected = np.exp(entropy(p.mean(axis=0)) - np.mean(entropy(p, axis=1)))
    np.testing.assert_allclose(score(logits), expected, rtol=1e-5)


def test_is_the_mean_divergence_from_the_marginal():
    logits = np.random.default_rng(0).normal(size=(60, 6)) * 3
    p = softmax(logits, axis=1)
    expected = np.exp(np.mean([entropy(row, p.mean(axis=0)) for row in p]))
    assert 1.5 < expected < 5
    np.testing.assert_allclose(score(logits), expected, rtol=1e-5)


def test_merged_states_have_seen_it_all():
    logits = jnp.asarray(np.random.default_rng(1).normal(size=(50, 4)) * 2)
    metric = InceptionScore(num_classes=4)
    update = jax.jit(metric.update)
    merged = metric.merge(update(metric.init(), logits[:13]), update(metric.init(), logits[13:]))
    value = metric.compute(metric.merge(metric.init(), merged))["inception_score"]
    np.testing.assert_allclose(value, score(logits), rtol=1e-6)
    assert np.isnan(metric.compute(metric.init())["inception_score"])
    # An empty batch changes nothing.
    np.testing.assert_array_equal(update(merged, logits[:0]).probabilities, merged.probabilities)


def test_parts_are_scored_by_themselves():
    """Two classes with two equal samples each, in two splits: after shuffling, a split has one class or both."""
    logits = 100.0 * np.repeat(np.eye(2), 50, axis=0)
    values = inception_score(jax.random.key(0), logits, num_splits=4)
    assert 1.9 < float(values["inception_score"]) < 2.0  # unshuffled, each split would have one class and score 1
    assert float(values["inception_score_sd"]) > 0
    alone = inception_score(jax.random.key(0), logits, num_splits=1)
    np.testing.assert_allclose(alone["inception_score"], 2.0, rtol=1e-6)
    assert float(alone["inception_score_sd"]) == 0.0


def test_what_has_no_score_is_refused():
    key = jax.random.key(0)
    with pytest.raises(
        ValueError, match=r"logits have shape \(4, 1\), but must be \(samples, classes\) with at least 2"
    ):
        inception_score(key, np.zeros((4, 1)))
    with pytest.raises(ValueError, match="num_splits is 10, but must be 1 to 4"):
        inception_score(key, np.zeros((4, 3)))
    with pytest.raises(ValueError, match="not finite"):
        inception_score(key, np.full((20, 3), np.nan))
    with pytest.raises(ValueError, match="num_classes is 1, but must be at least 2"):
        InceptionScore(num_classes=1)
    metric = InceptionScore(num_classes=3)
    for shape in ((4, 1), (3,)):
        with pytest.raises(ValueError, match=r"but num_classes=3 needs \(samples, 3\)"):
            metric.update(metric.init(), jnp.zeros(shape))
    assert np.isnan(score(np.full((4, 3), np.nan)))


@pytest.mark.peers
def test_agrees_with_torch_fidelity(torch_fidelity):
    torch, peer = pytest.importorskip("torch"), torch_fidelity.metric_isc
    logits = (np.random.default_rng(2).normal(size=(300, 10)) * 2).astype(np.float32)
    theirs = peer.isc_features_to_metric(torch.from_numpy(logits), splits=1)
    np.testing.assert_allclose(score(logits), theirs[peer.KEY_METRIC_ISC_MEAN], rtol=1e-5)
