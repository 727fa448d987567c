"""Losses, penalties, indicators and layers, computed again with numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import gan
from genjax.core import Variables
from genjax.gan.diagnosis import gan_diagnosis
from genjax.gan.heads import DiscriminatorHead, leaky_relu
from tests.networks import Function

RNG = np.random.default_rng(0)
REAL, FAKE = np.float32([0.4, -1.3, 2.5, 0.9]), np.float32([-0.7, 1.6, 0.2, -2.1])


def softplus(a):
    return np.log1p(np.exp(np.asarray(a, np.float64)))


def hinge(a):
    return np.maximum(0, 1 + a)


# Discriminator, generator and divergence of a discriminator loss L, for outputs r of data and f of samples.
LOSSES = {
    gan.Minimax(): (
        lambda r, f: softplus(-r).mean() + softplus(f).mean(),
        lambda r, f: -softplus(f).mean(),
        lambda loss: np.log(2) - loss / 2,
    ),
    gan.NonSaturating(): (
        lambda r, f: softplus(-r).mean() + softplus(f).mean(),
        lambda r, f: softplus(-f).mean(),
        lambda loss: np.log(2) - loss / 2,
    ),
    gan.LeastSquares(): (
        lambda r, f: ((r - 1) ** 2).mean() + ((f + 1) ** 2).mean(),
        lambda r, f: ((f - 0) ** 2).mean(),
        lambda loss: 2 - loss,
    ),
    gan.Wasserstein(): (lambda r, f: f.mean() - r.mean(), lambda r, f: -f.mean(), lambda loss: -loss),
    gan.Hinge(): (
        lambda r, f: hinge(-r).mean() + hinge(f).mean(),
        lambda r, f: -f.mean(),
        lambda loss: 1 - loss / 2,
    ),
    gan.RelativisticAverage(): (
        lambda r, f: softplus(f.mean() - r).mean() + softplus(f - r.mean()).mean(),
        lambda r, f: softplus(r.mean() - f).mean() + softplus(r - f.mean()).mean(),
        lambda loss: np.log(2) - loss / 2,
    ),
    gan.Relativistic(): (
        lambda r, f: softplus(f - r).mean(),
        lambda r, f: softplus(r - f).mean(),
        lambda loss: np.log(2) - loss,
    ),
}


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
def test_losses_are_the_equations(loss):
    discriminator, generator, divergence = LOSSES[loss]
    value = discriminator(REAL, FAKE)
    np.testing.assert_allclose(loss.discriminator(jnp.asarray(REAL), jnp.asarray(FAKE)), value, rtol=1e-5)
    np.testing.assert_allclose(loss.generator(jnp.asarray(REAL), jnp.asarray(FAKE)), generator(REAL, FAKE), rtol=1e-5)
    np.testing.assert_allclose(loss.divergence(jnp.float32(value)), divergence(value), rtol=1e-5, atol=1e-6)


def a_gan(**options):
    """A generator that returns its parameter, and a discriminator D(x) = ½ |x|² + b."""
    samples = RNG.normal(size=(6, 3)).astype(np.float32) * 2
    model = gan.GAN(
        latent_dim=2,
        generator=Function(lambda params, z: params["samples"] + 0 * jnp.sum(z)),
        discriminator=Function(lambda params, x: 0.5 * jnp.sum(x**2, axis=1, keepdims=True) + params["b"]),
        **options,
    )
    params = {"generator": {"samples": jnp.asarray(samples)}, "discriminator": {"b": jnp.float32(-1.5)}}
    return model, Variables(params, {"generator": {}, "discriminator": {}}), samples


@pytest.mark.parametrize(("weight", "fake_weight"), [(2.0, 0.0), (0.0, 3.0), (2.0, 3.0)])
def test_penalties_know_data_from_samples(weight, fake_weight):
    model, variables, samples = a_gan(penalties=(gan.R1(weight=weight, fake_weight=fake_weight),))
    x = RNG.normal(size=(6, 3)).astype(np.float32)
    loss, (_, metrics) = model.discriminator_loss(*variables, jax.random.key(0), {"x": x}, jnp.int32(0))
    at_data, at_samples = ((a**2).sum(axis=1).mean() / 2 for a in (x, samples))  # ½ E |∇D|²
    penalty = weight * at_data + fake_weight * at_samples
    np.testing.assert_allclose(metrics["penalty"], penalty, rtol=1e-5)
    real, fake = (0.5 * (a**2).sum(axis=1) - 1.5 for a in (x, samples))
    np.testing.assert_allclose(loss, softplus(-real).mean() + softplus(fake).mean() + penalty, rtol=1e-5)
    np.testing.assert_allclose(metrics["accuracy"], (real[:, None] > fake[None]).mean(), rtol=1e-6)


@pytest.mark.parametrize(("step", "factor"), [(0, 4), (1, 0), (3, 0), (4, 4), (6, 0)])
def test_a_lazy_penalty_has_its_weight_at_every_nth_step(step, factor):
    model, variables, _ = a_gan(penalties=(gan.R1(weight=2.0, every=4),))
    x = RNG.normal(size=(6, 3)).astype(np.float32)
    metrics = model.discriminator_loss(*variables, jax.random.key(0), {"x": x}, jnp.int32(step))[1][1]
    np.testing.assert_allclose(metrics["penalty"], factor * (x**2).sum(axis=1).mean(), rtol=1e-5)


@pytest.mark.parametrize("step", [0, 3, 10, 40])
def test_an_annealed_penalty_falls_geometrically(step):
    x = jnp.asarray(RNG.normal(size=(5, 2)), jnp.float32)
    annealed = gan.AnnealedPenalty(penalty=gan.R1(weight=2.0), final_scale=0.02, num_steps=10)
    value = annealed(lambda x: x[:, 0], x, x, jax.random.key(0), jnp.int32(step))
    assert float(value) == pytest.approx(0.02 ** min(step / 10, 1), rel=1e-5)


def test_defaults_are_those_of_the_papers():
    penalty = gan.GradientPenalty()
    assert (penalty.weight, penalty.target, penalty.one_sided) == (10, 1, False)
    assert gan.ConsistencyPenalty(augment=lambda key, x: x).weight == 10
    augmentation = gan.DifferentiableAugmentation()
    assert (augmentation.translation_ratio, augmentation.cutout_ratio) == (1 / 8, 1 / 2)
    np.testing.assert_allclose(leaky_relu(jnp.array([-1.0, 2.0])), [-0.2, 2.0])


def test_indicators_of_failure():
    reference, data = RNG.normal(size=(2, 20, 3)).astype(np.float32)
    samples = data[:6].repeat(3, axis=0)[:16] + np.float32(0.2)

    def critic(x):
        return 3 * jnp.sum(x, axis=1)

    def objective(samples):
        outputs = jnp.concatenate([critic(data), critic(samples)])
        return -jnp.mean(critic(samples)), outputs

    def covered(points):
        squared = ((points[:, None] - reference[None]) ** 2).sum(axis=-1)
        return len(set(squared.argmin(axis=1).tolist()))

    values = gan_diagnosis(objective, jnp.asarray(reference), jnp.asarray(data), jnp.asarray(samples))
    std = np.std(3 * np.concatenate([data, samples]).sum(axis=1))
    spread = np.sqrt(((data - data.mean(axis=0)) ** 2).sum(axis=1).mean())
    np.testing.assert_allclose(values["coverage"], covered(samples) / covered(data), rtol=1e-6)
    np.testing.assert_allclose(values["discriminator_std"], std, rtol=1e-5)
    np.testing.assert_allclose(values["generator_gradient"], np.sqrt(27) * spread / std, rtol=1e-4)


def test_the_head_adds_a_projection_for_each_output():
    head, features, label = DiscriminatorHead(num_outputs=2), RNG.normal(size=(4, 3)), np.eye(5)[[0, 2, 2, 4]]
    features = features.astype(np.float32)
    variables = head.init(jax.random.key(0), features, jnp.asarray(label))
    params = jax.tree.map(np.asarray, variables["params"])
    linear, embedded = params["linear"], (label @ params["embedding"]["kernel"]).reshape(4, 3, 2)
    expected = features @ linear["kernel"] + linear["bias"] + (features[:, :, None] * embedded).sum(axis=1)
    np.testing.assert_allclose(head.apply(variables, features, jnp.asarray(label)), expected, rtol=1e-5, atol=1e-6)


def center(kernel, value):
    """A 3 × 3 kernel of one channel that multiplies by a value."""
    return jnp.zeros_like(kernel).at[1, 1].set(value)


def test_the_first_block_of_a_residual_discriminator_does_not_activate_its_input_and_pixels_are_summed():
    """With K₁ = −1 and K₂ = 2 it returns 2 relu(−x) + x = |x| for x < 0."""
    net, x = gan.ResNetDiscriminator((1,), num_downsamplings=0, normalization=None), RNG.normal(size=(2, 4, 4, 1))
    params = net.init(jax.random.key(0), jnp.float32(x))["params"]
    (name,) = [name for name in params if "Block" in name]
    block = {conv: dict(weights) for conv, weights in params[name].items()}
    for conv, value in zip(sorted(block), (-1.0, 2.0), strict=True):
        block[conv]["kernel"] = center(block[conv]["kernel"], value)
    (head,) = [name for name in params if "Head" in name]
    linear = jax.tree.map(np.asarray, params[head]["linear"])
    outputs = net.apply({"params": params | {name: block}}, jnp.float32(x))
    pooled = np.abs(x).sum(axis=(1, 2))
    np.testing.assert_allclose(outputs, pooled @ linear["kernel"] + linear["bias"], rtol=1e-4)


def test_dcgan_starts_from_small_weights():
    net = gan.DCGANGenerator((32, 16), output_shape=(16, 16, 1))
    params = net.init(jax.random.key(0), jnp.zeros((2, 8)))["params"]
    kernels = [leaf.ravel() for leaf in jax.tree.leaves(params) if leaf.ndim > 1]
    assert float(jnp.std(jnp.concatenate(kernels))) == pytest.approx(0.02, rel=0.03)
