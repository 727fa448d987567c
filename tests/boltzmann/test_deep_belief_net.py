"""The deep belief net against sums over all of its states."""

from __future__ import annotations

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax import boltzmann, gradient_learner
from genjax.boltzmann.deep_belief_net import DOWN, TOP, UP, Connection
from genjax.core import Variables
from tests.boltzmann.machines import all_states, frequencies, random_params, variables_of

SIZES = (3, 3, 2, 2)  # v, h¹, h² and h³


@pytest.fixture(scope="module")
def model() -> boltzmann.DeepBeliefNet:
    phase = boltzmann.ContrastiveDivergence()
    return boltzmann.DeepBeliefNet(shape=SIZES[:1], num_hidden=SIZES[1:], centred=False, negative_phase=phase)


@pytest.fixture(scope="module")
def variables() -> Variables:
    """Return generative layers, recognition layers with other weights, and a top."""
    pairs = list(itertools.pairwise(SIZES))
    down, up = (
        [random_params(*pair, scale=0.6, seed=seed + i) for i, pair in enumerate(pairs[:-1])] for seed in (0, 10)
    )
    top = variables_of(random_params(*pairs[-1], seed=20))
    params = {
        UP: [Connection(layer.weights, layer.hidden_bias) for layer in up],
        DOWN: [Connection(layer.weights, layer.visible_bias) for layer in down],
        TOP: top.params["rbm"],
    }
    return Variables(params, top.state)


def conditional(inputs: np.ndarray, states: np.ndarray) -> np.ndarray:
    """Return p of every state of binary units, (S, N), given inputs, (M, N): (M, S)."""
    p = 1 / (1 + np.exp(-inputs))[:, None]
    return np.prod(np.where(states[None] > 0, p, 1 - p), axis=-1)


@pytest.fixture(scope="module")
def tables(variables) -> dict[str, np.ndarray]:
    """Return p(h²), p(h¹ | h²), p(v | h¹), q(h¹ | v) and q(h² | h¹) of every state, by definition in float64."""
    wide = jax.tree.map(lambda a: np.asarray(a, np.float64), variables.params)
    v, first, second, third = (all_states(size) for size in SIZES)
    top = wide[TOP]
    energies = second @ top["weights"] @ third.T + (second @ top["visible_bias"])[:, None] + third @ top["hidden_bias"]
    top_mass = np.exp(energies).sum(axis=1)
    return {
        "second": top_mass / top_mass.sum(),
        "first": conditional(second @ wide[DOWN][1].weights.T + wide[DOWN][1].bias, first),
        "v": conditional(first @ wide[DOWN][0].weights.T + wide[DOWN][0].bias, v),
        "up_first": conditional(v @ wide[UP][0].weights + wide[UP][0].bias, first),
        "up_second": conditional(first @ wide[UP][1].weights + wide[UP][1].bias, second),
    }


def masses(tables) -> np.ndarray:
    return tables["second"] @ tables["first"] @ tables["v"]


def test_many_importance_samples_recover_the_likelihood(model, variables, tables):
    x = jnp.asarray(all_states(SIZES[0]), jnp.float32)
    estimate = model.log_prob_estimate(variables, jax.random.key(0), x, 20_000)
    np.testing.assert_allclose(estimate, np.log(masses(tables)), atol=0.05)
    assert jnp.exp(estimate).sum() == pytest.approx(1, abs=0.02)


def test_the_expected_bound_is_its_formula(model, variables, tables):
    x = all_states(SIZES[0])
    # E_q log w by the sum over h¹ and h².
    q = tables["up_first"][:, :, None] * tables["up_second"][None]  # (v, h¹, h²)
    p = (tables["second"][:, None] * tables["first"]).T[None] * tables["v"].T[:, :, None]
    expected = (q * (np.log(p) - np.log(q))).sum(axis=(1, 2))
    repeats = 4_000
    bound = model.log_prob_lower_bound(variables, jax.random.key(0), jnp.asarray(np.tile(x, (repeats, 1)), jnp.float32))
    bound = np.asarray(bound).reshape(repeats, len(x))
    np.testing.assert_array_less(abs(bound.mean(axis=0) - expected), 4 * bound.std(axis=0) / repeats**0.5)
    assert (expected < np.log(masses(tables))).all()


def test_samples_have_the_right_frequencies(model, variables, tables):
    x = model.sample(variables, jax.random.key(0), 40_000, num_steps=30)
    np.testing.assert_allclose(frequencies(np.asarray(x), SIZES[0]), masses(tables), atol=4 * 0.5 / 200)


