"""Annealed importance sampling against the exact log Z."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax import boltzmann, data, gradient_learner
from genjax.boltzmann.bipartite import at_unit_temperature, log_unnormalized_visible
from genjax.core import Variables
from tests.boltzmann.machines import all_states, random_params, rbm, variables_of

KINDS = pytest.mark.parametrize(
    "units", [boltzmann.BinaryUnits(), boltzmann.GaussianUnits(), boltzmann.SoftmaxUnits(3)]
)


@KINDS
def test_both_directions_recover_log_z(units):
    params, base = random_params(6, 5, scale=0.8, units=units), 0.3 * jnp.arange(6.0) - 1
    exact = float(boltzmann.log_partition(params))
    forwards = boltzmann.annealed_importance_sampling(
        params, base, jax.random.key(0), num_particles=500, num_temperatures=300
    )
    samples = boltzmann.sample_exactly(params, jax.random.key(1), 500)
    backwards = boltzmann.annealed_importance_sampling(
        params, base, jax.random.key(2), num_particles=500, num_temperatures=300, backwards_from=samples
    )
    for log_z in (forwards, backwards):
        assert log_z.high - log_z.low < 0.2
        assert log_z.low - 0.02 < exact < log_z.high + 0.02
        assert 0.5 * 500 < log_z.effective_sample_size <= 500.001


def test_base_rates_of_hidden_units():
    """Both directions recover log Z, and the effective sample size grows if the base rates are the model's own."""
    params, base = random_params(6, 30), jnp.zeros(6)
    params = dataclasses.replace(params, weights=jnp.abs(params.weights), hidden_bias=params.hidden_bias - 8)
    exact = float(boltzmann.log_partition(params))
    every = jnp.asarray(all_states(6), jnp.float32)
    log_mass = log_unnormalized_visible(at_unit_temperature(params), every)
    samples = every[jax.random.categorical(jax.random.key(1), log_mass, shape=(500,))]
    counts = {"num_particles": 500, "num_temperatures": 30}
    effective = []
    for hidden_base in (jnp.zeros(30), params.hidden_bias):
        for start in (None, samples):
            log_z = boltzmann.annealed_importance_sampling(
                params, base, jax.random.key(0), **counts, backwards_from=start, hidden_base_bias=hidden_base
            )
            assert log_z.low - 0.1 < exact < log_z.high + 0.1
            effective.append(float(log_z.effective_sample_size))
    assert effective[2] > 2 * effective[0]
    plain = boltzmann.annealed_importance_sampling(params, base, jax.random.key(0), **counts)
    assert float(plain.effective_sample_size) == pytest.approx(effective[0], rel=1e-3)  # None is zeros


def test_weights_are_unbiased_even_with_few_temperatures():
    """With three temperatures the weights vary widely, but their mean over many particles is Z / Z₀."""
    params, base = random_params(5, 4, scale=0.7), jnp.zeros(5)
    log_z = boltzmann.annealed_importance_sampling(
        params, base, jax.random.key(0), num_particles=100_000, num_temperatures=3
    )
    exact = float(boltzmann.log_partition(params))
    error = float(log_z.high - log_z.low) / 2 / 2.5758
    assert abs(float(log_z.value) - exact) < 4 * error < 0.1


def test_intervals_cover_log_z_at_their_confidence_level():
    """99 % intervals for 20 hidden units with strong weights, in 100 repeats."""
    params = random_params(16, 20, scale=0.5)
    base = jnp.zeros(16)
    exact = float(boltzmann.log_partition(params))
    run = jax.jit(
        jax.vmap(
            lambda key: boltzmann.annealed_importance_sampling(
                params, base, key, num_particles=100, num_temperatures=500
            )._replace(particles=jnp.zeros(()))
        )
    )
    with jax.debug_key_reuse(False):  # its checker mistakes a vmap of a scan over keys for key reuse
        log_z = run(jax.random.split(jax.random.key(0), 100))
    inside = (np.asarray(log_z.low) <= exact) & (exact <= np.asarray(log_z.high))
    assert inside.sum() >= 96  # at coverage 0.99, 4 or more misses have probability 0.02
    assert np.all(np.asarray(log_z.high - log_z.low) < 0.5)


