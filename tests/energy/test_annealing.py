"""Annealed importance sampling against quadrature."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import energy, nets
from genjax.core import Variables

MODEL = energy.EnergyModel(net=nets.MLP((16, 16, 1)), base=energy.Gaussian((2,), std=2.0), kernel=energy.MALA(0.1))


@pytest.fixture(scope="module")
def variables() -> Variables:
    """An energy of several nats: random, with its weights times 1.3."""
    start = MODEL.init(jax.random.key(3), {"x": jnp.zeros((4, 2))})
    return start._replace(params=jax.tree.map(lambda p: 1.3 * p, start.params))


@pytest.mark.parametrize(
    ("kernel", "num_particles"),
    [pytest.param(energy.MALA(0.1), 1_000, marks=pytest.mark.slow), (energy.HMC(0.3, 3), 400)],
    ids=["mala", "hmc"],
)
def test_log_partition_lies_in_its_interval(variables, kernel, num_particles):
    """The 99 % interval holds log Z in at least 98 of 100 repeats, and is at most 0.1 nats wide."""

    def estimate(key):
        return MODEL.log_partition_estimate(variables, key, num_particles, num_temperatures=60, kernel=kernel)[:4]

    value, low, high, size = jax.jit(lambda keys: jax.lax.map(estimate, keys))(jax.random.split(jax.random.key(0), 100))
    exact = MODEL.log_partitions(variables)[0]
    base = MODEL.base.sample({}, jax.random.key(1), 1_000)
    assert jnp.std(MODEL.energy(variables, base)) > 0.5  # the base alone would be a poor proposal
    assert jnp.sum((low <= exact) & (exact <= high)) >= 98
    assert jnp.max(high - low) < 0.1
    assert jnp.min(size) > 200
    assert jnp.abs(jnp.mean(value) - exact) < 0.01


def test_both_directions_bracket_log_partition(variables):
    keys = jax.random.split(jax.random.key(1), 3)
    exact = MODEL.log_partitions(variables)[0]
    samples = MODEL.sample(variables, keys[0], 400, num_steps=2_000)
    forward = MODEL.log_partition_estimate(variables, keys[1], 400, num_temperatures=100)
    backward = MODEL.log_partition_estimate(variables, keys[2], 400, num_temperatures=100, backwards_from=samples)
    assert forward.low < exact < forward.high
    assert backward.low < exact < backward.high


def test_a_tempered_model_is_annealed_by_the_kernel_inside(variables):
    """Swaps of replicas that start anew at every step would bias the weights."""
    tempered = dataclasses.replace(MODEL, kernel=energy.ParallelTempering(kernel=MODEL.kernel))
    one, other = (
        model.log_partition_estimate(variables, jax.random.key(0), 10, num_temperatures=5).value
        for model in (tempered, MODEL)
    )
    assert one == other


def test_states_of_bits_are_annealed_too():
    model = energy.EnergyModel(
        net=nets.MLP((8, 1)), base=energy.Bernoulli((4,)), kernel=energy.GibbsWithGradients(), num_steps=10
    )
    x = jax.random.bernoulli(jax.random.key(0), 0.4, (20, 4)).astype(jnp.float32)
    variables = model.init(jax.random.key(1), {"x": x})
    variables = variables._replace(params=jax.tree.map(lambda p: 3 * p, variables.params))
    estimate = model.log_partition_estimate(variables, jax.random.key(2), 400, num_temperatures=100)
    exact = model.log_partitions(variables)[0]
    assert estimate.low < exact < estimate.high
    assert abs(exact) > 0.3


def test_estimates_of_log_prob_use_the_same_constant(variables):
    x = jax.random.normal(jax.random.key(0), (5, 2))
    estimate = MODEL.log_prob_estimate(variables, jax.random.key(1), x, 1_000, num_temperatures=100)
    np.testing.assert_allclose(estimate, MODEL.log_prob(variables, x), atol=0.05)


def test_biased_kernels_and_wrong_counts_are_refused(variables):
    with pytest.raises(ValueError, match=r"exact only for adjusted kernels; use energy.MALA"):
        MODEL.log_partition_estimate(variables, jax.random.key(0), 10, kernel=energy.Langevin())
    with pytest.raises(ValueError, match="backwards_from has 3 samples, but num_particles is 10"):
        MODEL.log_partition_estimate(variables, jax.random.key(0), 10, backwards_from=jnp.zeros((3, 2)))
