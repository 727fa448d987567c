"""Training rules: gradients against exact ones, where Z is a sum or the score is known."""

from __future__ import annotations

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import energy, flow, nets
from genjax.core import Variables
from genjax.energy import rules

STEP = jnp.int32(0)


@dataclasses.dataclass(frozen=True)
class Table:
    """A network of three bits: one energy for each of the eight states."""

    def init(self, key, x):
        del x
        return {"params": {"table": jax.random.normal(key, (8,))}}

    def apply(self, variables, x):
        # Linear in each bit, so that gradients with respect to bits exist.
        bits = jnp.stack([1 - x, x], axis=-1)  # (B, 3, 2)
        table = variables["params"]["table"].reshape(2, 2, 2)
        return jnp.einsum("bi,bj,bk,ijk->b", bits[:, 0], bits[:, 1], bits[:, 2], table)[:, None]


@dataclasses.dataclass(frozen=True)
class Quadratic:
    """E(x) = ½ a ‖x − m‖²."""

    def init(self, key, x):
        del key
        return {"params": {"slope": jnp.float32(0.7), "center": jnp.full(x.shape[1:], 0.3)}}

    def apply(self, variables, x):
        params = variables["params"]
        return 0.5 * params["slope"] * jnp.sum(jnp.square(x - params["center"][None]), axis=-1, keepdims=True)


def model_of_bits(rule: energy.Rule) -> energy.EnergyModel:
    return energy.EnergyModel(
        net=Table(), base=energy.Bernoulli((3,)), rules=(rule,), kernel=energy.GibbsWithGradients()
    )


def states() -> jnp.ndarray:
    return ((jnp.arange(8)[:, None] >> jnp.array([2, 1, 0])[None]) & 1).astype(jnp.float32)


def exact_gradient(model, variables, x):
    """Gradient of the mean of −log p(x), by enumeration."""
    return jax.grad(lambda params: -jnp.mean(model.log_prob(Variables(params, variables.state), x)))(variables.params)


def gradient(model, variables, key, x):
    return jax.grad(lambda params: model.loss(params, variables.state, key, {"x": x}, STEP)[0])(variables.params)


@pytest.mark.parametrize("start", ["data", "noise", "buffer"])
def test_long_chains_give_the_likelihood_gradient(start):
    rule = energy.ContrastiveDivergence(start=start, num_steps=30, buffer_size=4_000)
    model = model_of_bits(rule)
    x = states()[jax.random.choice(jax.random.key(0), 8, (4_000,), p=jnp.arange(1, 9) / 36)]
    variables = model.init(jax.random.key(1), {"x": x})
    grads = gradient(model, variables, jax.random.key(2), x)["net"]["table"]
    exact = exact_gradient(model, variables, x)["net"]["table"]
    np.testing.assert_allclose(grads, exact, atol=5 * 0.5 / np.sqrt(4_000))
    assert np.abs(exact).max() > 0.05


def test_noise_contrastive_estimation_has_its_exact_gradient_and_minimum():
    """Against the sum over states; at E = log p₀ − log p_data, the minimum, the gradient vanishes."""
    num_noise = 3
    model = model_of_bits(energy.NoiseContrastive(num_noise=num_noise))
    p = jnp.arange(1, 9) / 36
    x = states()[jax.random.choice(jax.random.key(0), 8, (20_000,), p=p)]
    variables = model.init(jax.random.key(1), {"x": x})
    p0 = jnp.exp(model.base.log_prob(variables.state["base"], states()))

    def expected(params):
        e = model.energy(Variables(params, variables.state), states())
        data, noise = jax.nn.softplus(e + jnp.log(num_noise)), jax.nn.softplus(-e - jnp.log(num_noise))
        return jnp.sum(p * data) + num_noise * jnp.sum(p0 * noise)

    grads = gradient(model, variables, jax.random.key(2), x)["net"]["table"]
    np.testing.assert_allclose(grads, jax.grad(expected)(variables.params)["net"]["table"], atol=0.02)
    best = {"net": {"table": jnp.log(p0) - jnp.log(p)}}
    np.testing.assert_allclose(jax.grad(expected)(best)["net"]["table"], 0.0, atol=1e-6)
    log_z = model.log_partitions(Variables(best, variables.state))
    assert log_z[0] == pytest.approx(0.0, abs=1e-5)  # the energy has learned its constant


