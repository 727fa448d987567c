"""ClassRBM against sums over all of its states."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax import boltzmann, gradient_learner
from genjax.core import Variables
from tests.boltzmann.machines import all_states, frequencies, random_params, variables_of

NUM_VISIBLE, NUM_CLASSES, NUM_HIDDEN = 3, 3, 2


@pytest.fixture(scope="module")
def model() -> boltzmann.ClassRBM:
    return boltzmann.ClassRBM(
        shape=(NUM_VISIBLE,), num_classes=NUM_CLASSES, num_hidden=NUM_HIDDEN, centred=False, discriminative_weight=0.5
    )


@pytest.fixture(scope="module")
def variables() -> Variables:
    return variables_of(random_params(NUM_VISIBLE + NUM_CLASSES, NUM_HIDDEN))


@pytest.fixture(scope="module")
def log_probs(variables) -> np.ndarray:
    """Return log p(x, y) of every x and y, by definition in float64."""
    w, b, c = (np.asarray(a, np.float64) for a in variables.params["rbm"].values())
    x, h = all_states(NUM_VISIBLE), all_states(NUM_HIDDEN)
    joint = [
        np.logaddexp.reduce(v @ w @ h.T + (v @ b)[:, None] + (h @ c)[None], axis=1)
        for v in (np.concatenate([x, np.tile(y, (len(x), 1))], axis=1) for y in np.eye(NUM_CLASSES))
    ]
    joint = np.stack(joint, axis=1)
    return joint - np.logaddexp.reduce(joint, axis=None)


def test_class_log_probs_match_the_definition(model, variables, log_probs):
    x = jnp.asarray(all_states(NUM_VISIBLE), jnp.float32)
    expected = log_probs - np.logaddexp.reduce(log_probs, axis=1, keepdims=True)
    np.testing.assert_allclose(model.class_log_prob(variables, x), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(model.classify(variables, x), expected.argmax(axis=1))


def test_log_prob_given_a_class_is_exact_and_normalized(model, variables, log_probs):
    x = jnp.asarray(all_states(NUM_VISIBLE), jnp.float32)
    expected = log_probs - np.logaddexp.reduce(log_probs, axis=0, keepdims=True)
    for label in range(NUM_CLASSES):
        np.testing.assert_allclose(model.log_prob(variables, x, label=label), expected[:, label], rtol=1e-4, atol=1e-5)
    mixed = jnp.array([0, 1, 2, 0, 1, 2, 0, 1])
    actual = model.log_prob(variables, x, label=mixed)
    np.testing.assert_allclose(actual, expected[np.arange(8), mixed], rtol=1e-4, atol=1e-5)
    estimate = model.log_prob_estimate(variables, jax.random.key(0), x, 500, label=mixed, num_temperatures=200)
    np.testing.assert_allclose(estimate, actual, atol=0.1)


def test_samples_given_a_class_have_the_right_frequencies(model, variables, log_probs):
    p = np.exp(log_probs - np.logaddexp.reduce(log_probs, axis=0, keepdims=True))
    label = jnp.repeat(jnp.arange(NUM_CLASSES), 10_000)
    x = np.asarray(model.sample(variables, jax.random.key(0), len(label), label=label, num_steps=30))
    for k in range(NUM_CLASSES):
        np.testing.assert_allclose(frequencies(x[np.asarray(label) == k], NUM_VISIBLE), p[:, k], atol=4 * 0.5 / 100)


def test_the_loss_weights_both_terms(variables):
    """Its gradient is a weighted sum of those of the generative and the discriminative term."""
    x = jnp.asarray(all_states(NUM_VISIBLE), jnp.float32)
    batch = {"x": x, "label": jnp.arange(8) % NUM_CLASSES}
    options = {"shape": (NUM_VISIBLE,), "num_classes": NUM_CLASSES, "num_hidden": NUM_HIDDEN, "centred": False}
    phase = boltzmann.ContrastiveDivergence()

    def gradient(**weights):
        model = boltzmann.ClassRBM(**options, negative_phase=phase, **weights)
        return jax.grad(model.loss, has_aux=True)(*variables, jax.random.key(0), batch, 0)[0]["rbm"]

    generative = gradient(generative_weight=1.0)
    discriminative = gradient(generative_weight=0.0, discriminative_weight=1.0)
    both = gradient(generative_weight=2.0, discriminative_weight=3.0)
    for name, value in both.items():
        np.testing.assert_allclose(value, 2 * generative[name] + 3 * discriminative[name], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(discriminative["visible_bias"][:NUM_VISIBLE], 0.0, atol=1e-6)  # conditioned on x


def test_it_learns_the_classes():
    """Parity of two pixels, which no single pixel predicts."""
    x = jnp.asarray(all_states(2), jnp.float32)
    batch = {"x": jnp.tile(x, (8, 1)), "label": jnp.tile(jnp.array([0, 1, 1, 0]), 8)}
    model = boltzmann.ClassRBM(
        shape=(2,),
        num_classes=2,
        num_hidden=8,
        negative_phase=boltzmann.ContrastiveDivergence(),
        generative_weight=0.1,
        discriminative_weight=1.0,
    )
    learner = gradient_learner(model, optax.adam(0.05))
    train = learner.init(jax.random.key(0), batch)
    keys = jax.random.split(jax.random.key(1), 300)
    train, metrics = jax.jit(lambda t, k: jax.lax.scan(lambda t, key: learner.step(t, key, batch), t, k))(train, keys)
    assert metrics["class_accuracy"][0] < 0.8
    assert metrics["class_accuracy"][-1] == 1.0


def test_invalid_settings_raise(model, variables):
    with pytest.raises(ValueError, match="num_classes is 1, but must be at least 2"):
        boltzmann.ClassRBM(shape=(3,), num_classes=1, num_hidden=2)
    with pytest.raises(
        ValueError, match="generative_weight and discriminative_weight are 0, but one must be positive; set"
    ):
        boltzmann.ClassRBM(shape=(3,), num_classes=2, num_hidden=2, generative_weight=0.0)
    with pytest.raises(ValueError, match="label is None, but this model has num_classes=3"):
        model.log_prob(variables, jnp.zeros((1, 3)))
    with pytest.raises(ValueError, match="needs 'label'"):
        model.init(jax.random.key(0), {"x": jnp.zeros((2, 3))})
