"""Greedy layer-wise training: what each layer sees."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from genjax import latent
from genjax.core import Variables


class Noisy:
    """A layer whose hidden values are its input plus noise."""

    def init(self, key, batch):
        return Variables({}, {})

    def objectives(self):
        return ()

    def sample(self, variables, key, num_samples):
        return jnp.zeros((num_samples, 3))

    def sample_posterior(self, variables, key, x):
        return x + jax.random.normal(key, x.shape)


def test_layers_draw_independently():
    """Two layers with one key would add the same noise twice: a variance of 4 in place of 2."""
    stages = latent.greedy_stages([Noisy()] * 3, [lambda _: None] * 3, [1] * 3)
    finished = {f"layer_{i}": Variables({}, {}) for i in (1, 2)}
    x = jnp.zeros((4_000, 3))
    codes = np.asarray(stages[2].batch(finished)(jax.random.key(0), {"x": x})["x"])
    assert abs(np.var(codes) - 2) < 5 * 2 * np.sqrt(2 / codes.size)
