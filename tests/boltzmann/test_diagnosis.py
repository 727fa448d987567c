"""Diagnoses of chains and likelihoods, against machines whose states can be enumerated."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import boltzmann
from genjax.boltzmann import RBMParams, diagnosis
from genjax.core import Variables
from tests.boltzmann.machines import random_params, rbm, variables_of

X = (np.random.default_rng(0).random((50, 4)) < 0.6).astype(np.float32)
PHASES = [
    boltzmann.ContrastiveDivergence(),
    boltzmann.Persistent(20),
    boltzmann.FastWeights(20),
    boltzmann.ParallelTempering(20, 3),
]


def pairs_of_units(strength: float) -> RBMParams:
    """Connect each visible unit to one hidden unit; strong weights freeze both."""
    bias = jnp.full(4, -strength / 2)
    return RBMParams(strength * jnp.eye(4), bias, bias)


def diagnose(model, params, key=0, x=X):
    """Return variables with these parameters, and their diagnosis."""
    state = model.negative_phase.init(params, jnp.zeros(len(params.visible_bias)), jax.random.key(1))
    variables = variables_of(params, negative_phase=state)
    return variables, model.diagnose(variables, jax.random.key(key), {"x": jnp.asarray(x)})


@pytest.mark.parametrize("phase", PHASES, ids=lambda phase: type(phase).__name__)
def test_chains_move_under_weak_weights_and_freeze_under_strong_ones(phase):
    model = rbm(4, 4, negative_phase=phase)
    movement = {
        strength: float(diagnose(model, pairs_of_units(strength))[1]["chain_movement"]) for strength in (0.5, 60.0)
    }
    assert 0.8 < movement[0.5] < 1.2
    if isinstance(phase, boltzmann.ParallelTempering):
        assert movement[60.0] > 0.1  # swaps continue
    else:
        assert movement[60.0] < 1e-6


def test_noise_of_gaussian_units_is_no_movement():
    """Two modes are 40 standard deviations apart, so that chains stay in theirs."""
    model = rbm(4, 1, units=boltzmann.GaussianUnits(), negative_phase=boltzmann.ContrastiveDivergence())
    params = RBMParams(jnp.full((4, 1), 20.0), jnp.full(4, -10.0), jnp.zeros(1))
    x = 10.0 * np.where(X[:, :1] > 0.5, 1.0, -1.0) + np.random.default_rng(1).normal(size=X.shape)
    assert float(diagnose(model, params, x=x.astype(np.float32))[1]["chain_movement"]) < 1e-6


def test_chains_without_weights_forget_at_once():
    params = RBMParams(jnp.zeros((4, 3)), jnp.zeros(4), jnp.zeros(3))
    assert float(diagnose(rbm(4, 3), params)[1]["chain_movement"]) == 1.0


def test_likelihoods_are_exact_and_compared_with_independent_units():
    params, model = random_params(4, 3), rbm(4, 3)
    variables, values = diagnose(model, params)
    expected = model.log_prob(variables, jnp.asarray(X))
    np.testing.assert_allclose(values["log_prob"], expected, rtol=1e-5)
    np.testing.assert_allclose(values["gain"], expected + 4 * np.log(2), rtol=1e-4, atol=1e-5)
    assert values["reconstruction_error"].shape == ()
    assert "log_partition_error" not in values


def test_larger_machines_estimate_their_likelihoods(monkeypatch):
    params, model = random_params(6, 5, scale=0.8), rbm(6, 5)
    monkeypatch.setattr(diagnosis, "MAX_UNITS_IN_DIAGNOSIS", 4)
    x = np.tile(X, (1, 2))[:, :6]
    variables, values = diagnose(model, params, x=x)
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
def test_other_models_measure_chain_movement(model):
    """Chains move under initial weights, and freeze under weights 10⁴ times as large."""
    batch = {"x": jnp.asarray(X), "label": jnp.asarray(X[:, 0], jnp.int32)}
    variables = model.init(jax.random.key(0), batch)
    frozen = jax.tree.map(lambda a: 1e4 * a if a.ndim > 1 else a, variables.params)
    movement = [
        float(model.diagnose(Variables(params, variables.state), jax.random.key(1), batch)["chain_movement"])
        for params in (variables.params, frozen)
    ]
    assert movement[0] > 0.5
    assert movement[1] < 0.1
