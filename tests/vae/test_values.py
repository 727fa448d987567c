"""Losses and metrics of the autoencoders, computed again with numpy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import ops, vae
from genjax.core import Variables
from genjax.ops.quantization import MovingCodebook
from genjax.vae.gaussian import reparameterize, split_moments
from tests.networks import Function

NO_STATE = {name: {} for name in ("encoder", "decoder", "discriminator")}
STEP = jnp.int32(0)
RNG = np.random.default_rng(0)
X = RNG.integers(0, 2, (6, 5)).astype(np.float32)
LOGITS = RNG.normal(size=5).astype(np.float32)


def softplus(a):
    return np.log1p(np.exp(np.asarray(a, np.float64)))


def constant(params, z):
    """Logits that do not depend on the code."""
    return jnp.broadcast_to(LOGITS[None], (len(z), 5)) + 0 * jnp.sum(z)


BERNOULLI = (X * LOGITS - softplus(LOGITS)).sum(axis=1)  # log p(x) at these logits


@pytest.mark.parametrize(("step", "share"), [(0, 0.0), (3, 0.3), (10, 1.0), (25, 1.0)])
def test_the_divergence_warms_up_linearly(step, share):
    matrix = RNG.normal(size=(5, 4)).astype(np.float32)
    model = vae.VAE(
        latent_dim=2,
        encoder=Function(lambda params, x: x @ matrix),
        decoder=Function(constant),
        likelihood=ops.Bernoulli(),
        beta=0.5,
        kl_warmup_steps=10,
    )
    mean, log_var = np.split(X @ matrix, 2, axis=1)
    divergence = 0.5 * (np.exp(log_var) + mean**2 - 1 - log_var).sum(axis=1).mean()
    loss, (_, metrics) = model.loss(NO_STATE, NO_STATE, jax.random.key(0), {"x": X}, jnp.int32(step))
    np.testing.assert_allclose(loss, 0.5 * share * divergence - BERNOULLI.mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["kl"], divergence, rtol=1e-5)
    np.testing.assert_allclose(metrics["elbo"], BERNOULLI.mean() - divergence, rtol=1e-5)


def test_log_variances_follow_the_means_and_are_clipped_at_20():
    mean, log_var = split_moments(jnp.array([[1.0, 2.0, -30.0, 19.0], [3.0, 4.0, 0.5, 30.0]]))
    assert mean.tolist() == [[1, 2], [3, 4]]
    assert log_var.tolist() == [[-20, 19], [0.5, 20]]
    assert float(reparameterize(1.0, np.log(9.0), 2.0)) == pytest.approx(7)


def test_importance_weights_of_the_prior_are_likelihoods():
    """With q = p(z) = N(0, I), the weights are p(x | z)."""
    scale, num_samples = np.float32([0.7, -1.1]), 4
    model = vae.IWAE(
        latent_dims=(2,),
        encoders=(Function(lambda params, x: jnp.zeros((len(x), 4))),),
        decoders=(Function(lambda params, z: z @ scale[:, None] * jnp.ones((1, 5))),),
        likelihood=ops.Bernoulli(),
        num_importance_samples=num_samples,
    )
    latents = np.asarray(model._noise(jax.random.split(jax.random.key(3), num_samples), len(X))[0])
    logits = (latents @ scale)[..., None]
    log_w = (X * logits - softplus(logits)).sum(axis=-1)  # (samples, examples)
    weight = np.exp(log_w) / np.exp(log_w).sum(axis=0)
    params = {"encoders": ({},), "decoders": ({},)}
    loss, (_, metrics) = model.loss(params, {}, jax.random.key(3), {"x": X}, STEP)
    bound = np.log(np.exp(log_w).mean(axis=0)).mean()
    np.testing.assert_allclose(loss, -bound, rtol=1e-5)
    np.testing.assert_allclose(metrics["bound"], bound, rtol=1e-5)
    np.testing.assert_allclose(metrics["elbo"], log_w.mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["effective_samples"], (1 / (weight**2).sum(axis=0)).mean(), rtol=1e-5)


class FixedPrior:
    """A prior with known samples."""

    dim, num_classes = 2, None

    def __init__(self, samples):
        self.samples = samples

    def sample(self, key, num_samples, label=None):
        return jnp.asarray(self.samples)

    def log_prob(self, z):
        return jnp.zeros(len(z))


def test_losses_of_the_adversarial_autoencoder():
    matrix = RNG.normal(size=(5, 2)).astype(np.float32)
    real = RNG.normal(size=(6, 2)).astype(np.float32) + 1
    model = vae.AdversarialAutoencoder(
        prior=FixedPrior(real),
        encoder=Function(lambda params, x: x @ matrix),
        decoder=Function(constant),
        discriminator=Function(lambda params, z: 0.3 * jnp.sum(z**2, axis=1, keepdims=True) - 0.5),
        likelihood=ops.Bernoulli(),
        gradient_penalty=0.8,
    )
    fake = X @ matrix
    real_logits, fake_logits = (0.3 * (z**2).sum(axis=1) - 0.5 for z in (real, fake))
    norms = [((0.6 * z) ** 2).sum(axis=1).mean() for z in (real, fake)]  # squared gradients

    def loss_of(name):
        return getattr(model, name)(NO_STATE, NO_STATE, jax.random.key(0), {"x": X}, STEP)

    loss, (_, metrics) = loss_of("discriminator_loss")
    expected = softplus(-real_logits).mean() + softplus(fake_logits).mean() + 0.4 * sum(norms)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    assert float(metrics["accuracy"]) == pytest.approx(((real_logits > 0).mean() + (fake_logits < 0).mean()) / 2)
    np.testing.assert_allclose(loss_of("regularizer_loss")[0], softplus(-fake_logits).mean(), rtol=1e-5)
    np.testing.assert_allclose(loss_of("reconstruction_loss")[0], -BERNOULLI.mean(), rtol=1e-5)


def adversarial_bayes(encode, discriminate=None, **options):
    return vae.AdversarialVariationalBayes(
        latent_dim=4,
        noise_dim=4,
        encoder=Function(encode),
        decoder=Function(constant),
        discriminator=Function(discriminate or (lambda params, u, x: jnp.zeros((len(x), 1)))),
        likelihood=ops.Bernoulli(),
        **options,
    )


def test_adaptive_contrast_standardizes_by_the_standard_deviation():
    """Of z = 3 + 2 ε, the standardized latent is ε."""
    noises, latents = [], []

    def encode(params, x, noise):
        noises.append(noise)
        return 3 + 2 * noise

    def discriminate(params, latent, x):
        latents.append(latent)
        return jnp.zeros((len(x), 1))

    model = adversarial_bayes(encode, discriminate, num_contrast_samples=20_000)
    model.discriminator_loss(NO_STATE, NO_STATE, jax.random.key(0), {"x": X}, STEP)
    np.testing.assert_allclose(latents[0], noises[0], atol=0.1)
    assert len(latents) == 2
    assert abs(float(jnp.std(latents[1])) - 1) < 0.6  # 24 numbers


def test_the_divergence_adds_the_contrast_against_the_prior():
    """With T = 0 the estimate is E_q log r − log p, here the divergence of N(3, 4) from N(0, 1)."""
    model = adversarial_bayes(lambda params, x, noise: 3 + 2 * noise, num_contrast_samples=500)
    batch = {"x": np.tile(X, (1_000, 1))}
    _, (_, metrics) = jax.jit(model.elbo_loss)(NO_STATE, NO_STATE, jax.random.key(0), batch, STEP)
    exact = 4 * 0.5 * (4 + 9 - 1 - np.log(4))
    np.testing.assert_allclose(metrics["kl_estimate"], exact, rtol=0.03)


def test_the_proposal_of_the_estimate_is_wider_by_1_2():
    """For q = p and a decoder that ignores z, E log w is minus the divergence of N(0, 1.2²) from N(0, 1)."""
    model, num = adversarial_bayes(lambda params, x, noise: noise), 600
    estimate = jax.jit(model.log_prob_estimate, static_argnames=("num_samples", "num_moment_samples"))
    variables, x = Variables(NO_STATE, NO_STATE), np.tile(X, (num, 1))
    log_w = estimate(variables, jax.random.key(0), x, num_samples=1, num_moment_samples=800)
    excess = np.mean(np.asarray(log_w) - np.tile(BERNOULLI, num))
    np.testing.assert_allclose(excess, -4 * 0.5 * (1.44 - 1 - np.log(1.44)), atol=0.05)


def quantizer(**options):
    def encode(params, x):
        return params["scale"] * x.reshape(-1, 2, 2)

    model = vae.VQVAE(
        encoder=Function(encode),
        decoder=Function(lambda params, codes: codes.reshape(len(codes), 4)),
        likelihood=ops.Gaussian(log_scale=0.0),
        num_codes=3,
        code_dim=2,
        grid=(2,),
        codebook="loss",
        **options,
    )
    codes = np.float32([[0, 0], [1, 1], [-1, 0.5]])
    params = {"encoder": {"scale": jnp.float32(0.9)}, "decoder": {}, "codebook": {"codes": jnp.asarray(codes)}}
    return model, params, vae.VQVAEState({}, {}, None), codes


@pytest.mark.parametrize("commitment", [0.25, 2.0])
def test_the_loss_of_a_quantizer_and_its_gradients(commitment):
    model, params, state, codes = quantizer(commitment=commitment)
    x = RNG.normal(size=(6, 4)).astype(np.float32)
    vectors = 0.9 * x.reshape(6, 2, 2)
    index = ((vectors[..., None, :] - codes) ** 2).sum(axis=-1).argmin(axis=-1)
    nearest = codes[index]
    distance = ((vectors - nearest) ** 2).sum(axis=(1, 2)).mean()
    residual = nearest.reshape(6, 4) - x
    log_prob = (-0.5 * residual**2 - 0.5 * np.log(2 * np.pi)).sum(axis=1)

    def loss(params):
        return model.loss(params, state, jax.random.key(0), {"x": jnp.asarray(x)}, STEP)

    (value, (_, metrics)), gradient = jax.value_and_grad(loss, has_aux=True)(params)
    np.testing.assert_allclose(value, (1 + commitment) * distance - log_prob.mean(), rtol=1e-5)
    np.testing.assert_allclose(metrics["commitment"], distance, rtol=1e-5)
    # The decoder's gradient goes to the encoder alone, the middle term to the codes alone.
    to_vectors = residual.reshape(6, 2, 2) + 2 * commitment * (vectors - nearest)
    np.testing.assert_allclose(
        gradient["encoder"]["scale"], (to_vectors * x.reshape(6, 2, 2)).sum() / 6, rtol=1e-4, atol=1e-5
    )
    to_codes = [(2 * (nearest - vectors))[index == k].sum(axis=0) / 6 for k in range(3)]
    np.testing.assert_allclose(gradient["codebook"]["codes"], to_codes, rtol=1e-4, atol=1e-5)
    bound = model.log_prob_lower_bound(Variables(params, state), jax.random.key(0), jnp.asarray(x))
    np.testing.assert_allclose(bound, log_prob - 2 * np.log(3), rtol=1e-5)


def test_samples_of_a_quantizer_use_every_code_equally():
    model, params, state, codes = quantizer()
    means = model.sample(Variables(params, state), jax.random.key(0), 3_000, mean=True).reshape(-1, 2)
    counts = [(np.abs(np.asarray(means) - code).max(axis=1) < 1e-6).mean() for code in codes]
    np.testing.assert_allclose(counts, 1 / 3, atol=0.03)


def test_defaults_are_those_of_the_papers():
    model, *_ = quantizer()
    assert (model.commitment, model.decay) == (0.25, 0.99)
    assert vae.VAE(latent_dim=1, encoder=model.encoder, decoder=model.decoder, likelihood=ops.Bernoulli()).beta == 1


def test_a_code_restarts_below_a_twentieth_of_the_mean_count():
    model, params, _, codes = quantizer()
    model = dataclasses.replace(model, codebook="ema", decay=0.999)
    counts = np.float32([7.84, 0.1, 0.32])  # 12 vectors; the mean of 4 times 0.05 is 0.2
    codebook = MovingCodebook(jnp.asarray(counts), jnp.asarray(counts[:, None] * codes))
    x = jnp.zeros((6, 4))  # all vectors are at the first code
    state = vae.VQVAEState({}, {}, codebook)
    params = {name: params[name] for name in ("encoder", "decoder")}
    _, (state, _) = model.loss(params, state, jax.random.key(0), {"x": x}, STEP)
    np.testing.assert_allclose(state.codebook.counts, [0.999 * 7.84 + 0.001 * 12, 4, 0.999 * 0.32], rtol=1e-4)


class KeyRecorder:
    """A network of zeros that stores the key of each call."""

    def __init__(self, size):
        self.size, self.keys = size, set()

    def init(self, key, *args):
        return {"params": {}}

    def apply(self, variables, x, rngs=None):
        if rngs is not None:
            self.keys.add(tuple(jax.random.key_data(rngs["dropout"]).tolist()))
        return jnp.zeros((len(x), self.size))


def test_layers_of_an_importance_weighted_autoencoder_have_a_dropout_key_each():
    encoders, decoders = (KeyRecorder(4), KeyRecorder(4)), (KeyRecorder(5), KeyRecorder(4))
    model = vae.IWAE(latent_dims=(2, 2), encoders=encoders, decoders=decoders, likelihood=ops.Bernoulli())
    params = {"encoders": ({}, {}), "decoders": ({}, {})}
    model.loss(params, {}, jax.random.key(0), {"x": X}, STEP)
    assert [len(net.keys) for net in encoders + decoders] == [1, 1, 1, 1]
    assert len(set.union(*(net.keys for net in encoders + decoders))) == 4
