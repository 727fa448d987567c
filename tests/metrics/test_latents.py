"""Usage of latent variables in cases with known answers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import metrics


def test_units_whose_means_vary_are_active_and_those_at_the_prior_cost_nothing():
    scales = np.array([2.0, 0.2, 0.05, 0.0])  # standard deviations of the means; variance 0.01 is the limit
    noise = np.random.default_rng(0).normal(size=(5_000, 4))
    mean = jnp.float32(scales * (noise - noise.mean(0)) / noise.std(0) + np.array([0.0, 0.0, 0.0, 3.0]))
    log_var = jnp.broadcast_to(jnp.float32([-2.0, 0.0, 0.0, 0.0]), mean.shape)
    values = metrics.gaussian_usage(mean, log_var)
    assert values["active_units"] == 2
    expected = 0.5 * (np.array([4.0, 0.04, 0.0025, 9.0]) + np.exp([-2.0, 0, 0, 0]) - 1 - np.array([-2.0, 0, 0, 0]))
    np.testing.assert_allclose(values["kl_per_dimension"], expected, rtol=1e-3, atol=1e-5)


def test_draws_tell_the_variance_of_posterior_means_without_bias():
    scales = np.array([1.0, 0.3, 0.1, 0.0])  # standard deviations of the means; those of the posteriors are one
    rng = np.random.default_rng(0)
    results = [
        metrics.implicit_usage(jnp.float32(scales * rng.normal(size=(1_000, 1, 4)) + rng.normal(size=(1_000, 4, 4))))
        for _ in range(50)
    ]
    variances = np.stack([values["variance_of_means"] for values in results])
    error = variances.std(0) / np.sqrt(len(results))
    np.testing.assert_array_less(np.abs(variances.mean(0) - scales**2), 4 * error)
    # The standard error of the docstring.
    np.testing.assert_allclose(variances.std(0)[3], np.sqrt(2 / 1_000) / 4, rtol=0.4)


def test_units_are_active_where_draws_follow_the_data():
    rng = np.random.default_rng(1)
    means = rng.normal(size=(1_000, 1, 1)) * np.array([1.0, 0.3, 0.0])
    draws = means + rng.normal(size=(1_000, 16, 3))
    assert metrics.implicit_usage(jnp.float32(draws))["active_units"] == 2
    certain = np.broadcast_to(means, draws.shape)
    np.testing.assert_allclose(
        metrics.implicit_usage(jnp.float32(certain))["variance_of_means"], means[:, 0].var(0, ddof=1), rtol=1e-5
    )


def test_draws_that_tell_nothing_are_refused():
    with pytest.raises(ValueError, match=r"draws have shape .3, 4., but must be .examples, draws, dimensions."):
        metrics.implicit_usage(jnp.zeros((3, 4)))
    with pytest.raises(ValueError, match="the number of draws is 1, but must be at least 2"):
        metrics.implicit_usage(jnp.zeros((3, 1, 4)))


@pytest.mark.parametrize("used", [1, 5, 16])
def test_codes_in_equal_use_count_as_so_many(used):
    codes = jnp.tile(jnp.arange(used), 12).reshape(4, -1)
    values = jax.jit(metrics.codebook_usage, static_argnums=1)(codes, 16)
    np.testing.assert_allclose(values["codebook_usage"], used / 16, rtol=1e-6)
    np.testing.assert_allclose(values["code_perplexity"], used, rtol=1e-5)


def test_perplexity_of_unequal_use():
    values = metrics.codebook_usage(jnp.array([0, 0, 0, 1]), 4)
    np.testing.assert_allclose(values["code_perplexity"], 4 / 3**0.75, rtol=1e-6)  # 2^H of (3/4, 1/4) in closed form
