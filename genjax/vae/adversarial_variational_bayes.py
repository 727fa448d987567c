"""Adversarial variational Bayes: a variational autoencoder whose posterior is implicit, with samples but no density.

The encoder maps data and noise to a latent, z = E(x, ε) with ε ~ N(0, I), so q(z | x) may have any shape. The evidence
lower bound needs its KL divergence from the prior p(z) = N(0, I),

    log p(x) ≥ ELBO(x) = E_q[log p(x | z)] − KL(q(z | x) ‖ p(z)),                                                 (1)

which a discriminator T estimates. For q and any r(z | x), the T that minimizes

    E_q softplus(−T(x, z)) + E_r softplus(T(x, z))    is    T* = log q(z | x) − log r(z | x),                     (2)
    KL(q ‖ p) = E_q[T*(x, z)] + E_q[log r(z | x) − log p(z)],                                                     (3)

and E_q ∇ T* = 0 for the dependence of T* itself on the encoder's parameters, so their gradient passes only through z.
Without adaptive contrast, r = p and the last term is zero; but posteriors are far from the prior, and T learns little.
With adaptive contrast, r(z | x) is the Gaussian with q's mean m and variance v at x. T discriminates (z − m) / √v from
N(0, I), and has to learn only the non-Gaussian part of q. (3) holds for every r, so m and v are constants for the
gradient. They are estimated from K separate samples, because a latent that is one of the samples is correlated with
their moments. T does not see m and v and knows only the mixture of (z − m) / √v over them, so (3) is too low by their
mutual information, about D / K nats.

T is never exactly T*, so the estimate of (1) is not a bound, and there is no ``log_prob_lower_bound`` here.
``log_prob_estimate`` does not use T: it is importance sampling with a Gaussian proposal fitted to q.

Lars Mescheder, Sebastian Nowozin and Andreas Geiger, 2017, arXiv:1701.04722.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, final

import jax
import jax.numpy as jnp
from annotated_types import Ge

from genjax.arguments import PositiveInt, check_arguments
from genjax.core import Array, Batch, Metrics, Objective, PyTree, Variables
from genjax.nets import Net, NetSpec, apply_part, init_parts
from genjax.ops import (
    Likelihood,
    at_least_float32,
    check_data_axes,
    clip_straight_through,
    discriminator_accuracy,
    gaussian_log_prob,
    log_mean_weight,
    logistic_fake_loss,
    logistic_real_loss,
)
from genjax.vae.gaussian import MAX_LOG_VAR, GaussianParams, decoder_spec, sample_gaussian

PROPOSAL_SCALE = 1.2  # factor on the standard deviations, because weights have finite variance only for wide proposals

NumMomentSamples = Annotated[int, Ge(2)]


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class AdversarialVariationalBayes:
    """Variational autoencoder with an implicit posterior and a standard normal prior.

    Mescheder, Nowozin and Geiger 2017, arXiv:1701.04722.

    Attributes:
      latent_dim: length of the latent vector, D.
      noise_dim: length of the encoder's noise vector, at least ``latent_dim`` if q is to have a density.
      encoder: network from x (B, ...) and noise (B, noise_dim) to latents (B, D).
      decoder: network from latents (B, D) to (B, ..., C * likelihood.num_outputs), with C the last axis of x.
      discriminator: network from latents (B, D), standardized under adaptive contrast, and x (B, ...) to logits (B, 1),
        high for samples of q.
      likelihood: p(x | outputs of the decoder).
      adaptive_contrast: whether r is the Gaussian with the moments of q, rather than the prior.
      num_contrast_samples: number of samples K of q(z | x) that estimate its moments, per example and step.

    >>> from genjax import nets, ops
    >>> model = AdversarialVariationalBayes(
    ...     latent_dim=2, noise_dim=3, encoder=nets.MLP((8, 2)), decoder=nets.MLP((8, 5)),
    ...     discriminator=nets.MLP((8, 1)), likelihood=ops.Bernoulli(),
    ... )
    >>> variables = model.init(jax.random.key(0), {"x": jnp.zeros((3, 5))})
    >>> model.sample(variables, jax.random.key(1), 7).shape
    (7, 5)
    """

    latent_dim: PositiveInt
    noise_dim: PositiveInt
    encoder: Net
    decoder: Net
    discriminator: Net
    likelihood: Likelihood
    adaptive_contrast: bool = True
    num_contrast_samples: NumMomentSamples = 16

    @property
    def discrete(self) -> bool:
        """Whether the likelihood is a mass of discrete values."""
        return self.likelihood.discrete

    def init(self, key: Array, batch: Batch) -> Variables:
        """Initialize the variables for data (B, ..., C); for errors see ``nets.init_parts``."""
        x = batch["x"]
        check_data_axes(x.shape)
        latent, noise = jnp.zeros((x.shape[0], self.latent_dim)), jnp.zeros((x.shape[0], self.noise_dim))
        specs = {
            "encoder": NetSpec(self.encoder, (x, noise), latent.shape, f"latent_dim={self.latent_dim}"),
            "decoder": decoder_spec(self.decoder, (latent,), self.likelihood, x),
            "discriminator": NetSpec(self.discriminator, (latent, x), (x.shape[0], 1), "one logit for each latent"),
        }
        return init_parts(key, specs)

    def objectives(self) -> tuple[Objective, ...]:
        """Return the objectives of the discriminator (2), and of encoder and decoder, the negative estimate of (1)."""
        return (
            Objective(name="discriminator", wrt=("discriminator",), loss=self.discriminator_loss),
            Objective(name="elbo", wrt=("encoder", "decoder"), loss=self.elbo_loss),
        )

    def discriminator_loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """Return the cross-entropy (2) of q(z | x) against r(z | x), 2 log 2 nats by chance; metric ``accuracy``."""
        del step
        x, variables = batch["x"], Variables(params, state)
        latent_key, contrast_key, noise_key, first_key, second_key = jax.random.split(key, 5)
        latent, _ = self._sample_latents(variables, latent_key, x, train=True)
        posterior = _standardize(latent, *self._contrast(variables, contrast_key, x, train=True))
        contrast = jax.random.normal(noise_key, latent.shape)
        posterior_logits, new_state = self._discriminate(variables, first_key, posterior, x)
        variables = Variables(params, state | {"discriminator": new_state})
        contrast_logits, new_state = self._discriminate(variables, second_key, contrast, x)
        # Mescheder et al. (2017), eq. 3, negated
        loss = jnp.mean(logistic_real_loss(posterior_logits)) + jnp.mean(logistic_fake_loss(contrast_logits))
        accuracy = discriminator_accuracy(posterior_logits, contrast_logits)
        return loss, (state | {"discriminator": new_state}, {"accuracy": accuracy})

    def elbo_loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """Return the negative estimate of (1) in nats per example, averaged over the batch, the new state, and metrics.

        Metrics are ``reconstruction``, ``kl_estimate``, and ``elbo_estimate`` = reconstruction - kl_estimate, which is
        not a bound.
        """
        del step
        x, variables = batch["x"], Variables(params, state)
        latent_key, contrast_key, decoder_key, discriminator_key = jax.random.split(key, 4)
        latent, encoder_state = self._sample_latents(variables, latent_key, x, train=True)
        moments = self._contrast(variables, contrast_key, x, train=True)
        outputs, decoder_state = apply_part(self, "decoder", variables, latent, key=decoder_key, train=True)
        logits, _ = self._discriminate(variables, discriminator_key, _standardize(latent, *moments), x)
        log_ratio = gaussian_log_prob(latent, *moments) - gaussian_log_prob(latent)
        kl = jnp.mean(logits + jnp.sum(log_ratio, axis=-1))  # Mescheder et al. (2017), eq. 13
        reconstruction = jnp.mean(self.likelihood.log_prob(outputs, x))
        new_state = state | {"encoder": encoder_state, "decoder": decoder_state}
        metrics = {"elbo_estimate": reconstruction - kl, "reconstruction": reconstruction, "kl_estimate": kl}
        return kl - reconstruction, (new_state, metrics)

    def sample(self, variables: Variables, key: Array, num_samples: PositiveInt, *, mean: bool = False) -> Array:
        """Draw samples, (num_samples, ...); ``mean=True`` returns E[x | z] instead, as figures usually show."""
        latent_key, data_key = jax.random.split(key)
        outputs, _ = apply_part(self, "decoder", variables, self.sample_prior(variables, latent_key, num_samples))
        return self.likelihood.mean(outputs) if mean else self.likelihood.sample(data_key, outputs)

    def encode(self, variables: Variables, x: Array) -> Array:
        """Return the latents (B, D) at zero noise; they are not the means of q(z | x)."""
        return at_least_float32(apply_part(self, "encoder", variables, x, jnp.zeros((x.shape[0], self.noise_dim)))[0])

    def decode(self, variables: Variables, latent: Array) -> Array:
        """Return the expected data given latents (B, D)."""
        return self.likelihood.mean(apply_part(self, "decoder", variables, latent)[0])

    def reconstruct(self, variables: Variables, key: Array, x: Array) -> Array:
        """Return the expected data given one sample of q(z | x)."""
        return self.decode(variables, self.sample_posterior(variables, key, x))

    def sample_prior(self, variables: Variables, key: Array, num_samples: PositiveInt) -> Array:
        """Draw latents from N(0, I), (num_samples, D)."""
        del variables
        return jax.random.normal(key, (num_samples, self.latent_dim))

    def sample_posterior(self, variables: Variables, key: Array, x: Array) -> Array:
        """Draw one latent from q(z | x) for each example, (B, D)."""
        return self._sample_latents(variables, key, x)[0]

    def log_prob_estimate(
        self,
        variables: Variables,
        key: Array,
        x: Array,
        num_samples: PositiveInt,
        *,
        num_moment_samples: NumMomentSamples = 64,
        chunk_size: PositiveInt = 16,
    ) -> Array:
        """Return an importance-weighted estimate of log p(x) from ``num_samples`` samples; nats, (B,).

        Its expectation is at most log p(x). The proposal is a Gaussian with the mean and 1.2 times the standard
        deviations of ``num_moment_samples`` samples of q(z | x), at least 2.
        """
        moments_key, samples_key = jax.random.split(key)
        mean, log_var = self._moments(variables, moments_key, x, num_moment_samples)
        log_var = log_var + 2 * jnp.log(PROPOSAL_SCALE)

        def log_weight(key: Array) -> Array:
            latent = sample_gaussian(key, mean, log_var)
            outputs, _ = apply_part(self, "decoder", variables, latent)
            log_ratio = gaussian_log_prob(latent) - gaussian_log_prob(latent, mean, log_var)
            return self.likelihood.log_prob(outputs, x) + jnp.sum(log_ratio, axis=-1)

        return log_mean_weight(jax.vmap(log_weight), samples_key, num_samples, chunk_size)

    def _sample_latents(self, variables: Variables, key: Array, x: Array, train: bool = False) -> tuple[Array, PyTree]:
        """Return latents (B, D) drawn from q(z | x), and the encoder's new state."""
        noise_key, dropout_key = jax.random.split(key)
        noise = jax.random.normal(noise_key, (x.shape[0], self.noise_dim))
        latent, state = apply_part(self, "encoder", variables, x, noise, key=dropout_key, train=train)
        return at_least_float32(latent), state

    def _moments(self, variables: Variables, key: Array, x: Array, num: int, train: bool = False) -> GaussianParams:
        """Return the mean and log-variance of ``num`` samples of q(z | x) for each example."""
        samples = jax.vmap(lambda k: self._sample_latents(variables, k, x, train)[0])(jax.random.split(key, num))
        log_var = jnp.log(jnp.maximum(jnp.var(samples, axis=0, ddof=1), jnp.exp(-MAX_LOG_VAR)))
        return jnp.mean(samples, axis=0), clip_straight_through(log_var, -MAX_LOG_VAR, MAX_LOG_VAR)

    def _contrast(self, variables: Variables, key: Array, x: Array, train: bool) -> GaussianParams:
        """Return the moments of r(z | x), constant for gradients."""
        if not self.adaptive_contrast:
            return jnp.zeros((x.shape[0], self.latent_dim)), jnp.zeros((x.shape[0], self.latent_dim))
        return self._moments(jax.lax.stop_gradient(variables), key, x, self.num_contrast_samples, train)

    def _discriminate(self, variables: Variables, key: Array, latent: Array, x: Array) -> tuple[Array, PyTree]:
        """Return logits (B,), high for samples of q(z | x), and the discriminator's new state."""
        logits, state = apply_part(self, "discriminator", variables, latent, x, key=key, train=True)
        return at_least_float32(logits)[:, 0], state


def _standardize(latent: Array, mean: Array, log_var: Array) -> Array:
    return (latent - mean) * jnp.exp(-0.5 * log_var)