def quadratic_model(rule: energy.Rule, std: float = 2.0) -> energy.EnergyModel:
    return energy.EnergyModel(net=Quadratic(), base=energy.Gaussian((2,), std=std), rules=(rule,), kernel=energy.MALA())


@pytest.fixture(scope="module")
def normal_data():
    return jnp.array([[1.0, -0.5]]) + 0.8 * jax.random.normal(jax.random.key(5), (20_000, 2))


def test_sliced_score_matching_has_its_exact_gradient(normal_data):
    """The score is −a (x − m) − x / s², and the trace of its derivative −2 (a + 1 / s²)."""
    model = quadratic_model(energy.SlicedScoreMatching())
    variables = model.init(jax.random.key(0), {"x": normal_data})

    def expected(params):
        a, m = params["net"]["slope"], params["net"]["center"][None]
        score = -a * (normal_data - m) - normal_data / 4
        return -2 * (a + 0.25) + 0.5 * jnp.mean(jnp.sum(jnp.square(score), axis=1))

    grads = gradient(model, variables, jax.random.key(1), normal_data)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4),
        grads,
        jax.grad(expected)(variables.params),
    )


def test_denoising_score_matching_has_its_exact_gradient(normal_data):
    """For x̃ = x + σ ξ, the expected loss is a polynomial in the parameters and the moments of data."""
    sigma = 0.5
    model = quadratic_model(energy.DenoisingScoreMatching(noise_std=sigma))
    variables = model.init(jax.random.key(0), {"x": normal_data})

    def expected(params):
        a, m = params["net"]["slope"], params["net"]["center"]
        c = a + 0.25  # the score is −c x̃ + a m
        data = jnp.mean(jnp.sum(jnp.square(-c * normal_data + a * m[None]), axis=1))
        return 0.5 * (sigma**2 * data + 2 * jnp.square(1 - c * sigma**2))

    grads = gradient(model, variables, jax.random.key(1), normal_data)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=0.03, atol=0.02),
        grads,
        jax.grad(expected)(variables.params),
    )


def test_flow_matching_regresses_the_velocity(normal_data):
    """With independent pairs, the loss is that of x_t and x₁ − x₀, whose moments are known."""
    tau = 0.5
    model = dataclasses.replace(quadratic_model(energy.FlowMatching(coupling=None), std=1.0), temperature=tau)
    variables = model.init(jax.random.key(0), {"x": normal_data})
    a, m = 0.7, 0.3
    mean1, var1 = np.array([1.0, -0.5]), 0.64
    t = (np.arange(2_000) + 0.5) / 2_000
    # The velocity field −a (x_t − m) − τ x_t, minus x₁ − x₀, is linear in x₀ and x₁.
    k0, k1 = -(a + tau) * (1 - t) + 1, -(a + tau) * t - 1
    bias = a * m + k1[:, None] * mean1[None]
    expected = np.mean(2 * (k0**2 + k1**2 * var1) + np.sum(bias**2, axis=1))
    loss, (_, metrics) = model.loss(*variables, jax.random.key(1), {"x": normal_data}, STEP)
    assert float(loss) == pytest.approx(expected, rel=0.03)
    assert float(metrics["velocity_error"]) == pytest.approx(float(loss) / 2)


def test_coupled_pairs_cost_less_than_random_ones(normal_data):
    x = normal_data[:200]
    losses = {}
    for coupling in (None, energy.FlowMatching().coupling):
        model = quadratic_model(energy.FlowMatching(coupling=coupling), std=1.0)
        variables = model.init(jax.random.key(0), {"x": x})
        still = {"net": {"slope": jnp.float32(0), "center": jnp.zeros(2)}}
        losses[coupling] = model.loss(still, variables.state, jax.random.key(1), {"x": x}, STEP)[0]
    random, coupled = losses.values()
    assert coupled < 0.8 * random


