"""The deep Boltzmann machine against sums over all of its states."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax import boltzmann, gradient_learner
from genjax.boltzmann import bipartite
from genjax.boltzmann.deep_boltzmann_machine import PART, mean_field
from genjax.core import Variables
from tests.boltzmann.machines import all_states, frequencies, random_params

SIZES = (3, 2, 2, 2)


def make(**options) -> boltzmann.DeepBoltzmannMachine:
    fields = {"shape": SIZES[:1], "num_hidden": SIZES[1:], "centred": False}
    return boltzmann.DeepBoltzmannMachine(**(fields | options))


def variables_of(sizes: tuple[int, ...] = SIZES, scale: float = 1.0) -> Variables:
    layers = [random_params(*pair, scale=scale, seed=i) for i, pair in enumerate(itertools.pairwise(sizes))]
    params = {
        "weights": [layer.weights for layer in layers],
        "biases": [layers[0].visible_bias, *(layer.hidden_bias for layer in layers)],
    }
    state = boltzmann.DBMState(jnp.zeros(sum(sizes[::2])), jnp.full(sizes[0], 0.3), {})
    return Variables({PART: params}, state)


def table(params, sizes: tuple[int, ...] = SIZES) -> np.ndarray:
    """Return log p* of every state, with an axis for each layer, by equation 1 in float64."""
    wide = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
    states = [all_states(size) for size in sizes]
    total = np.zeros([len(each) for each in states])
    for i, (each, bias) in enumerate(zip(states, wide["biases"], strict=True)):
        total += (each @ bias).reshape([-1 if j == i else 1 for j in range(len(sizes))])
    for i, weights in enumerate(wide["weights"]):
        pairs = states[i] @ weights @ states[i + 1].T
        total += pairs.reshape([pairs.shape[j - i] if j in (i, i + 1) else 1 for j in range(len(sizes))])
    return total


@pytest.mark.parametrize("sizes", [SIZES, (3, 2, 3)])
def test_log_prob_is_exact_and_normalized(sizes):
    model, variables = make(num_hidden=sizes[1:]), variables_of(sizes)
    energies = table(variables.params[PART], sizes)
    hidden = tuple(range(1, len(sizes)))
    expected = np.logaddexp.reduce(energies, axis=hidden) - np.logaddexp.reduce(energies, axis=None)
    log_prob = model.log_prob(variables, jnp.asarray(all_states(3), jnp.float32))
    np.testing.assert_allclose(log_prob, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        bipartite.log_partition(model.rbm_params(variables)), np.logaddexp.reduce(energies, axis=None), rtol=1e-5
    )


def test_the_bound_is_that_of_a_factorial_posterior():
    """E_q log p* + H(q) − log Z over all states, with the means of mean field; slightly below log p."""
    model, variables = make(), variables_of()
    x = jnp.asarray(all_states(3), jnp.float32)
    energies = table(variables.params[PART])
    means = np.asarray(model.encode(variables, x), np.float64)  # h¹, h² and h³, two units each
    expected = []
    for number, mu in enumerate(means):
        q = np.ones(energies.shape[1:])
        for axis, layer in enumerate(np.split(mu, 3)):
            p = np.prod(np.where(all_states(2) > 0, layer, 1 - layer), axis=1)
            q *= p.reshape([-1 if j == axis else 1 for j in range(3)])
        expected.append((q * (energies[number] - np.log(q))).sum())
    expected = np.array(expected) - np.logaddexp.reduce(energies, axis=None)
    bound = np.asarray(model.log_prob_lower_bound(variables, jax.random.key(0), x))
    np.testing.assert_allclose(bound, expected, atol=1e-4)
    log_prob = np.asarray(model.log_prob(variables, x))
    assert (bound < log_prob).all()
    assert (log_prob - bound).max() < 0.5


def test_mean_field_updates_raise_the_bound():
    model, variables = make(), variables_of(scale=2.0)
    x = jnp.asarray(all_states(3), jnp.float32)
    bounds = [
        model.log_prob_lower_bound(variables, jax.random.key(0), x, num_mean_field=count) for count in (1, 2, 4, 8, 100)
    ]
    for before, after in itertools.pairwise(bounds):
        assert (np.asarray(after) > np.asarray(before) - 1e-5).all()
    assert (np.asarray(bounds[-1]) > np.asarray(bounds[0]) + 1e-3).any()


def test_with_exact_samples_the_gradient_is_that_of_the_bound():
    """At the mean-field maximum, the gradient of the bound is that with fixed means."""
    variables = variables_of()
    model = make(num_mean_field=100, negative_phase=boltzmann.Persistent(100_000))
    params = model.rbm_params(variables)
    even = all_states(5)
    log_p = np.asarray(
        bipartite.log_unnormalized_visible(bipartite.at_unit_temperature(params), jnp.asarray(even, jnp.float32)),
        np.float64,
    )
    p = np.exp(log_p - np.logaddexp.reduce(log_p))
    indices = np.random.default_rng(0).choice(len(even), 100_000, p=p)
    state = variables.state._replace(negative_phase=boltzmann.ChainState(jnp.asarray(even[indices], jnp.float32)))
    x = jnp.asarray(all_states(3)[:5], jnp.float32)
    gradient, _ = jax.grad(model.loss, has_aux=True)(variables.params, state, jax.random.key(0), {"x": x}, jnp.int32(0))

    def minus_bound(params):
        bound = model.log_prob_lower_bound(Variables(params, state), jax.random.key(0), x, num_mean_field=100)
        return -jnp.mean(bound)

    expected = jax.grad(minus_bound)(variables.params)
    for actual, target in zip(jax.tree.leaves(gradient), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(actual, target, atol=4 * 0.5 / 100_000**0.5)


def test_samples_have_the_right_frequencies():
    model, variables = make(), variables_of()
    energies = table(variables.params[PART])
    p = np.exp(np.logaddexp.reduce(energies, axis=(1, 2, 3)) - np.logaddexp.reduce(energies, axis=None))
    x = model.sample(variables, jax.random.key(0), 40_000, num_steps=50)
    np.testing.assert_allclose(frequencies(np.asarray(x), 3), p, atol=4 * 0.5 / 200)


def test_both_directions_of_annealing_recover_log_z():
    model, variables = make(), variables_of()
    exact = float(bipartite.log_partition(model.rbm_params(variables)))
    forwards = model.log_partition_estimate(variables, jax.random.key(0), 500, num_temperatures=200)
    even = model.sample_even(variables, jax.random.key(1), 500, num_steps=50)
    backwards = model.log_partition_estimate(
        variables, jax.random.key(2), 500, num_temperatures=200, backwards_from=even
    )
    for log_z in (forwards, backwards):
        assert log_z.high - log_z.low < 0.2
        assert log_z.low - 0.02 < exact < log_z.high + 0.02


@pytest.mark.parametrize("centred", [False, True])
def test_pretraining_takes_half_of_each_machines_energy(centred):
    """log p(h¹) is the mean of those of the two machines that explain it, up to log Z."""
    model = make(shape=(3,), num_hidden=(4, 2), centred=centred)
    x = jnp.asarray(all_states(3), jnp.float32)
    variables = model.init(jax.random.key(0), {"x": x[:5]})
    stack = []
    for i, (machine, data) in enumerate(zip(model.pretraining, (x, jnp.zeros((2, 4))), strict=True)):
        initial = machine.init(jax.random.key(1), {"x": data})
        params = random_params(*initial.params["rbm"]["weights"].shape, seed=i).arrays
        stack.append(Variables({"rbm": params}, initial.state))
    both = [machine.rbm_params(each) for machine, each in zip(model.pretraining, stack, strict=True)]
    h = jnp.asarray(all_states(4), jnp.float32)
    lower = bipartite.log_unnormalized_hidden(bipartite.at_unit_temperature(both[0]), h)
    upper = bipartite.log_unnormalized_visible(bipartite.at_unit_temperature(both[1]), h)
    params = model.rbm_params(model.assemble(variables, stack))
    actual = bipartite.log_unnormalized_hidden(bipartite.at_unit_temperature(params), h)
    np.testing.assert_allclose(actual, (lower + upper) / 2, rtol=1e-4, atol=1e-4)


def test_centred_parameters_are_those_of_the_same_model():
    """b = b̃ − Σ W times the neighbours' offsets, from energies (h⁰ − μ)ᵀ W (h¹ − ½) and so on, up to a constant."""
    variables = variables_of()
    model, params = make(centred=True), variables.params[PART]
    offsets = [np.full(3, 0.3), *(np.full(2, 0.5) for _ in range(3))]
    w = [np.asarray(each, np.float64) for each in params["weights"]]
    biases = [np.asarray(each, np.float64) for each in params["biases"]]
    for i, weights in enumerate(w):
        biases[i] = biases[i] - weights @ offsets[i + 1]
        biases[i + 1] = biases[i + 1] - offsets[i] @ weights
    energies = table({"weights": w, "biases": biases})
    expected = np.logaddexp.reduce(energies, axis=(1, 2, 3)) - np.logaddexp.reduce(energies, axis=None)
    log_prob = model.log_prob(variables, jnp.asarray(all_states(3), jnp.float32))
    np.testing.assert_allclose(log_prob, expected, rtol=1e-4, atol=1e-4)


