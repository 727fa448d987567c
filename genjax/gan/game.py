"""The game of a discriminator against a generator: what GANs with noise as their input share.

``genjax.gan.gan`` states equations 1 to 3, packing, augmentation and auxiliary classifiers. A subclass draws the
samples.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp

from genjax.arguments import NonNegativeFloat, NumClasses, PositiveInt
from genjax.capabilities import Condition, label_condition
from genjax.core import Array, Batch, Metrics, Objective, PyTree, Variables
from genjax.gan.adaptive_augmentation import AdaptiveAugmentation
from genjax.gan.augmentation import Augment
from genjax.gan.diagnosis import gan_diagnosis
from genjax.gan.equalized import ComparesExamples
from genjax.gan.losses import AdversarialLoss, NonSaturating
from genjax.gan.penalties import Penalty, sum_of_penalties
from genjax.nets import Net, NetSpec, apply_part, init_parts
from genjax.nets.normalization import has_batch_statistics
from genjax.ops import at_least_float32, condition_inputs, label_of


class DiscriminatorOutput(NamedTuple):
    """Output of a discriminator for a batch.

    Attributes:
      output: D, high for data, (B,).
      class_logits: class logits of an auxiliary classifier, (B, K); K is 0 without one.
    """

    output: Array
    class_logits: Array


@dataclass(frozen=True, kw_only=True)
class AdversarialGame(ABC):
    """A discriminator, its losses and those of the generator; ``GAN`` describes the attributes."""

    discriminator: Net
    adversarial_loss: AdversarialLoss = field(default_factory=NonSaturating)
    penalties: tuple[Penalty, ...] = ()
    pack: PositiveInt = 1
    augment: Augment | AdaptiveAugmentation | None = None
    num_classes: NumClasses | None = None
    auxiliary_weight: NonNegativeFloat | None = None

    def __post_init__(self) -> None:
        if self.auxiliary_weight is not None and (self.num_classes is None or self.pack > 1):
            raise ValueError(
                f"auxiliary_weight is {self.auxiliary_weight}, num_classes {self.num_classes} and pack {self.pack}, "
                "but an auxiliary classifier predicts the class of one example; set num_classes, and pack=1"
            )

    @property
    @abstractmethod
    def _generator_parts(self) -> tuple[str, ...]:
        """Names of the parts that draw samples."""

    @abstractmethod
    def _samples(
        self, variables: Variables, key: Array, num_samples: int, label: Array | None, train: bool
    ) -> tuple[Array, dict[str, PyTree]]:
        """Return samples (N, ...), and the new states of the parts that drew them."""

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Class label, if the model has classes."""
        return label_condition(self.num_classes)

    def objectives(self) -> tuple[Objective, ...]:
        """Return the objectives of discriminator (1) and generator (2), in this order."""
        return (
            Objective(name="discriminator", wrt=("discriminator",), loss=self.discriminator_loss),
            Objective(name="generator", wrt=self._generator_parts, loss=self.generator_loss),
        )

    def discriminator_loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """Return the discriminator's loss (1), its new state, and metrics.

        Metrics are ``divergence``, see ``AdversarialLoss``; ``accuracy``, the share of pairs of an example and a sample
        in which the example has the higher output; with penalties ``penalty``, their sum; with an auxiliary classifier
        ``class_accuracy`` on data; and with adaptive augmentation ``augment_probability``.
        """
        variables, label = Variables(params, state), label_of(batch, self.num_classes)
        sample_key, data_key, fake_key, dropout_key, penalty_key = jax.random.split(key, 5)
        samples, _ = self._samples(variables, sample_key, batch["x"].shape[0], label, train=True)
        real_inputs = self._discriminator_inputs(self._apply_augment(state, data_key, batch["x"]), label)
        fake_inputs = self._discriminator_inputs(self._apply_augment(state, fake_key, samples), label)
        real, fake, new_state = self._discriminate_both(variables, dropout_key, real_inputs, fake_inputs)
        adversarial = self.adversarial_loss.discriminator(real.output, fake.output)  # equation 1
        metrics = {
            "divergence": self.adversarial_loss.divergence(adversarial),
            "accuracy": jnp.mean(real.output[:, None] > fake.output[None]),
        }
        loss = adversarial
        if self.auxiliary_weight is not None and label is not None:
            cross_entropy = _class_cross_entropy(real, label) + _class_cross_entropy(fake, label)
            loss = loss + self.auxiliary_weight * cross_entropy  # equation 3
            metrics["class_accuracy"] = jnp.mean(jnp.argmax(real.class_logits, axis=-1) == label)
        if self.penalties:
            metrics["penalty"] = self._penalty(variables, penalty_key, real_inputs, fake_inputs, step)
            loss = loss + metrics["penalty"]
        state = state | {"discriminator": new_state}
        if isinstance(self.augment, AdaptiveAugmentation):
            state |= {"augment": self.augment.update(state["augment"], real.output)}
            metrics["augment_probability"] = state["augment"].probability
        return loss, (state, metrics)

    def generator_loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """Return the generator's loss (2), its new state, and with an auxiliary classifier ``class_accuracy``."""
        del step
        variables, label = Variables(params, state), label_of(batch, self.num_classes)
        sample_key, data_key, fake_key, dropout_key = jax.random.split(key, 4)
        samples, new_states = self._samples(variables, sample_key, batch["x"].shape[0], label, train=True)
        keys = (data_key, fake_key, dropout_key)
        loss, _, fake = self._generator_objective(variables, keys, batch["x"], samples, label)
        metrics: Metrics = {}
        if self.auxiliary_weight is not None and label is not None:
            loss = loss + self.auxiliary_weight * _class_cross_entropy(fake, label)  # equation 3
            metrics["class_accuracy"] = jnp.mean(jnp.argmax(fake.class_logits, axis=-1) == label)
        return loss, (state | new_states, metrics)

    def diagnose(self, variables: Variables, key: Array, batch: Batch) -> Metrics:
        """Return ``coverage``, ``discriminator_std`` and ``generator_gradient``; see ``genjax.gan.diagnosis``."""
        x, label = batch["x"], label_of(batch, self.num_classes)
        half = x.shape[0] // (2 * self.pack) * self.pack
        if half == 0:
            raise ValueError(
                f"x has {x.shape[0]} examples, but a diagnosis compares groups of pack={self.pack} examples; "
                f"hold out at least {2 * self.pack} for validation"
            )
        label = None if label is None else label[half : 2 * half]
        sample_key, data_key, fake_key, dropout_key = jax.random.split(key, 4)
        samples, _ = self._samples(variables, sample_key, half, label, train=False)
        keys = (data_key, fake_key, dropout_key)

        def objective(samples: Array) -> tuple[Array, Array]:
            loss, real, fake = self._generator_objective(variables, keys, x[half : 2 * half], samples, label)
            return loss, jnp.concatenate([real.output, fake.output])

        return gan_diagnosis(objective, x[:half], x[half : 2 * half], samples)

    def _init(self, key: Array, x: Array, label: Array | None, generator: dict[str, NetSpec]) -> Variables:
        """Initialize the generator's parts and the discriminator for data x (B, ..., C)."""
        if x.ndim < 2 or x.shape[0] % self.pack:
            raise ValueError(
                f"x has shape {x.shape}, but needs data axes and a batch size divisible by pack={self.pack}; "
                f"use a batch size of {-(-x.shape[0] // self.pack) * self.pack}"
            )
        outputs = (x.shape[0] // self.pack, 1 if self.auxiliary_weight is None else 1 + (self.num_classes or 0))
        inputs = self._discriminator_inputs(x, label)
        discriminator = NetSpec(self.discriminator, inputs, outputs, "the objective")
        params, state = init_parts(key, generator | {"discriminator": discriminator})
        if isinstance(self.augment, AdaptiveAugmentation):
            state = state | {"augment": self.augment.init()}
        return Variables(params, state)

    def _apply_augment(self, state: PyTree, key: Array, x: Array) -> Array:
        if self.augment is None:
            return x
        if isinstance(self.augment, AdaptiveAugmentation):
            return self.augment(key, x, state["augment"].probability)
        return self.augment(key, x)

    def _discriminator_inputs(self, x: Array, label: Array | None) -> tuple[Array, ...]:
        """Return the discriminator's arguments: packed examples (B / m, ..., m C), and its one-hot labels if any."""
        condition = () if self.auxiliary_weight is not None else condition_inputs(label, self.num_classes, x.shape[0])
        return tuple(_pack(a, self.pack) for a in (x, *condition))

    def _discriminate(
        self, variables: Variables, inputs: tuple[Array, ...], key: Array | None, train: bool
    ) -> tuple[DiscriminatorOutput, PyTree]:
        """Return the discriminator's output, and its new state."""
        outputs, state = apply_part(self, "discriminator", variables, *inputs, key=key, train=train)
        outputs = at_least_float32(outputs)
        return DiscriminatorOutput(outputs[:, 0], outputs[:, 1:]), state

    def _discriminate_both(
        self, variables: Variables, key: Array, real_inputs: tuple[Array, ...], fake_inputs: tuple[Array, ...]
    ) -> tuple[DiscriminatorOutput, DiscriminatorOutput, PyTree]:
        """Return the discriminator's outputs for data and for samples, and its new state."""
        if not (has_batch_statistics(variables.state["discriminator"]) or self._groups_are_split(real_inputs[0])):
            inputs = tuple(jnp.concatenate(pair) for pair in zip(real_inputs, fake_inputs, strict=True))
            both, state = self._discriminate(variables, inputs, key, train=True)
            (real, fake), (real_logits, fake_logits) = (jnp.split(a, 2) for a in both)
            return DiscriminatorOutput(real, real_logits), DiscriminatorOutput(fake, fake_logits), state
        real_key, fake_key = jax.random.split(key)
        real, state = self._discriminate(variables, real_inputs, real_key, train=True)
        variables = variables._replace(state=variables.state | {"discriminator": state})
        fake, state = self._discriminate(variables, fake_inputs, fake_key, train=True)
        return real, fake, state

    def _groups_are_split(self, x: Array) -> bool:
        """Return whether a discriminator that compares examples would compare data with samples in one batch."""
        return isinstance(self.discriminator, ComparesExamples) and x.shape[0] % self.discriminator.group_size != 0

    def _generator_objective(
        self, variables: Variables, keys: tuple[Array, ...], x: Array, samples: Array, label: Array | None
    ) -> tuple[Array, DiscriminatorOutput, DiscriminatorOutput]:
        """Return the generator's loss (2), and the discriminator's outputs for data and for samples."""
        data_key, fake_key, dropout_key = keys
        real_key, fake_dropout_key = jax.random.split(dropout_key)
        # A separate pass for data, which the compiler removes if the loss does not use it.
        real_inputs = self._discriminator_inputs(self._apply_augment(variables.state, data_key, x), label)
        real, _ = self._discriminate(variables, real_inputs, real_key, train=True)
        fake_inputs = self._discriminator_inputs(self._apply_augment(variables.state, fake_key, samples), label)
        fake, _ = self._discriminate(variables, fake_inputs, fake_dropout_key, train=True)
        return self.adversarial_loss.generator(real.output, fake.output), real, fake  # equation 2

    def _penalty(
        self,
        variables: Variables,
        key: Array,
        real_inputs: tuple[Array, ...],
        fake_inputs: tuple[Array, ...],
        step: Array,
    ) -> Array:
        """Return the sum of all penalties."""

        def discriminate(x: Array) -> Array:
            # With train=False each output depends on its own input only, whatever the normalization.
            return self._discriminate(variables, (x, *real_inputs[1:]), None, train=False)[0].output

        return sum_of_penalties(self.penalties, discriminate, real_inputs[0], fake_inputs[0], key, step)


def _pack(x: Array, count: int) -> Array:
    """Concatenate ``count`` consecutive examples along the last axis: (B, ..., C) to (B / count, ..., count C)."""
    if count == 1:
        return x
    grouped = x.reshape(-1, count, *x.shape[1:])
    return jnp.moveaxis(grouped, 1, -2).reshape(-1, *x.shape[1:-1], count * x.shape[-1])


def _class_cross_entropy(output: DiscriminatorOutput, label: Array) -> Array:
    """Return the mean of −log C(label), nats."""
    log_probs = jax.nn.log_softmax(output.class_logits)
    return -jnp.mean(jnp.take_along_axis(log_probs, label[:, None], axis=-1))