def test_intervals_cover_log_z_of_a_trained_machine():
    """99 % intervals in 50 repeats: digits have separate modes, and biases far from 0."""
    source = data.digits().splits["train"]
    x = jnp.asarray(source.take(np.arange(1_200))["x"].reshape(60, 20, 64) >= 8, jnp.float32)
    model, steps = rbm(64, 20, negative_phase=boltzmann.Persistent(20), centred=True), 3_000
    learner = gradient_learner(model, optax.sgd(optax.linear_schedule(0.1, 0.0, steps)))
    state = learner.init(jax.random.key(0), {"x": x[0]})
    train = lambda state, each: (learner.step(state, each[0], {"x": x[each[1] % 60]})[0], None)  # noqa: E731
    anneal = lambda params, base, key: boltzmann.annealed_importance_sampling(  # noqa: E731
        params, base, key, num_particles=200, num_temperatures=300
    )._replace(particles=jnp.zeros(()))
    with jax.debug_key_reuse(False):  # see above
        state = jax.jit(lambda state, *xs: jax.lax.scan(train, state, xs)[0])(
            state, jax.random.split(jax.random.key(1), steps), jnp.arange(steps)
        )
        variables = Variables(state.params, state.state)
        params, base = model.rbm_params(variables), boltzmann.BinaryUnits().fit_bias(x.reshape(-1, 64))
        log_z = jax.jit(jax.vmap(anneal, (None, None, 0)))(params, base, jax.random.split(jax.random.key(2), 50))
    exact = float(boltzmann.log_partition(params))
    inside = (np.asarray(log_z.low) <= exact) & (exact <= np.asarray(log_z.high))
    assert inside.sum() >= 48  # at coverage 0.99, 3 or more misses have probability 0.014
    assert np.all(np.asarray(log_z.high - log_z.low) < 0.25)


def test_log_prob_estimate_is_close_to_log_prob():
    params = random_params(6, 5, scale=0.8)
    model, variables = rbm(6, 5), variables_of(params)
    x = (jax.random.uniform(jax.random.key(3), (7, 6)) < 0.5).astype(jnp.float32)
    estimate = model.log_prob_estimate(variables, jax.random.key(0), x, 500, num_temperatures=300)
    np.testing.assert_allclose(estimate, model.log_prob(variables, x), atol=0.1)


def test_invalid_counts_raise():
    params = random_params(4, 3)
    anneal = lambda **options: boltzmann.annealed_importance_sampling(  # noqa: E731
        params, jnp.zeros(4), jax.random.key(0), **options
    )
    with pytest.raises(ValueError, match="num_particles is 1, but must be at least 2; one particle gives no interval"):
        anneal(num_particles=1)
    with pytest.raises(ValueError, match="num_temperatures is 0, but must be at least 1"):
        anneal(num_temperatures=0)
    for count in (2, 4):
        with pytest.raises(ValueError, match=f"backwards_from has {count} samples, but num_particles is 3; draw"):
            anneal(num_particles=3, backwards_from=jnp.zeros((count, 4)))
    with pytest.raises(ValueError, match="num_particles is 1, but must be at least 2"):
        anneal(num_particles=1, backwards_from=jnp.zeros((1, 4)))


def test_the_reverse_direction_needs_a_sample_per_particle():
    model, variables = rbm(4, 3), variables_of(random_params(4, 3))
    anneal = lambda count: model.log_partition_estimate(  # noqa: E731
        variables, jax.random.key(0), 5, num_temperatures=10, backwards_from=jnp.zeros((count, 4))
    )
    assert anneal(5).particles.shape == (5, 4)
    with pytest.raises(
        ValueError, match="has 6 samples, but num_particles is 5; draw as many samples, or set num_particles=6"
    ):
        anneal(6)
