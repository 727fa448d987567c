"""Distributions of a pixel: normalized at any parameters, and products of their channels."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from genjax.ops import Categorical, LogisticMixture

EXTREMES = [-1e30, -1e4, -30.0, -7.0, -1.0, 0.0, 0.3, 7.0, 30.0, 1e4, 1e30]


def random_outputs(distribution, channels, rows, scale):
    return scale * jax.random.normal(jax.random.key(0), (rows, distribution.num_outputs(channels)))


@pytest.mark.parametrize("num_values", [2, 17, 256])
def test_masses_of_all_values_sum_to_one_at_extreme_parameters(num_values):
    """Return two components with random weights, and locations and scales at all extremes."""
    distribution = LogisticMixture(num_values, num_components=2)
    grid = jnp.array(list(itertools.product(EXTREMES, EXTREMES)), jnp.float32)
    weights = jnp.array(list(itertools.product([-30.0, 0.5], [-30.0, 2.0])), jnp.float32)
    weights = jnp.tile(weights, (len(grid), 1))[: len(grid)]
    location, log_scale = grid.T[:, :, None]
    outputs = jnp.concatenate([weights, location, location[::-1], log_scale, jnp.roll(log_scale, 3, axis=0)], axis=1)
    values = jnp.arange(num_values)

    @jax.jit
    def both(outputs):
        def total(outputs):
            rows = jnp.tile(outputs, (num_values, 1))
            return jax.nn.logsumexp(distribution.log_prob(rows, values[:, None]))

        def of_value(outputs, value):
            return distribution.log_prob(outputs[None], value[None, None])[0]

        gradients = jax.vmap(jax.vmap(jax.grad(of_value), (None, 0)), (0, None))(outputs, values)
        return jnp.exp(jax.vmap(total)(outputs)), gradients

    totals, gradients = both(outputs)
    np.testing.assert_allclose(totals, 1.0, atol=1e-5)
    assert np.isfinite(gradients).all()


def test_masses_of_all_colours_sum_to_one_and_are_products_of_conditionals():
    distribution, num_values = LogisticMixture(num_values=5, num_components=3), 5
    outputs = random_outputs(distribution, 3, rows=1, scale=2.0)
    colours = jnp.array(list(itertools.product(range(num_values), repeat=3)))
    rows = jnp.tile(outputs, (len(colours), 1))
    log_prob = distribution.log_prob(rows, colours)
    np.testing.assert_allclose(jnp.exp(log_prob).sum(), 1.0, atol=1e-5)
    conditionals = [jax.nn.log_softmax(distribution.logits(rows, colours, channel)) for channel in range(3)]
    log_masses = [each[jnp.arange(len(colours)), colours[:, channel]] for channel, each in enumerate(conditionals)]
    np.testing.assert_allclose(sum(log_masses), log_prob, rtol=1e-5, atol=1e-5)


def test_logits_of_a_channel_do_not_see_later_ones():
    distribution = LogisticMixture(num_values=9, num_components=2)
    outputs, x = random_outputs(distribution, 3, rows=4, scale=1.0), jnp.arange(12).reshape(4, 3) % 9
    for channel in range(3):
        others = x.at[:, channel:].set(0)
        logits = distribution.logits(outputs, x, channel)
        np.testing.assert_array_equal(logits, distribution.logits(outputs, others, channel))
        if channel:
            assert np.abs(logits - distribution.logits(outputs, x.at[:, channel - 1].add(1), channel)).max() > 1e-3


def test_mixture_against_scipy():
    weights, locations, scales, coefficient = [0.3, 0.7], [[-0.2, 0.5], [0.1, -0.4]], [[0.1, 0.3], [0.2, 0.05]], 0.6
    edges = (np.arange(257) - 0.5) / 127.5 - 1
    edges[[0, -1]] = -np.inf, np.inf
    x, expected = np.array([100, 180]), 0.0
    for m in range(2):
        second = locations[1][m] + coefficient * (x[0] / 127.5 - 1)
        masses = [
            np.diff(stats.logistic.cdf(edges, location, scales[c][m]))[x[c]]
            for c, location in enumerate((locations[0][m], second))
        ]
        expected += weights[m] * np.prod(masses)
    parts = [np.log(weights), np.ravel(locations), np.log(scales).ravel(), np.full(2, np.arctanh(coefficient))]
    outputs = jnp.concatenate([jnp.float32(part) for part in parts])[None]
    np.testing.assert_allclose(LogisticMixture(256, 2).log_prob(outputs, x[None]), [np.log(expected)], rtol=1e-5)


def test_images_are_sums_over_pixels_in_float32():
    for distribution, channels in ((Categorical(6), 1), (LogisticMixture(6, 2), 3)):
        outputs = random_outputs(distribution, channels, rows=2 * 3 * 4, scale=1.0).astype(jnp.bfloat16)
        x = jax.random.randint(jax.random.key(1), (2 * 3 * 4, channels), 0, 6)
        pixels = distribution.log_prob(outputs, x)
        images = distribution.log_prob(outputs.reshape(2, 3, 4, -1), x.reshape(2, 3, 4, channels))
        assert images.dtype == jnp.float32
        np.testing.assert_allclose(images, pixels.reshape(2, -1).sum(1), rtol=1e-5)


def test_refuses_what_cannot_be():
    with pytest.raises(ValueError, match="a pixel has 3 channels, but Categorical takes one"):
        Categorical(4).num_outputs(3)
    for make in (Categorical, LogisticMixture):
        with pytest.raises(ValueError, match="num_values is 1, but must be at least 2"):
            make(1)
    with pytest.raises(ValueError, match="num_components is 0, but must be at least 1"):
        LogisticMixture(4, 0)
