"""Categorical draws against their probabilities, above all those of rare values."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from genjax.ops import categorical


@functools.partial(jax.jit, static_argnums=1)
def count(logits, num_draws):
    keys = jax.random.split(jax.random.key(0), num_draws // 10**5)
    rows = jnp.broadcast_to(logits, (10**5, len(logits)))
    return jax.lax.map(lambda key: jnp.bincount(categorical(key, rows), length=len(logits)), keys).sum(axis=0)


def counts(probs, num_draws):
    return np.asarray(count(jnp.log(jnp.asarray(probs, jnp.float32)), num_draws))


def test_frequencies_are_the_probabilities():
    probs = np.array([0.05, 0.3, 0.0, 0.25, 0.4])
    observed = counts(probs, 10**6)
    assert observed[2] == 0
    possible = probs > 0
    assert stats.chisquare(observed[possible], 10**6 * probs[possible]).pvalue > 1e-3


def test_rare_values_are_drawn_as_often_as_they_should_be():
    """10⁷ draws of values of 3.28 · 10⁻⁶ before and after a probable one: 32.8 of each."""
    rare = 3.28e-6
    first, _, last = counts([rare, 1 - 2 * rare, rare], 10**7)
    for observed in (first, last):
        assert stats.poisson.cdf(observed, 32.8) > 1e-4
        assert stats.poisson.sf(observed - 1, 32.8) > 1e-4


@pytest.mark.parametrize("rare", [1e-7, 1e-9, 3e-11])
def test_as_many_bit_patterns_choose_a_value_as_its_probability_demands(rare, monkeypatch):
    """The bits from which on later values are drawn, found by bisection."""
    probs = np.array([rare, 0.4, rare, 0.6 - 3 * rare, rare])
    logits = jnp.log(jnp.asarray(probs, jnp.float32))
    place = np.array([0, 1, 2, 4, 3])  # the most probable value comes last

    def drawn(patterns):
        words = np.array([patterns >> 16 << 8, (patterns & 0xFFFF) << 16]).astype(np.uint32)
        monkeypatch.setattr(jax.random, "bits", lambda key, shape: jnp.asarray(words).reshape(shape))
        return place[np.asarray(categorical(jax.random.key(0), jnp.broadcast_to(logits, (len(patterns), 5))))]

    low, high = np.full(4, -1), np.full(4, 2**40)
    while (high - low).max() > 1:
        middle = (low + high) // 2
        later = drawn(middle) > np.arange(4)
        low, high = np.where(later, low, middle), np.where(later, middle, high)
    np.testing.assert_allclose(np.diff(high, prepend=0), 2.0**40 * probs[[0, 1, 2, 4]], rtol=1e-6, atol=1)


def test_logits_may_have_any_leading_axes_and_may_exclude_values():
    logits = jnp.where(jax.nn.one_hot(jnp.array([[0, 2], [1, 1]]), 3) > 0, 5.0, -jnp.inf)
    assert categorical(jax.random.key(0), logits).tolist() == [[0, 2], [1, 1]]


def test_diverged_logits_give_minus_one():
    logits = jnp.array([[0.0, jnp.nan], [0.0, 1.0], [jnp.inf, 0.0], [-jnp.inf, -jnp.inf]])
    drawn = categorical(jax.random.key(0), logits)
    assert (drawn[jnp.array([0, 2, 3])] == -1).all()
    assert drawn[1] >= 0


def test_too_many_values_are_refused():
    with pytest.raises(ValueError, match="logits are of 65537 values, but at most 65536"):
        jax.eval_shape(categorical, jax.random.key(0), jnp.zeros(2**16 + 1))
