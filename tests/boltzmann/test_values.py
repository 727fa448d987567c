"""Weights, intervals, diagnoses and penalties of Boltzmann machines, computed again with numpy."""

import dataclasses
import itertools
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from genjax import boltzmann
from genjax.boltzmann import annealing, bipartite, diagnosis, fully_connected
from genjax.boltzmann.units import sample_independent
from tests.boltzmann.machines import all_states, joint_log_probs, random_params, rbm, variables_of

RNG = np.random.default_rng(0)
X = RNG.integers(0, 2, (12, 4)).astype(np.float32)
STEP = jnp.int32(0)


def softplus(a):
    return np.log1p(np.exp(np.asarray(a, np.float64)))


def sigmoid(a):
    return 1 / (1 + np.exp(-np.asarray(a, np.float64)))


def log_unnormalized(params, v):
    w, b, c = (np.asarray(array, np.float64) for array in params.arrays.values())
    return v @ b + softplus(v @ w + c).sum(axis=-1)


@pytest.mark.parametrize("hidden_base", [None, np.float32([0.3, -0.8, 1.1])], ids=["even odds", "base rates"])
def test_weights_of_one_temperature(hidden_base):
    """With one step from β = 0 to 1, log w = log p*(v) − log p*₀(v) of the first particles."""
    params, base = random_params(4, 3), np.float32([0.5, -0.4, 0.0, 1.2])
    estimate = boltzmann.annealed_importance_sampling(
        params,
        jnp.asarray(base),
        jax.random.key(3),
        num_particles=30,
        num_temperatures=1,
        hidden_base_bias=None if hidden_base is None else jnp.asarray(hidden_base),
    )
    start_key, _ = jax.random.split(jax.random.key(3))
    v = np.asarray(sample_independent(params.units, jnp.asarray(base), start_key, 30), np.float64)
    offset = np.zeros(3) if hidden_base is None else hidden_base.astype(np.float64)
    log_w = log_unnormalized(params, v) - v @ base - softplus(offset).sum()
    log_z = softplus(base).sum() + softplus(offset).sum() + np.log(np.exp(log_w).mean())
    weight = np.exp(log_w)
    error = weight.std(ddof=1) / weight.mean() / np.sqrt(30)
    np.testing.assert_allclose(estimate.value, log_z, rtol=1e-5)
    np.testing.assert_allclose(estimate.effective_sample_size, weight.sum() ** 2 / (weight**2).sum(), rtol=1e-4)
    np.testing.assert_allclose(estimate.high - estimate.value, norm.ppf(0.995) * error, rtol=1e-3)
    np.testing.assert_allclose(estimate.value - estimate.low, norm.ppf(0.995) * error, rtol=1e-3)


def test_the_reverse_direction_of_one_temperature():
    params, base = random_params(4, 3), jnp.zeros(4)
    v = all_states(4).astype(np.float32)
    estimate = boltzmann.annealed_importance_sampling(
        params, base, jax.random.key(0), num_particles=16, num_temperatures=1, backwards_from=jnp.asarray(v)
    )
    log_w = 3 * np.log(2) - log_unnormalized(params, v)
    np.testing.assert_allclose(estimate.value, 7 * np.log(2) - np.log(np.exp(log_w).mean()), rtol=1e-4)


class Rolls:
    """A negative phase whose chains are the data, one place further at each update."""

    def draw(self, params, base_bias, key, v, state):
        return jnp.roll(v, 1, axis=0), state


def test_chain_movement_is_relative_to_the_distance_between_examples():
    params = random_params(4, 3)
    w, b, c = (np.asarray(array, np.float64) for array in params.arrays.values())
    r = sigmoid(sigmoid(X @ w + c) @ w.T + b)
    moved = ((r - np.roll(r, 1, axis=0)) ** 2).sum(axis=1).mean()
    pairs = [((r[i] - r[j]) ** 2).sum() for i, j in itertools.combinations(range(len(r)), 2)]
    state = types.SimpleNamespace(base_bias=jnp.zeros(4), negative_phase={})
    movement = diagnosis.chain_movement(params, Rolls(), jax.random.key(0), jnp.asarray(X), state)
    np.testing.assert_allclose(movement, moved / np.mean(pairs), rtol=1e-4)


