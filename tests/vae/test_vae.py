import dataclasses
import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import capabilities, core, latent, nets, ops, vae
from genjax.vae import imputation
from genjax.vae.gaussian import reparameterize, standardize

MODEL = vae.VAE(
    latent_dim=2, encoder=nets.MLP((8, 4)), decoder=nets.MLP((8,), output_shape=(2, 3, 1)), likelihood=ops.Bernoulli()
)


@pytest.fixture(scope="module")
def batch():
    return {"x": jax.random.bernoulli(jax.random.key(0), 0.4, (5, 2, 3, 1)).astype(jnp.float32)}


@pytest.fixture(scope="module")
def variables(batch):
    return jax.jit(MODEL.init)(jax.random.key(1), batch)


@pytest.fixture(scope="module")
def loss():
    return jax.jit(vae.VAE.loss, static_argnums=0)


def test_capabilities():
    for capability in (
        core.GenerativeModel,
        capabilities.HasLogProbLowerBound,
        capabilities.HasLogProbEstimate,
        capabilities.IsDiscrete,
        capabilities.Encodes,
        capabilities.Decodes,
        capabilities.Reconstructs,
    ):
        assert isinstance(MODEL, capability), capability
    assert not isinstance(MODEL, capabilities.HasLogProb)  # only a bound and an estimate
    assert dataclasses.replace(MODEL, likelihood=ops.Bernoulli()).discrete
    assert not dataclasses.replace(MODEL, likelihood=ops.Gaussian()).discrete


def test_models_with_equal_fields_are_equal():
    same = dataclasses.replace(MODEL, beta=1.0)
    assert same == MODEL
    assert hash(same) == hash(MODEL)
    assert dataclasses.replace(MODEL, beta=4.0) != MODEL


def test_beta_weights_the_divergence(variables, batch, loss):
    half = dataclasses.replace(MODEL, beta=0.5, kl_warmup_steps=10)
    _, (state, metrics) = loss(MODEL, *variables, jax.random.key(2), batch, 0)
    assert state == {"encoder": {}, "decoder": {}}
    reconstruction, kl = metrics["reconstruction"], metrics["kl"]
    assert kl > 0.01
    for step, weight in ((0, 0.0), (5, 0.25), (10, 0.5), (1_000, 0.5)):
        value, (_, warm) = loss(half, *variables, jax.random.key(2), batch, step)
        np.testing.assert_allclose(value, weight * kl - reconstruction, rtol=1e-5)
        np.testing.assert_allclose(warm["elbo"], reconstruction - kl, rtol=1e-5)


def test_each_key_of_the_loss_draws_another_latent(variables, batch, loss):
    reconstructions = [loss(MODEL, *variables, jax.random.key(k), batch, 0)[1][1]["reconstruction"] for k in (20, 21)]
    assert abs(reconstructions[0] - reconstructions[1]) > 1e-4


def test_samples_have_the_distribution_of_the_decoder(variables):
    """A decoder that ignores its latent has one known distribution."""
    logits = jnp.linspace(-2.0, 2.0, 6)
    last = {"kernel": jnp.zeros((8, 6)), "bias": logits}
    constant = variables._replace(
        params=variables.params | {"decoder": variables.params["decoder"] | {"Dense_1": last}}
    )
    x = MODEL.sample(constant, jax.random.key(3), 4_000)
    assert x.shape == (4_000, 2, 3, 1)
    assert set(np.unique(x)) == {0.0, 1.0}
    probability = 1 / (1 + np.exp(-np.float64(logits))).reshape(2, 3, 1)
    np.testing.assert_allclose(x.mean(0), probability, atol=5 * 0.5 / np.sqrt(4_000))
    np.testing.assert_allclose(MODEL.sample(constant, jax.random.key(4), 2, mean=True)[1], probability, rtol=1e-5)


