"""The adversarial autoencoder.

An encoder q(z | x) and a decoder p(x | z) learn to reconstruct data, and a discriminator A, which maps a code to one
logit, makes the aggregated posterior

    q(z) = ∫ q(z | x) p_data(x) dx                                                                               (1)

match a prior p(z). The prior needs samples but no density, so it may have any shape. Every step minimizes three losses
on a minibatch in turn:

    reconstruction   min over q, p    −E log p(x | z),                               z ~ q(z | x)                (2)
    discriminator    min over A        E softplus(−A(z′)) + E softplus(A(z)),        z′ ~ p(z), z ~ q(z | x)     (3)
    regularizer      min over q        E softplus(−A(z)),                            z ~ q(z | x)                (4)

The optimal A of (3) is log p(z) − log q(z). If q(z) = p(z) it is zero, (3) is 2 log 2, and the accuracy of the
discriminator is one half. Alternating gradient steps may circle around this equilibrium, or diverge from it. With the
penalty

    γ/2 (E |∇A(z′)|² + E |∇A(z)|²)                                                                               (5)

added to (3) they converge (Lars Mescheder, Andreas Geiger and Sebastian Nowozin 2018, arXiv:1801.04406).

The encoder is either deterministic, so that the data are the only source of randomness in q(z), or Gaussian,
q(z | x) = N(m(x), diag v(x)) with z = m + √v ε.

Labels y are an input of one of two networks:

* the decoder, p(x | z, y): the code then need not encode the class, only the style (section 4);
* the discriminator, A(z, y), with z′ ~ p(z | y): each class then has its own region of the prior (section 2.3).

Alireza Makhzani, Jonathon Shlens, Navdeep Jaitly, Ian Goodfellow and Brendan Frey, 2015, arXiv:1511.05644.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

import jax
import jax.numpy as jnp

from genjax.arguments import NonNegativeFloat, NumClasses, PositiveInt, check_arguments
from genjax.capabilities import Condition, label_condition
from genjax.core import Array, Batch, Metrics, Objective, PyTree, Variables
from genjax.nets import Net, NetSpec, apply_part, init_parts
from genjax.ops import (
    Likelihood,
    at_least_float32,
    check_data_axes,
    condition_inputs,
    discriminator_accuracy,
    label_of,
    logistic_fake_loss,
    logistic_real_loss,
)
from genjax.ops.labels import Label, NetCondition
from genjax.ops.priors import Prior
from genjax.vae.gaussian import decoder_spec, sample_gaussian, split_moments


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class AdversarialAutoencoder:
    """Autoencoder whose aggregated posterior is matched to a prior by adversarial training.

    Makhzani et al. 2015, arXiv:1511.05644. Each objective updates the network state (batch statistics) of its own parts
    only.

    Attributes:
      prior: p(z); its ``dim`` is the length of a code, D.
      encoder: network from x (B, ...) to codes (B, D), or for a Gaussian code to (B, 2 * D), means, then log-variances
        (clipped to [-20, 20]).
      decoder: network from a code (B, D) to (B, ..., C * likelihood.num_outputs), with C the last axis of x.
      discriminator: network from a code (B, D) to logits (B, 1), high for samples of the prior.
      likelihood: p(x | outputs of the decoder).
      code: whether q(z | x) is "deterministic" or "gaussian".
      gradient_penalty: weight γ of (5); 0, as in the paper, turns it off.
      num_classes: number of classes, with which batches have ``"label"``; None for an unconditional model.
      label_to: network that takes the one-hot label (B, num_classes) as its second argument, "decoder" or
        "discriminator"; None without classes. With "discriminator", class k corresponds to class k of the prior.

    >>> from genjax import nets, ops
    >>> model = AdversarialAutoencoder(
    ...     prior=ops.priors.StandardNormal(2),
    ...     encoder=nets.MLP((8, 2)),
    ...     decoder=nets.MLP((8, 5)),
    ...     discriminator=nets.MLP((8, 1)),
    ...     likelihood=ops.Bernoulli(),
    ... )
    >>> variables = model.init(jax.random.key(0), {"x": jnp.zeros((3, 5))})
    >>> model.sample(variables, jax.random.key(1), 7).shape
    (7, 5)
    """

    prior: Prior
    encoder: Net
    decoder: Net
    discriminator: Net
    likelihood: Likelihood
    code: Literal["deterministic", "gaussian"] = "deterministic"
    gradient_penalty: NonNegativeFloat = 0.0
    num_classes: NumClasses | None = None
    label_to: Literal["decoder", "discriminator"] | None = None

    def __post_init__(self) -> None:
        if (self.num_classes is None) != (self.label_to is None):
            raise ValueError(
                f"num_classes is {self.num_classes} and label_to is {self.label_to!r}, but labels need both; "
                "set both, or neither"
            )
        if self.label_to == "discriminator" and self.prior.num_classes != self.num_classes:
            raise ValueError(
                f"num_classes is {self.num_classes}, but {self.prior} has {self.prior.num_classes}; use a prior with "
                "as many classes, or label_to='decoder'"
            )

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Class label, if the model has classes; optional if the discriminator takes it."""
        return label_condition(self.num_classes, optional=self.label_to == "discriminator")

    def init(self, key: Array, batch: Batch) -> Variables:
        """Initialize the variables for data (B, ..., C); for errors see ``nets.init_parts``."""
        x = batch["x"]
        check_data_axes(x.shape)
        label = label_of(batch, self.num_classes)
        size, dim = x.shape[0], self.prior.dim
        latent, code_size = jnp.zeros((size, dim)), dim if self.code == "deterministic" else 2 * dim
        condition = {name: self._condition(name, label, size) for name in ("decoder", "discriminator")}
        code = (latent, *condition["discriminator"])
        specs = {
            "encoder": NetSpec(self.encoder, (x,), (size, code_size), f"a {self.code} code of {self.prior}"),
            "decoder": decoder_spec(self.decoder, (latent, *condition["decoder"]), self.likelihood, x),
            "discriminator": NetSpec(self.discriminator, code, (size, 1), "one logit for each code"),
        }
        return init_parts(key, specs)

    def objectives(self) -> tuple[Objective, ...]:
        """Return the objectives of reconstruction (2), discriminator (3) and regularizer (4), in this order."""
        return (
            Objective(name="reconstruction", wrt=("encoder", "decoder"), loss=self.reconstruction_loss),
            Objective(name="discriminator", wrt=("discriminator",), loss=self.discriminator_loss),
            Objective(name="regularizer", wrt=("encoder",), loss=self.regularizer_loss),
        )

    def reconstruction_loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """Return the mean of -log p(x | z), nats per example, its negative being the metric ``reconstruction``."""
        del step
        x, label = batch["x"], label_of(batch, self.num_classes)
        encoder_key, decoder_key = jax.random.split(key)
        variables = Variables(params, state)
        latent, encoder_state = self._sample_code(variables, encoder_key, x, train=True)
        condition = self._condition("decoder", label, x.shape[0])
        outputs, decoder_state = apply_part(self, "decoder", variables, latent, *condition, key=decoder_key, train=True)
        reconstruction = jnp.mean(self.likelihood.log_prob(outputs, x))
        new_state = state | {"encoder": encoder_state, "decoder": decoder_state}
        return -reconstruction, (new_state, {"reconstruction": reconstruction})  # equation 2

    def discriminator_loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """Return the cross-entropy of codes against samples of the prior (3), 2 log 2 nats by chance, plus (5).

        The metric ``accuracy`` is the share that the discriminator classifies correctly, both kinds weighted equally.
        """
        del step
        x, label = batch["x"], label_of(batch, self.num_classes)
        prior_key, encoder_key, real_key, fake_key = jax.random.split(key, 4)
        variables = Variables(params, state)
        real = self.prior.sample(prior_key, x.shape[0], self._prior_label(label))
        fake, _ = self._sample_code(variables, encoder_key, x, train=True)
        real_logits, real_norm, new_state = self._discriminate_with_gradient(variables, real_key, real, label)
        variables = Variables(params, new_state)
        fake_logits, fake_norm, new_state = self._discriminate_with_gradient(variables, fake_key, fake, label)
        loss = jnp.mean(logistic_real_loss(real_logits)) + jnp.mean(logistic_fake_loss(fake_logits))  # equation 3
        penalty = 0.5 * self.gradient_penalty * (real_norm + fake_norm)  # equation 5
        return loss + penalty, (new_state, {"accuracy": discriminator_accuracy(real_logits, fake_logits)})

    def regularizer_loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """Return the loss (4) of classifying codes as samples of the prior, log 2 nats if they are equal."""
        del step
        x, label = batch["x"], label_of(batch, self.num_classes)
        encoder_key, fake_key = jax.random.split(key)
        variables = Variables(params, state)
        fake, encoder_state = self._sample_code(variables, encoder_key, x, train=True)
        fake_logits, _ = self._discriminate(variables, fake_key, fake, label)
        loss = jnp.mean(logistic_real_loss(fake_logits))  # equation 4, the non-saturating form
        return loss, (state | {"encoder": encoder_state}, {})

    def sample(
        self, variables: Variables, key: Array, num_samples: PositiveInt, *, label: Label = None, mean: bool = False
    ) -> Array:
        """Draw samples, (num_samples, ...); ``mean=True`` returns E[x | z] instead, as figures usually show.

        If the discriminator takes the labels, ``label`` selects the class of the prior, and None samples all classes.
        """
        condition = self._condition("decoder", label, num_samples)
        latent_key, data_key = jax.random.split(key)
        latent = self.prior.sample(latent_key, num_samples, self._prior_label(label))
        outputs, _ = apply_part(self, "decoder", variables, latent, *condition)
        return self.likelihood.mean(outputs) if mean else self.likelihood.sample(data_key, outputs)

    def encode(self, variables: Variables, x: Array, *, label: Label = None) -> Array:
        """Return the codes (B, D), the means of q(z | x) if it is Gaussian. They do not depend on the label."""
        del label
        outputs, _ = apply_part(self, "encoder", variables, x)
        return at_least_float32(outputs[:, : self.prior.dim])

    def decode(self, variables: Variables, latent: Array, *, label: Label = None) -> Array:
        """Return the expected data given codes (B, D), and labels if the decoder takes them."""
        outputs, _ = apply_part(self, "decoder", variables, latent, *self._condition("decoder", label, latent.shape[0]))
        return self.likelihood.mean(outputs)

    def reconstruct(self, variables: Variables, key: Array, x: Array, *, label: Label = None) -> Array:
        """Return the expected data given one sample of q(z | x)."""
        return self.decode(variables, self.sample_posterior(variables, key, x), label=label)

    def sample_prior(self, variables: Variables, key: Array, num_samples: PositiveInt) -> Array:
        """Draw codes from p(z), all classes together, (num_samples, D)."""
        del variables
        return self.prior.sample(key, num_samples)

    def sample_posterior(self, variables: Variables, key: Array, x: Array, *, label: Label = None) -> Array:
        """Draw one code from q(z | x) for each example, (B, D); the code itself if it is deterministic."""
        del label
        return self._sample_code(variables, key, x)[0]

    def _sample_code(self, variables: Variables, key: Array, x: Array, train: bool = False) -> tuple[Array, PyTree]:
        """Return codes (B, D) drawn from q(z | x), and the encoder's new state."""
        noise_key, dropout_key = jax.random.split(key)
        outputs, state = apply_part(self, "encoder", variables, x, key=dropout_key, train=train)
        if self.code == "deterministic":
            return at_least_float32(outputs), state
        return sample_gaussian(noise_key, *split_moments(outputs)), state

    def _discriminate(
        self, variables: Variables, key: Array, latent: Array, label: Array | None
    ) -> tuple[Array, PyTree]:
        """Return logits (B,), and the model's state with the discriminator's updated."""
        condition = self._condition("discriminator", label, latent.shape[0])
        logits, state = apply_part(self, "discriminator", variables, latent, *condition, key=key, train=True)
        return at_least_float32(logits)[:, 0], variables.state | {"discriminator": state}

    def _discriminate_with_gradient(
        self, variables: Variables, key: Array, latent: Array, label: Array | None
    ) -> tuple[Array, Array | float, PyTree]:
        """Return logits (B,), the mean squared norm of their gradients if penalized, else 0, and the new state."""
        if self.gradient_penalty == 0:
            logits, state = self._discriminate(variables, key, latent, label)
            return logits, 0.0, state

        def total(latent: Array) -> tuple[Array, tuple[Array, PyTree]]:
            logits, state = self._discriminate(variables, key, latent, label)
            return jnp.sum(logits), (logits, state)

        gradients, (logits, state) = jax.grad(total, has_aux=True)(latent)
        return logits, jnp.mean(jnp.sum(gradients**2, axis=-1)), state

    def _condition(self, part: str, label: Label, num_rows: int) -> NetCondition:
        """Return the condition of a network: the one-hot label if it takes labels."""
        if self.num_classes is not None and self.label_to != part:
            return ()
        return condition_inputs(label, self.num_classes, num_rows)

    def _prior_label(self, label: Label) -> Label:
        """Return the class of the prior, None if the decoder takes the label."""
        return label if self.label_to == "discriminator" else None
