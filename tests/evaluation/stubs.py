"""A model that tests of evaluations extend."""

import dataclasses

import jax.numpy as jnp

from genjax.core import Variables


@dataclasses.dataclass(frozen=True)
class Sampler:
    """A model without codes."""

    def init(self, key, batch):
        return Variables({}, {})

    def objectives(self):
        return ()

    def sample(self, variables, key, num_samples):
        return jnp.zeros((num_samples, 2))