@pytest.mark.parametrize("centred", [False, True])
def test_a_layer_that_starts_as_the_transpose_of_the_one_below_leaves_the_likelihood(centred):
    """W₂ = W₁ᵀ with biases swapped: the argument for greedy learning."""
    model = boltzmann.DeepBeliefNet(shape=(3,), num_hidden=(2, 3), centred=centred)
    x = jnp.asarray(all_states(3), jnp.float32)
    offsets = {"visible_offset": jnp.full(3, 0.3), "hidden_offset": jnp.full(2, 0.6)}
    lowest = variables_of(random_params(3, 2), **offsets)
    h = jnp.asarray(all_states(2), jnp.float32)[1:]
    second = model.init_layer(lowest, jax.random.key(0), {"x": h}, number=1)
    variables = model.assemble([lowest, second])
    expected = model.layers[0].log_prob(lowest, x)
    # q is then the true posterior, so the bound is tight for every draw.
    np.testing.assert_allclose(
        model.log_prob_lower_bound(variables, jax.random.key(0), x), expected, rtol=1e-4, atol=1e-4
    )
    chains = second.state.negative_phase.chains
    assert chains.shape == (100, 2)
    p = np.exp(np.asarray(model.layers[1].log_prob(second, jnp.asarray(all_states(2), jnp.float32))))
    np.testing.assert_allclose(frequencies(np.asarray(chains), 2), p, atol=4 * 0.5 / 10)


def test_wake_and_sleep_gradients_are_their_formulas(model, variables, tables):
    """Means of (lower − its mean) upperᵀ over states drawn upwards, and of lower (upper − its mean)ᵀ downwards."""
    chains = np.random.default_rng(0).choice(
        4, 40_000, p=tables["second"]
    )  # exact samples, which Gibbs steps leave exact
    phase_state = boltzmann.ChainState(jnp.asarray(all_states(SIZES[2])[chains], jnp.float32))
    model = dataclasses.replace(model, negative_phase=boltzmann.Persistent(len(chains)))
    batch = {"x": jnp.tile(jnp.asarray(all_states(SIZES[0]), jnp.float32), (5_000, 1))}
    state = variables.state._replace(negative_phase=phase_state)
    gradient, _ = jax.grad(model.loss, has_aux=True)(variables.params, state, jax.random.key(0), batch, jnp.int32(0))
    v, h = all_states(SIZES[0]), all_states(SIZES[1])
    down, up = (jax.tree.map(lambda a: np.asarray(a, np.float64), variables.params[part])[0] for part in (DOWN, UP))
    mean_v = 1 / (1 + np.exp(-(h @ down.weights.T + down.bias)))  # means given h¹
    mean_h = 1 / (1 + np.exp(-(v @ up.weights + up.bias)))  # and given v
    wake = tables["up_first"] / len(v)  # of v and h¹, with all v equally likely
    sleep = ((tables["second"] @ tables["first"])[:, None] * tables["v"]).T
    expected = -np.einsum("vh,vhi,hj->ij", wake, v[:, None] - mean_v[None], h)
    np.testing.assert_allclose(gradient[DOWN][0].weights, expected, atol=4 * 0.5 / 200)
    expected = -np.einsum("vh,vi,vhj->ij", sleep, v, h[None] - mean_h[:, None])
    np.testing.assert_allclose(gradient[UP][0].weights, expected, atol=4 * 0.5 / 200)


def test_fine_tuning_raises_the_likelihood(model):
    """From a random net to data of two patterns, whose likelihood is known."""
    x = jnp.tile(jnp.array([[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]), (16, 1))
    learner = gradient_learner(model, optax.adam(0.02))
    train = learner.init(jax.random.key(0), {"x": x})
    score = jax.jit(lambda v: model.log_prob_estimate(v, jax.random.key(5), x[:2], 500).mean())
    before = float(score(train.variables))
    keys = jax.random.split(jax.random.key(1), 600)
    train, _ = jax.jit(lambda t, k: jax.lax.scan(lambda t, key: learner.step(t, key, {"x": x}), t, k))(train, keys)
    assert before < -1.8
    assert -1.0 < float(score(train.variables)) < -0.69  # the optimum is −ln 2


def test_invalid_settings_raise():
    with pytest.raises(
        ValueError, match=r"num_hidden is \(.*\), but must be of length 2 or more; use RBM for one layer"
    ):
        boltzmann.DeepBeliefNet(shape=(3,), num_hidden=(2,))
    with pytest.raises(ValueError, match=r"num_hidden is \(.*0.*\), but must be .* at least 1, and 0 is not"):
        boltzmann.DeepBeliefNet(shape=(3,), num_hidden=(0, 2))