def test_it_learns_two_patterns():
    x = jnp.tile(jnp.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]), (16, 1))
    model = make(centred=True, num_hidden=(4, 3), negative_phase=boltzmann.ParallelTempering(100))
    learner = gradient_learner(model, optax.sgd(0.2))
    train = learner.init(jax.random.key(0), {"x": x})
    before = float(model.log_prob(train.variables, x[:2]).mean())
    keys = jax.random.split(jax.random.key(1), 1_000)
    train, _ = jax.jit(lambda t, k: jax.lax.scan(lambda t, key: learner.step(t, key, {"x": x}), t, k))(train, keys)
    assert before < -1.8
    assert -1.0 < float(model.log_prob(train.variables, x[:2]).mean()) < -0.69  # the optimum is −ln 2


def test_encode_orders_the_means_by_layer():
    """At the mean-field maximum, each layer's means follow from those of its neighbours."""
    model, variables = make(), variables_of(scale=0.5)
    x = jnp.asarray(all_states(3), jnp.float32)
    first, second, third = jnp.split(model.encode(variables, x), 3, axis=1)
    w, b = variables.params[PART]["weights"], variables.params[PART]["biases"]
    np.testing.assert_allclose(first, jax.nn.sigmoid(x @ w[0] + second @ w[1].T + b[1][None]), atol=1e-5)
    np.testing.assert_allclose(second, jax.nn.sigmoid(first @ w[1] + third @ w[2].T + b[2][None]), atol=1e-4)
    np.testing.assert_allclose(third, jax.nn.sigmoid(second @ w[2] + b[3][None]), atol=1e-5)
    even = mean_field(model.rbm_params(variables), x, 50)
    np.testing.assert_allclose(even, jnp.concatenate([x, second], axis=1), atol=1e-6)


def test_invalid_sizes_raise():
    model = make(num_hidden=(30, 26))
    assert not model.tractable
    variables = model.init(jax.random.key(0), {"x": jnp.zeros((2, 3))})
    with pytest.raises(ValueError, match=r"2\^26 states, but the limit is 2\^25; use log_prob_lower_bound"):
        model.log_prob(variables, jnp.zeros((1, 3)))
    with pytest.raises(
        ValueError, match=r"num_hidden is \(.*\), but must be of length 2 or more; use RBM for one layer"
    ):
        make(num_hidden=(2,))
    with pytest.raises(ValueError, match="num_mean_field is 0, but must be at least 1"):
        make(num_mean_field=0)
