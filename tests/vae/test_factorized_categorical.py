"""The factorized categorical distribution, whose properties are all known exactly."""

import itertools
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax.core import Variables
from genjax.learners import gradient_learner
from genjax.vae.factorized_categorical import FactorizedCategorical

MODEL = FactorizedCategorical(num_values=3)


def variables_of(logits):
    return Variables(params={"logits": jnp.asarray(logits, jnp.float32)}, state={})


@pytest.fixture(scope="module")
def x():
    skewed = jnp.log(jnp.array([0.2, 0.5, 0.3]))
    x = jax.random.categorical(jax.random.key(0), skewed, shape=(50, 2, 2))
    return x.at[:3, 0, 0].set(jnp.arange(3)).at[:, 1, 1].set(jnp.arange(50) % 3)


@pytest.fixture(scope="module")
def frequencies(x):
    count = [Counter(np.asarray(x)[:, i, j].tolist()) for i in range(2) for j in range(2)]
    return np.array([[c[k] / 50 for k in range(3)] for c in count]).reshape(2, 2, 3)


def test_probabilities_of_all_grids_sum_to_one():
    every = jnp.array(list(itertools.product(range(3), repeat=4)), jnp.int32).reshape(-1, 2, 2)
    log_prob = MODEL.log_prob(variables_of(jax.random.normal(jax.random.key(1), (2, 2, 3)) * 3), every)
    assert len(set(log_prob.tolist())) > 70
    np.testing.assert_allclose(jnp.sum(jnp.exp(log_prob)), 1.0, rtol=1e-5)


def test_mass_is_the_product_over_positions(x, frequencies):
    expected = [
        sum(np.log(frequencies[i, j, grid[i, j]]) for i in range(2) for j in range(2)) for grid in np.asarray(x)
    ]
    np.testing.assert_allclose(MODEL.log_prob(variables_of(np.log(frequencies)), x), expected, rtol=1e-5)


def test_training_converges_to_the_frequencies(x, frequencies):
    learner = gradient_learner(MODEL, optax.sgd(2.0, momentum=0.5))
    train = learner.init(jax.random.key(0), {"x": x})
    keys = jax.random.split(jax.random.key(1), 500)
    train, metrics = jax.jit(lambda t: jax.lax.scan(lambda t, k: learner.step(t, k, {"x": x}), t, keys))(train)
    np.testing.assert_allclose(jax.nn.softmax(train.params["logits"]), frequencies, atol=1e-4)
    entropy = -np.sum(frequencies * np.log(frequencies))
    np.testing.assert_allclose(metrics["loss"][-1], entropy, rtol=1e-5)
    np.testing.assert_allclose(metrics["loss"][0], 4 * np.log(3), rtol=1e-5)


def test_samples_have_the_probabilities(frequencies):
    x = MODEL.sample(variables_of(np.log(frequencies)), jax.random.key(2), 20_000)
    assert (x.shape, x.dtype) == ((20_000, 2, 2), jnp.int32)
    np.testing.assert_allclose(np.mean(np.asarray(x)[..., None] == np.arange(3), axis=0), frequencies, atol=0.015)
    # Positions are independent: the joint frequencies of two are products.
    pairs = Counter(zip(x[:, 0, 0].tolist(), x[:, 1, 1].tolist(), strict=True))
    for a, b in itertools.product(range(3), repeat=2):
        assert pairs[a, b] / 20_000 == pytest.approx(frequencies[0, 0, a] * frequencies[1, 1, b], abs=0.015)


def test_one_code_per_example():
    variables = MODEL.init(jax.random.key(0), {"x": jnp.zeros(5, jnp.int32)})
    np.testing.assert_allclose(MODEL.log_prob(variables, jnp.array([0, 2])), np.log([1 / 3, 1 / 3]), rtol=1e-6)
    assert MODEL.sample(variables, jax.random.key(1), 4).shape == (4,)


def test_bad_input():
    with pytest.raises(ValueError, match="num_values is 0, but must be at least 1"):
        FactorizedCategorical(num_values=0)
    with pytest.raises(ValueError, match=r"x has dtype float32 and shape \(2, 3\), but must be integers"):
        MODEL.init(jax.random.key(0), {"x": jnp.zeros((2, 3))})
    with pytest.raises(ValueError, match="num_samples is 0, but must be at least 1"):
        MODEL.sample(variables_of(np.zeros((2, 2, 3))), jax.random.key(0), 0)
