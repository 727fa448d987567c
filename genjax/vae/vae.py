"""The variational autoencoder.

A decoder maps a latent vector z ~ N(0, I) to a distribution of data, p(x) = ∫ p(x | z) N(z; 0, I) dz. An encoder
approximates the posterior by a Gaussian q(z | x) = N(m(x), diag v(x)), and both maximize the evidence lower bound

    log p(x) ≥ ELBO(x) = E_q[log p(x | z)] − KL(q(z | x) ‖ N(0, I)),        z = m + √v ε,  ε ~ N(0, I),

with one ε per example and the KL divergence in closed form. Multiplying the divergence by ``beta`` gives the β-VAE;
increasing beta from zero gives KL warm-up. Samples from q also estimate log p(x) itself, by importance weighting:

    log p(x) ≈ log 1/K Σ_k w_k,    w_k = p(x | z_k) N(z_k; 0, I) / q(z_k | x),    E[log 1/K Σ_k w_k] ≤ log p(x).

Diederik Kingma and Max Welling, 2014, arXiv:1312.6114; Danilo Rezende, Shakir Mohamed and Daan Wierstra, 2014,
arXiv:1401.4082. Importance weighting: Yuri Burda, Roger Grosse and Ruslan Salakhutdinov, 2016, arXiv:1509.00519.
β-VAE: Irina Higgins et al., 2017. Warm-up: Casper Sønderby et al., 2016, arXiv:1602.02282.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import jax
import jax.numpy as jnp

from genjax.arguments import NonNegativeFloat, NonNegativeInt, NumClasses, PositiveInt, Sizes, check_arguments
from genjax.capabilities import Condition, label_condition
from genjax.core import Array, Batch, Metrics, Objective, PyTree, Variables
from genjax.nets import Net, NetSpec, apply_part, init_parts
from genjax.ops import (
    Likelihood,
    broadcast_mask,
    check_data_axes,
    condition_inputs,
    gaussian_kl,
    label_of,
    log_mean_weight,
    mean_log_weight,
    sum_except_batch,
)
from genjax.ops.importance import LogWeights
from genjax.ops.labels import Label
from genjax.vae.gaussian import decoder_spec, reparameterize, sample_gaussian, split_moments
from genjax.vae.imputation import fill_unknown


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class VAE:
    """Variational autoencoder with a diagonal Gaussian posterior and a standard normal prior.

    Kingma and Welling 2014, arXiv:1312.6114.

    Attributes:
      latent_dim: length of the latent vector, D, or shape of the latent, such as (7, 7, 4) for vectors at 7 x 7 places;
        it takes the place of (D,) everywhere.
      encoder: network from x (B, ...) to (B, 2 * D), the posterior's means, then its log-variances (clipped to
        [-20, 20]); to (B, ..., 2 * C) for a latent of shape (..., C).
      decoder: network from a latent (B, D) to (B, ..., C * likelihood.num_outputs), with C the last axis of x.
      likelihood: p(x | outputs of the decoder).
      beta: weight of the KL divergence in the training loss; 1 for the evidence lower bound.
      kl_warmup_steps: number of first steps over which this weight grows linearly from 0 to ``beta``.
      num_classes: number of classes, or None for an unconditional model. With classes, both networks take the one-hot
        label (B, num_classes) as their second argument, and batches have ``"label"``, int32 (B,).

    >>> from genjax import nets, ops
    >>> model = VAE(
    ...     latent_dim=2, encoder=nets.MLP((8, 4)), decoder=nets.MLP((8, 5)), likelihood=ops.Bernoulli()
    ... )
    >>> variables = model.init(jax.random.key(0), {"x": jnp.zeros((3, 5))})
    >>> model.sample(variables, jax.random.key(1), 7).shape
    (7, 5)
    """

    latent_dim: PositiveInt | Sizes
    encoder: Net
    decoder: Net
    likelihood: Likelihood
    beta: NonNegativeFloat = 1.0
    kl_warmup_steps: NonNegativeInt = 0
    num_classes: NumClasses | None = None

    @property
    def _latent_shape(self) -> tuple[int, ...]:
        """Shape of the latent of one example."""
        return self.latent_dim if isinstance(self.latent_dim, tuple) else (self.latent_dim,)

    @property
    def discrete(self) -> bool:
        """Whether the likelihood is a mass of discrete values."""
        return self.likelihood.discrete

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Class label, if the model has classes."""
        return label_condition(self.num_classes)

    def init(self, key: Array, batch: Batch) -> Variables:
        """Initialize the variables for data (B, ..., C); for errors see ``nets.init_parts``."""
        x = batch["x"]
        check_data_axes(x.shape)
        condition = condition_inputs(label_of(batch, self.num_classes), self.num_classes, x.shape[0])
        *axes, channels = self._latent_shape
        latent = jnp.zeros((x.shape[0], *axes, channels))
        moments_shape = (x.shape[0], *axes, 2 * channels)
        encoder = NetSpec(self.encoder, (x, *condition), moments_shape, f"latent_dim={self.latent_dim}")
        decoder = decoder_spec(self.decoder, (latent, *condition), self.likelihood, x)
        return init_parts(key, {"encoder": encoder, "decoder": decoder})

    def objectives(self) -> tuple[Objective, ...]:
        """Return the single objective, over both networks."""
        return (Objective(name="elbo", wrt=("encoder", "decoder"), loss=self.loss),)

    def loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """Return the negative ELBO with the divergence weighted by beta, the new state, and metrics; nats per example.

        Metrics are ``elbo`` (the bound, at beta = 1), ``reconstruction`` and ``kl``, where elbo = reconstruction - kl.
        All are means over the batch.
        """
        x = batch["x"]
        condition = condition_inputs(label_of(batch, self.num_classes), self.num_classes, x.shape[0])
        noise_key, encoder_key, decoder_key = jax.random.split(key, 3)
        variables = Variables(params, state)
        moments, encoder_state = apply_part(self, "encoder", variables, x, *condition, key=encoder_key, train=True)
        mean, log_var = split_moments(moments)
        latent = sample_gaussian(noise_key, mean, log_var)
        outputs, decoder_state = apply_part(self, "decoder", variables, latent, *condition, key=decoder_key, train=True)
        reconstruction = jnp.mean(self.likelihood.log_prob(outputs, x))  # Kingma & Welling (2014), eq. 10
        kl = jnp.mean(sum_except_batch(gaussian_kl(mean, log_var)))
        metrics = {"elbo": reconstruction - kl, "reconstruction": reconstruction, "kl": kl}
        new_state = {"encoder": encoder_state, "decoder": decoder_state}
        beta = self.beta * jnp.minimum(1.0, step / self.kl_warmup_steps) if self.kl_warmup_steps else self.beta
        return beta * kl - reconstruction, (new_state, metrics)

    def sample(
        self, variables: Variables, key: Array, num_samples: PositiveInt, *, label: Label = None, mean: bool = False
    ) -> Array:
        """Draw samples, (num_samples, ...); ``mean=True`` returns E[x | z] instead, as figures usually show."""
        condition = condition_inputs(label, self.num_classes, num_samples)
        latent_key, data_key = jax.random.split(key)
        latent = jax.random.normal(latent_key, (num_samples, *self._latent_shape))
        outputs, _ = apply_part(self, "decoder", variables, latent, *condition)
        return self.likelihood.mean(outputs) if mean else self.likelihood.sample(data_key, outputs)

    def encode(self, variables: Variables, x: Array, *, label: Label = None) -> Array:
        """Return the means of q(z | x), (B, D)."""
        return self.posterior(variables, x, label=label)[0]

    def posterior(self, variables: Variables, x: Array, *, label: Label = None) -> tuple[Array, Array]:
        """Return the means and log-variances of q(z | x), (B, D) each."""
        outputs, _ = apply_part(self, "encoder", variables, x, *condition_inputs(label, self.num_classes, x.shape[0]))
        return split_moments(outputs)

    def decode(self, variables: Variables, latent: Array, *, label: Label = None) -> Array:
        """Return the expected data given latents (B, D)."""
        condition = condition_inputs(label, self.num_classes, latent.shape[0])
        return self.likelihood.mean(apply_part(self, "decoder", variables, latent, *condition)[0])

    def reconstruct(self, variables: Variables, key: Array, x: Array, *, label: Label = None) -> Array:
        """Return the expected data given one sample of q(z | x)."""
        return self.decode(variables, self.sample_posterior(variables, key, x, label=label), label=label)

    def sample_prior(self, variables: Variables, key: Array, num_samples: PositiveInt) -> Array:
        """Draw latents from N(0, I), (num_samples, D)."""
        del variables
        return jax.random.normal(key, (num_samples, *self._latent_shape))

    def sample_posterior(self, variables: Variables, key: Array, x: Array, *, label: Label = None) -> Array:
        """Draw one latent from q(z | x) for each example, (B, D)."""
        return sample_gaussian(key, *self.posterior(variables, x, label=label))

    def log_prob_lower_bound(
        self,
        variables: Variables,
        key: Array,
        x: Array,
        num_samples: PositiveInt = 1,
        *,
        label: Label = None,
        chunk_size: PositiveInt = 16,
    ) -> Array:
        """Return an unbiased estimate of ELBO(x), the mean of log w over ``num_samples`` samples; nats, (B,)."""
        return mean_log_weight(self._log_weights(variables, x, label), key, num_samples, chunk_size)

    def log_prob_estimate(
        self,
        variables: Variables,
        key: Array,
        x: Array,
        num_samples: PositiveInt,
        *,
        label: Label = None,
        chunk_size: PositiveInt = 16,
    ) -> Array:
        """Return an importance-weighted estimate of log p(x) from ``num_samples`` samples of q(z | x); nats, (B,).

        Its expectation is at most log p(x), and approaches it with ``num_samples``.
        """
        return log_mean_weight(self._log_weights(variables, x, label), key, num_samples, chunk_size)

    def impute(
        self,
        variables: Variables,
        key: Array,
        x: Array,
        mask: Array,
        *,
        label: Label = None,
        num_steps: PositiveInt = 100,
    ) -> Array:
        """Draw the unknown values of x (B, ...) given the known ones, in floating point.

        The draws are the ends of Markov chains, see ``genjax.vae.imputation``.

        Args:
          variables: variables from ``init`` or training.
          key: a typed key.
          x: examples, whose unknown values may be anything, NaN included.
          mask: bool, True where x is known, broadcastable to x.
          label: class of all examples, or int32 (B,); only for models with classes.
          num_steps: number of steps of the chains.

        Raises:
          ValueError: if x or the mask has another shape, or the mask is not bool.
        """
        mask, (latent_key, chain_key) = broadcast_mask(mask, x.shape), jax.random.split(key)
        condition = condition_inputs(label, self.num_classes, x.shape[0])
        return fill_unknown(
            chain_key,
            x,
            mask,
            (self.sample_prior(variables, latent_key, x.shape[0]),),
            encode=lambda key, x: (self.sample_posterior(variables, key, x, label=label),),
            decode=lambda noise: apply_part(self, "decoder", variables, noise[0], *condition)[0],
            likelihood=self.likelihood,
            num_steps=num_steps,
        )

    def _log_weights(self, variables: Variables, x: Array, label: Label) -> LogWeights:
        condition = condition_inputs(label, self.num_classes, x.shape[0])
        mean, log_var = self.posterior(variables, x, label=label)

        def log_weight(noise: Array, latent: Array, outputs: Array) -> Array:
            # log N(z; 0, I) - log N(z; m, v) at z = m + √v ε, where ½ |z − m|² / v = ½ |ε|².
            log_ratio = 0.5 * sum_except_batch(jnp.square(noise) - jnp.square(latent) + log_var)
            return self.likelihood.log_prob(outputs, x) + log_ratio

        def log_weights(keys: Array) -> Array:
            noise = jax.vmap(lambda key: jax.random.normal(key, mean.shape, mean.dtype))(keys)
            latent = reparameterize(mean[None], log_var[None], noise)
            repeated = tuple(jnp.tile(c, (keys.shape[0], 1)) for c in condition)
            outputs, _ = apply_part(self, "decoder", variables, latent.reshape(-1, *self._latent_shape), *repeated)
            return jax.vmap(log_weight)(noise, latent, outputs.reshape(keys.shape[0], x.shape[0], *outputs.shape[1:]))

        return log_weights
