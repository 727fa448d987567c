"""Signs of a bad end, on games that have ended so."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import gan, nets
from genjax.data.synthetic import GaussianGrid
from tests.gan.test_gan import linear

GRID = GaussianGrid()
DATA = GRID.sample(jax.random.key(0), 1_000)


class Drawer:
    """A generator of points that are given as its parameters, one for each row."""

    def init(self, key, z):
        return {"params": jnp.zeros((len(z), 2))}

    def apply(self, variables, z):
        return variables["params"]


def diagnosed(samples, discriminator, adversarial_loss=None):
    loss = gan.NonSaturating() if adversarial_loss is None else adversarial_loss
    game = gan.GAN(latent_dim=1, generator=Drawer(), discriminator=nets.MLP((1,)), adversarial_loss=loss)
    own = game.init(jax.random.key(0), {"x": DATA})
    own = own._replace(params={"generator": samples, "discriminator": discriminator})
    return {name: float(value) for name, value in game.diagnose(own, jax.random.key(1), {"x": DATA}).items()}


SLOPING = linear(np.array([[0.6], [0.8]]))


def test_samples_of_the_data_reach_what_data_reach():
    fresh = GRID.sample(jax.random.key(2), 500)
    assert diagnosed(fresh, SLOPING)["reached"] == pytest.approx(1.0, abs=0.1)


def test_few_modes_reach_few_data():
    fresh = GRID.sample(jax.random.key(2), 20_000)
    for count, most in ((1, 0.08), (3, 0.21)):
        near = jnp.any(jnp.linalg.norm(fresh[:, None] - GRID.modes[None, :count], axis=-1) < 0.5, axis=1)
        assert diagnosed(fresh[near][:500], SLOPING)["reached"] < most
    assert diagnosed(jnp.zeros((500, 2)), SLOPING)["reached"] < 0.01


def test_a_dead_discriminator_does_not_vary():
    told = diagnosed(GRID.sample(jax.random.key(2), 500), linear(np.zeros((2, 1)), np.array([3.0])))
    assert told["output_deviation"] < 1e-6
    assert told["slope"] == 0


def test_the_slope_is_that_of_a_linear_critic_in_the_units_of_data_whatever_its_scale():
    samples = GRID.sample(jax.random.key(2), 500)
    width = np.sqrt(np.sum(np.var(np.asarray(DATA[500:]), axis=0)))
    for scale in (1e-3, 1.0, 1e3):
        critic = linear(scale * np.array([[0.6], [0.8]]))
        outputs = np.concatenate([DATA[500:], samples]) @ np.array([0.6, 0.8])
        told = diagnosed(samples, critic, gan.Wasserstein())
        assert told["output_deviation"] == pytest.approx(scale * np.std(outputs), rel=1e-3)
        assert told["slope"] == pytest.approx(width / np.std(outputs), rel=1e-3)


def test_the_minimax_slope_vanishes_where_the_discriminator_is_sure():
    far = jnp.zeros((500, 2)).at[:, 0].set(-30.0)
    assert diagnosed(far, SLOPING, gan.Minimax())["slope"] < 1e-6
    assert diagnosed(far, SLOPING, gan.NonSaturating())["slope"] > 0.1
