"""Indicators of failed training, on GANs that have failed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import gan, nets
from genjax.data.synthetic import GaussianGrid
from tests.gan.test_gan import linear

GRID = GaussianGrid()
DATA = GRID.sample(jax.random.key(0), 1_000)


class FixedSamples:
    """Generator whose parameters are its samples, one per row."""

    def init(self, key, z):
        return {"params": jnp.zeros((len(z), 2))}

    def apply(self, variables, z):
        return variables["params"]


def diagnose(samples, discriminator, adversarial_loss=None):
    loss = gan.NonSaturating() if adversarial_loss is None else adversarial_loss
    model = gan.GAN(latent_dim=1, generator=FixedSamples(), discriminator=nets.MLP((1,)), adversarial_loss=loss)
    variables = model.init(jax.random.key(0), {"x": DATA})
    variables = variables._replace(params={"generator": samples, "discriminator": discriminator})
    return {name: float(value) for name, value in model.diagnose(variables, jax.random.key(1), {"x": DATA}).items()}


SLOPING = linear(np.array([[0.6], [0.8]]))


def test_samples_from_the_data_distribution_have_coverage_one():
    fresh = GRID.sample(jax.random.key(2), 500)
    assert diagnose(fresh, SLOPING)["coverage"] == pytest.approx(1.0, abs=0.1)


def test_few_modes_have_low_coverage():
    fresh = GRID.sample(jax.random.key(2), 20_000)
    for count, limit in ((1, 0.08), (3, 0.21)):
        near = jnp.any(jnp.linalg.norm(fresh[:, None] - GRID.modes[None, :count], axis=-1) < 0.5, axis=1)
        assert diagnose(fresh[near][:500], SLOPING)["coverage"] < limit
    assert diagnose(jnp.zeros((500, 2)), SLOPING)["coverage"] < 0.01


def test_a_constant_discriminator_has_zero_std():
    values = diagnose(GRID.sample(jax.random.key(2), 500), linear(np.zeros((2, 1)), np.array([3.0])))
    assert values["discriminator_std"] < 1e-6
    assert values["generator_gradient"] == 0


def test_the_generator_gradient_of_a_linear_critic_is_known_and_scale_free():
    samples = GRID.sample(jax.random.key(2), 500)
    width = np.sqrt(np.sum(np.var(np.asarray(DATA[500:]), axis=0)))
    for scale in (1e-3, 1.0, 1e3):
        critic = linear(scale * np.array([[0.6], [0.8]]))
        outputs = np.concatenate([DATA[500:], samples]) @ np.array([0.6, 0.8])
        values = diagnose(samples, critic, gan.Wasserstein())
        assert values["discriminator_std"] == pytest.approx(scale * np.std(outputs), rel=1e-3)
        assert values["generator_gradient"] == pytest.approx(width / np.std(outputs), rel=1e-3)


def test_the_minimax_gradient_vanishes_where_the_discriminator_is_certain():
    far = jnp.zeros((500, 2)).at[:, 0].set(-30.0)
    assert diagnose(far, SLOPING, gan.Minimax())["generator_gradient"] < 1e-6
    assert diagnose(far, SLOPING, gan.NonSaturating())["generator_gradient"] > 0.1