def test_unknown_values_have_their_conditional_frequencies(variables):
    """The mass of all states is an average over many latents; the encoder is far from the posterior."""
    far = jax.tree.map(lambda p: 2 * p, variables)
    states = np.array(list(itertools.product((0, 1), repeat=3)))
    latent_vectors = jax.random.normal(jax.random.key(1), (200_000, 2))
    ones = np.asarray(MODEL.decode(far, latent_vectors), np.float64).reshape(-1, 6)
    mask = jnp.array([True, False])[:, None, None]
    known = np.array([1, 0, 1])
    upper = np.where(known, ones[:, :3], 1 - ones[:, :3]).prod(axis=1)
    lower = [np.where(state, ones[:, 3:], 1 - ones[:, 3:]).prod(axis=1) for state in states]
    expected = np.stack(lower) @ upper / upper.sum()
    x = jnp.tile(jnp.array([1.0, 0.0, 1.0, jnp.nan, jnp.nan, jnp.nan]), (20_000, 1)).reshape(-1, 2, 3, 1)
    impute = jax.jit(MODEL.impute, static_argnames="num_steps")
    drawn = np.asarray(impute(far, jax.random.key(2), x, mask, num_steps=100))
    np.testing.assert_array_equal(drawn[:, 0, :, 0], np.tile(known, (20_000, 1)))
    count = np.bincount((drawn[:, 1, :, 0] @ np.array([4, 2, 1])).astype(int), minlength=8)
    np.testing.assert_allclose(count / 20_000, expected, atol=0.012)
    independent = ones.mean(axis=0)[3:]
    assert np.abs(drawn[:, 1, :, 0].mean(axis=0) - independent).max() > 0.03  # what is known matters


def test_standardized_draws_are_their_noise():
    mean, log_var, noise = (jax.random.normal(jax.random.key(k), (3, 4)) for k in range(3))
    drawn = reparameterize(mean, log_var, noise)
    np.testing.assert_allclose(standardize(mean, log_var, drawn), noise, atol=1e-5)


def test_sharp_decoders_do_not_stop_the_chains():
    """The data are a line of the latents with little noise, and the encoder knows nothing: a joint Gaussian."""
    weights, scale, num = np.array([[1.0, 2.0, -1.0, 0.5], [0.5, -1.0, 1.5, 2.0]]), 0.05, 5_000
    covariance = weights.T @ weights + scale**2 * np.eye(4)
    gain = covariance[1:, :1] / covariance[0, 0]
    x, mask = jnp.tile(jnp.array([[1.2, *[jnp.nan] * 3]]), (num, 1)), jnp.array([[True, False, False, False]])
    drawn = imputation.fill_unknown(
        jax.random.key(0),
        x,
        jnp.broadcast_to(mask, x.shape),
        (jnp.zeros((num, 2)),),
        encode=lambda key, x: (jax.random.normal(key, (num, 2)),),
        decode=lambda noise: noise[0] @ weights.astype(np.float32),
        likelihood=ops.Gaussian(log_scale=float(np.log(scale))),
        num_steps=100,
    )
    unknown = np.asarray(drawn, np.float64)[:, 1:]
    expected = covariance[1:, 1:] - gain @ covariance[:1, 1:]
    np.testing.assert_allclose(unknown.mean(axis=0), 1.2 * gain[:, 0], atol=4 * np.sqrt(expected.max() / num))
    np.testing.assert_allclose(np.cov(unknown.T), expected, atol=6 * expected.max() * np.sqrt(2 / num))


@pytest.mark.parametrize(
    ("value", "message"),
    [(7.0, r"x is 7.0 at \(0, 0, 0, 0\), but Bernoulli\(\) is of values in \[0, 1\]"), (np.nan, "data must be finite")],
)
def test_known_values_outside_the_likelihood_raise(variables, value, message):
    x = jnp.full((2, 2, 3, 1), value)
    with pytest.raises(ValueError, match=message):
        MODEL.impute(variables, jax.random.key(0), x, jnp.ones((2, 3, 1), bool), num_steps=1)


@dataclasses.dataclass(frozen=True)
class Sides:
    """Shows the sign of each output without noise; log-masses of 0 and −∞, or NaN."""

    otherwise: float = -np.inf

    def log_prob(self, outputs, x, mask):
        is_seen = (jnp.sign(outputs) == x) | ~mask
        return jnp.where(is_seen.all(axis=1), 0.0, self.otherwise)

    def sample(self, key, outputs):
        del key
        return jnp.sign(outputs)


