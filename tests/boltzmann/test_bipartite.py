"""Two-layer models against sums over all of their states."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate

from genjax import boltzmann
from genjax.boltzmann import bipartite
from tests.boltzmann.machines import all_states, frequencies, joint_log_probs, random_params


def test_summing_out_either_layer_matches_the_definition():
    params = random_params(4, 3)
    energies, _ = joint_log_probs(params)
    model = bipartite.at_unit_temperature(params)
    v, h = (jnp.asarray(all_states(size), jnp.float32) for size in (4, 3))
    np.testing.assert_allclose(
        bipartite.log_unnormalized_visible(model, v), np.logaddexp.reduce(energies, axis=1), rtol=1e-5
    )
    np.testing.assert_allclose(
        bipartite.log_unnormalized_hidden(model, h), np.logaddexp.reduce(energies, axis=0), rtol=1e-5
    )


@pytest.mark.parametrize("sizes", [(4, 3), (3, 5), (14, 2), (2, 14), (1, 1)])
def test_log_z_of_binary_units(sizes):
    params = random_params(*sizes)
    np.testing.assert_allclose(bipartite.log_partition(params), joint_log_probs(params)[1], rtol=1e-5, atol=1e-5)


def test_log_z_of_gaussian_units_is_an_integral():
    params = random_params(1, 3, units=boltzmann.GaussianUnits())
    log_z = bipartite.log_partition(params)

    def density(v):
        value = bipartite.log_unnormalized_visible(bipartite.at_unit_temperature(params), jnp.full((1, 1), v))
        return float(jnp.exp(value[0] - log_z))

    assert integrate.quad(density, -15, 15, limit=60, epsabs=1e-5)[0] == pytest.approx(1, abs=1e-4)


def test_the_masses_of_softmax_units_sum_to_one():
    units = boltzmann.SoftmaxUnits(3)
    params = random_params(2 * 3, 4, units=units)
    x = jnp.array([[i, j] for i in range(3) for j in range(3)])
    v = units.encode(x, (2,))
    np.testing.assert_array_equal(units.decode(v, (2,)), x)
    log_mass = bipartite.log_unnormalized_visible(bipartite.at_unit_temperature(params), v) - bipartite.log_partition(
        params
    )
    assert jnp.exp(log_mass).sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("hidden_base_bias", [(0.0, 0.0), (2.0, -1.0)])
@pytest.mark.parametrize("beta", [0.0, 0.4, 1.0])
def test_gibbs_steps_leave_the_density_at_their_temperature_invariant(beta, hidden_base_bias):
    """The density is a fixed point of the transition matrix, the product of the conditionals of a Gibbs step."""
    params, base = random_params(3, 2), jnp.array([1.0, -0.5, 0.3])
    model = bipartite.TemperedRBM(params, base, jnp.array(hidden_base_bias), beta)
    v, h = (jnp.asarray(all_states(size), jnp.float32) for size in (3, 2))

    def masses(inputs, states):
        p = np.asarray(jax.nn.sigmoid(inputs), np.float64)[:, None]
        return np.prod(np.where(np.asarray(states)[None] > 0, p, 1 - p), axis=-1)

    transition = masses(bipartite.hidden_inputs(model, v), h) @ masses(bipartite.visible_inputs(model, h), v)
    p = np.asarray(jax.nn.softmax(bipartite.log_unnormalized_visible(model, v)), np.float64)
    np.testing.assert_allclose(p @ transition, p, rtol=1e-5)
    # Gibbs steps draw from these conditionals.
    start = 5
    samples = bipartite.gibbs_step(model, jax.random.key(0), jnp.broadcast_to(v[start], (40_000, 3)))
    np.testing.assert_allclose(frequencies(samples, 3), transition[start], atol=4 * 0.5 / 200)


def test_log_z_of_independent_units_is_that_at_zero_beta():
    params, base = random_params(4, 3), jnp.linspace(-1, 1, 4)
    model = bipartite.TemperedRBM(params, base, jnp.zeros(3), 0.0)
    every = jnp.asarray(all_states(4), jnp.float32)
    expected = jax.nn.logsumexp(bipartite.log_unnormalized_visible(model, every))
    np.testing.assert_allclose(bipartite.base_log_partition(model), expected, rtol=1e-6)


def test_exact_samples_have_the_right_frequencies():
    params = random_params(3, 4)
    energies, log_z = joint_log_probs(params)
    x = bipartite.sample_exactly(params, jax.random.key(0), 40_000)
    np.testing.assert_allclose(
        frequencies(x, 3), np.exp(np.logaddexp.reduce(energies, axis=1) - log_z), atol=4 * 0.5 / 200
    )


def test_too_many_states_raise():
    with pytest.raises(ValueError, match=r"2\^26 states, but the limit is 2\^25; use log_prob_estimate"):
        bipartite.log_partition(random_params(30, 26))
    with pytest.raises(ValueError, match=r"2\^26 states"):
        bipartite.log_partition(random_params(3, 26, units=boltzmann.GaussianUnits()))


@pytest.mark.parametrize(
    ("units", "x", "message"),
    [
        (
            boltzmann.BinaryUnits(),
            np.array([[0.0, 0.5]]),
            r"x is 0.5 at \(0, 1\), but binary units take 0 and 1; binarize",
        ),
        (boltzmann.BinaryUnits(), np.zeros((2, 3)), r"x has shape \(2, 3\), but this model has shape=\(2,\)"),
        (boltzmann.GaussianUnits(), np.array([[0.0, np.nan]]), r"x is nan at \(0, 1\), but data must be finite"),
        (boltzmann.SoftmaxUnits(3), np.array([[0, 3]]), r"x is 3 at \(0, 1\), but softmax units take 0 to 2"),
        (boltzmann.SoftmaxUnits(3), np.array([[0.0, 1.0]]), "x has dtype float.*, but softmax units take integers"),
    ],
)
def test_values_out_of_range_raise(units, x, message):
    with pytest.raises(ValueError, match=message):
        units.encode(jnp.asarray(x), (2,))


def test_softmax_units_draw_values_with_their_probabilities():
    logits = np.log(
        [[0.5, 0.0, 0.3, 0.2], [0.0, 1e-3, 0.999, 0.0]],
        where=[[1, 0, 1, 1], [0, 1, 1, 0]],
        out=-np.full((2, 4), np.inf),
    )
    inputs = jnp.asarray(np.tile(logits.reshape(1, 8), (100_000, 1)), jnp.float32)
    drawn = np.asarray(boltzmann.SoftmaxUnits(4).sample(jax.random.key(0), inputs)).reshape(-1, 2, 4)
    np.testing.assert_array_equal(drawn.sum(axis=2), 1)
    shares, p = drawn.mean(axis=0), np.exp(logits)
    assert (shares[p == 0] == 0).all()
    np.testing.assert_allclose(shares, p, atol=1e-9 + 4 * np.sqrt(p / 100_000).max())
    assert shares[1, 1] == pytest.approx(1e-3, rel=0.4)


@pytest.mark.parametrize("units", [boltzmann.BinaryUnits(), boltzmann.GaussianUnits(), boltzmann.SoftmaxUnits(3)])
def test_fitted_biases_reproduce_the_means_of_the_data(units):
    x = jax.random.randint(jax.random.key(0), (3_000, 2), 0, 2)
    v = units.encode(
        x if units.discrete and not isinstance(units, boltzmann.BinaryUnits) else x.astype(jnp.float32), (2,)
    )
    np.testing.assert_allclose(units.mean(units.fit_bias(v)[None])[0], v.mean(axis=0), atol=1e-3)
    samples = units.sample(jax.random.key(1), jnp.broadcast_to(units.fit_bias(v), (20_000, v.shape[1])))
    np.testing.assert_allclose(samples.mean(axis=0), v.mean(axis=0), atol=0.03)
    assert np.isfinite(units.fit_bias(v[:1])).all()  # a single example rules out no value


def test_binomial_units_are_sums_of_binary_units():
    """Two binary copies of every unit, with shared weights, have the same distribution of sums."""
    params = random_params(3, 2, units=boltzmann.BinomialUnits(2))
    copies = boltzmann.RBMParams(jnp.tile(params.weights, (2, 1)), jnp.tile(params.visible_bias, 2), params.hidden_bias)
    energies, log_z = joint_log_probs(copies)
    np.testing.assert_allclose(bipartite.log_partition(params), log_z, rtol=1e-5)
    sums = all_states(6)[:, :3] + all_states(6)[:, 3:]
    every, number = np.unique(sums, axis=0, return_inverse=True)
    masses = np.bincount(number.ravel(), weights=np.exp(np.logaddexp.reduce(energies, axis=1) - log_z))
    log_mass = (
        bipartite.log_unnormalized_visible(bipartite.at_unit_temperature(params), jnp.asarray(every, jnp.float32))
        - log_z
    )
    np.testing.assert_allclose(np.exp(log_mass), masses, rtol=1e-4)
    x = np.asarray(bipartite.sample_exactly(params, jax.random.key(0), 40_000))
    actual = np.array([(x == row).all(axis=1).mean() for row in every])
    np.testing.assert_allclose(actual, masses, atol=4 * 0.5 / 200)


def test_hidden_units_of_other_kinds_are_summed_out():
    """Two copies of every hidden unit: as binomial units, or as a layer of two binary halves."""
    params = random_params(4, 2, hidden_units=boltzmann.BinomialUnits(2))
    halves = boltzmann.MixedUnits((boltzmann.BinaryUnits(), boltzmann.BinaryUnits()), (2, 2))
    twice = boltzmann.RBMParams(
        jnp.tile(params.weights, (1, 2)), params.visible_bias, jnp.tile(params.hidden_bias, 2), hidden_units=halves
    )
    energies, log_z = joint_log_probs(twice)
    v = jnp.asarray(all_states(4), jnp.float32)
    for same in (params, twice):
        log_values = bipartite.log_unnormalized_visible(bipartite.at_unit_temperature(same), v)
        np.testing.assert_allclose(log_values, np.logaddexp.reduce(energies, axis=1), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(bipartite.log_partition(same), log_z, rtol=1e-5)


def test_log_z_needs_a_binary_layer():
    params = random_params(3, 2, units=boltzmann.GaussianUnits(), hidden_units=boltzmann.BinomialUnits(2))
    with pytest.raises(
        ValueError, match=r"units are Gaussian.* and Binomial.*, but an exact likelihood .*; use log_prob_estimate"
    ):
        bipartite.log_partition(params)
