"""A moment matching network learns moments, samples correctly, and rejects settings that do not fit."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax import gradient_learner, moment_matching, nets

MODEL = moment_matching.GMMN(latent_dim=3, generator=nets.MLP((3,)), bandwidths=(1.0, 2.0, 4.0))
MEAN, MIXING = np.array([1.0, -2.0, 0.5]), np.array([[1.0, 0.0, 0.0], [0.8, 0.5, 0.0], [-0.3, 0.2, 1.2]])


def test_a_linear_generator_finds_mean_and_covariance():
    """The data are a linear map of uniform noise, which the generator can represent exactly."""

    def data(key, num):
        return {"x": jnp.float32(MEAN)[None] + jax.random.uniform(key, (num, 3), minval=-1.0) @ jnp.float32(MIXING.T)}

    learner = gradient_learner(MODEL, optax.adam(optax.cosine_decay_schedule(3e-2, 600)))

    @jax.jit
    def train(key):
        init_key, data_key, train_key = jax.random.split(key, 3)

        def step(state, keys):
            return learner.step(state, keys[1], data(keys[0], 512))

        state = learner.init(init_key, data(data_key, 512))
        keys = jax.random.split(train_key, (600, 2))
        return jax.lax.scan(step, state, keys)

    state, metrics = train(jax.random.key(0))
    assert metrics["mmd2_biased"][-100:].mean() < 0.05 * metrics["mmd2_biased"][0]
    samples = np.float64(MODEL.sample(state.variables, jax.random.key(1), 50_000))
    np.testing.assert_allclose(samples.mean(0), MEAN, atol=0.06)
    np.testing.assert_allclose(np.cov(samples.T), MIXING @ MIXING.T / 3, atol=0.06)


def test_the_loss_is_the_root_of_the_discrepancy():
    batch = {"x": jnp.ones((6, 3))}
    variables = MODEL.init(jax.random.key(0), batch)
    root, (_, metrics) = MODEL.loss(*variables, jax.random.key(1), batch, 0)
    square, _ = dataclasses.replace(MODEL, square_root=False).loss(*variables, jax.random.key(1), batch, 0)
    np.testing.assert_allclose(root**2, square, rtol=1e-6)
    np.testing.assert_allclose(metrics["mmd2_biased"], square, rtol=1e-6)


def test_noise_is_uniform_and_samples_decode_it():
    variables = MODEL.init(jax.random.key(0), {"x": jnp.zeros((2, 3))})
    noise = np.float64(MODEL.sample_prior(variables, jax.random.key(1), 20_000))
    assert -1 <= noise.min() < noise.max() < 1
    np.testing.assert_allclose(noise.mean(0), 0.0, atol=0.02)
    np.testing.assert_allclose(noise.var(0), 1 / 3, atol=0.01)
    kernel = variables.params["generator"]["Dense_0"]["kernel"]
    np.testing.assert_allclose(MODEL.sample(variables, jax.random.key(1), 20_000), noise @ kernel, atol=1e-5)


def test_images_are_matched_as_vectors():
    model = dataclasses.replace(
        MODEL, generator=nets.MLP((4,), output_shape=(2, 2, 1), output_activation=jax.nn.sigmoid)
    )
    batch = {"x": jnp.linspace(0.0, 1.0, 20).reshape(5, 2, 2, 1)}
    variables = model.init(jax.random.key(0), batch)
    loss, _ = model.loss(*variables, jax.random.key(1), batch, 0)
    assert 0 < loss < 6**0.5
    samples = model.sample(variables, jax.random.key(2), 7)
    assert samples.shape == (7, 2, 2, 1)
    assert 0 < samples.min() < samples.max() < 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"latent_dim": 0}, "latent_dim is 0, but must be at least 1"),
        ({"chunk_size": 0}, "chunk_size is 0, but must be at least 1"),
        ({"bandwidths": (-1.0,)}, r"bandwidths are \(-1.0,\), but must be"),
    ],
)
def test_fields(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(MODEL, **changes)


def test_a_generator_of_another_shape_is_refused():
    with pytest.raises(
        ValueError, match=r"generator returned shape \(4, 3\), but matching x needs \(4, 5\): give its output"
    ):
        MODEL.init(jax.random.key(0), {"x": jnp.zeros((4, 5))})
