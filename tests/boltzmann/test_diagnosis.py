"""What a machine tells of its chains and its likelihood, against machines whose every state can be added up."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import boltzmann
from genjax.boltzmann import Layers, diagnosis
from genjax.core import Variables
from tests.boltzmann.machines import random_layers, rbm, variables_of

X = (np.random.default_rng(0).random((50, 4)) < 0.6).astype(np.float32)
PHASES = [
    boltzmann.ContrastiveDivergence(),
    boltzmann.Persistent(20),
    boltzmann.FastWeights(20),
    boltzmann.ParallelTempering(20, 3),
]


def copies(strength: float) -> Layers:
    """As many hidden units as visible ones, each bound to one: a strong bond holds both where they are."""
    bias = jnp.full(4, -strength / 2)
    return Layers(strength * jnp.eye(4), bias, bias)


def told(model, layers, key=0, x=X):
    variables = variables_of(layers)
    base = variables.state["base"]
    memory = model.negative_phase.init(layers, base, jax.random.key(1))
    variables = variables._replace(state=variables.state | {"negative": memory})
    return variables, model.diagnose(variables, jax.random.key(key), {"x": jnp.asarray(x)})


@pytest.mark.parametrize("phase", PHASES, ids=lambda phase: type(phase).__name__)
def test_chains_of_weak_bonds_move_and_those_of_strong_ones_are_frozen(phase):
    model = rbm(4, 4, negative_phase=phase)
    moved = {strength: float(told(model, copies(strength))[1]["moved"]) for strength in (0.5, 60.0)}
    assert 0.8 < moved[0.5] < 1.2
    if isinstance(phase, boltzmann.ParallelTempering):
        assert moved[60.0] > 0.1  # trades go on
    else:
        assert moved[60.0] < 1e-6


def test_chains_of_gaussian_units_freeze_though_their_noise_goes_on():
    """Two modes, 40 standard deviations apart."""
    model = rbm(4, 1, units=boltzmann.Gaussian(), negative_phase=boltzmann.ContrastiveDivergence())
    layers = Layers(jnp.full((4, 1), 20.0), jnp.full(4, -10.0), jnp.zeros(1))
    x = 10.0 * np.where(X[:, :1] > 0.5, 1.0, -1.0) + np.random.default_rng(1).normal(size=X.shape)
    assert float(told(model, layers, x=x.astype(np.float32))[1]["moved"]) < 1e-6


def test_a_machine_without_weights_has_nothing_to_remember():
    layers = Layers(jnp.zeros((4, 3)), jnp.zeros(4), jnp.zeros(3))
    assert float(told(rbm(4, 3), layers)[1]["moved"]) == 1.0


def test_likelihoods_are_exact_and_compared_with_independent_units():
    layers, model = random_layers(4, 3), rbm(4, 3)
    variables, values = told(model, layers)
    expected = model.log_prob(variables, jnp.asarray(X))
    np.testing.assert_allclose(values["log_prob"], expected, rtol=1e-5)
    np.testing.assert_allclose(values["gain"], expected + 4 * np.log(2), rtol=1e-4, atol=1e-5)
    assert values["reconstruction_error"].shape == ()
    assert "log_partition_error" not in values


def test_larger_machines_estimate_their_likelihoods(monkeypatch):
    layers, model = random_layers(6, 5, scale=0.8), rbm(6, 5)
    monkeypatch.setattr(diagnosis, "MOST_ENUMERATED", 4)
    x = np.tile(X, (1, 2))[:, :6]
    variables, values = told(model, layers, x=x)
    error = float(values["log_partition_error"])
    difference = values["log_prob_estimate"] - model.log_prob(variables, jnp.asarray(x))
    assert 0 < error < 0.1
    np.testing.assert_allclose(difference, jnp.full(50, difference[0]), atol=1e-4)
    assert abs(float(difference[0])) < 4 * error


@pytest.mark.parametrize(
    "model",
    [
        boltzmann.ClassRBM(shape=(4,), num_classes=2, num_hidden=3),
        boltzmann.DeepBeliefNet(shape=(4,), num_hidden=(3, 3)),
        boltzmann.DeepBoltzmannMachine(shape=(4,), num_hidden=(3, 3)),
    ],
    ids=lambda model: type(model).__name__,
)
def test_other_machines_tell_whether_their_chains_move(model):
    """Those of new ones do; with weights a thousandfold, each unit is held where it is."""
    batch = {"x": jnp.asarray(X), "label": jnp.asarray(X[:, 0], jnp.int32)}
    variables = model.init(jax.random.key(0), batch)
    frozen = jax.tree.map(lambda a: 1e4 * a if a.ndim > 1 else a, variables.params)
    told = [
        float(model.diagnose(Variables(params, variables.state), jax.random.key(1), batch)["moved"])
        for params in (variables.params, frozen)
    ]
    assert told[0] > 0.5
    assert told[1] < 0.1