def test_the_error_of_the_partition_function_is_that_of_its_interval(monkeypatch):
    """A 99 % interval is 2 · 2.5758 standard errors wide."""
    params, base_bias = random_params(4, 3), jnp.float32([0.2, -0.3, 0.5, 0.1])
    interval = annealing.LogPartition(*map(jnp.float32, (7.0, 7 - 2.5758, 7 + 2.5758, 9.0)), jnp.zeros((2, 4)))
    monkeypatch.setattr(diagnosis, "MAX_UNITS_IN_DIAGNOSIS", 1)
    monkeypatch.setattr(diagnosis, "annealed_importance_sampling", lambda *args, **options: interval)
    base = boltzmann.TemperedRBM(params, base_bias, jnp.zeros(3), 0.0)
    values = diagnosis.log_likelihood(base, jax.random.key(0), jnp.asarray(X))
    assert float(values["log_partition_error"]) == pytest.approx(1, rel=1e-4)
    log_prob = log_unnormalized(params, X) - 7
    independent = X @ np.asarray(base_bias) - softplus(base_bias).sum()
    np.testing.assert_allclose(values["log_prob_estimate"], log_prob, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(values["gain"], log_prob - independent, rtol=1e-3, atol=1e-4)


def test_exact_gains_and_reconstruction_errors():
    params, base_bias = random_params(4, 3), jnp.float32([0.2, -0.3, 0.5, 0.1])
    base = boltzmann.TemperedRBM(params, base_bias, jnp.zeros(3), 0.0)
    values = diagnosis.log_likelihood(base, jax.random.key(0), jnp.asarray(X))
    log_prob = log_unnormalized(params, X) - joint_log_probs(params)[1]
    np.testing.assert_allclose(values["log_prob"], log_prob, rtol=1e-5)
    independent = X @ np.asarray(base_bias) - softplus(base_bias).sum()
    np.testing.assert_allclose(values["gain"], log_prob - independent, rtol=1e-3, atol=1e-4)
    w, b, c = (np.asarray(array, np.float64) for array in params.arrays.values())
    error = ((sigmoid(sigmoid(X @ w + c) @ w.T + b) - X) ** 2).mean(axis=1)
    np.testing.assert_allclose(bipartite.reconstruction_error(params, jnp.asarray(X)), error, rtol=1e-4)


def test_decay_and_sparsity_add_to_the_loss():
    params = random_params(4, 3)
    plain = rbm(4, 3, negative_phase=boltzmann.ContrastiveDivergence())
    model = dataclasses.replace(plain, weight_decay=0.6, sparsity=0.2, sparsity_weight=0.7)
    variables, batch = variables_of(params), {"x": jnp.asarray(X)}
    gap, loss = (m.loss(*variables, jax.random.key(0), batch, STEP)[0] for m in (plain, model))
    w, _, c = (np.asarray(array, np.float64) for array in params.arrays.values())
    activity = sigmoid(X @ w + c).mean(axis=0)
    expected = 0.3 * (w**2).sum() + 0.7 * ((activity - 0.2) ** 2).sum()
    np.testing.assert_allclose(loss - gap, expected, rtol=1e-4)


def test_decay_of_a_deep_machine_is_half_the_squares():
    plain = boltzmann.DeepBoltzmannMachine(shape=(4,), num_hidden=(3, 2))
    variables, batch = plain.init(jax.random.key(0), {"x": jnp.asarray(X)}), {"x": jnp.asarray(X)}
    variables = variables._replace(params=jax.tree.map(lambda a: 50 * a, variables.params))
    decayed = dataclasses.replace(plain, weight_decay=0.6)
    gap, loss = (m.loss(*variables, jax.random.key(0), batch, STEP)[0] for m in (plain, decayed))
    squares = sum((np.asarray(w, np.float64) ** 2).sum() for w in variables.params["machine"]["weights"])
    np.testing.assert_allclose(loss - gap, 0.3 * squares, rtol=1e-4)


def test_offsets_are_subtracted_from_the_energy():
    """(v − μ)ᵀ W (h − λ) + b̃·(v − μ) + c̃·(h − λ) and vᵀ W h + b·v + c·h differ by a constant."""
    params, mu, lam = random_params(4, 3), RNG.normal(size=4), RNG.normal(size=3)
    plain = bipartite.uncentre(params, jnp.float32(mu), jnp.float32(lam))
    w, b, c = (np.asarray(array, np.float64) for array in params.arrays.values())
    v, h = all_states(4), all_states(3)
    centred = (v - mu) @ w @ (h - lam).T + ((v - mu) @ b)[:, None] + ((h - lam) @ c)[None]
    difference = centred - joint_log_probs(plain)[0]
    np.testing.assert_allclose(difference, difference[0, 0], atol=1e-5)


def test_centred_machines_have_the_means_of_the_data_as_offsets():
    model = boltzmann.RBM(shape=(4,), num_hidden=3)
    state = model.init(jax.random.key(0), {"x": jnp.asarray(X)}).state
    np.testing.assert_allclose(state.visible_offset, X.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(state.hidden_offset, 0.5)
    ones = X.sum(axis=0)
    np.testing.assert_allclose(state.base_bias, np.log((ones + 0.5) / (12 - ones + 0.5)), rtol=1e-5)


def test_fast_weights_learn_the_difference_of_statistics_and_decay():
    params, phase = random_params(4, 3), boltzmann.FastWeights(num_chains=12, learning_rate=0.3, decay=0.8)
    start = phase.init(params, jnp.zeros(4), jax.random.key(0))
    before = jax.tree.map(lambda a: a + 0.1, start.fast)
    chains, state = phase.draw(params, jnp.zeros(4), jax.random.key(1), jnp.asarray(X), start._replace(fast=before))
    w, _, c = (np.asarray(array, np.float64) for array in params.arrays.values())

    def statistics(v):
        h = sigmoid(v @ w + c)
        return {"weights": v.T @ h / len(v), "visible_bias": v.mean(axis=0), "hidden_bias": h.mean(axis=0)}

    data, model = statistics(X), statistics(np.asarray(chains))
    for name, fast in state.fast.items():
        np.testing.assert_allclose(fast, 0.8 * 0.1 + 0.3 * (data[name] - model[name]), rtol=1e-3, atol=1e-5)
    np.testing.assert_array_equal(state.chains, chains)


def test_persistent_chains_go_on_from_where_they_were():
    phase, params = boltzmann.Persistent(num_chains=5), random_params(4, 3)
    chains, state = phase.draw(
        params, jnp.zeros(4), jax.random.key(1), jnp.asarray(X), phase.init(params, jnp.zeros(4), jax.random.key(0))
    )
    np.testing.assert_array_equal(state.chains, chains)


def test_the_energy_of_connected_units():
    couplings = RNG.normal(size=(4, 4))
    couplings = np.triu(couplings, 1) + np.triu(couplings, 1).T
    bias = RNG.normal(size=4)
    pairs = [couplings[i, j] * X[:, i] * X[:, j] for i, j in itertools.combinations(range(4), 2)]
    value = fully_connected.log_unnormalized(
        fully_connected.Couplings(jnp.float32(couplings), jnp.float32(bias)), jnp.asarray(X)
    )
    np.testing.assert_allclose(value, np.sum(pairs, axis=0) + X @ bias, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("make", [boltzmann.RBM, boltzmann.BoltzmannMachine], ids=lambda make: make.__name__)
def test_initial_weights_have_a_standard_deviation_of_a_hundredth(make):
    model = make(shape=(40,), num_hidden=30)
    params = model.init(jax.random.key(0), {"x": jnp.zeros((3, 40))}).params
    weights = next(leaf for path, leaf in jax.tree_util.tree_leaves_with_path(params) if "bias" not in str(path))
    assert float(jnp.std(weights)) == pytest.approx(0.01, rel=0.05)


def test_pairs_of_temperatures_swap_in_turn():
    """Without weights all swaps are accepted: rows (0, 1) and (2, 3) at even steps, rows (1, 2) at odd ones."""
    params = random_params(4, 3, scale=0.0)
    phase = boltzmann.ParallelTempering(num_chains=6, num_temperatures=4)
    chains = phase.init(params, jnp.zeros(4), jax.random.key(0)).chains
    even, odd = (phase._step(params, jnp.zeros(4), jax.random.key(1), jnp.int32(n), chains) for n in (0, 1))
    np.testing.assert_array_equal(even[jnp.array([1, 0, 3, 2])], odd[jnp.array([0, 2, 1, 3])])
    assert not np.array_equal(even, odd)


def test_the_bound_of_a_deep_belief_net_takes_the_upper_end_of_the_interval(monkeypatch):
    interval = annealing.LogPartition(*map(jnp.float32, (5.0, 4.0, 7.0, 9.0)), jnp.zeros((2, 4)))
    monkeypatch.setattr(bipartite, "MAX_ENUMERATED_UNITS", 1)
    monkeypatch.setattr(boltzmann.RBM, "log_partition_estimate", lambda self, *args, **options: interval)
    model = boltzmann.DeepBeliefNet(shape=(4,), num_hidden=(3, 2))
    variables = model.init(jax.random.key(0), {"x": jnp.asarray(X)})
    ends = [
        model._log_partition(variables, jax.random.key(1), num_particles=2, num_temperatures=1, upper=upper)
        for upper in (True, False)
    ]
    assert list(map(float, ends)) == [7, 5]


def test_the_discriminative_term_is_minus_the_log_probability_of_the_label():
    label = jnp.asarray(RNG.integers(0, 3, 12), jnp.int32)
    plain = boltzmann.ClassRBM(shape=(4,), num_classes=3, num_hidden=2, centred=False)
    model, batch = dataclasses.replace(plain, discriminative_weight=0.7), {"x": jnp.asarray(X), "label": label}
    variables = plain.init(jax.random.key(0), batch)
    params = random_params(7, 2)
    variables = variables._replace(params={"rbm": params.arrays})
    without, loss = (m.loss(*variables, jax.random.key(1), batch, STEP)[0] for m in (plain, model))
    w, b, c = (np.asarray(array, np.float64) for array in params.arrays.values())
    scores = b[4:] + softplus((X @ w[:4] + c)[:, None] + w[4:][None]).sum(axis=-1)
    log_probs = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(loss - without, -0.7 * log_probs[np.arange(12), np.asarray(label)].mean(), rtol=1e-3)


def test_the_three_terms_of_wake_and_sleep():
    model = boltzmann.DeepBeliefNet(shape=(4,), num_hidden=(3, 2))
    variables = model.init(jax.random.key(0), {"x": jnp.asarray(X)})
    loss, (_, metrics) = model.loss(*variables, jax.random.key(1), {"x": jnp.asarray(X)}, STEP)
    expected = metrics["free_energy_gap"] - metrics["generative_log_prob"] - metrics["recognition_log_prob"]
    np.testing.assert_allclose(loss, expected, rtol=1e-6)
    assert metrics["generative_log_prob"] < 0 and metrics["recognition_log_prob"] < 0
