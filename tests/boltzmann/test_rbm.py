"""Gradients of the RBM against formulas and exact likelihoods, its samples, and its errors."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import boltzmann
from genjax.boltzmann import negative_phase
from genjax.boltzmann.bipartite import RBMParams
from genjax.core import Variables
from tests.boltzmann.machines import all_states, frequencies, joint_log_probs, random_params, rbm, variables_of

X = (np.random.default_rng(0).random((6, 4)) < 0.6).astype(np.float32)


def gradient_of(model, variables, key, x):
    """Return the gradient of the loss, and the new state."""
    grad = jax.grad(model.loss, has_aux=True)
    gradient, (state, _) = grad(*variables, key, {"x": jnp.asarray(x)}, jnp.int32(0))
    return gradient["rbm"], state


def means(params, v):
    """Return vᵀ σ(Wᵀ v + c) / B, and the means of v and σ, in float64."""
    w, _, c = (np.asarray(a, np.float64) for a in params.arrays.values())
    v = np.asarray(v, np.float64)
    h = 1 / (1 + np.exp(-(v @ w + c)))
    return {"weights": v.T @ h / len(v), "visible_bias": v.mean(axis=0), "hidden_bias": h.mean(axis=0)}


def assert_equal_gradients(actual, expected, rtol=1e-4):
    for name, value in expected.items():
        np.testing.assert_allclose(actual[name], value, rtol=rtol, atol=1e-5, err_msg=name)


def test_log_prob_is_exact_and_normalized():
    params = random_params(4, 3)
    model, variables = rbm(4, 3), variables_of(params)
    energies, log_z = joint_log_probs(params)
    log_prob = model.log_prob(variables, jnp.asarray(all_states(4), jnp.float32))
    np.testing.assert_allclose(log_prob, np.logaddexp.reduce(energies, axis=1) - log_z, rtol=1e-5, atol=1e-5)
    assert jnp.exp(log_prob).sum() == pytest.approx(1, abs=1e-5)


def test_large_machines_are_not_tractable():
    assert rbm(25, 500).tractable
    assert rbm(784, 25).tractable
    assert not rbm(26, 26).tractable
    assert not rbm(25, 26, units=boltzmann.GaussianUnits()).tractable
    model = rbm(26, 26)
    variables = model.init(jax.random.key(0), {"x": jnp.zeros((2, 26))})
    with pytest.raises(ValueError, match="2\\^26 states, but the limit is 2\\^25; use log_prob_estimate"):
        model.log_prob(variables, jnp.zeros((1, 26)))


@pytest.mark.parametrize("num_steps", [1, 3])
def test_the_gradient_of_contrastive_divergence_is_its_formula(num_steps):
    """⟨v h⟩ of the samples minus that of the data, for samples drawn with the same key."""
    params, phase = random_params(4, 3), boltzmann.ContrastiveDivergence(num_steps)
    model = rbm(4, 3, negative_phase=phase)
    gradient, state = gradient_of(model, variables_of(params), jax.random.key(1), X)
    samples, _ = phase.draw(params, jnp.zeros(4), jax.random.key(1), jnp.asarray(X), {})
    of_data, of_model = means(params, X), means(params, samples)
    assert_equal_gradients(gradient, {name: of_model[name] - of_data[name] for name in of_data})
    assert state.negative_phase == {}


def test_persistent_chains_continue_from_their_state():
    params, phase = random_params(4, 3), boltzmann.Persistent(num_chains=5)
    model = rbm(4, 3, negative_phase=phase)
    start = boltzmann.ChainState(jnp.asarray(all_states(4)[3:8], jnp.float32))
    variables = variables_of(params, negative_phase=start)
    gradient, state = gradient_of(model, variables, jax.random.key(1), X)
    chains = phase.draw(params, jnp.zeros(4), jax.random.key(1), jnp.asarray(X), start)[0]
    np.testing.assert_array_equal(state.negative_phase.chains, chains)
    of_data, of_model = means(params, X), means(params, chains)
    assert_equal_gradients(gradient, {name: of_model[name] - of_data[name] for name in of_data})


def test_with_exact_samples_the_gradient_is_that_of_the_likelihood():
    """All states, weighted by their probabilities, give equation 2 itself."""
    params, model = random_params(4, 3, scale=0.5), rbm(4, 3)

    def minus_log_prob(params):
        return -jnp.mean(model.log_prob(Variables({"rbm": params}, {}), jnp.asarray(X)))

    exact = jax.grad(minus_log_prob)(params.arrays)
    every = jnp.asarray(all_states(4), jnp.float32)
    p = np.exp(np.asarray(model.log_prob(variables_of(params), every), np.float64))
    w, _, c = (np.asarray(a, np.float64) for a in params.arrays.values())
    h = 1 / (1 + np.exp(-(all_states(4) @ w + c)))
    of_model = {
        "weights": (all_states(4) * p[:, None]).T @ h,
        "visible_bias": p @ all_states(4),
        "hidden_bias": p @ h,
    }
    of_data = means(params, X)
    assert_equal_gradients(exact, {name: of_model[name] - of_data[name] for name in of_data})


def test_the_centred_gradient_is_its_formula():
    """⟨(v − μ)(h − λ)⟩ of the samples minus that of the data, for the model of equation 5 of ``bipartite``."""
    phase = boltzmann.ContrastiveDivergence()
    model = rbm(4, 3, centred=True, negative_phase=phase)
    variables = model.init(jax.random.key(0), {"x": jnp.asarray(X)})
    centred = random_params(4, 3)
    variables = Variables({"rbm": centred.arrays}, variables.state)
    mu, lam = X.mean(axis=0), 0.5
    params = model.rbm_params(variables)
    np.testing.assert_allclose(params.visible_bias, centred.visible_bias - params.weights @ jnp.full(3, lam), rtol=1e-5)
    np.testing.assert_allclose(params.hidden_bias, centred.hidden_bias - mu @ params.weights, rtol=1e-5)
    gradient, _ = gradient_of(model, variables, jax.random.key(1), X)
    samples, _ = phase.draw(params, variables.state.base_bias, jax.random.key(1), jnp.asarray(X), {})
    of_data, of_model = means(params, X), means(params, samples)
    difference = {name: of_model[name] - of_data[name] for name in of_data}
    difference["weights"] -= lam * difference["visible_bias"][:, None] + np.outer(mu, difference["hidden_bias"])
    assert_equal_gradients(gradient, difference)


def test_fast_weights_learn_quickly_and_decay():
    params, phase = random_params(4, 3), boltzmann.FastWeights(num_chains=5, learning_rate=0.1, decay=0.8)
    fast = random_params(4, 3, scale=0.1, seed=1)
    state = boltzmann.FastWeightsState(jnp.asarray(all_states(4)[3:8], jnp.float32), fast.arrays)
    chains, new_state = phase.draw(params, jnp.zeros(4), jax.random.key(1), jnp.asarray(X), state)
    of_data, of_model = means(params, X), means(params, chains)
    for name, value in fast.arrays.items():
        expected = 0.8 * np.asarray(value) + 0.1 * (of_data[name] - of_model[name])
        np.testing.assert_allclose(new_state.fast[name], expected, rtol=1e-4, atol=1e-6)
    both = jax.tree.map(jnp.add, params, fast)
    again = boltzmann.bipartite.gibbs_step(
        boltzmann.bipartite.at_unit_temperature(both), jax.random.key(1), state.chains
    )
    np.testing.assert_array_equal(chains, again)


def test_parallel_tempering_leaves_the_density_at_each_temperature_invariant():
    """Exact samples at each temperature stay exact when swapped; those at β = 1 are the result."""
    params, base = random_params(3, 2, scale=2.0), jnp.array([0.5, 0.0, -0.5])
    phase, count = boltzmann.ParallelTempering(num_chains=30_000, num_temperatures=3, num_steps=2), 30_000
    every = jnp.asarray(all_states(3), jnp.float32)
    betas = (0.0, 0.5, 1.0)
    masses = [
        jax.nn.softmax(
            boltzmann.bipartite.log_unnormalized_visible(boltzmann.TemperedRBM(params, base, jnp.zeros(2), beta), every)
        )
        for beta in betas
    ]
    keys = jax.random.split(jax.random.key(0), 3)
    chains = jnp.stack([every[jax.random.choice(key, 8, (count,), p=p)] for key, p in zip(keys, masses, strict=True)])
    samples, state = phase.draw(params, base, jax.random.key(5), every, boltzmann.ChainState(chains))
    for row, p in zip(state.chains, masses, strict=True):
        np.testing.assert_allclose(frequencies(row, 3), p, atol=4 * 0.5 / count**0.5)
    np.testing.assert_array_equal(samples, state.chains[-1])


def test_parallel_tempering_leaves_a_mode_where_gibbs_sampling_is_stuck():
    """Two modes, all zeros and all ones, are far apart: half of the chains that start in one must reach the other."""
    num_visible, strength = 8, 12.0
    weights = jnp.full((num_visible, 4), strength / 4)
    params = boltzmann.RBMParams(
        weights, jnp.full(num_visible, -strength / 2), jnp.full(4, -strength * num_visible / 8)
    )
    base, zeros = jnp.zeros(num_visible), jnp.zeros((200, num_visible))
    gibbs, _ = boltzmann.Persistent(200, num_steps=100).draw(
        params, base, jax.random.key(0), zeros, boltzmann.ChainState(zeros)
    )
    tempered, _ = boltzmann.ParallelTempering(200, num_temperatures=20, num_steps=100).draw(
        params, base, jax.random.key(0), zeros, boltzmann.ChainState(jnp.zeros((20, 200, num_visible)))
    )
    assert gibbs.mean() < 0.05
    assert 0.35 < tempered.mean() < 0.65


def test_penalties_are_their_formulas():
    params = random_params(4, 3)
    plain, model = rbm(4, 3), rbm(4, 3, sparsity=0.1, sparsity_weight=2.0, weight_decay=0.3)
    variables = variables_of(params, negative_phase=boltzmann.ChainState(jnp.zeros((100, 4))))
    values = [
        float(m.loss(*variables, jax.random.key(0), {"x": jnp.asarray(X)}, jnp.int32(0))[0]) for m in (plain, model)
    ]
    activity = means(params, X)["hidden_bias"]
    expected = 2.0 * np.sum((activity - 0.1) ** 2) + 0.15 * np.sum(np.asarray(params.weights) ** 2)
    assert values[1] - values[0] == pytest.approx(expected, rel=1e-4)


def test_samples_have_the_right_frequencies():
    params = random_params(3, 4)
    energies, log_z = joint_log_probs(params)
    x = rbm(3, 4).sample(variables_of(params), jax.random.key(0), 20_000, num_steps=50)
    p = np.exp(np.logaddexp.reduce(energies, axis=1) - log_z)
    np.testing.assert_allclose(frequencies(x, 3), p, atol=4 * 0.5 / 20_000**0.5)


def test_unknown_units_have_their_conditional_frequencies():
    params = random_params(4, 3)
    energies, _ = joint_log_probs(params)
    p = np.exp(np.logaddexp.reduce(energies, axis=1)).reshape(2, 2, 2, 2)[:, 1, :, 0]
    x = jnp.tile(jnp.array([[jnp.nan, 1.0, jnp.nan, 0.0]]), (20_000, 1))
    mask = jnp.array([[False, True, False, True]])
    drawn = np.asarray(rbm(4, 3).impute(variables_of(params), jax.random.key(0), x, mask, num_steps=50))
    np.testing.assert_array_equal(drawn[:, 1::2], np.tile([[1.0, 0.0]], (20_000, 1)))
    np.testing.assert_allclose(frequencies(drawn[:, ::2], 2), (p / p.sum()).ravel(), atol=4 * 0.5 / 20_000**0.5)


def test_unknown_values_of_several_have_their_conditional_frequencies():
    """The hidden unit is summed out by hand: three values for each of two dimensions."""
    params = random_params(6, 1, units=boltzmann.SoftmaxUnits(3))
    model = rbm(2, 1, units=params.units)
    pairs = jnp.array([[2, value] for value in range(3)])
    log_p = np.asarray(model.log_density(variables_of(params), pairs), np.float64)
    x = jnp.tile(jnp.array([[2, 7]]), (20_000, 1))
    drawn = np.asarray(model.impute(variables_of(params), jax.random.key(0), x, jnp.array([True, False]), num_steps=30))
    assert (drawn[:, 0] == 2).all()
    expected = np.exp(log_p - np.logaddexp.reduce(log_p))
    np.testing.assert_allclose(np.bincount(drawn[:, 1], minlength=3) / 20_000, expected, atol=4 * 0.5 / 20_000**0.5)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.float32])
def test_copies_of_a_known_bit_are_all_known(dtype):
    """A unit with three copies is three binary units of the same weights, whose sum is drawn as a fraction of 3."""
    params = random_params(2, 2, units=boltzmann.BinomialUnits(3))
    copies = random_params(2, 2)
    copies = RBMParams(jnp.repeat(copies.weights, 3, 0), jnp.repeat(copies.visible_bias, 3), copies.hidden_bias)
    energies, _ = joint_log_probs(copies)
    masses = np.exp(np.logaddexp.reduce(energies, axis=1)).reshape(8, 8)[7]  # the first three are 1
    expected = np.bincount(all_states(3).sum(axis=1).astype(int), masses) / masses.sum()
    x = np.tile(np.array([[1, 0]], dtype), (20_000, 1))
    model = rbm(2, 2, units=params.units)
    drawn = model.impute(variables_of(params), jax.random.key(0), x, np.array([True, False]), num_steps=20)
    assert (drawn[:, 0] == 1).all()
    count = np.bincount(np.rint(3 * np.asarray(drawn[:, 1])).astype(int), minlength=4)
    np.testing.assert_allclose(count / 20_000, expected, atol=4 * 0.5 / 20_000**0.5)


def test_draws_of_real_numbers_are_not_rounded():
    model = rbm(2, 1, units=boltzmann.GaussianUnits())
    params = random_params(2, 1, units=model.units)
    mask = jnp.array([True, False])
    drawn = [
        model.impute(variables_of(params), jax.random.key(0), jnp.array([[3, 0]], dtype), mask, num_steps=2)
        for dtype in (jnp.int32, jnp.float32)
    ]
    np.testing.assert_array_equal(*drawn)
    assert drawn[0][0, 1] != jnp.round(drawn[0][0, 1])


@pytest.mark.parametrize("known", [0, 1])
def test_partly_known_one_hot_vectors_stay_one_hot(known):
    """Knowing one entry of a three-valued unit conditions its other entries and a binary unit."""
    units = boltzmann.MixedUnits((boltzmann.BinaryUnits(), boltzmann.SoftmaxUnits(3)), (1, 3))
    params, model = random_params(4, 1, units=units), rbm(4, 1, units=units)
    states = np.array([[bit, *row] for bit in (0, 1) for row in np.eye(3)], np.float32)
    log_p = np.asarray(model.log_density(variables_of(params), jnp.asarray(states)), np.float64)
    expected = np.where(states[:, 2] == known, np.exp(log_p - log_p.max()), 0)
    x = jnp.tile(jnp.array([[jnp.nan, jnp.nan, known, jnp.nan]]), (20_000, 1))
    mask = jnp.array([False, False, True, False])
    drawn = np.asarray(model.impute(variables_of(params), jax.random.key(0), x, mask, num_steps=30))
    share = (drawn[:, None] == states).all(axis=2).mean(axis=0)
    np.testing.assert_allclose(share, expected / expected.sum(), atol=4 * 0.5 / 20_000**0.5)


def test_known_values_that_units_cannot_take_raise():
    with pytest.raises(ValueError, match=r"x is 2.0 at \(0, 0\), but binary units take 0 and 1"):
        rbm(2, 1).impute(variables_of(random_params(2, 1)), jax.random.key(0), jnp.full((1, 2), 2.0), jnp.array(True))


def test_a_centred_machine_learns_negatives_as_well():
    """Swapping zeros and ones in the data replaces μ by 1 − μ, and flips only the sign of the gradient of W."""
    phase = boltzmann.ContrastiveDivergence()
    model, activities = rbm(4, 3, centred=True, negative_phase=phase), []
    for x, sign in ((X, 1.0), (1 - X, -1.0)):
        variables = model.init(jax.random.key(0), {"x": jnp.asarray(x)})
        params = random_params(4, 3)
        flipped = {"weights": sign * params.weights, "visible_bias": sign * params.visible_bias}
        variables = Variables({"rbm": params.arrays | flipped}, variables.state)
        params = model.rbm_params(variables)
        activities.append(negative_phase.sufficient_statistics(params, jnp.asarray(x)).hidden_bias)
    np.testing.assert_allclose(*activities, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_hidden": 0}, "num_hidden is 0, but must be at least 1"),
        ({"sparsity": 1.0}, r"sparsity is 1.0, but must be in \(0, 1\); 0.1 is usual"),
        ({"weight_decay": -1.0}, "weight_decay is -1.0, but must be at least 0"),
    ],
)
def test_invalid_settings_raise(options, message):
    with pytest.raises(ValueError, match=message):
        boltzmann.RBM(**({"shape": (4,), "num_hidden": 3} | options))


@pytest.mark.parametrize(
    ("phase", "options", "message"),
    [
        (boltzmann.ContrastiveDivergence, {"num_steps": 0}, "num_steps is 0, but must be at least 1"),
        (boltzmann.Persistent, {"num_chains": 0}, "num_chains is 0, but must be at least 1"),
        (boltzmann.FastWeights, {"decay": 1.0}, r"decay is 1.0, but must be in \[0, 1\); 0.95"),
        (boltzmann.FastWeights, {"learning_rate": 0.0}, "learning_rate is 0.0, but must be above 0; 0.01"),
        (
            boltzmann.ParallelTempering,
            {"num_temperatures": 1},
            "num_temperatures is 1, but must be at least 2",
        ),
    ],
)
def test_invalid_negative_phases_raise(phase, options, message):
    with pytest.raises(ValueError, match=message):
        phase(**options)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (boltzmann.Persistent(5), boltzmann.Persistent(3), "the state has 5 chains, but the model expects 3 "),
        (boltzmann.Persistent(5), boltzmann.FastWeights(8), "the state has 5 chains, but the model expects 8 "),
        (
            boltzmann.ParallelTempering(5, 3),
            boltzmann.ParallelTempering(5, 4),
            "the state has 3 x 5 chains, .* 4 x 5",
        ),
        (boltzmann.ParallelTempering(5, 3), boltzmann.Persistent(5), "the state has 3 x 5 chains, .* expects 5 "),
        (boltzmann.ContrastiveDivergence(), boltzmann.Persistent(5), "the state has no chains; keep the negative_"),
    ],
)
def test_chains_of_another_run_raise(before, after, message):
    """Otherwise training would go on with the other number of chains."""
    variables = rbm(4, 3, negative_phase=before).init(jax.random.key(0), {"x": jnp.asarray(X)})
    with pytest.raises(ValueError, match=message):
        gradient_of(rbm(4, 3, negative_phase=after), variables, jax.random.key(1), X)
