"""Adversarial variational Bayes: a variational autoencoder whose posterior has draws but no density.

The encoder maps data and noise to a latent, z = E(x, ε) with ε ~ N(0, I), so that q(z | x) may have any shape. The
evidence lower bound needs its divergence from the prior p(z) = N(0, I),

    log p(x) ≥ ELBO(x) = E_q[log p(x | z)] − KL(q(z | x) ‖ p(z)),                                                 (1)

which a discriminator T estimates. Between q and any r(z | x) the T that minimizes

    E_q softplus(−T(x, z)) + E_r softplus(T(x, z))    is    T* = log q(z | x) − log r(z | x),                     (2)
    KL(q ‖ p) = E_q[T*(x, z)] + E_q[log r(z | x) − log p(z)],                                                     (3)

and E_q ∇ T* = 0 for the encoder's parameters in T* itself, so that they count through z alone. Without adaptive
contrast r = p and the last term is zero; but posteriors lie far from the prior, where T learns little. With it r(z | x)
is the Gaussian of q's own mean m and variance v at x, and T, which sees (z − m) / √v against N(0, I), is left with what
is not Gaussian about q. (3) holds for every r, so m and v are constants to the gradient. They come from K draws of
their own: a latent that counts among its moments cannot stray from them. As T does not see m and v, it knows (z − m) /
√v by its mixture over them alone, and (3) is low by the information that they hold on it, about D / K nats.

T is never exactly T*, so the estimate of (1) bounds nothing, and there is no ``log_prob_lower_bound`` here.
``log_prob_estimate`` does without T: it weighs draws of a Gaussian fitted to q, a proposal like any other.

Lars Mescheder, Sebastian Nowozin and Andreas Geiger, 2017, arXiv:1701.04722.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import jax
import jax.numpy as jnp

from genjax.core import Array, Batch, Metrics, Objective, PyTree, Variables
from genjax.nets import Net, NetSpec, apply_part, init_parts
from genjax.ops import (
    Likelihood,
    at_least_float32,
    check_at_least,
    check_data_axes,
    clip_straight_through,
    gaussian_log_prob,
    log_mean_weight,
)
from genjax.vae.gaussian import LOG_VAR_BOUND, decoder_part, gaussian_draw

PROPOSAL_SCALE = 1.2  # of the fitted Gaussian's deviations: weights have a finite variance only under wide proposals

Moments = tuple[Array, Array]  # means and log-variances, (B, D) each


@final
@dataclass(frozen=True, kw_only=True)
class AVB:
    """Variational autoencoder with an implicit posterior and a standard normal prior.

    Attributes:
      latent_dim: D, the length of the latent vector.
      noise_dim: length of the encoder's noise; at least ``latent_dim`` for q to have a density.
      encoder: maps x (B, ...) and noise (B, noise_dim) to latents (B, D).
      decoder: maps latents (B, D) to (B, ..., C * likelihood.num_outputs), where C is the last axis of x.
      discriminator: maps latents (B, D), standardized under adaptive contrast, and x (B, ...) to logits (B, 1).
      likelihood: p(x | outputs of the decoder).
      adaptive_contrast: whether the discriminator tells q from a Gaussian of its moments, and not from the prior.
      num_contrast_samples: draws of q(z | x) that give its moments, for each example and step.

    >>> from genjax import nets, ops
    >>> model = AVB(
    ...     latent_dim=2, noise_dim=3, encoder=nets.MLP((8, 2)), decoder=nets.MLP((8, 5)),
    ...     discriminator=nets.MLP((8, 1)), likelihood=ops.Bernoulli(),
    ... )
    >>> variables = model.init(jax.random.key(0), {"x": jnp.zeros((3, 5))})
    >>> model.sample(variables, jax.random.key(1), 7).shape
    (7, 5)
    """

    latent_dim: int
    noise_dim: int
    encoder: Net
    decoder: Net
    discriminator: Net
    likelihood: Likelihood
    adaptive_contrast: bool = True
    num_contrast_samples: int = 16

    def __post_init__(self) -> None:
        check_at_least("latent_dim", self.latent_dim, 1)
        check_at_least("noise_dim", self.noise_dim, 1)
        check_at_least("num_contrast_samples", self.num_contrast_samples, 2)

    @property
    def discrete(self) -> bool:
        """Whether log p(x) is a log-mass of discrete values, as the likelihood has it."""
        return self.likelihood.discrete

    def init(self, key: Array, batch: Batch) -> Variables:
        """Make the variables for data like ``batch["x"]``, (B, ..., C).

        Raises:
          ValueError: before anything compiles, where the networks' outputs do not fit the data or each other.
        """
        x = batch["x"]
        check_data_axes(x.shape)
        latent = jnp.zeros((len(x), self.latent_dim))
        noise = jnp.zeros((len(x), self.noise_dim))
        parts = {
            "encoder": NetSpec(self.encoder, (x, noise), latent.shape, f"latent_dim={self.latent_dim}"),
            "decoder": decoder_part(self.decoder, (latent,), self.likelihood, x),
            "discriminator": NetSpec(self.discriminator, (latent, x), (len(x), 1), "one logit for each latent"),
        }
        return init_parts(key, parts)

    def objectives(self) -> tuple[Objective, ...]:
        """The discriminator's loss (2), and the negative of (1) by its estimate."""
        return (
            Objective(name="discriminator", wrt=("discriminator",), loss=self.discriminator_loss),
            Objective(name="elbo", wrt=("encoder", "decoder"), loss=self.elbo_loss),
        )

    def discriminator_loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """Cross-entropy of telling q(z | x) from r(z | x), 2 log 2 nats for guessing; metric ``accuracy``."""
        del step
        x, variables = batch["x"], Variables(params, state)
        latent_key, contrast_key, noise_key, first_key, second_key = jax.random.split(key, 5)
        latent, _ = self._draw(variables, latent_key, x, train=True)
        inferred = self._standardized(latent, self._contrast(variables, contrast_key, x, train=True))
        contrast = jax.random.normal(noise_key, latent.shape)
        inferred_logit, moved = self._discriminate(variables, first_key, inferred, x)
        variables = Variables(params, state | {"discriminator": moved})
        contrast_logit, moved = self._discriminate(variables, second_key, contrast, x)
        # Mescheder et al. (2017), eq. 3, as a minimum
        loss = jnp.mean(jax.nn.softplus(-inferred_logit)) + jnp.mean(jax.nn.softplus(contrast_logit))
        accuracy = 0.5 * (jnp.mean(inferred_logit > 0) + jnp.mean(contrast_logit < 0))
        return loss, (state | {"discriminator": moved}, {"accuracy": accuracy})

    def elbo_loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """Negative of the discriminator's estimate of (1), in nats per example, averaged over the batch.

        Returns:
          The scalar, and the new state with metrics ``elbo_estimate``, ``reconstruction`` and ``kl_estimate``, where
          elbo_estimate = reconstruction - kl_estimate bounds nothing.
        """
        del step
        x, variables = batch["x"], Variables(params, state)
        latent_key, contrast_key, decoder_key, discriminator_key = jax.random.split(key, 4)
        latent, encoder_state = self._draw(variables, latent_key, x, train=True)
        moments = self._contrast(variables, contrast_key, x, train=True)
        outputs, decoder_state = apply_part(self, "decoder", variables, latent, key=decoder_key, train=True)
        logit, _ = self._discriminate(variables, discriminator_key, self._standardized(latent, moments), x)
        log_ratio = gaussian_log_prob(latent, *moments) - gaussian_log_prob(latent)
        kl = jnp.mean(logit + jnp.sum(log_ratio, axis=-1))  # Mescheder et al. (2017), eq. 13
        reconstruction = jnp.mean(self.likelihood.log_prob(outputs, x))
        new_state = state | {"encoder": encoder_state, "decoder": decoder_state}
        metrics = {"elbo_estimate": reconstruction - kl, "reconstruction": reconstruction, "kl_estimate": kl}
        return kl - reconstruction, (new_state, metrics)

    def sample(self, variables: Variables, key: Array, num_samples: int, *, mean: bool = False) -> Array:
        """Draw from the model.

        Args:
          variables: what ``init`` or training returned.
          key: typed key.
          num_samples: number of samples, N.
          mean: return the expected data given the latent, as pictures usually show it, instead of a draw.

        Returns:
          Samples (N, ..., C).
        """
        check_at_least("num_samples", num_samples, 1)
        latent_key, data_key = jax.random.split(key)
        outputs, _ = apply_part(self, "decoder", variables, self.sample_prior(variables, latent_key, num_samples))
        return self.likelihood.mean(outputs) if mean else self.likelihood.sample(data_key, outputs)

    def encode(self, variables: Variables, x: Array) -> Array:
        """Latents (B, D) at zero noise: one code of many, and not their mean."""
        return at_least_float32(apply_part(self, "encoder", variables, x, jnp.zeros((len(x), self.noise_dim)))[0])

    def decode(self, variables: Variables, latent: Array) -> Array:
        """Expected data given latents (B, D)."""
        return self.likelihood.mean(apply_part(self, "decoder", variables, latent)[0])

    def reconstruct(self, variables: Variables, key: Array, x: Array) -> Array:
        """Expected data given one draw from q(z | x)."""
        return self.decode(variables, self.sample_posterior(variables, key, x))

    def sample_prior(self, variables: Variables, key: Array, num_samples: int) -> Array:
        """Draws from N(0, I), (num_samples, D)."""
        del variables
        return jax.random.normal(key, (num_samples, self.latent_dim))

    def sample_posterior(self, variables: Variables, key: Array, x: Array) -> Array:
        """One draw from q(z | x) for each example, (B, D)."""
        return self._draw(variables, key, x)[0]

    def log_prob_estimate(
        self,
        variables: Variables,
        key: Array,
        x: Array,
        num_samples: int,
        *,
        num_moment_samples: int = 64,
        chunk_size: int = 16,
    ) -> Array:
        """Importance-weighted estimate of log p(x), in nats, (B,); its expectation is at most log p(x).

        The proposal is a Gaussian of the mean of q(z | x) and 1.2 times its standard deviations.

        Args:
          variables: what ``init`` or training returned.
          key: typed key.
          x: data (B, ..., C).
          num_samples: draws of the proposal.
          num_moment_samples: draws of q(z | x) to which it is fitted, at least 2.
          chunk_size: draws decoded at once.
        """
        check_at_least("num_moment_samples", num_moment_samples, 2)
        moments_key, draws_key = jax.random.split(key)
        mean, log_var = self._moments(variables, moments_key, x, num_moment_samples)
        log_var = log_var + 2 * jnp.log(PROPOSAL_SCALE)

        def log_weight(key: Array) -> Array:
            latent = gaussian_draw(key, mean, log_var)
            outputs, _ = apply_part(self, "decoder", variables, latent)
            log_ratio = gaussian_log_prob(latent) - gaussian_log_prob(latent, mean, log_var)
            return self.likelihood.log_prob(outputs, x) + jnp.sum(log_ratio, axis=-1)

        return log_mean_weight(jax.vmap(log_weight), draws_key, num_samples, chunk_size)

    def _draw(self, variables: Variables, key: Array, x: Array, train: bool = False) -> tuple[Array, PyTree]:
        """Latents (B, D) from q(z | x), and the encoder's new state."""
        noise_key, dropout_key = jax.random.split(key)
        noise = jax.random.normal(noise_key, (len(x), self.noise_dim))
        latent, state = apply_part(self, "encoder", variables, x, noise, key=dropout_key, train=train)
        return at_least_float32(latent), state

    def _moments(self, variables: Variables, key: Array, x: Array, num: int, train: bool = False) -> Moments:
        """Mean and log-variance of ``num`` draws from q(z | x) for each example."""
        draws = jax.vmap(lambda k: self._draw(variables, k, x, train)[0])(jax.random.split(key, num))
        log_var = jnp.log(jnp.maximum(jnp.var(draws, axis=0, ddof=1), jnp.exp(-LOG_VAR_BOUND)))
        return jnp.mean(draws, axis=0), clip_straight_through(log_var, -LOG_VAR_BOUND, LOG_VAR_BOUND)

    def _contrast(self, variables: Variables, key: Array, x: Array, train: bool) -> Moments:
        """Moments of r(z | x), constant to the gradient."""
        if not self.adaptive_contrast:
            return jnp.zeros((len(x), self.latent_dim)), jnp.zeros((len(x), self.latent_dim))
        variables = jax.lax.stop_gradient(variables)
        return self._moments(variables, key, x, self.num_contrast_samples, train)

    def _standardized(self, latent: Array, moments: Moments) -> Array:
        mean, log_var = moments
        return (latent - mean) * jnp.exp(-0.5 * log_var)

    def _discriminate(self, variables: Variables, key: Array, latent: Array, x: Array) -> tuple[Array, PyTree]:
        """Logits (B,) for coming from q(z | x), and the discriminator's new state."""
        logits, state = apply_part(self, "discriminator", variables, latent, x, key=key, train=True)
        return at_least_float32(logits)[:, 0], state
