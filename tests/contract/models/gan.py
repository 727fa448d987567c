"""A generative adversarial network that keeps statistics in both players.

    min_G max_D  E log D(x) + E log(1 - D(G(z))),  with the generator's loss non-saturating.

The generator normalizes by batch statistics and the discriminator by its spectral norm (one power iteration an update),
so each player has state of its own, which moves in its own turn alone.

Goodfellow et al. (2014), arXiv:1406.2661; Miyato et al. (2018), arXiv:1802.05957.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.core import Array, Batch, Objective, Variables
from genjax.nets import apply_net, init_net


class Generator(nn.Module):
    """Latents to data in (0, 1)."""

    num_features: int
    width: int = 8

    @nn.compact
    def __call__(self, z: Array, train: bool) -> Array:
        h = nn.Dense(self.width, use_bias=False)(z)
        h = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(h))
        return nn.sigmoid(nn.Dense(self.num_features)(h))


class Discriminator(nn.Module):
    """Data to a logit, 1-Lipschitz by spectral normalization."""

    width: int = 8

    @nn.compact
    def __call__(self, x: Array, train: bool) -> Array:
        h = nn.SpectralNorm(nn.Dense(self.width))(x, update_stats=train)
        h = nn.leaky_relu(h)
        return nn.SpectralNorm(nn.Dense(1))(h, update_stats=train)[:, 0]


@final
@dataclass(frozen=True, kw_only=True)
class GAN:
    """Two players with batch and spectral normalization."""

    generator: Generator
    discriminator: Discriminator
    latent_dim: int = 3

    def init(self, key: Array, batch: Batch) -> Variables:
        key_g, key_d = jax.random.split(key)
        generator, generator_state = init_net(self.generator, key_g, jnp.zeros((1, self.latent_dim)))
        discriminator, discriminator_state = init_net(self.discriminator, key_d, batch["x"])
        return Variables(
            params={"generator": generator, "discriminator": discriminator},
            state={"generator": generator_state, "discriminator": discriminator_state},
        )

    def objectives(self) -> tuple[Objective, ...]:
        return (
            Objective(name="discriminator", wrt=("discriminator",), loss=self.discriminator_loss),
            Objective(name="generator", wrt=("generator",), loss=self.generator_loss),
        )

    def discriminator_loss(self, params, state, key, batch, step):
        fake, _ = self._generate(params, state, key, batch["x"].shape[0])
        x = jnp.concatenate([batch["x"], fake])
        logits, moved = self._discriminate(params, state, x, train=True)
        real, fake = jnp.split(logits, 2)
        loss = jnp.mean(nn.softplus(-real)) + jnp.mean(nn.softplus(fake))
        return loss, (state | {"discriminator": moved}, {"real": jnp.mean(real), "fake": jnp.mean(fake)})

    def generator_loss(self, params, state, key, batch, step):
        fake, moved = self._generate(params, state, key, batch["x"].shape[0])
        logits, _ = self._discriminate(params, state, fake, train=False)
        return jnp.mean(nn.softplus(-logits)), (state | {"generator": moved}, {})

    def sample(self, variables: Variables, key: Array, num_samples: int) -> Array:
        return self._generate(*variables, key, num_samples, train=False)[0]

    def _generate(self, params, state, key, num_samples, train=True):
        z = jax.random.normal(key, (num_samples, self.latent_dim))
        return apply_net(self.generator, params["generator"], state["generator"], z, train=train)

    def _discriminate(self, params, state, x, train):
        return apply_net(self.discriminator, params["discriminator"], state["discriminator"], x, train=train)
