"""Bandwidth diagnostics and the floor of the loss, computed again with numpy."""

import jax
import jax.numpy as jnp
import numpy as np

from genjax import moment_matching
from genjax.core import Variables
from tests.networks import Function

STATE = {"generator": {}}


def a_gmmn(samples, **options):
    generator = Function(lambda params, z: jnp.asarray(samples) + 0 * jnp.sum(z))
    return moment_matching.GMMN(latent_dim=2, generator=generator, bandwidths=(0.7, 2.0), **options)


def kernel(x, y):
    squared = ((x[:, None] - y[None]) ** 2).sum(axis=-1)
    return np.mean([np.exp(-squared / (2 * width**2)) for width in (0.7, 2.0)], axis=0)


def loss_of(model, x):
    return float(model.loss(STATE, STATE, jax.random.key(0), {"x": jnp.asarray(x)}, jnp.int32(0))[0])


def test_the_loss_is_the_root_of_the_discrepancy_and_has_a_floor():
    x, y = np.random.default_rng(0).normal(size=(2, 6, 3)).astype(np.float32)
    mmd2 = kernel(x, x).mean() + kernel(y, y).mean() - 2 * kernel(x, y).mean()
    np.testing.assert_allclose(loss_of(a_gmmn(y), x), np.sqrt(mmd2), rtol=1e-5)
    np.testing.assert_allclose(loss_of(a_gmmn(y, square_root=False), x), mmd2, rtol=1e-5)
    assert 0.99e-4 < loss_of(a_gmmn(x), x) < 1e-3


def test_what_the_bandwidths_see():
    x = np.random.default_rng(1).normal(size=(8, 3)).astype(np.float32)
    values = a_gmmn(x).diagnose(Variables(STATE, STATE), jax.random.key(0), {"x": jnp.asarray(x)})
    others = ~np.eye(8, dtype=bool)
    np.testing.assert_allclose(values["mean_kernel"], kernel(x, x)[others].mean(), rtol=1e-5)
    squared = ((x[:, None] - x[None]) ** 2).sum(axis=-1)
    np.testing.assert_allclose(values["distance"], np.sqrt(squared.mean()), rtol=1e-5)


def test_noise_is_uniform_between_minus_one_and_one():
    noise = np.asarray(a_gmmn(np.zeros((1, 3))).sample_prior(Variables(STATE, STATE), jax.random.key(0), 4_000))
    assert -1 <= noise.min() < -0.99
    assert 0.99 < noise.max() <= 1
    np.testing.assert_allclose(noise.var(), 1 / 3, rtol=0.05)
