"""The loss of the Wasserstein autoencoder by a double loop over kernels, and its optimum for linear networks."""

import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax import nets, ops, vae
from genjax.learners import gradient_learner


def model(**options):
    fields = {
        "prior": ops.StandardNormal(2),
        "encoder": nn.Dense(2),
        "decoder": nn.Dense(5),
        "likelihood": ops.Bernoulli(),
        "bandwidths": (0.5, 2.0),
        "penalty": 7.0,
    }
    return vae.WassersteinAutoencoder(**(fields | options))


def test_the_loss_is_cross_entropy_plus_the_penalty_of_all_pairs():
    x = jax.random.bernoulli(jax.random.key(0), 0.4, (6, 5)).astype(jnp.float32)
    variables = model().init(jax.random.key(1), {"x": x})
    loss, (_, metrics) = model().loss(*variables, jax.random.key(2), {"x": x}, jnp.int32(0))

    code = np.float64(x) @ np.float64(variables.params["encoder"]["kernel"])
    prior = np.float64(ops.StandardNormal(2).sample(jax.random.split(jax.random.key(2), 3)[0], 6))
    logits = code @ np.float64(variables.params["decoder"]["kernel"])

    def kernel(a, b):
        return np.mean([np.exp(-np.sum((a - b) ** 2) / (2 * s**2)) for s in (0.5, 2.0)])

    within = [np.mean([kernel(a, b) for a, b in itertools.permutations(z, 2)]) for z in (code, prior)]
    across = np.mean([kernel(a, b) for a in code for b in prior])
    mmd_squared = sum(within) - 2 * across
    cross_entropy = np.mean(np.sum(np.logaddexp(0, logits) - np.float64(x) * logits, axis=1))
    np.testing.assert_allclose(metrics["mmd_squared"], mmd_squared, rtol=1e-4)
    np.testing.assert_allclose(-metrics["reconstruction"], cross_entropy, rtol=1e-5)
    np.testing.assert_allclose(loss, cross_entropy + 7 * mmd_squared, rtol=1e-5)


def test_codes_of_gaussian_data_become_the_prior():
    """x = A z with invertible A: the optimum reconstructs without error, and whitens the data."""
    mixing = jnp.array([[2.0, 0.0], [1.5, 0.5]])
    gaussian = ops.Gaussian(log_scale=-1.0)
    linear = model(decoder=nn.Dense(2), likelihood=gaussian, bandwidths=(0.7, 1.4, 2.8), penalty=300.0)
    learner = gradient_learner(linear, optax.adam(optax.cosine_decay_schedule(3e-2, 1_000)))

    def step(state, key):
        data_key, step_key = jax.random.split(key)
        batch = {"x": jax.random.normal(data_key, (256, 2)) @ mixing.T + 1.0}
        return learner.step(state, step_key, batch)[0], None

    @jax.jit
    def train(key):
        state = learner.init(key, {"x": jnp.zeros((256, 2))})
        return jax.lax.scan(step, state, jax.random.split(jax.random.key(1), 1_000))[0]

    variables = train(jax.random.key(0)).variables
    x = jax.random.normal(jax.random.key(2), (20_000, 2)) @ mixing.T + 1.0
    code = np.asarray(linear.encode(variables, x))
    np.testing.assert_allclose(code.mean(axis=0), 0, atol=0.1)
    np.testing.assert_allclose(np.cov(code.T), np.eye(2), atol=0.15)
    np.testing.assert_allclose(linear.reconstruct(variables, jax.random.key(3), x), x, atol=0.25)
    samples = np.asarray(linear.sample(variables, jax.random.key(4), 20_000, mean=True))
    np.testing.assert_allclose(np.cov(samples.T), mixing @ mixing.T, rtol=0.2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bandwidths": ()}, "bandwidths"),
        ({"bandwidths": (0.0,)}, r"bandwidths is \(0.0,\), but must be a tuple whose every entry is above 0"),
        ({"penalty": -1.0}, "penalty is -1.0, but must be at least 0"),
        ({"prior": None}, "prior is None, but must be a Prior"),
    ],
)
def test_wrong_settings_are_rejected(options, message):
    with pytest.raises(ValueError, match=message):
        model(**options)


def test_networks_of_the_wrong_size_are_rejected_before_compilation():
    wrong = model(encoder=nets.MLP(features=(3,)))
    with pytest.raises(ValueError, match=r"encoder returned shape \(4, 3\), but codes of StandardNormal"):
        wrong.init(jax.random.key(0), {"x": jnp.zeros((4, 5))})
