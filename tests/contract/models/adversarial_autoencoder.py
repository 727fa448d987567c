"""An autoencoder whose codes are made Gaussian by an adversary.

    reconstruction  min_{E, D}  E |x - D(E(x))|^2
    discriminator   min_A       E softplus(-A(z)) + E softplus(A(E(x))),   z ~ N(0, I)
    regularizer     min_E       E softplus(-A(E(x)))

The encoder is moved by two of the three objectives, each with an optimizer state of its own.

Makhzani et al. (2015), arXiv:1511.05644.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.core import Array, Batch, Objective, Variables
from genjax.nets import apply_net, init_net


class Perceptron(nn.Module):
    """One hidden layer."""

    num_outputs: int
    width: int = 8

    @nn.compact
    def __call__(self, x: Array) -> Array:
        return nn.Dense(self.num_outputs)(nn.tanh(nn.Dense(self.width)(x)))


@final
@dataclass(frozen=True, kw_only=True)
class AdversarialAutoencoder:
    """Three objectives over three parts."""

    encoder: Perceptron
    decoder: Perceptron
    discriminator: Perceptron

    def init(self, key: Array, batch: Batch) -> Variables:
        keys = jax.random.split(key, 3)
        x, z = batch["x"], jnp.zeros((1, self.encoder.num_outputs))
        params = {
            "encoder": init_net(self.encoder, keys[0], x)[0],
            "decoder": init_net(self.decoder, keys[1], z)[0],
            "discriminator": init_net(self.discriminator, keys[2], z)[0],
        }
        return Variables(params=params, state={})

    def objectives(self) -> tuple[Objective, ...]:
        return (
            Objective(name="reconstruction", wrt=("encoder", "decoder"), loss=self.reconstruction_loss),
            Objective(name="discriminator", wrt=("discriminator",), loss=self.discriminator_loss),
            Objective(name="regularizer", wrt=("encoder",), loss=self.regularizer_loss),
        )

    def reconstruction_loss(self, params, state, key, batch, step):
        variables = Variables(params, state)
        error = batch["x"] - self.decode(variables, self.encode(variables, batch["x"]))
        return jnp.mean(jnp.sum(error**2, axis=-1)), (state, {})

    def discriminator_loss(self, params, state, key, batch, step):
        fake = self.encode(Variables(params, state), batch["x"])
        real = jax.random.normal(key, fake.shape)
        loss = jnp.mean(nn.softplus(-self._logit(params, real))) + jnp.mean(nn.softplus(self._logit(params, fake)))
        return loss, (state, {})

    def regularizer_loss(self, params, state, key, batch, step):
        fake = self.encode(Variables(params, state), batch["x"])
        return jnp.mean(nn.softplus(-self._logit(params, fake))), (state, {})

    def sample(self, variables: Variables, key: Array, num_samples: int) -> Array:
        return self.decode(variables, jax.random.normal(key, (num_samples, self.encoder.num_outputs)))

    def encode(self, variables: Variables, x: Array) -> Array:
        return apply_net(self.encoder, variables.params["encoder"], {}, x)[0]

    def decode(self, variables: Variables, latent: Array) -> Array:
        return apply_net(self.decoder, variables.params["decoder"], {}, latent)[0]

    def interpolate(self, variables: Variables, x: Array, y: Array, num_steps: int) -> Array:
        t = jnp.linspace(0.0, 1.0, num_steps)[None, :, None]
        path = (1 - t) * self.encode(variables, x)[:, None] + t * self.encode(variables, y)[:, None]
        return self.decode(variables, path)

    def _logit(self, params, z):
        return apply_net(self.discriminator, params["discriminator"], {}, z)[0][:, 0]
