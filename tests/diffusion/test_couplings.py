"""Couplings and reflow on Gaussian data, whose optimal plan and flow are linear."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import diffusion
from genjax.core import Variables

MEAN, DEVIATION = 1.5, 0.4
WASSERSTEIN = MEAN**2 + (1 - DEVIATION) ** 2  # W₂² of N(MEAN, DEVIATION²) and N(0, 1)
INDEPENDENT = MEAN**2 + 1 + DEVIATION**2
COUPLING = diffusion.couplings.SinkhornCoupling(epsilon=0.005, num_iterations=200)


def draws(key, num):
    x_key, noise_key, pair_key = jax.random.split(key, 3)
    x = MEAN + DEVIATION * jax.random.normal(x_key, (num, 1))
    return pair_key, x, jax.random.normal(noise_key, (num, 1))


class StraightNet:
    """The exact velocity for the optimal plan or for independent pairs, under the linear path."""

    def __init__(self, straight):
        self.straight = straight

    def init(self, key, x, level):
        return {"params": {"scale": jnp.ones(())}}

    def apply(self, variables, x, level):
        t = jax.nn.sigmoid(-0.5 * (20 - 40 * level))[:, None]
        x = x * jnp.sqrt(jnp.square(1 - t) + jnp.square(t))  # networks see x_t of unit variance
        if self.straight:
            noise = (x - (1 - t) * MEAN) / ((1 - t) * DEVIATION + t)
            data = MEAN + DEVIATION * noise
        else:
            centred = (x - (1 - t) * MEAN) / (jnp.square((1 - t) * DEVIATION) + jnp.square(t))
            data, noise = MEAN + (1 - t) * DEVIATION**2 * centred, t * centred
        return variables["params"]["scale"] * (noise - data)


def model(straight, **options):
    return diffusion.Diffusion(
        shape=(1,),
        net=StraightNet(straight),
        process=diffusion.processes.LinearPath(),
        parametrization=diffusion.parametrizations.Flow(),
        sampler=diffusion.samplers.Euler(),
        grid=diffusion.grids.Uniform(),
        **options,
    )


VARIABLES = ({"denoiser": {"scale": jnp.ones(())}}, {"denoiser": {}})


class TestSinkhorn:
    def test_pairs_are_as_near_as_the_wasserstein_distance(self):
        key, x, noise = draws(jax.random.key(0), 1_000)
        paired = jax.jit(COUPLING.pair)(key, x, noise)
        np.testing.assert_allclose(jnp.mean(jnp.square(x - noise)), INDEPENDENT, rtol=0.1)
        np.testing.assert_allclose(jnp.mean(jnp.square(x - paired)), WASSERSTEIN, rtol=0.05)
        assert np.corrcoef(x[:, 0], paired[:, 0])[0, 1] > 0.98

    def test_the_noise_keeps_its_distribution(self):
        """Checked over many small minibatches, each with its own plan."""
        key, x, noise = draws(jax.random.key(1), 64 * 128)
        batches = (jax.random.split(key, 128), x.reshape(128, 64, 1), noise.reshape(128, 64, 1))
        paired = np.asarray(jax.jit(jax.vmap(COUPLING.pair))(*batches)).reshape(-1)
        assert abs(paired.mean()) < 5 / len(paired) ** 0.5
        assert abs(paired.var() - 1) < 5 * (2 / len(paired)) ** 0.5
        assert set(paired.tolist()) <= set(np.asarray(noise).reshape(-1).tolist())

    def test_examples_of_any_shape(self):
        x, noise = (jax.random.normal(jax.random.key(seed), (6, 2, 3)) for seed in (2, 3))
        flat = COUPLING.pair(jax.random.key(4), x.reshape(6, 6), noise.reshape(6, 6))
        np.testing.assert_array_equal(COUPLING.pair(jax.random.key(4), x, noise).reshape(6, 6), flat)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"epsilon": 0.0}, "epsilon is 0.0, but must be above 0"),
            ({"num_iterations": 0}, "num_iterations is 0, but must be at least 1"),
        ],
    )
    def test_errors(self, options, message):
        with pytest.raises(ValueError, match=message):
            diffusion.couplings.SinkhornCoupling(**options)


class TestLoss:
    def test_straight_paths_have_almost_no_loss_with_a_coupling(self):
        """Without a coupling the loss is at least the variance of q given x_t."""
        _, x, _ = draws(jax.random.key(5), 1_000)
        losses = {}
        for straight, coupled in itertools.product((True, False), repeat=2):
            loss = jax.jit(model(straight, coupling=COUPLING if coupled else None).loss)
            losses[straight, coupled] = float(loss(*VARIABLES, jax.random.key(13), {"x": x}, 0)[0])
        # For independent pairs, Var(ε − x₀ | x_t) = s² / (s² (1 − t)² + t²), whose integral over t is s π / 2.
        np.testing.assert_allclose(losses[False, False], DEVIATION * np.pi / 2, rtol=0.1)
        assert losses[True, True] < 0.05
        assert losses[True, False] > losses[False, False] + 0.1
        assert losses[False, True] > losses[True, True] + 0.1

    def test_noise_of_the_batch_takes_precedence(self):
        _, x, noise = draws(jax.random.key(6), 32)
        own, none = (
            jax.jit(model(False, coupling=coupling).loss)(*VARIABLES, jax.random.key(14), {"x": x, "noise": noise}, 0)[
                0
            ]
            for coupling in (COUPLING, None)
        )
        assert own == none


class TestReflow:
    def test_pairs_are_noise_and_its_image_under_the_flow(self):
        independent = model(False)
        variables = independent.init(jax.random.key(7), {"x": jnp.zeros((2, 1))})
        batch = diffusion.reflow_pairs(independent, variables, jax.random.key(8), 500, num_steps=400)
        assert batch["x"].shape == batch["noise"].shape == (500, 1)
        assert abs(batch["noise"].mean()) < 5 / 500**0.5
        np.testing.assert_allclose(batch["x"], MEAN + DEVIATION * batch["noise"], atol=0.02)
        straight = jax.jit(model(True).loss)(*VARIABLES, jax.random.key(9), batch, 0)[0]
        curved = jax.jit(independent.loss)(*VARIABLES, jax.random.key(9), batch, 0)[0]
        assert straight < 1e-3 < 0.1 < curved

    def test_a_straight_flow_takes_one_step(self):
        straight = model(True)
        variables = straight.init(jax.random.key(10), {"x": jnp.zeros((2, 1))})
        batch = diffusion.reflow_pairs(straight, variables, jax.random.key(11), 5, num_steps=1)
        np.testing.assert_allclose(batch["x"], MEAN + DEVIATION * batch["noise"], atol=1e-4)

    def test_no_pairs(self):
        with pytest.raises(ValueError, match="num_pairs is 0, but must be at least 1"):
            diffusion.reflow_pairs(model(True), Variables(*VARIABLES), jax.random.key(12), 0)
