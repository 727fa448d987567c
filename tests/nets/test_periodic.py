"""Periodic features, against NumPy."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from numpy.testing import assert_allclose

from genjax import nets


class Recorder(nn.Module):
    """A network that adds 10, and whose inputs are seen."""

    @nn.compact
    def __call__(self, x, level, train):
        self.sow("seen", "x", x)
        return x + 10


def test_the_network_sees_values_and_waves_of_two_levels_and_of_one():
    x = jnp.linspace(-1, 1, 12).reshape(2, 3, 2)
    net = nets.PeriodicFeatures(Recorder(), num_values=17)
    outputs, seen = net.apply({}, x, jnp.zeros(2), mutable="seen")
    z = np.asarray(x, np.float64)
    angles = [2 * np.pi * z / period for period in (4 / 17, 2 / 17)]
    expected = np.concatenate([z, *(f(a) for a in angles for f in (np.sin, np.cos))], axis=-1)
    assert_allclose(jax.tree.leaves(seen)[0], expected, atol=1e-5)
    assert_allclose(outputs, x + 10)


def test_labels_and_dropout_reach_the_network():
    net = nets.PeriodicFeatures(
        nets.UNet(8, multipliers=(1,), num_blocks=1, dropout=0.5, output_scale=1.0), num_values=4
    )
    x, level = jnp.ones((2, 4, 4, 1)), jnp.zeros(2)
    variables = net.init(jax.random.key(0), x, level, jnp.eye(2, 3))
    apply = lambda label, **kwargs: net.apply(variables, x, level, label, **kwargs)  # noqa: E731
    plain = apply(jnp.eye(2, 3))
    assert plain.shape == x.shape
    assert not np.allclose(plain, apply(1 - jnp.eye(2, 3)))
    assert not np.allclose(plain, apply(jnp.eye(2, 3), train=True, rngs={"dropout": jax.random.key(1)}))
