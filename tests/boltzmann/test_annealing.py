"""Annealed importance sampling against the exact normalizer."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax import boltzmann, data, gradient_learner
from genjax.boltzmann.layers import log_of_visible, machine
from genjax.core import Variables
from tests.boltzmann.machines import all_states, random_layers, rbm, variables_of

KINDS = pytest.mark.parametrize("units", [boltzmann.Binary(), boltzmann.Gaussian(), boltzmann.Softmax(3)])


@KINDS
def test_both_directions_find_the_normalizer(units):
    layers, base = random_layers(6, 5, scale=0.8, units=units), 0.3 * jnp.arange(6.0) - 1
    exact = float(boltzmann.log_partition(layers))
    forwards = boltzmann.annealed_importance(layers, base, jax.random.key(0), num_particles=500, num_temperatures=300)
    samples = boltzmann.sample_exactly(layers, jax.random.key(1), 500)
    backwards = boltzmann.annealed_importance(
        layers, base, jax.random.key(2), num_particles=500, num_temperatures=300, backwards_from=samples
    )
    for found in (forwards, backwards):
        assert found.high - found.low < 0.2
        assert found.low - 0.02 < exact < found.high + 0.02
        assert 0.5 * 500 < found.num_effective <= 500.001


def test_hidden_units_may_have_base_rates_too():
    """Both ends, and fewer particles astray where these are the machine's own."""
    layers, base = random_layers(6, 30), jnp.zeros(6)
    layers = dataclasses.replace(layers, weights=jnp.abs(layers.weights), hidden_bias=layers.hidden_bias - 8)
    exact = float(boltzmann.log_partition(layers))
    every = jnp.asarray(all_states(6), jnp.float32)
    log_mass = log_of_visible(machine(layers), every)
    samples = every[jax.random.categorical(jax.random.key(1), log_mass, shape=(500,))]
    counts = {"num_particles": 500, "num_temperatures": 30}
    effective = []
    for hidden_base in (jnp.zeros(30), layers.hidden_bias):
        for start in (None, samples):
            found = boltzmann.annealed_importance(
                layers, base, jax.random.key(0), **counts, backwards_from=start, hidden_base=hidden_base
            )
            assert found.low - 0.1 < exact < found.high + 0.1
            effective.append(float(found.num_effective))
    assert effective[2] > 2 * effective[0]
    plain = boltzmann.annealed_importance(layers, base, jax.random.key(0), **counts)
    assert float(plain.num_effective) == pytest.approx(effective[0], rel=1e-3)  # none is zeros


def test_weights_are_unbiased_even_with_few_temperatures():
    """With three temperatures the weights are wild, but their mean over many particles is Z / Z₀."""
    layers, base = random_layers(5, 4, scale=0.7), jnp.zeros(5)
    found = boltzmann.annealed_importance(layers, base, jax.random.key(0), num_particles=100_000, num_temperatures=3)
    exact = float(boltzmann.log_partition(layers))
    error = float(found.high - found.low) / 2 / 2.5758
    assert abs(float(found.value) - exact) < 4 * error < 0.1


def test_intervals_hold_the_normalizer_as_often_as_they_say():
    """99 % ones, of 20 hidden units with strong weights, in 100 repeats."""
    layers = random_layers(16, 20, scale=0.5)
    base = jnp.zeros(16)
    exact = float(boltzmann.log_partition(layers))
    run = jax.jit(
        jax.vmap(
            lambda key: boltzmann.annealed_importance(
                layers, base, key, num_particles=100, num_temperatures=500
            )._replace(v=jnp.zeros(()))
        )
    )
    with jax.debug_key_reuse(False):  # its checker takes a vmap of a scan over keys for a reuse, which it is not
        found = run(jax.random.split(jax.random.key(0), 100))
    inside = (np.asarray(found.low) <= exact) & (exact <= np.asarray(found.high))
    assert inside.sum() >= 96  # of a binomial of 0.99, 4 or more outside have a probability of 0.02
    assert np.all(np.asarray(found.high - found.low) < 0.5)