@pytest.mark.parametrize(("likelihood", "moves"), [(Sides(), True), (Sides(np.nan), False)])
def test_chains_leave_starts_that_the_known_values_rule_out(likelihood, moves):
    """Both values show the first latent, which starts on the other side; likelihoods that are NaN end the search."""
    x = jnp.tile(jnp.array([[1.0, jnp.nan]]), (100, 1))
    drawn = imputation.fill_unknown(
        jax.random.key(0),
        x,
        jnp.broadcast_to(jnp.array([[True, False]]), x.shape),
        (jnp.ones((100, 1)),),
        encode=lambda key, x: (-jnp.ones((100, 1)),),
        decode=lambda noise: jnp.tile(noise[0], (1, 2)),
        likelihood=likelihood,
        num_steps=30,
    )
    np.testing.assert_array_equal(drawn[:, 1], 1 if moves else -1)


def test_interpolation_ends_at_the_decoded_posterior_means(variables, batch):
    x, y = batch["x"], batch["x"][::-1]
    path = latent.interpolate(MODEL, variables, x, y, 3)
    assert path.shape == (5, 3, 2, 3, 1)
    start, end = (MODEL.encode(variables, data) for data in (x, y))
    for i, code in enumerate((start, (start + end) / 2, end)):
        np.testing.assert_allclose(path[:, i], MODEL.decode(variables, code), rtol=1e-5)


def test_reconstruction_samples_the_posterior(variables, batch):
    """With minimal variance the sample is the mean; otherwise it depends on the key."""
    narrow = jax.tree.map(jnp.copy, variables)
    narrow.params["encoder"]["Dense_1"]["bias"] = jnp.array([0.0, 0.0, -100.0, -100.0])
    mean, log_var = MODEL.posterior(narrow, batch["x"])
    np.testing.assert_array_equal(log_var, jnp.full((5, 2), -20.0))
    expected = MODEL.decode(narrow, mean)
    np.testing.assert_allclose(MODEL.reconstruct(narrow, jax.random.key(5), batch["x"]), expected, atol=1e-4)
    first, second = (MODEL.reconstruct(variables, jax.random.key(k), batch["x"]) for k in (6, 7))
    assert not np.allclose(first, second)


def test_half_precision_networks_keep_losses_in_float32(variables, batch, loss):
    half = dataclasses.replace(
        MODEL,
        encoder=nets.MLP((8, 4), dtype=jnp.bfloat16),
        decoder=nets.MLP((8,), output_shape=(2, 3, 1), dtype=jnp.bfloat16),
    )
    single, (_, expected) = loss(MODEL, *variables, jax.random.key(8), batch, 0)
    value, (_, metrics) = loss(half, *variables, jax.random.key(8), batch, 0)
    assert all(leaf.dtype == jnp.float32 for leaf in (value, *metrics.values(), *half.posterior(variables, batch["x"])))
    np.testing.assert_allclose(value, single, rtol=0.02)
    assert value != single
    np.testing.assert_allclose(metrics["kl"], expected["kl"], rtol=0.05)


@pytest.mark.parametrize("scale", [1e-6, 1e4])
def test_loss_and_gradient_are_finite_at_extreme_parameters(variables, batch, scale):
    params = jax.tree.map(lambda p: scale * (p + 0.1), variables.params)
    grad = jax.jit(jax.value_and_grad(MODEL.loss, has_aux=True))
    (value, _), grads = grad(params, variables.state, jax.random.key(9), batch, 0)
    assert jnp.isfinite(value)
    assert all(jnp.isfinite(g).all() for g in jax.tree.leaves(grads))


class Normalized(nn.Module):
    """Batch normalization, then a dense layer."""

    features: int

    @nn.compact
    def __call__(self, x, train):
        x = nn.BatchNorm(use_running_average=not train, momentum=0.9)(x)
        return nn.Dense(self.features)(x)


