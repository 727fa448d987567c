"""A compiled training step costs as much as its forward and backward passes."""

import jax
import jax.numpy as jnp
import optax
import pytest

from genjax import gan, gradient_learner, nets

BATCH, LATENT_DIM = 128, 16
MODEL = gan.GAN(latent_dim=LATENT_DIM, generator=nets.MLP((64, 64, 2)), discriminator=nets.MLP((64, 64, 1)))
SGD = optax.sgd(0.1)
X = jnp.zeros((BATCH, 2))


def flops(function, *arguments) -> float:
    return jax.jit(function).lower(*arguments).compile().cost_analysis()["flops"]


def by_hand(params, key, x):
    """Both updates, each with the gradient of its own parameters only."""

    def samples(own, key):
        return MODEL.generator.apply({"params": own}, jax.random.normal(key, (BATCH, LATENT_DIM)))

    def outputs(own, x):
        return MODEL.discriminator.apply({"params": own}, x)[:, 0]

    first, second = jax.random.split(key)
    generator, discriminator = params["generator"], params["discriminator"]
    fake = samples(generator, first)

    def discriminator_loss(own):
        real, fake_outputs = jnp.split(outputs(own, jnp.concatenate([x, fake])), 2)
        return jnp.mean(jax.nn.softplus(-real)) + jnp.mean(jax.nn.softplus(fake_outputs))

    discriminator = optax.apply_updates(
        discriminator, SGD.update(jax.grad(discriminator_loss)(discriminator), SGD.init(None))[0]
    )
    gradient = jax.grad(lambda own: jnp.mean(jax.nn.softplus(-outputs(discriminator, samples(own, second)))))(generator)
    return optax.apply_updates(generator, SGD.update(gradient, SGD.init(None))[0]), discriminator


def test_an_alternating_step_costs_as_much_as_one_written_by_hand():
    learner = gradient_learner(MODEL, SGD)
    state = learner.init(jax.random.key(0), {"x": X})
    ours = flops(learner.step, state, jax.random.key(1), {"x": X})
    assert ours == pytest.approx(flops(by_hand, state.params, jax.random.key(1), X), rel=0.02)