def test_classification_is_the_cross_entropy_of_energies():
    model = energy.EnergyModel(
        net=nets.MLP((8, 3)), base=energy.Gaussian((2,)), rules=(energy.Classification(weight=2.0),), num_classes=3
    )
    batch = {"x": jax.random.normal(jax.random.key(0), (6, 2)), "label": jnp.arange(6) % 3}
    variables = model.init(jax.random.key(1), batch)
    loss, (_, metrics) = model.loss(*variables, jax.random.key(2), batch, STEP)
    energies = np.stack([model.energy(variables, batch["x"], label=k) for k in range(3)], axis=1)
    log_p = -energies - np.log(np.exp(-energies).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(loss, -2 * log_p[np.arange(6), batch["label"]].mean(), rtol=1e-5)
    np.testing.assert_allclose(model.class_log_prob(variables, batch["x"]), log_p, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        model.energy(variables, batch["x"]), -np.log(np.exp(-energies).sum(axis=1)), rtol=1e-4, atol=1e-5
    )
    assert metrics["class_accuracy"] == np.mean(log_p.argmax(axis=1) == batch["label"])


def test_penalties_are_added_with_their_weights():
    model = dataclasses.replace(
        quadratic_model(energy.SlicedScoreMatching()),
        penalties=(energy.EnergyMagnitude(weight=2.0), energy.GradientPenalty(weight=3.0)),
    )
    x = jnp.array([[1.0, 0.0], [0.0, 2.0]])
    variables = model.init(jax.random.key(0), {"x": x})
    _, (_, metrics) = model.loss(*variables, jax.random.key(1), {"x": x}, STEP)
    e = 0.35 * np.sum((np.asarray(x) - 0.3) ** 2, axis=1)
    slopes = 0.49 * np.sum((np.asarray(x) - 0.3) ** 2, axis=1)
    assert float(metrics["penalty"]) == pytest.approx(2 * np.mean(e**2) + 3 * np.mean(slopes), rel=1e-5)


def test_samples_of_chains_are_penalized_too():
    rule = energy.ContrastiveDivergence(start="data", num_steps=1, kernel=energy.Langevin(1e-8, temperature=0.0))
    model = dataclasses.replace(quadratic_model(rule), penalties=(energy.EnergyMagnitude(weight=1.0),))
    x = jnp.array([[1.0, 0.0], [0.0, 2.0]])
    variables = model.init(jax.random.key(0), {"x": x})
    _, (_, metrics) = model.loss(*variables, jax.random.key(1), {"x": x}, STEP)
    e = 0.35 * np.sum((np.asarray(x) - 0.3) ** 2, axis=1)
    assert float(metrics["penalty"]) == pytest.approx(2 * np.mean(e**2), rel=1e-4)  # data, and chains still at data


def test_metrics_of_two_rules_of_one_kind_stay_apart():
    rules_of_a_kind = tuple(energy.DenoisingScoreMatching(noise_std=std) for std in (0.1, 10.0))
    model = dataclasses.replace(quadratic_model(rules_of_a_kind[0]), rules=rules_of_a_kind)
    x = jnp.array([[1.0, 0.0], [0.0, 2.0]])
    metrics = model.loss(*model.init(jax.random.key(0), {"x": x}), jax.random.key(1), {"x": x}, STEP)[1][1]
    assert metrics["score_error_1"] > 10 * metrics["score_error"]


def test_weights_scale_each_rule():
    def rule(weight: float) -> Any:
        return energy.SlicedScoreMatching(weight=weight)

    x = jnp.array([[1.0, 0.0], [0.0, 2.0]])
    values = []
    for weights in ((1.0,), (3.0,)):
        model = quadratic_model(rule(weights[0]))
        variables = model.init(jax.random.key(0), {"x": x})
        values.append(float(model.loss(*variables, jax.random.key(1), {"x": x}, STEP)[0]))
    assert values[1] == pytest.approx(3 * values[0], rel=1e-5)


def test_the_buffer_keeps_the_ends_of_chains_and_restarts_a_share():
    kernel = energy.Langevin(1e-6, temperature=0.0)  # chains hardly move
    rule = energy.ContrastiveDivergence(
        num_steps=1, kernel=kernel, buffer_size=1_000, restart=0.25, restart_from="data"
    )
    model = quadratic_model(rule)
    x = jnp.full((1_000, 2), 50.0)
    variables = model.init(jax.random.key(0), {"x": x})
    before = variables.state["rules"]["0"].chains
    _, (state, metrics) = model.loss(*variables, jax.random.key(1), {"x": x}, STEP)
    after = state["rules"]["0"].chains
    at_data = jnp.abs(after - 50).max(axis=1) < 0.1
    assert float(jnp.mean(at_data)) == pytest.approx(0.25, abs=0.07)
    np.testing.assert_allclose(jnp.sort(before[~at_data], axis=0), jnp.sort(after[~at_data], axis=0), atol=1e-3)
    assert metrics["acceptance"] == 1


def test_the_buffer_continues_where_chains_end():
    """Without noise, each chain takes a step of gradient ascent, x + h (−a (x − m) − x / s²)."""
    kernel = energy.Langevin(0.1, temperature=0.0)
    model = quadratic_model(energy.ContrastiveDivergence(num_steps=1, kernel=kernel, buffer_size=8, restart=0.0))
    x = jnp.zeros((8, 2))
    variables = model.init(jax.random.key(0), {"x": x})
    before = variables.state["rules"]["0"].chains
    after = model.loss(*variables, jax.random.key(1), {"x": x}, STEP)[1][0]["rules"]["0"].chains
    np.testing.assert_allclose(after, before + 0.1 * (-0.7 * (before - 0.3) - before / 4), rtol=1e-5, atol=1e-6)


def test_the_sampler_term_moves_samples_to_low_energy():
    """Its gradient passes through the last step: without entropy, a larger slope pulls samples further in."""
    kernel = energy.Langevin(0.1, temperature=0.0)
    rule = energy.ContrastiveDivergence(start="noise", num_steps=1, kernel=kernel, kl_weight=1.0)
    model = quadratic_model(rule)
    variables = model.init(jax.random.key(0), {"x": jnp.zeros((64, 2))})

    def term(params):
        return model.loss(params, variables.state, jax.random.key(1), {"x": jnp.zeros((64, 2))}, STEP)[1][1]["kl_loss"]

    assert jnp.isfinite(jax.grad(term)(variables.params)["net"]["slope"])
    assert jax.grad(term)(variables.params)["net"]["slope"] != 0
    with pytest.raises(ValueError, match="which differentiates the density, but the base is of binary data"):
        model_of_bits(energy.ContrastiveDivergence(kl_weight=1.0))
    with pytest.raises(ValueError, match="moves real numbers, but the base is of binary data"):
        model_of_bits(energy.ContrastiveDivergence(kernel=energy.Langevin()))


def test_spectral_vectors_move_in_training_alone():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x, train: bool = False):
            x = nn.gelu(nets.SpectralNorm(nn.Dense(8))(x, train))
            return nn.Dense(1)(nn.Dropout(0.5, deterministic=not train)(x))

    model = energy.EnergyModel(net=Net(), base=energy.Gaussian((2,)), rules=(energy.SlicedScoreMatching(),))
    x = jax.random.normal(jax.random.key(0), (8, 2))
    variables = model.init(jax.random.key(1), {"x": x})
    _, (state, _) = model.loss(*variables, jax.random.key(2), {"x": x}, STEP)
    changed = jax.tree.map(lambda a, b: bool((a != b).any()), variables.state["net"], state["net"])
    assert any(jax.tree.leaves(changed))


def test_a_trained_flow_is_a_base_that_training_leaves_alone():
    base = energy.Pretrained(flow.real_nvp(shape=(2,), num_layers=2, hidden=(8,)))
    model = energy.EnergyModel(net=nets.MLP((8, 1), output_scale=0.0), base=base, rules=(energy.NoiseContrastive(),))
    x = jax.random.normal(jax.random.key(0), (16, 2))
    flow_variables = base.model.init(jax.random.key(1), {"x": x})
    variables = model.with_base(model.init(jax.random.key(2), {"x": x}), jax.random.key(3), flow_variables)
    assert model.log_partitions(variables)[0] == pytest.approx(0.0, abs=1e-4)  # a constant energy of 0
    np.testing.assert_allclose(
        model.log_prob(variables, x), base.model.log_prob(flow_variables, x), rtol=1e-4, atol=1e-4
    )
    _, (state, _) = model.loss(*variables, jax.random.key(4), {"x": x}, STEP)
    jax.tree.map(np.testing.assert_array_equal, state["base"], variables.state["base"])


def test_every_rule_is_public():
    names = {name for name, member in vars(rules).items() if isinstance(member, type)}
    assert names - {"RuleOutput", "Buffer", "Penalty", "Rule"} <= set(energy.__all__)
