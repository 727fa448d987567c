"""The adversarial autoencoder.

An encoder q(z | x) and a decoder p(x | z) learn to reconstruct, and an adversary makes the codes of all data together,
the aggregated posterior

    q(z) = ∫ q(z | x) p_data(x) dx,                                                                              (1)

equal to a prior p(z). Of the prior it needs draws and no density, so that the prior may have any shape. Every step
takes three turns on a minibatch, with a discriminator A that gives one logit for a code:

    reconstruction   min over q, p    −E log p(x | z),                               z ~ q(z | x)                (2)
    discriminator    min over A        E softplus(−A(z′)) + E softplus(A(z)),        z′ ~ p(z), z ~ q(z | x)     (3)
    regularizer      min over q        E softplus(−A(z)),                            z ~ q(z | x)                (4)

The best A of (3) is log p(z) − log q(z); where q(z) = p(z) it is zero, (3) is 2 log 2, and the discriminator is right
half of the time. Two players who only follow their gradients may circle around that point, or run away from it. With

    γ/2 (E |∇A(z′)|² + E |∇A(z)|²)                                                                               (5)

added to (3) they come to rest in it (Lars Mescheder, Andreas Geiger and Sebastian Nowozin 2018, arXiv:1801.04406).

The encoder is either deterministic, where q(z) has the randomness of the data alone, or Gaussian,
q(z | x) = N(m(x), diag v(x)) with z = m + √v ε.

Labels y go to one of two places:

* to the decoder, p(x | z, y): the code of an example need not tell its class, and keeps its style (section 4);
* to the discriminator, A(z, y), with z′ ~ p(z | y): classes get places of their own under the prior (section 2.3).

Alireza Makhzani, Jonathon Shlens, Navdeep Jaitly, Ian Goodfellow and Brendan Frey, 2015, arXiv:1511.05644.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, final

import jax
import jax.numpy as jnp

from genjax.capabilities import Condition, label_condition
from genjax.core import Array, Batch, Metrics, Objective, PyTree, Variables
from genjax.nets import Net, NetSpec, apply_part, init_parts
from genjax.ops import (
    Likelihood,
    at_least_float32,
    check_at_least,
    check_choice,
    check_data_axes,
    check_num_classes,
    condition_inputs,
    label_of,
)
from genjax.ops.labels import NetCondition
from genjax.ops.priors import Prior
from genjax.vae.gaussian import decoder_part, gaussian_draw, moments


@final
@dataclass(frozen=True, kw_only=True)
class AdversarialAutoencoder:
    """Autoencoder whose codes an adversary fits to a prior.

    Each objective moves the network state (batch statistics) of the parts that it is over, and of no other.

    Attributes:
      prior: p(z); its ``dim`` D is the length of a code.
      encoder: maps x (B, ...) to codes (B, D), or for a Gaussian code to (B, 2 * D): means, then log-variances (bounded
        to [-20, 20]).
      decoder: maps a code (B, D) to (B, ..., C * likelihood.num_outputs), where C is the last axis of x.
      discriminator: maps a code (B, D) to logits (B, 1) for coming from the prior.
      likelihood: p(x | outputs of the decoder).
      code: whether q(z | x) is a point or a Gaussian.
      gradient_penalty: γ of (5); 0 for the game of the paper.
      num_classes: None, or the number of labels. Batches then have ``"label"``, int32 (B,).
      label_to: which of the networks takes the one-hot label (B, num_classes) as its second argument; None for none of
        them, where there are no classes. With "discriminator", class k has the k-th class of the prior.

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
    gradient_penalty: float = 0.0
    num_classes: int | None = None
    label_to: Literal["decoder", "discriminator"] | None = None

    def __post_init__(self) -> None:
        check_choice("code", self.code, ("deterministic", "gaussian"))
        check_choice("label_to", self.label_to, ("decoder", "discriminator", None))
        if (self.num_classes is None) != (self.label_to is None):
            raise ValueError(
                f"num_classes is {self.num_classes} and label_to is {self.label_to!r}, but labels need both; "
                "give both, or neither"
            )
        check_at_least("gradient_penalty", self.gradient_penalty, 0)
        check_num_classes(self.num_classes)
        if self.label_to == "discriminator" and self.prior.num_classes != self.num_classes:
            raise ValueError(
                f"num_classes is {self.num_classes}, but {self.prior} has {self.prior.num_classes}; give the "
                "discriminator a prior with as many classes, or label_to='decoder'"
            )

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """What the model is conditioned on: the label, where it has classes."""
        return label_condition(self.num_classes, optional=self.label_to == "discriminator")

    def init(self, key: Array, batch: Batch) -> Variables:
        """Make the variables for data like ``batch["x"]``, (B, ..., C).

        Raises:
          ValueError: before anything compiles, where the networks' outputs do not fit the data or each other.
        """
        x = batch["x"]
        check_data_axes(x.shape)
        label = label_of(batch, self.num_classes)
        size, dim = len(x), self.prior.dim
        latent, code_size = jnp.zeros((size, dim)), dim if self.code == "deterministic" else 2 * dim
        given = {name: self._given(name, label, size) for name in ("decoder", "discriminator")}
        contest = (latent, *given["discriminator"])
        parts = {
            "encoder": NetSpec(self.encoder, (x,), (size, code_size), f"a {self.code} code of {self.prior}"),
            "decoder": decoder_part(self.decoder, (latent, *given["decoder"]), self.likelihood, x),
            "discriminator": NetSpec(self.discriminator, contest, (size, 1), "one logit for each code"),
        }
        return init_parts(key, parts)

    def objectives(self) -> tuple[Objective, ...]:
        """Reconstruction (2), discriminator (3) and regularizer (4), in the order of their turns."""
        return (
            Objective(name="reconstruction", wrt=("encoder", "decoder"), loss=self.reconstruction_loss),
            Objective(name="discriminator", wrt=("discriminator",), loss=self.discriminator_loss),
            Objective(name="regularizer", wrt=("encoder",), loss=self.regularizer_loss),
        )

    def reconstruction_loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """Mean -log p(x | z) in nats per example; the metric ``reconstruction`` is its negative."""
        del step
        x, label = batch["x"], label_of(batch, self.num_classes)
        encoder_key, decoder_key = jax.random.split(key)
        variables = Variables(params, state)
        latent, encoder_state = self._draw(variables, encoder_key, x, train=True)
        given = self._given("decoder", label, len(x))
        outputs, decoder_state = apply_part(self, "decoder", variables, latent, *given, key=decoder_key, train=True)
        reconstruction = jnp.mean(self.likelihood.log_prob(outputs, x))
        new_state = state | {"encoder": encoder_state, "decoder": decoder_state}
        return -reconstruction, (new_state, {"reconstruction": reconstruction})  # equation 2

    def discriminator_loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """Cross-entropy of telling codes from draws of the prior, 2 log 2 nats for guessing, and the penalty (5).

        The metric ``accuracy`` is the share of both, in equal parts, that it tells rightly.
        """
        del step
        x, label = batch["x"], label_of(batch, self.num_classes)
        prior_key, encoder_key, real_key, fake_key = jax.random.split(key, 4)
        variables = Variables(params, state)
        real = self.prior.sample(prior_key, len(x), self._prior_label(label))
        fake, _ = self._draw(variables, encoder_key, x, train=True)
        real_logit, real_slope, new_state = self._discriminate_with_slope(variables, real_key, real, label)
        variables = Variables(params, new_state)
        fake_logit, fake_slope, new_state = self._discriminate_with_slope(variables, fake_key, fake, label)
        loss = jnp.mean(jax.nn.softplus(-real_logit)) + jnp.mean(jax.nn.softplus(fake_logit))  # equation 3
        penalty = 0.5 * self.gradient_penalty * (real_slope + fake_slope)  # equation 5
        accuracy = 0.5 * (jnp.mean(real_logit > 0) + jnp.mean(fake_logit < 0))
        return loss + penalty, (new_state, {"accuracy": accuracy})

    def regularizer_loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """Cross-entropy of taking codes for draws of the prior, log 2 nats where they cannot be told apart."""
        del step
        x, label = batch["x"], label_of(batch, self.num_classes)
        encoder_key, fake_key = jax.random.split(key)
        variables = Variables(params, state)
        fake, encoder_state = self._draw(variables, encoder_key, x, train=True)
        fake_logit, _ = self._discriminate(variables, fake_key, fake, label)
        loss = jnp.mean(jax.nn.softplus(-fake_logit))  # equation 4, the non-saturating form
        return loss, (state | {"encoder": encoder_state}, {})

    def sample(
        self,
        variables: Variables,
        key: Array,
        num_samples: int,
        *,
        label: Array | int | None = None,
        mean: bool = False,
    ) -> Array:
        """Draw a code from the prior and decode it.

        Args:
          variables: what ``init`` or training returned.
          key: a typed key.
          num_samples: N.
          label: class of all samples, or int32 (N,) for each; only for models with classes. Where the discriminator
            takes the labels, it says from which class of the prior to draw, and None draws from all.
          mean: whether to return the likelihood's means, as figures usually show, and not draws from it.

        Returns:
          Samples of shape (N, ...).
        """
        check_at_least("num_samples", num_samples, 1)
        given = self._given("decoder", label, num_samples)
        latent_key, data_key = jax.random.split(key)
        latent = self.prior.sample(latent_key, num_samples, self._prior_label(label))
        outputs, _ = apply_part(self, "decoder", variables, latent, *given)
        return self.likelihood.mean(outputs) if mean else self.likelihood.sample(data_key, outputs)

    def encode(self, variables: Variables, x: Array, *, label: Array | int | None = None) -> Array:
        """Codes (B, D), or the means of q(z | x) where it is Gaussian. They never depend on the label."""
        del label
        outputs, _ = apply_part(self, "encoder", variables, x)
        return at_least_float32(outputs[:, : self.prior.dim])

    def decode(self, variables: Variables, latent: Array, *, label: Array | int | None = None) -> Array:
        """Expected data given codes (B, D), and labels where the decoder takes them."""
        outputs, _ = apply_part(self, "decoder", variables, latent, *self._given("decoder", label, len(latent)))
        return self.likelihood.mean(outputs)

    def reconstruct(self, variables: Variables, key: Array, x: Array, *, label: Array | int | None = None) -> Array:
        """Expected data given one draw from q(z | x)."""
        return self.decode(variables, self.sample_posterior(variables, key, x), label=label)

    def sample_prior(self, variables: Variables, key: Array, num_samples: int) -> Array:
        """Draws from p(z), of all classes, (num_samples, D)."""
        del variables
        return self.prior.sample(key, num_samples)

    def sample_posterior(
        self, variables: Variables, key: Array, x: Array, *, label: Array | int | None = None
    ) -> Array:
        """One draw from q(z | x) for each example, (B, D); the code itself where it is deterministic."""
        del label
        return self._draw(variables, key, x)[0]

    def _draw(self, variables: Variables, key: Array, x: Array, train: bool = False) -> tuple[Array, PyTree]:
        """Codes (B, D), and the encoder's new state."""
        noise_key, dropout_key = jax.random.split(key)
        outputs, state = apply_part(self, "encoder", variables, x, key=dropout_key, train=train)
        if self.code == "deterministic":
            return at_least_float32(outputs), state
        return gaussian_draw(noise_key, *moments(outputs)), state

    def _discriminate(
        self, variables: Variables, key: Array, latent: Array, label: Array | None
    ) -> tuple[Array, PyTree]:
        """Logits (B,) for coming from the prior, and the model's state with what the discriminator moved."""
        given = self._given("discriminator", label, len(latent))
        logits, state = apply_part(self, "discriminator", variables, latent, *given, key=key, train=True)
        return at_least_float32(logits)[:, 0], variables.state | {"discriminator": state}

    def _discriminate_with_slope(
        self, variables: Variables, key: Array, latent: Array, label: Array | None
    ) -> tuple[Array, Array | float, PyTree]:
        """Logits (B,), mean squared norm of their gradients by the codes where it is penalized, and the new state."""
        if self.gradient_penalty == 0:
            logits, state = self._discriminate(variables, key, latent, label)
            return logits, 0.0, state

        def total(latent: Array) -> tuple[Array, tuple[Array, PyTree]]:
            logits, state = self._discriminate(variables, key, latent, label)
            return jnp.sum(logits), (logits, state)

        gradients, (logits, state) = jax.grad(total, has_aux=True)(latent)
        return logits, jnp.mean(jnp.sum(gradients**2, axis=-1)), state

    def _given(self, part: str, label: Array | int | None, num_rows: int) -> NetCondition:
        """The further arguments of a network: the one-hot label for that which takes it."""
        if self.num_classes is not None and self.label_to != part:
            return ()
        return condition_inputs(label, self.num_classes, num_rows)

    def _prior_label(self, label: Array | int | None) -> Array | int | None:
        """The class of the prior, which has no part in it where the label goes to the decoder."""
        return label if self.label_to == "discriminator" else None
