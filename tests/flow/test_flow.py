"""A flow's density, samples, codes and labels are consistent."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import flow, latent
from genjax.core import Variables

MODELS = {
    "nsf": flow.neural_spline_flow(shape=(3,), num_layers=2, hidden=(8,), num_bins=4),
    "maf": flow.masked_autoregressive_flow(shape=(3,), num_layers=2, hidden=(8,)),
    "iaf": flow.inverse_autoregressive_flow(shape=(3,), num_layers=2, hidden=(8,)),
    "labels": flow.real_nvp(shape=(3,), num_layers=2, hidden=(8,), num_classes=4),
    "image": flow.glow(shape=(4, 4, 1), num_steps=2, features=4, preprocess_bijections=(flow.Logit(),)),
}


def perturbed(model, key, size=0.3):
    data_key, init_key, key = jax.random.split(key, 3)
    batch = {"x": jax.random.uniform(data_key, (16, *model.shape)), "label": jnp.arange(16) % 4}
    variables = jax.jit(model.init)(init_key, batch)
    leaves, tree = jax.tree.flatten(variables.params)
    keys = jax.random.split(key, len(leaves))
    perturbed_leaves = [leaf + size * jax.random.normal(k, leaf.shape) for leaf, k in zip(leaves, keys, strict=True)]
    return Variables(jax.tree.unflatten(tree, perturbed_leaves), variables.state)


@pytest.fixture(scope="module", params=MODELS)
def case(request):
    model = MODELS[request.param]
    label = {} if model.num_classes is None else {"label": jnp.arange(8) % 4}
    return model, perturbed(model, jax.random.key(0), 0.1), label


def test_samples_come_with_their_density(case):
    model, variables, label = case
    draw = jax.jit(lambda v, key: model.sample_and_log_prob(v, key, 8, **label))
    x, log_prob = draw(variables, jax.random.key(1))
    np.testing.assert_allclose(jax.jit(lambda v, x: model.log_prob(v, x, **label))(variables, x), log_prob, atol=2e-4)
    alone = jax.jit(lambda v, key: model.sample(v, key, 8, **label))(variables, jax.random.key(1))
    np.testing.assert_allclose(alone, x, atol=1e-5)


def test_noise_goes_to_data_and_back(case):
    model, variables, label = case
    x = jax.jit(lambda v, key: model.sample(v, key, 8, **label))(variables, jax.random.key(1))
    z = jax.jit(lambda v, x: model.encode(v, x, **label))(variables, x)
    again = jax.jit(lambda v, z: model.decode(v, z, **label))(variables, z)
    np.testing.assert_allclose(again, x, atol=1e-4)
    assert z.size == x.size


def test_a_lone_actnorm_is_the_gaussian_of_greatest_likelihood():
    x = jax.random.normal(jax.random.key(0), (500, 3)) * jnp.array([0.1, 1.0, 7.0])[None] + 5.0
    model = flow.Flow(shape=(3,), bijection=flow.ActNorm())
    variables = model.init(jax.random.key(1), {"x": x})
    deviation = np.asarray(x, np.float64).std(axis=0)
    entropy = 0.5 * np.log(2 * np.pi * np.e * deviation**2).sum()
    assert float(model.log_prob(variables, x).mean()) == pytest.approx(-entropy, abs=1e-4)
    loss, (_, metrics) = model.loss(*variables, jax.random.key(2), {"x": x}, jnp.int32(0))
    assert float(loss) == pytest.approx(entropy, abs=1e-4)
    assert float(metrics["base"] + metrics["log_det"]) == pytest.approx(-entropy, abs=1e-4)


@pytest.mark.parametrize(("base", "variance"), [(flow.Normal(), 1.0), (flow.Logistic(), np.pi**2 / 3)])
def test_bases_are_densities_of_their_samples(base, variance):
    grid = jnp.linspace(-40, 40, 200_001)
    density = np.exp(np.asarray(base.log_prob(grid), np.float64))
    assert np.trapezoid(density, grid) == pytest.approx(1.0, abs=1e-4)
    assert np.trapezoid(density * grid**2, grid) == pytest.approx(variance, abs=1e-3)
    assert float(base.sample(jax.random.key(0), (100_000,)).var()) == pytest.approx(variance, rel=0.03)


def test_every_class_has_a_density_of_its_own():
    model = MODELS["labels"]
    variables = perturbed(model, jax.random.key(0))
    x = jax.random.normal(jax.random.key(1), (8, 3))
    by_class = jnp.stack([model.log_prob(variables, x, label=k) for k in range(4)])
    assert float(by_class.std(axis=0).min()) > 1e-3
    mixed = model.log_prob(variables, x, label=jnp.arange(8) % 4)
    np.testing.assert_allclose(mixed, by_class[jnp.arange(8) % 4, jnp.arange(8)], rtol=1e-5)


def test_temperature_zero_gives_the_most_typical_sample():
    model = MODELS["maf"]
    variables = perturbed(model, jax.random.key(0), 0.1)
    cold = model.sample(variables, jax.random.key(1), 4, temperature=0.0)
    np.testing.assert_allclose(cold, model.decode(variables, jnp.zeros((4, 3))), atol=1e-6)
    with pytest.raises(ValueError, match="temperature is -1, but must be at least 0"):
        model.sample(variables, jax.random.key(1), 4, temperature=-1)


def test_interpolation_begins_and_ends_at_the_data():
    model = MODELS["nsf"]
    variables = perturbed(model, jax.random.key(0), 0.1)
    x, y = jax.random.normal(jax.random.key(1), (2, 5, 3))
    walk = latent.interpolate(model, variables, x, y, 4)
    assert walk.shape == (5, 4, 3)
    np.testing.assert_allclose(walk[:, 0], x, atol=1e-4)
    np.testing.assert_allclose(walk[:, -1], y, atol=1e-4)


def test_every_model_starts_as_a_gaussian_fit():
    """Networks output zero initially, so at any depth only actnorm and permutations act before training."""
    x = jax.random.normal(jax.random.key(0), (256, 3)) * 2.0 + 1.0
    for make in (flow.masked_autoregressive_flow, flow.real_nvp, flow.neural_spline_flow):
        model = make(shape=(3,), num_layers=4, hidden=(8,))
        variables = model.init(jax.random.key(1), {"x": x})
        entropy = 0.5 * np.log(2 * np.pi * np.e * np.asarray(x).var(axis=0)).sum()
        assert float(-model.log_prob(variables, x).mean()) == pytest.approx(entropy, abs=1e-3)


def test_constants_are_not_scaled_and_small_scales_are_no_limit():
    x = jnp.stack([jnp.full(500, 1000.1), 0.5 + 1e-4 * jax.random.normal(jax.random.key(0), (500,))], axis=1)
    log_scale = flow.ActNorm().init(jax.random.key(0), x).params["log_scale"]
    np.testing.assert_allclose(log_scale, [0, -np.log(1e-4)], rtol=0.02)
    model = flow.nice(shape=(2,), num_layers=2, hidden=(4,))
    variables = model.init(jax.random.key(1), {"x": x[:, 1:] * jnp.ones((1, 2))})
    assert float(jnp.mean(model.log_prob(variables, x[:, 1:] * jnp.ones((1, 2))))) > 10  # 2 (9.2 - 2.1) or so


def test_a_squashing_layer_is_the_inverse_of_a_logit():
    x = jnp.array([[-3.0, 3.0]])
    sigmoid = flow.Inverse(flow.Logit(alpha=1e-6))
    y, _ = sigmoid.forward(sigmoid.init(jax.random.key(0), x), x)
    np.testing.assert_allclose(y, jax.nn.sigmoid(x), rtol=1e-4)


def test_refuses_noise_of_another_shape():
    model = flow.real_nvp(shape=(3,), num_layers=2, hidden=(4,))
    variables = model.init(jax.random.key(0), {"x": jnp.eye(3)})
    with pytest.raises(
        ValueError, match=r"latent has shape \(2, 5\), but the noise of this flow has shape \(3,\) after"
    ):
        model.decode(variables, jnp.zeros((2, 5)))
    with pytest.raises(ValueError, match=r"x has shape \(1, 4, 4, 1\), but this MultiScale has shape=\(8, 8, 1\)"):
        flow.glow(shape=(8, 8, 1), num_steps=1, features=2).bijection.bijections[0].init(
            jax.random.key(0), jnp.zeros((1, 4, 4, 1))
        )