def test_batch_statistics_are_updated_only_in_the_loss(loss):
    model = vae.VAE(latent_dim=2, encoder=Normalized(4), decoder=Normalized(6), likelihood=ops.Gaussian(log_scale=0.0))
    x = jax.random.normal(jax.random.key(0), (32, 6))
    params, state = variables = model.init(jax.random.key(1), {"x": x})
    _, (new_state, metrics) = loss(model, params, state, jax.random.key(2), {"x": x}, 0)
    assert jax.tree.structure(new_state) == jax.tree.structure(state)
    running = new_state["encoder"]["batch_stats"]["BatchNorm_0"]
    np.testing.assert_allclose(running["mean"], 0.1 * x.mean(0), atol=1e-6)
    assert np.abs(new_state["decoder"]["batch_stats"]["BatchNorm_0"]["mean"]).max() > 0
    # Training normalizes by the batch, so an affine map of all data does not change the posterior.
    _, (_, shifted) = loss(model, params, state, jax.random.key(2), {"x": 5.0 * x + 3.0}, 0)
    np.testing.assert_allclose(shifted["kl"], metrics["kl"], rtol=1e-3)
    # Other methods use the running statistics, and treat examples separately.
    together = model.encode(variables, x)
    np.testing.assert_allclose(model.encode(variables, x[:1]), together[:1], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(together, x @ params["encoder"]["Dense_0"]["kernel"][:, :2], rtol=1e-3, atol=1e-4)


def test_convolutional_networks_fit(loss):
    model = vae.VAE(
        latent_dim=2,
        encoder=nets.ConvEncoder((2, 2), 4),
        decoder=nets.ConvDecoder((2, 2), (4, 4, 4)),
        likelihood=ops.DiscretizedLogistic(levels=5),
    )
    x = jnp.round(4 * jax.random.uniform(jax.random.key(0), (3, 4, 4, 2))) / 4
    variables = jax.jit(model.init)(jax.random.key(1), {"x": x})
    value, _ = loss(model, *variables, jax.random.key(2), {"x": x}, 0)
    assert jnp.isfinite(value)
    samples = model.sample(variables, jax.random.key(3), 3)
    assert samples.shape == x.shape
    np.testing.assert_allclose(4 * samples, jnp.round(4 * samples), atol=1e-5)


class Grid(nn.Module):
    """The moments of a VAE with a latent vector, those of each place together."""

    @nn.compact
    def __call__(self, x):
        mean, log_var = jnp.split(nn.Dense(12, name="moments")(x.reshape(x.shape[0], -1)), 2, axis=-1)
        return jnp.concatenate([part.reshape(-1, 3, 1, 2) for part in (mean, log_var)], axis=-1)


class Flat(nn.Module):
    """The same moments as one vector."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(12, name="moments")(x.reshape(x.shape[0], -1))


def test_a_grid_of_latents_is_a_vector_of_latents():
    """Bounds, estimates and samples of latents (3, 1, 2) are those of vectors of length 6."""
    x = jax.random.normal(jax.random.key(0), (4, 2, 2, 1))
    shared = {"decoder": nets.MLP((8,), output_shape=(2, 2, 1)), "likelihood": ops.Gaussian(log_scale=-1.0)}
    flat, grid = (vae.VAE(latent_dim=dim, encoder=net, **shared) for dim, net in ((6, Flat()), ((3, 1, 2), Grid())))
    variables = jax.jit(flat.init)(jax.random.key(1), {"x": x})
    assert jax.tree.structure(jax.eval_shape(grid.init, jax.random.key(1), {"x": x})) == jax.tree.structure(variables)
    mean, log_var = grid.posterior(variables, x)
    assert mean.shape == log_var.shape == (4, 3, 1, 2)
    np.testing.assert_allclose(mean.reshape(4, 6), flat.posterior(variables, x)[0], rtol=1e-6)
    for method, key in (("log_prob_lower_bound", jax.random.key(2)), ("log_prob_estimate", jax.random.key(3))):
        values = [jax.jit(getattr(model, method), static_argnums=3)(variables, key, x, 200) for model in (flat, grid)]
        np.testing.assert_allclose(*values, atol=1.0)
    losses = [jax.jit(model.loss)(*variables, jax.random.key(4), {"x": x}, 0)[1][1]["kl"] for model in (flat, grid)]
    np.testing.assert_allclose(*losses, rtol=1e-5)
    assert grid.sample_prior(variables, jax.random.key(5), 7).shape == (7, 3, 1, 2)
    assert grid.sample(variables, jax.random.key(6), 7).shape == (7, 2, 2, 1)
    with pytest.raises(ValueError, match=r"encoder returned shape \(4, 12\), but latent_dim=\(3, 1, 2\) needs"):
        vae.VAE(latent_dim=(3, 1, 2), encoder=Flat(), **shared).init(jax.random.key(7), {"x": x})
