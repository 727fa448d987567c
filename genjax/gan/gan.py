"""The generative adversarial network.

A generator G maps noise z ~ N(0, I) to data. A discriminator D maps an example to a number that is high for data and
low for samples. On a minibatch of data x and as many samples G(z), with outputs r = D(x) and f = D(G(z)), they
alternately minimize

    discriminator    min over D    L_D(r, f) + Σ penalties                                                       (1)
    generator        min over G    L_G(r, f)                                                                     (2)

with losses of ``genjax.gan.losses`` and penalties of ``genjax.gan.penalties``. The two networks define architecture and
normalization. The learner's schedule sets the number of steps of each objective; for two time scales, use two
optimizers.

D may see a transformed example, or several at once:

* with a differentiable augmentation T, D sees T(x) and T(G(z)), for both objectives (Shengyu Zhao et al. 2020,
  arXiv:2006.10738);
* with packing, D sees m examples at once, all data or all samples, joined along their last axes: D(x₁, …, x_m).
  Samples without variety are then easy to detect (Zinan Lin, Ashish Khetan, Giulia Fanti and Sewoong Oh 2018,
  arXiv:1712.04086).

Labels y are an input of the generator, G(z, y). They are also an input of the discriminator, D(x, y) (Mehdi Mirza and
Simon Osindero 2014, arXiv:1411.1784), or the discriminator predicts them: with further outputs C(y | ·) and a weight λ,
an auxiliary classifier adds

    λ E [−log C(y | x) − log C(y | G(z, y))]    to (1),        λ E [−log C(y | G(z, y))]    to (2)                 (3)

(Augustus Odena, Christopher Olah and Jonathon Shlens 2017, arXiv:1610.09585).

Ian Goodfellow et al. 2014, arXiv:1406.2661.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Annotated, NamedTuple, final

import jax
import jax.numpy as jnp
from annotated_types import Gt

from genjax.arguments import Cure, NonNegativeFloat, NumClasses, PositiveInt, check_arguments
from genjax.capabilities import Condition, label_condition
from genjax.core import Array, Batch, Metrics, Objective, PyTree, Variables
from genjax.gan.augmentation import Augment
from genjax.gan.diagnosis import gan_diagnosis
from genjax.gan.equalized import ComparesExamples
from genjax.gan.losses import AdversarialLoss, NonSaturating
from genjax.gan.penalties import Penalty
from genjax.gan.statistics import standing_statistics
from genjax.nets import Net, NetSpec, apply_part, init_parts
from genjax.nets.normalization import has_batch_statistics
from genjax.ops import at_least_float32, condition_inputs, label_of
from genjax.ops.labels import Label

Truncation = Annotated[float, Gt(0), Cure("; use 0.5, for example")]


class DiscriminatorOutput(NamedTuple):
    """Output of a discriminator for a batch.

    Attributes:
      output: D, high for data, (B,).
      class_logits: class logits of an auxiliary classifier, (B, K); K is 0 without one.
    """

    output: Array
    class_logits: Array


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class GAN:
    """Generative adversarial network (Goodfellow et al. 2014, arXiv:1406.2661).

    Data and samples go through the discriminator as one batch, or as two if it uses batch normalization, or compares
    the examples of groups that do not divide the batch.

    Attributes:
      latent_dim: length of the noise vector, L.
      generator: network from noise (B, L) to data (B, ...).
      discriminator: network from data (B, ...) to outputs (B, 1), or (B, 1 + num_classes) with an auxiliary classifier.
        With ``pack`` m its input is (B / m, ..., m C), with C the last axis of the data.
      adversarial_loss: losses L_D and L_G.
      penalties: penalties added to the discriminator's loss.
      pack: number of examples that the discriminator sees at once, m.
      augment: T, a hashable function ``(key, x (B, ...)) -> (B, ...)``; None for no augmentation.
      num_classes: number of classes, or None for an unconditional model. With classes, batches have ``"label"``, int32
        (B,), and the generator takes the one-hot label (B, num_classes) as its second argument.
      auxiliary_weight: weight λ of the auxiliary classifier (3). If None, the discriminator takes the one-hot label as
        its second argument.

    >>> from genjax import nets
    >>> model = GAN(latent_dim=2, generator=nets.MLP((8, 3)), discriminator=nets.MLP((8, 1)))
    >>> variables = model.init(jax.random.key(0), {"x": jnp.zeros((4, 3))})
    >>> model.sample(variables, jax.random.key(1), 5).shape
    (5, 3)
    """

    latent_dim: PositiveInt
    generator: Net
    discriminator: Net
    adversarial_loss: AdversarialLoss = field(default_factory=NonSaturating)
    penalties: tuple[Penalty, ...] = ()
    pack: PositiveInt = 1
    augment: Augment | None = None
    num_classes: NumClasses | None = None
    auxiliary_weight: NonNegativeFloat | None = None

    def __post_init__(self) -> None:
        if self.auxiliary_weight is not None and (self.num_classes is None or self.pack > 1):
            raise ValueError(
                f"auxiliary_weight is {self.auxiliary_weight}, num_classes {self.num_classes} and pack {self.pack}, "
                "but an auxiliary classifier predicts the class of one example; set num_classes, and pack=1"
            )

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Class label, if the model has classes."""
        return label_condition(self.num_classes)

    def init(self, key: Array, batch: Batch) -> Variables:
        """Initialize the variables for data (B, ..., C), B divisible by ``pack``; for errors see ``init_parts``."""
        x, label = batch["x"], label_of(batch, self.num_classes)
        if x.ndim < 2 or x.shape[0] % self.pack:
            raise ValueError(
                f"x has shape {x.shape}, but needs data axes and a batch size divisible by pack={self.pack}; "
                f"use a batch size of {-(-x.shape[0] // self.pack) * self.pack}"
            )
        condition = condition_inputs(label, self.num_classes, x.shape[0])
        noise = (jnp.zeros((x.shape[0], self.latent_dim)), *condition)
        inputs = self._discriminator_inputs(x, label)
        outputs = (x.shape[0] // self.pack, 1 if self.auxiliary_weight is None else 1 + (self.num_classes or 0))
        parts = {
            "generator": NetSpec(self.generator, noise, x.shape, "matching x"),
            "discriminator": NetSpec(self.discriminator, inputs, outputs, "the objective"),
        }
        return init_parts(key, parts)

    def objectives(self) -> tuple[Objective, ...]:
        """Return the objectives of discriminator (1) and generator (2), in this order."""
        return (
            Objective(name="discriminator", wrt=("discriminator",), loss=self.discriminator_loss),
            Objective(name="generator", wrt=("generator",), loss=self.generator_loss),
        )

    def discriminator_loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """Return the discriminator's loss (1), its new state, and metrics.

        Metrics are ``divergence``, see ``AdversarialLoss``; ``accuracy``, the share of pairs of an example and a sample
        in which the example has the higher output; with penalties ``penalty``, their sum; and with an auxiliary
        classifier ``class_accuracy`` on data.
        """
        variables, label = Variables(params, state), label_of(batch, self.num_classes)
        sample_key, data_key, fake_key, dropout_key, penalty_key = jax.random.split(key, 5)
        samples, _ = self._samples(variables, sample_key, batch["x"].shape[0], label, train=True)
        real_inputs = self._discriminator_inputs(self._apply_augment(data_key, batch["x"]), label)
        fake_inputs = self._discriminator_inputs(self._apply_augment(fake_key, samples), label)
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
        return loss, (state | {"discriminator": new_state}, metrics)

    def generator_loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """Return the generator's loss (2), its new state, and with an auxiliary classifier ``class_accuracy``."""
        del step
        variables, label = Variables(params, state), label_of(batch, self.num_classes)
        sample_key, data_key, fake_key, dropout_key = jax.random.split(key, 4)
        samples, new_state = self._samples(variables, sample_key, batch["x"].shape[0], label, train=True)
        keys = (data_key, fake_key, dropout_key)
        loss, _, fake = self._generator_objective(variables, keys, batch["x"], samples, label)
        metrics: Metrics = {}
        if self.auxiliary_weight is not None and label is not None:
            loss = loss + self.auxiliary_weight * _class_cross_entropy(fake, label)  # equation 3
            metrics["class_accuracy"] = jnp.mean(jnp.argmax(fake.class_logits, axis=-1) == label)
        return loss, (state | {"generator": new_state}, metrics)

    def sample(
        self,
        variables: Variables,
        key: Array,
        num_samples: PositiveInt,
        *,
        label: Label = None,
        truncation: Truncation | None = None,
    ) -> Array:
        """Draw samples, (num_samples, ...).

        A positive ``truncation`` restricts every entry of z to [−truncation, truncation] by resampling; smaller values
        give more typical and less varied samples (Andrew Brock, Jeff Donahue and Karen Simonyan 2019,
        arXiv:1809.11096).
        """
        return self.decode(variables, self._noise(key, num_samples, truncation), label=label)

    def decode(self, variables: Variables, latent: Array, *, label: Label = None) -> Array:
        """Return the data generated from noise (B, latent_dim), and from labels if the model has classes."""
        return self._generate(variables, latent, label)[0]

    def sample_prior(self, variables: Variables, key: Array, num_samples: PositiveInt) -> Array:
        """Draw noise, (num_samples, latent_dim)."""
        del variables
        return self._noise(key, num_samples, None)

    def standing_statistics(
        self, variables: Variables, key: Array, *, num_batches: PositiveInt = 16, batch_size: PositiveInt = 256
    ) -> Variables:
        """Return variables whose generator has batch statistics recomputed as the mean over batches of samples.

        A moving average lags behind the parameters, and does not match parameters that are averages themselves. There
        are ``num_batches`` ≥ 1 batches, with labels drawn uniformly.
        """
        return self._standing_statistics(variables, key, num_batches, batch_size)

    @functools.partial(jax.jit, static_argnames=("self", "num_batches", "batch_size"))
    def _standing_statistics(self, variables: Variables, key: Array, num_batches: int, batch_size: int) -> Variables:
        def update(state: PyTree, key: Array) -> PyTree:
            label_key, sample_key = jax.random.split(key)
            label = None
            if self.num_classes is not None:
                label = jax.random.randint(label_key, (batch_size,), 0, self.num_classes)
            current = variables._replace(state=variables.state | {"generator": state})
            return self._samples(current, sample_key, batch_size, label, train=True)[1]

        keys = jax.random.split(key, num_batches)
        standing = standing_statistics(update, variables.state["generator"], keys)
        return variables._replace(state=variables.state | {"generator": standing})

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

    def _noise(self, key: Array, num_samples: int, truncation: float | None) -> Array:
        shape = (num_samples, self.latent_dim)
        if truncation is None:
            return jax.random.normal(key, shape)
        return jax.random.truncated_normal(key, -truncation, truncation, shape)

    def _samples(
        self, variables: Variables, key: Array, num_samples: int, label: Array | None, train: bool
    ) -> tuple[Array, PyTree]:
        """Return samples (N, ...), and the generator's new state."""
        noise_key, dropout_key = jax.random.split(key)
        return self._generate(variables, self._noise(noise_key, num_samples, None), label, dropout_key, train)

    def _generate(
        self, variables: Variables, latent: Array, label: Label, key: Array | None = None, train: bool = False
    ) -> tuple[Array, PyTree]:
        arguments = (latent, *condition_inputs(label, self.num_classes, latent.shape[0]))
        x, state = apply_part(self, "generator", variables, *arguments, key=key, train=train)
        return at_least_float32(x), state

    def _apply_augment(self, key: Array, x: Array) -> Array:
        return x if self.augment is None else self.augment(key, x)

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
        real_inputs = self._discriminator_inputs(self._apply_augment(data_key, x), label)
        real, _ = self._discriminate(variables, real_inputs, real_key, train=True)
        fake_inputs = self._discriminator_inputs(self._apply_augment(fake_key, samples), label)
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
        """Return the sum of all penalties, with lazy ones at their steps only."""

        def discriminate(x: Array) -> Array:
            # With train=False each output depends on its own input only, whatever the normalization.
            return self._discriminate(variables, (x, *real_inputs[1:]), None, train=False)[0].output

        total = jnp.float32(0)
        for penalty, penalty_key in zip(self.penalties, jax.random.split(key, len(self.penalties)), strict=True):
            value = functools.partial(penalty, discriminate, real_inputs[0], fake_inputs[0], penalty_key, step)
            if penalty.every == 1:
                total += value()
            else:
                due, zero = step % penalty.every == 0, jnp.zeros_like(jax.eval_shape(value))
                total += jax.lax.cond(due, lambda n=penalty.every, v=value: n * v(), lambda zero=zero: zero)
        return total


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
