"""The fully connected Boltzmann machine against sums over all of its states."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax import boltzmann, gradient_learner
from genjax.boltzmann import fully_connected
from genjax.core import Variables
from tests.boltzmann.machines import all_states, frequencies

X = (np.random.default_rng(0).random((6, 3)) < 0.6).astype(np.float32)


def machine(num_visible: int, num_hidden: int, **options):
    """Return a model, normal parameters, and log p of all states of all units, by definition in float64."""
    model = boltzmann.BoltzmannMachine(shape=(num_visible,), num_hidden=num_hidden, **options)
    num_units = num_visible + num_hidden
    rng = np.random.default_rng(1)
    pairs, bias = rng.normal(size=num_units * (num_units - 1) // 2), rng.normal(size=num_units)
    params = {"couplings": jnp.asarray(pairs, jnp.float32), "bias": jnp.asarray(bias, jnp.float32)}
    couplings = np.zeros((num_units, num_units))
    couplings[np.triu_indices(num_units, 1)] = pairs
    s = all_states(num_units)
    log_p = np.array([row @ couplings @ row + bias @ row for row in s])
    return model, params, log_p - np.logaddexp.reduce(log_p)


@pytest.mark.parametrize("sizes", [(3, 0), (3, 2), (1, 1), (4, 10)])
def test_log_prob_is_exact_and_normalized(sizes):
    model, params, log_p = machine(*sizes)
    every = jnp.asarray(all_states(sizes[0]), jnp.float32)
    expected = np.logaddexp.reduce(log_p.reshape(len(every), -1), axis=1)
    np.testing.assert_allclose(
        model.log_prob(Variables({"machine": params}, {}), every), expected, rtol=1e-4, atol=1e-4
    )


def test_gibbs_sweeps_leave_the_density_invariant():
    """Exact samples stay exact; with clamped visible units, hidden units follow their conditional distribution."""
    model, params, log_p = machine(2, 2)
    couplings = model.couplings(Variables({"machine": params}, {}))
    every, count = jnp.asarray(all_states(4), jnp.float32), 40_000
    start = every[jax.random.choice(jax.random.key(0), 16, (count,), p=jnp.asarray(np.exp(log_p), jnp.float32))]
    later = fully_connected.gibbs_sweeps(couplings, jax.random.key(1), start, 2)
    np.testing.assert_allclose(frequencies(later, 4), np.exp(log_p), atol=4 * 0.5 / count**0.5)
    clamped = fully_connected.gibbs_sweeps(couplings, jax.random.key(2), jnp.tile(every[4], (count, 1)), 20, first=2)
    np.testing.assert_array_equal(clamped[:, :2], jnp.tile(every[4, :2], (count, 1)))
    conditional = np.exp(log_p[4:8] - np.logaddexp.reduce(log_p[4:8]))
    np.testing.assert_allclose(frequencies(clamped[:, 2:], 2), conditional, atol=4 * 0.5 / count**0.5)


def test_samples_have_the_right_frequencies():
    model, params, log_p = machine(3, 1)
    x = model.sample(Variables({"machine": params}, {}), jax.random.key(0), 20_000, num_steps=40)
    p = np.exp(np.logaddexp.reduce(log_p.reshape(8, -1), axis=1))
    np.testing.assert_allclose(frequencies(x, 3), p, atol=4 * 0.5 / 20_000**0.5)


def test_the_expected_gradient_of_samples_is_that_of_the_likelihood():
    """Many chains that are exact samples, and many copies of the data, whose hidden units are sampled."""
    exact, params, log_p = machine(3, 2, exact=True)
    sampled = boltzmann.BoltzmannMachine(shape=(3,), num_hidden=2, num_chains=60_000, num_steps=10)
    every = jnp.asarray(all_states(5), jnp.float32)
    p = jnp.asarray(np.exp(log_p), jnp.float32)
    chains = every[jax.random.choice(jax.random.key(0), 32, (60_000,), p=p)]
    arguments = (jax.random.key(1), {"x": jnp.tile(jnp.asarray(X), (10_000, 1))}, jnp.int32(0))
    expected, _ = jax.grad(exact.loss, has_aux=True)({"machine": params}, {}, *arguments)
    estimate, (state, _) = jax.grad(sampled.loss, has_aux=True)(
        {"machine": params}, boltzmann.ChainState(chains), *arguments
    )
    for name in ("couplings", "bias"):
        np.testing.assert_allclose(estimate["machine"][name], expected["machine"][name], atol=0.012, err_msg=name)
    assert state.chains.shape == chains.shape


def test_hidden_units_learn_parity():
    """Pairs among three bits of even parity are independent: couplings alone learn nothing, a hidden unit does."""
    even = jnp.asarray([[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0]], jnp.float32)
    scores = {}
    for num_hidden in (0, 1):
        model = boltzmann.BoltzmannMachine(shape=(3,), num_hidden=num_hidden, exact=True)
        learner = gradient_learner(model, optax.adam(0.1))
        train = learner.init(jax.random.key(2), {"x": even})

        def step(train, _, learner=learner):
            return learner.step(train, jax.random.key(0), {"x": even})[0], None

        with jax.debug_key_reuse(False):  # exact training is deterministic
            train = jax.jit(lambda train, step=step: jax.lax.scan(step, train, length=600)[0])(train)
        scores[num_hidden] = float(model.log_prob(train.variables, even).mean())
    assert scores[0] == pytest.approx(-3 * np.log(2), abs=1e-3)
    assert scores[1] > -2 * np.log(2) - 0.05


def test_too_many_units_raise():
    with pytest.raises(ValueError, match=r"exact training enumerates 2\^26 states, but the limit is 2\^25; use fewer"):
        boltzmann.BoltzmannMachine(shape=(13, 2), exact=True)
    model = boltzmann.BoltzmannMachine(shape=(26,))
    variables = model.init(jax.random.key(0), {"x": jnp.zeros((2, 26))})
    with pytest.raises(ValueError, match=r"an exact likelihood enumerates 2\^26 states"):
        model.log_prob(variables, jnp.zeros((1, 26)))
    assert not model.tractable


def test_chains_of_another_run_raise():
    batch = {"x": jnp.asarray(X)}
    variables = boltzmann.BoltzmannMachine(shape=(3,), num_chains=4).init(jax.random.key(0), batch)
    model = boltzmann.BoltzmannMachine(shape=(3,), num_chains=5)
    with pytest.raises(ValueError, match="the state has 4 chains, but the model expects 5 "):
        model.loss(*variables, jax.random.key(1), batch, jnp.int32(0))
