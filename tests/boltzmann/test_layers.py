"""Two joined layers against sums over all of their states."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate

from genjax import boltzmann
from genjax.boltzmann import layers as joint
from tests.boltzmann.machines import all_states, joint_log_probs, random_layers, shares


def test_either_layer_summed_out_is_what_the_definition_gives():
    layers = random_layers(4, 3)
    energies, _ = joint_log_probs(layers)
    path = joint.machine(layers)
    v, h = (jnp.asarray(all_states(size), jnp.float32) for size in (4, 3))
    np.testing.assert_allclose(joint.log_of_visible(path, v), np.logaddexp.reduce(energies, axis=1), rtol=1e-5)
    np.testing.assert_allclose(joint.log_of_hidden(path, h), np.logaddexp.reduce(energies, axis=0), rtol=1e-5)


@pytest.mark.parametrize("sizes", [(4, 3), (3, 5), (14, 2), (2, 14), (1, 1)])
def test_the_normalizer_of_binary_units(sizes):
    layers = random_layers(*sizes)
    np.testing.assert_allclose(joint.log_partition(layers), joint_log_probs(layers)[1], rtol=1e-5, atol=1e-5)


def test_the_normalizer_of_gaussian_units_is_an_integral():
    layers = random_layers(1, 3, units=boltzmann.Gaussian())
    log_z = joint.log_partition(layers)

    def density(v):
        value = joint.log_of_visible(joint.machine(layers), jnp.full((1, 1), v))
        return float(jnp.exp(value[0] - log_z))

    assert integrate.quad(density, -15, 15, limit=60, epsabs=1e-5)[0] == pytest.approx(1, abs=1e-4)


def test_the_masses_of_softmax_units_sum_to_one():
    units = boltzmann.Softmax(3)
    layers = random_layers(2 * 3, 4, units=units)
    x = jnp.array([[i, j] for i in range(3) for j in range(3)])
    v = units.encode(x, (2,))
    np.testing.assert_array_equal(units.decode(v, (2,)), x)
    log_mass = joint.log_of_visible(joint.machine(layers), v) - joint.log_partition(layers)
    assert jnp.exp(log_mass).sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("hidden_base", [None, (2.0, -1.0)])
@pytest.mark.parametrize("beta", [0.0, 0.4, 1.0])
def test_sweeps_keep_the_density_of_their_temperature(beta, hidden_base):
    """The matrix of transitions, by the products of conditionals that sweeps draw from, has it as a fixed point."""
    layers, base = random_layers(3, 2), jnp.array([1.0, -0.5, 0.3])
    path = joint.Path(layers, base, beta, None if hidden_base is None else jnp.array(hidden_base))
    v, h = (jnp.asarray(all_states(size), jnp.float32) for size in (3, 2))

    def masses(inputs, states):
        p = np.asarray(jax.nn.sigmoid(inputs), np.float64)[:, None]
        return np.prod(np.where(np.asarray(states)[None] > 0, p, 1 - p), axis=-1)

    transition = masses(joint.hidden_inputs(path, v), h) @ masses(joint.visible_inputs(path, h), v)
    p = np.asarray(jax.nn.softmax(joint.log_of_visible(path, v)), np.float64)
    np.testing.assert_allclose(p @ transition, p, rtol=1e-5)
    # And they do draw from these: many from one state.
    start = 5
    drawn = joint.sweep(path, jax.random.key(0), jnp.broadcast_to(v[start], (40_000, 3)))
    np.testing.assert_allclose(shares(drawn, 3), transition[start], atol=4 * 0.5 / 200)


def test_independent_units_have_the_normalizer_of_the_path_at_zero():
    layers, base = random_layers(4, 3), jnp.linspace(-1, 1, 4)
    path = joint.Path(layers, base, 0.0)
    every = jnp.asarray(all_states(4), jnp.float32)
    expected = jax.nn.logsumexp(joint.log_of_visible(path, every))
    np.testing.assert_allclose(joint.log_partition_of_base(path), expected, rtol=1e-6)


def test_exact_samples_have_the_masses():
    layers = random_layers(3, 4)
    energies, log_z = joint_log_probs(layers)
    x = joint.sample_exactly(layers, jax.random.key(0), 40_000)
    np.testing.assert_allclose(shares(x, 3), np.exp(np.logaddexp.reduce(energies, axis=1) - log_z), atol=4 * 0.5 / 200)


def test_too_many_states_are_refused():
    with pytest.raises(ValueError, match=r"2\^26 states, but 2\^25 are the limit; use log_prob_estimate"):
        joint.log_partition(random_layers(30, 26))
    with pytest.raises(ValueError, match=r"2\^26 states"):
        joint.log_partition(random_layers(3, 26, units=boltzmann.Gaussian()))


@pytest.mark.parametrize(
    ("units", "x", "message"),
    [
        (boltzmann.Binary(), np.array([[0.0, 0.5]]), r"x is 0.5 at \(0, 1\), but binary units take 0 and 1; binarize"),
        (boltzmann.Binary(), np.zeros((2, 3)), r"x has shape \(2, 3\), but this model has shape=\(2,\)"),
        (boltzmann.Gaussian(), np.array([[0.0, np.nan]]), r"x is nan at \(0, 1\), but data must be finite"),
        (boltzmann.Softmax(3), np.array([[0, 3]]), r"x is 3 at \(0, 1\), but softmax units take 0 to 2"),
        (boltzmann.Softmax(3), np.array([[0.0, 1.0]]), "x has dtype float.*, but softmax units take integers"),
    ],
)
def test_data_that_units_cannot_be_is_refused(units, x, message):
    with pytest.raises(ValueError, match=message):
        units.encode(jnp.asarray(x), (2,))


@pytest.mark.parametrize("units", [boltzmann.Binary(), boltzmann.Gaussian(), boltzmann.Softmax(3)])
def test_biases_give_the_means_of_the_data(units):
    x = jax.random.randint(jax.random.key(0), (3_000, 2), 0, 2)
    v = units.encode(x if units.discrete and not isinstance(units, boltzmann.Binary) else x.astype(jnp.float32), (2,))
    np.testing.assert_allclose(units.mean(units.bias(v)[None])[0], v.mean(axis=0), atol=1e-3)
    drawn = units.sample(jax.random.key(1), jnp.broadcast_to(units.bias(v), (20_000, v.shape[1])))
    np.testing.assert_allclose(drawn.mean(axis=0), v.mean(axis=0), atol=0.03)
    assert np.isfinite(units.bias(v[:1])).all()  # nothing is ruled out by one example


def test_binomial_units_are_sums_of_binary_ones():
    """A machine of two copies of every unit, with the same weights, says the same of its sums."""
    layers = random_layers(3, 2, units=boltzmann.Binomial(2))
    copies = boltzmann.Layers(jnp.tile(layers.weights, (2, 1)), jnp.tile(layers.visible_bias, 2), layers.hidden_bias)
    energies, log_z = joint_log_probs(copies)
    np.testing.assert_allclose(joint.log_partition(layers), log_z, rtol=1e-5)
    sums = all_states(6)[:, :3] + all_states(6)[:, 3:]
    every, number = np.unique(sums, axis=0, return_inverse=True)
    masses = np.bincount(number.ravel(), weights=np.exp(np.logaddexp.reduce(energies, axis=1) - log_z))
    log_mass = joint.log_of_visible(joint.machine(layers), jnp.asarray(every, jnp.float32)) - log_z
    np.testing.assert_allclose(np.exp(log_mass), masses, rtol=1e-4)
    x = np.asarray(joint.sample_exactly(layers, jax.random.key(0), 40_000))
    drawn = np.array([(x == row).all(axis=1).mean() for row in every])
    np.testing.assert_allclose(drawn, masses, atol=4 * 0.5 / 200)


def test_hidden_units_of_other_kinds_are_summed_out():
    """Two copies of every hidden unit: binomial ones, or a layer of two binary halves."""
    layers = random_layers(4, 2, hidden_units=boltzmann.Binomial(2))
    halves = boltzmann.Joined((boltzmann.Binary(), boltzmann.Binary()), (2, 2))
    twice = boltzmann.Layers(
        jnp.tile(layers.weights, (1, 2)), layers.visible_bias, jnp.tile(layers.hidden_bias, 2), hidden_units=halves
    )
    energies, log_z = joint_log_probs(twice)
    v = jnp.asarray(all_states(4), jnp.float32)
    for same in (layers, twice):
        log_of_visible = joint.log_of_visible(joint.machine(same), v)
        np.testing.assert_allclose(log_of_visible, np.logaddexp.reduce(energies, axis=1), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(joint.log_partition(same), log_z, rtol=1e-5)


def test_layers_of_no_binary_units_cannot_be_added_up():
    layers = random_layers(3, 2, units=boltzmann.Gaussian(), hidden_units=boltzmann.Binomial(2))
    with pytest.raises(ValueError, match=r"but these are Gaussian.* and Binomial.*; use log_prob_estimate"):
        joint.log_partition(layers)
