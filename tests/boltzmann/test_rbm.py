"""Gradients of the RBM by formula and by the exact likelihood, and what it can do."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import boltzmann
from genjax.boltzmann import negative_phase
from genjax.core import Variables
from tests.boltzmann.machines import all_states, joint_log_probs, random_layers, rbm, shares, variables_of

X = (np.random.default_rng(0).random((6, 4)) < 0.6).astype(np.float32)


def gradient_of(model, variables, key, x):
    """Return the gradient of the loss, and the new state."""
    grad = jax.grad(model.loss, has_aux=True)
    gradient, (state, _) = grad(*variables, key, {"x": jnp.asarray(x)}, jnp.int32(0))
    return gradient["rbm"], state


def means(layers, v):
    """vᵀ σ(Wᵀ v + c) / B, and the means of v and σ, in float64."""
    w, _, c = (np.asarray(a, np.float64) for a in layers.params.values())
    v = np.asarray(v, np.float64)
    h = 1 / (1 + np.exp(-(v @ w + c)))
    return {"weights": v.T @ h / len(v), "visible_bias": v.mean(axis=0), "hidden_bias": h.mean(axis=0)}


def assert_equal_gradients(actual, expected, rtol=1e-4):
    for name, value in expected.items():
        np.testing.assert_allclose(actual[name], value, rtol=rtol, atol=1e-5, err_msg=name)


def test_log_prob_is_exact_and_normalized():
    layers = random_layers(4, 3)
    model, variables = rbm(4, 3), variables_of(layers)
    energies, log_z = joint_log_probs(layers)
    log_prob = model.log_prob(variables, jnp.asarray(all_states(4), jnp.float32))
    np.testing.assert_allclose(log_prob, np.logaddexp.reduce(energies, axis=1) - log_z, rtol=1e-5, atol=1e-5)
    assert jnp.exp(log_prob).sum() == pytest.approx(1, abs=1e-5)


def test_large_machines_say_that_they_are_not_tractable():
    assert rbm(25, 500).tractable
    assert rbm(784, 25).tractable
    assert not rbm(26, 26).tractable
    assert not rbm(25, 26, units=boltzmann.Gaussian()).tractable
    model = rbm(26, 26)
    variables = model.init(jax.random.key(0), {"x": jnp.zeros((2, 26))})
    with pytest.raises(ValueError, match="2\\^26 states, but 2\\^25 are the limit; use log_prob_estimate"):
        model.log_prob(variables, jnp.zeros((1, 26)))


@pytest.mark.parametrize("num_steps", [1, 3])
def test_the_gradient_of_contrastive_divergence_is_its_formula(num_steps):
    """⟨v h⟩ of the samples less that of the data, with the samples that the same key gives."""
    layers, phase = random_layers(4, 3), boltzmann.ContrastiveDivergence(num_steps)
    model = rbm(4, 3, negative_phase=phase)
    gradient, state = gradient_of(model, variables_of(layers, offset=jnp.zeros(4), negative={}), jax.random.key(1), X)
    samples, _ = phase.draw(layers, jnp.zeros(4), jax.random.key(1), jnp.asarray(X), {})
    of_data, of_model = means(layers, X), means(layers, samples)
    assert_equal_gradients(gradient, {name: of_model[name] - of_data[name] for name in of_data})
    assert state["negative"] == {}


def test_persistent_chains_go_on_from_where_they_were():
    layers, phase = random_layers(4, 3), boltzmann.Persistent(num_chains=5)
    model = rbm(4, 3, negative_phase=phase)
    memory = {"chains": jnp.asarray(all_states(4)[3:8], jnp.float32)}
    variables = variables_of(layers, offset=jnp.zeros(4), negative=memory)
    gradient, state = gradient_of(model, variables, jax.random.key(1), X)
    chains = phase.draw(layers, jnp.zeros(4), jax.random.key(1), jnp.asarray(X), memory)[0]
    np.testing.assert_array_equal(state["negative"]["chains"], chains)
    of_data, of_model = means(layers, X), means(layers, chains)
    assert_equal_gradients(gradient, {name: of_model[name] - of_data[name] for name in of_data})


def test_with_exact_samples_the_gradient_is_that_of_the_likelihood():
    """Chains that are all states, as often as they are likely, give equation 2 itself."""
    layers, model = random_layers(4, 3, scale=0.5), rbm(4, 3)

    def minus_log_prob(params):
        return -jnp.mean(model.log_prob(Variables({"rbm": params}, {}), jnp.asarray(X)))

    exact = jax.grad(minus_log_prob)(layers.params)
    every = jnp.asarray(all_states(4), jnp.float32)
    p = np.exp(np.asarray(model.log_prob(variables_of(layers), every), np.float64))
    w, _, c = (np.asarray(a, np.float64) for a in layers.params.values())
    h = 1 / (1 + np.exp(-(all_states(4) @ w + c)))
    of_model = {
        "weights": (all_states(4) * p[:, None]).T @ h,
        "visible_bias": p @ all_states(4),
        "hidden_bias": p @ h,
    }
    of_data = means(layers, X)
    assert_equal_gradients(exact, {name: of_model[name] - of_data[name] for name in of_data})


def test_the_centred_gradient_is_its_formula():
    """⟨(v − μ)(h − λ)⟩ of samples less that of data, and the same machine by equation 3."""
    phase = boltzmann.ContrastiveDivergence()
    model = rbm(4, 3, centred=True, negative_phase=phase)
    variables = model.init(jax.random.key(0), {"x": jnp.asarray(X)})
    params = random_layers(4, 3)
    variables = Variables({"rbm": params.params}, variables.state)
    mu, lam = X.mean(axis=0), 0.5
    layers = model.layers(variables)
    np.testing.assert_allclose(layers.visible_bias, params.visible_bias - params.weights @ jnp.full(3, lam), rtol=1e-5)
    np.testing.assert_allclose(layers.hidden_bias, params.hidden_bias - mu @ params.weights, rtol=1e-5)
    gradient, _ = gradient_of(model, variables, jax.random.key(1), X)
    samples, _ = phase.draw(layers, variables.state["base"], jax.random.key(1), jnp.asarray(X), {})
    of_data, of_model = means(layers, X), means(layers, samples)
    difference = {name: of_model[name] - of_data[name] for name in of_data}
    difference["weights"] -= lam * difference["visible_bias"][:, None] + np.outer(mu, difference["hidden_bias"])
    assert_equal_gradients(gradient, difference)


def test_fast_weights_learn_quickly_and_decay():
    layers, phase = random_layers(4, 3), boltzmann.FastWeights(num_chains=5, learning_rate=0.1, decay=0.8)
    fast = random_layers(4, 3, scale=0.1, seed=1)
    memory = {"chains": jnp.asarray(all_states(4)[3:8], jnp.float32), "fast": fast.params}
    chains, moved = phase.draw(layers, jnp.zeros(4), jax.random.key(1), jnp.asarray(X), memory)
    of_data, of_model = means(layers, X), means(layers, chains)
    for name, value in fast.params.items():
        expected = 0.8 * np.asarray(value) + 0.1 * (of_data[name] - of_model[name])
        np.testing.assert_allclose(moved["fast"][name], expected, rtol=1e-4, atol=1e-6)
    both = jax.tree.map(jnp.add, layers, fast)
    again = boltzmann.layers.sweep(boltzmann.layers.machine(both), jax.random.key(1), memory["chains"])
    np.testing.assert_array_equal(chains, again)


def test_parallel_tempering_keeps_every_temperatures_density():
    """Chains that are exact samples at each temperature stay such over trades; those at β = 1 are handed out."""
    layers, base = random_layers(3, 2, scale=2.0), jnp.array([0.5, 0.0, -0.5])
    phase, count = boltzmann.ParallelTempering(num_chains=30_000, num_temperatures=3, num_steps=2), 30_000
    every = jnp.asarray(all_states(3), jnp.float32)
    betas = (0.0, 0.5, 1.0)
    masses = [
        jax.nn.softmax(boltzmann.layers.log_of_visible(boltzmann.Path(layers, base, beta), every)) for beta in betas
    ]
    keys = jax.random.split(jax.random.key(0), 3)
    chains = jnp.stack([every[jax.random.choice(key, 8, (count,), p=p)] for key, p in zip(keys, masses, strict=True)])
    handed_out, memory = phase.draw(layers, base, jax.random.key(5), every, {"chains": chains})
    for row, p in zip(memory["chains"], masses, strict=True):
        np.testing.assert_allclose(shares(row, 3), p, atol=4 * 0.5 / count**0.5)
    np.testing.assert_array_equal(handed_out, memory["chains"][-1])


def test_parallel_tempering_leaves_a_mode_that_gibbs_sampling_does_not():
    """Two modes, all zeros and all ones, with next to nothing between: from one of them, half must reach the other."""
    num_visible, strength = 8, 12.0
    weights = jnp.full((num_visible, 4), strength / 4)
    layers = boltzmann.Layers(weights, jnp.full(num_visible, -strength / 2), jnp.full(4, -strength * num_visible / 8))
    base, zeros = jnp.zeros(num_visible), jnp.zeros((200, num_visible))
    gibbs, _ = boltzmann.Persistent(200, num_steps=100).draw(layers, base, jax.random.key(0), zeros, {"chains": zeros})
    tempered, _ = boltzmann.ParallelTempering(200, num_temperatures=20, num_steps=100).draw(
        layers, base, jax.random.key(0), zeros, {"chains": jnp.zeros((20, 200, num_visible))}
    )
    assert gibbs.mean() < 0.05
    assert 0.35 < tempered.mean() < 0.65


def test_penalties_are_their_formulas():
    layers = random_layers(4, 3)
    plain, model = rbm(4, 3), rbm(4, 3, sparsity=0.1, sparsity_weight=2.0, weight_decay=0.3)
    memory = {"chains": jnp.zeros((100, 4))}
    variables = variables_of(layers, offset=jnp.zeros(4), negative=memory)
    values = [
        float(m.loss(*variables, jax.random.key(0), {"x": jnp.asarray(X)}, jnp.int32(0))[0]) for m in (plain, model)
    ]
    activity = means(layers, X)["hidden_bias"]
    expected = 2.0 * np.sum((activity - 0.1) ** 2) + 0.15 * np.sum(np.asarray(layers.weights) ** 2)
    assert values[1] - values[0] == pytest.approx(expected, rel=1e-4)


def test_samples_have_the_masses_of_the_machine():
    layers = random_layers(3, 4)
    energies, log_z = joint_log_probs(layers)
    x = rbm(3, 4).sample(variables_of(layers), jax.random.key(0), 20_000, num_steps=50)
    p = np.exp(np.logaddexp.reduce(energies, axis=1) - log_z)
    np.testing.assert_allclose(shares(x, 3), p, atol=4 * 0.5 / 20_000**0.5)


def test_a_centred_machine_learns_negatives_as_well():
    """Swapping zeros and ones in the data swaps μ for 1 − μ, and the gradient of W changes its sign alone."""
    phase = boltzmann.ContrastiveDivergence()
    model, found = rbm(4, 3, centred=True, negative_phase=phase), []
    for x, sign in ((X, 1.0), (1 - X, -1.0)):
        variables = model.init(jax.random.key(0), {"x": jnp.asarray(x)})
        params = random_layers(4, 3)
        flipped = {"weights": sign * params.weights, "visible_bias": sign * params.visible_bias}
        variables = Variables({"rbm": params.params | flipped}, variables.state)
        layers = model.layers(variables)
        found.append((negative_phase.statistics(layers, jnp.asarray(x)).hidden_bias, sign))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_hidden": 0}, "num_hidden is 0, but must be at least 1"),
        ({"sparsity": 1.0}, r"sparsity is 1.0, but must be in \(0, 1\); 0.1 is usual"),
        ({"weight_decay": -1.0}, "weight_decay is -1.0, but must be at least 0"),
    ],
)
def test_wrong_settings_are_refused(options, message):
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
def test_wrong_negative_phases_are_refused(phase, options, message):
    with pytest.raises(ValueError, match=message):
        phase(**options)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        (boltzmann.Persistent(5), boltzmann.Persistent(3), "5 chains were remembered, but the model asks for 3 "),
        (boltzmann.Persistent(5), boltzmann.FastWeights(8), "5 chains were remembered, but the model asks for 8 "),
        (
            boltzmann.ParallelTempering(5, 3),
            boltzmann.ParallelTempering(5, 4),
            "3 x 5 chains were remembered, .* 4 x 5",
        ),
        (boltzmann.ParallelTempering(5, 3), boltzmann.Persistent(5), "3 x 5 chains were remembered, .* asks for 5 "),
        (boltzmann.ContrastiveDivergence(), boltzmann.Persistent(5), "no chains were remembered; keep the negative_"),
    ],
)
def test_chains_of_another_run_are_refused(before, after, message):
    """A memory of another model would otherwise go on, with as many chains as it has."""
    variables = rbm(4, 3, negative_phase=before).init(jax.random.key(0), {"x": jnp.asarray(X)})
    with pytest.raises(ValueError, match=message):
        gradient_of(rbm(4, 3, negative_phase=after), variables, jax.random.key(1), X)