def test_intervals_hold_the_normalizer_of_a_trained_machine():
    """99 % ones, in 50 repeats: digits have modes apart, and biases far from 0."""
    source = data.digits().splits["train"]
    x = jnp.asarray(source.take(np.arange(1_200))["x"].reshape(60, 20, 64) >= 8, jnp.float32)
    model, steps = rbm(64, 20, negative_phase=boltzmann.Persistent(20), centred=True), 3_000
    learner = gradient_learner(model, optax.sgd(optax.linear_schedule(0.1, 0.0, steps)))
    state = learner.init(jax.random.key(0), {"x": x[0]})
    train = lambda state, now: (learner.step(state, now[0], {"x": x[now[1] % 60]})[0], None)  # noqa: E731
    once = lambda layers, base, key: boltzmann.annealed_importance(  # noqa: E731
        layers, base, key, num_particles=200, num_temperatures=300
    )._replace(v=jnp.zeros(()))
    with jax.debug_key_reuse(False):  # see above
        state = jax.jit(lambda state, *now: jax.lax.scan(train, state, now)[0])(
            state, jax.random.split(jax.random.key(1), steps), jnp.arange(steps)
        )
        variables = Variables(state.params, state.state)
        layers, base = model.layers(variables), boltzmann.Binary().bias(x.reshape(-1, 64))
        found = jax.jit(jax.vmap(once, (None, None, 0)))(layers, base, jax.random.split(jax.random.key(2), 50))
    exact = float(boltzmann.log_partition(layers))
    inside = (np.asarray(found.low) <= exact) & (exact <= np.asarray(found.high))
    assert inside.sum() >= 48  # of a binomial of 0.99, 3 or more outside have a probability of 0.014
    assert np.all(np.asarray(found.high - found.low) < 0.25)


def test_log_prob_estimate_is_close_to_log_prob():
    layers = random_layers(6, 5, scale=0.8)
    model, variables = rbm(6, 5), variables_of(layers)
    x = (jax.random.uniform(jax.random.key(3), (7, 6)) < 0.5).astype(jnp.float32)
    estimate = model.log_prob_estimate(variables, jax.random.key(0), x, 500, num_temperatures=300)
    np.testing.assert_allclose(estimate, model.log_prob(variables, x), atol=0.1)


def test_wrong_counts_are_refused():
    layers = random_layers(4, 3)
    ask = lambda **options: boltzmann.annealed_importance(  # noqa: E731
        layers, jnp.zeros(4), jax.random.key(0), **options
    )
    with pytest.raises(ValueError, match="num_particles is 1, but must be at least 2; there is no interval of one"):
        ask(num_particles=1)
    with pytest.raises(ValueError, match="num_temperatures is 0, but must be at least 1"):
        ask(num_temperatures=0)
    for count in (2, 4):
        with pytest.raises(
            ValueError, match=f"backwards_from has {count} samples, but 3 particles are asked for; draw"
        ):
            ask(num_particles=3, backwards_from=jnp.zeros((count, 4)))
    with pytest.raises(ValueError, match="num_particles is 1, but must be at least 2"):
        ask(num_particles=1, backwards_from=jnp.zeros((1, 4)))


def test_a_bracket_takes_as_many_samples_as_it_asks_for():
    model, variables = rbm(4, 3), variables_of(random_layers(4, 3))
    ask = lambda count: model.log_partition_estimate(  # noqa: E731
        variables, jax.random.key(0), 5, num_temperatures=10, backwards_from=jnp.zeros((count, 4))
    )
    assert ask(5).v.shape == (5, 4)
    with pytest.raises(ValueError, match="has 6 samples, but 5 particles are asked for; draw as many, or ask for 6"):
        ask(6)
