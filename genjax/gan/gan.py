"""The generative adversarial network.

A generator G maps noise z ~ N(0, I) to data. A discriminator D gives a number for an example, high for what looks like
data. On a minibatch of data x and as many samples G(z), with outputs r = D(x) and f = D(G(z)), they take turns in

    discriminator    min over D    L_D(r, f) + Σ penalties                                                       (1)
    generator        min over G    L_G(r, f)                                                                     (2)

with losses of ``genjax.gan.losses`` and penalties of ``genjax.gan.penalties``. Architecture and normalization are those
of the two networks. How many turns each takes is the learner's schedule; two time scales are two optimizers.

D may see less than x, or more:

* an augmentation T that gradients pass through comes before it, for data and samples alike, in both turns: D(T(x))
  (Shengyu Zhao et al. 2020, arXiv:2006.10738);
* m examples of one kind at once, their last axes joined: D(x₁, …, x_m). Samples without variety then give themselves
  away (Zinan Lin, Ashish Khetan, Giulia Fanti and Sewoong Oh 2018, arXiv:1712.04086).

Labels y go to the generator, G(z, y), and either to the discriminator, D(x, y) (Mehdi Mirza and Simon Osindero 2014,
arXiv:1411.1784), or it has to tell them: with further outputs C(y | ·) and a weight λ, both turns minimize also

    λ E [−log C(y | x) − log C(y | G(z, y))]    in (1),        λ E [−log C(y | G(z, y))]    in (2)                 (3)

(Augustus Odena, Christopher Olah and Jonathon Shlens 2017, arXiv:1610.09585).

Ian Goodfellow et al. 2014, arXiv:1406.2661.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import NamedTuple, final

import jax
import jax.numpy as jnp

from genjax.capabilities import Condition, label_condition
from genjax.core import Array, Batch, Metrics, Objective, PyTree, Variables
from genjax.gan.augmentation import Augment
from genjax.gan.diagnosis import diagnosis
from genjax.gan.losses import AdversarialLoss, NonSaturating
from genjax.gan.penalties import Penalty
from genjax.gan.statistics import has_batch_statistics, standing_statistics
from genjax.nets import Net, NetSpec, apply_part, init_parts
from genjax.ops import at_least_float32, check_at_least, check_num_classes, check_positive, condition_inputs, label_of


class Judgement(NamedTuple):
    """What a discriminator says of examples: outputs (B,), and class logits (B, K) of an auxiliary classifier."""

    output: Array
    class_logits: Array


@final
@dataclass(frozen=True, kw_only=True)
class GAN:
    """A generator, a discriminator, and what they play for.

    Data and samples pass the discriminator in one batch, but in one each where it normalizes by batch statistics.

    Attributes:
      latent_dim: L, the length of the noise vector.
      generator: maps noise (B, L) to data (B, ...).
      discriminator: maps data (B, ...) to outputs (B, 1), or (B, 1 + num_classes) with an auxiliary classifier. With
        ``pack`` m it takes (B / m, ..., m C), where C is the last axis of the data.
      adversarial_loss: L_D and L_G.
      penalties: what the discriminator minimizes besides, all added.
      pack: m.
      augment: T, ``(key, x (B, ...)) -> (B, ...)``, a value that hashes; None for none.
      num_classes: None, or the number of labels. Batches then have ``"label"``, int32 (B,), and the generator takes the
        one-hot label (B, num_classes) as its second argument.
      auxiliary_weight: λ of (3); None where the discriminator takes the one-hot label as its second argument.

    >>> from genjax import nets
    >>> model = GAN(latent_dim=2, generator=nets.MLP((8, 3)), discriminator=nets.MLP((8, 1)))
    >>> variables = model.init(jax.random.key(0), {"x": jnp.zeros((4, 3))})
    >>> model.sample(variables, jax.random.key(1), 5).shape
    (5, 3)
    """

    latent_dim: int
    generator: Net
    discriminator: Net
    adversarial_loss: AdversarialLoss = field(default_factory=NonSaturating)
    penalties: tuple[Penalty, ...] = ()
    pack: int = 1
    augment: Augment | None = None
    num_classes: int | None = None
    auxiliary_weight: float | None = None

    def __post_init__(self) -> None:
        check_at_least("latent_dim", self.latent_dim, 1)
        check_at_least("pack", self.pack, 1)
        check_num_classes(self.num_classes)
        if self.auxiliary_weight is None:
            return
        check_at_least("auxiliary_weight", self.auxiliary_weight, 0)
        if self.num_classes is None or self.pack > 1:
            raise ValueError(
                f"auxiliary_weight is {self.auxiliary_weight}, but num_classes is {self.num_classes} and pack is "
                f"{self.pack}: an auxiliary classifier tells the class of one example; set num_classes, and pack=1"
            )

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """What the model is conditioned on: the label, where it has classes."""
        return label_condition(self.num_classes)

    def init(self, key: Array, batch: Batch) -> Variables:
        """Make the variables for data like ``batch["x"]``, (B, ..., C).

        Raises:
          ValueError: before anything compiles, where the networks' outputs do not fit the data, or the batch cannot be
            packed.
        """
        x, label = batch["x"], label_of(batch, self.num_classes)
        if x.ndim < 2 or len(x) % self.pack:
            raise ValueError(
                f"x has shape {x.shape}, but needs data axes and a batch that is divisible by pack={self.pack}; "
                f"use a batch size of {-(-len(x) // self.pack) * self.pack}"
            )
        noise = (jnp.zeros((len(x), self.latent_dim)), *condition_inputs(label, self.num_classes, len(x)))
        examples = self._packed(x, label)
        parts = {
            "generator": NetSpec(self.generator, noise, x.shape, "matching x"),
            "discriminator": NetSpec(
                self.discriminator, examples, (len(x) // self.pack, self._num_outputs), "the objective"
            ),
        }
        return init_parts(key, parts)

    def objectives(self) -> tuple[Objective, ...]:
        """Discriminator (1) and generator (2), in the order of their turns."""
        return (
            Objective(name="discriminator", wrt=("discriminator",), loss=self.discriminator_loss),
            Objective(name="generator", wrt=("generator",), loss=self.generator_loss),
        )

    def discriminator_loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """Equation 1.

        Returns:
          The scalar, and the new state with metrics: ``divergence`` as the loss has it, ``accuracy``, the share of
          pairs of data and samples in which data have the higher output, ``penalty`` where there are any, and with an
          auxiliary classifier ``class_accuracy`` on data.
        """
        variables, label = Variables(params, state), label_of(batch, self.num_classes)
        sample_key, data_key, fake_key, dropout_key, penalty_key = jax.random.split(key, 5)
        samples, _ = self._samples(variables, sample_key, len(batch["x"]), label, train=True)
        real = self._packed(self._augmented(data_key, batch["x"]), label)
        fake = self._packed(self._augmented(fake_key, samples), label)
        judged_real, judged_fake, moved = self._judge_both(variables, dropout_key, real, fake)
        adversarial = self.adversarial_loss.discriminator(judged_real.output, judged_fake.output)  # equation 1
        metrics = {
            "divergence": self.adversarial_loss.divergence(adversarial),
            "accuracy": jnp.mean(judged_real.output[:, None] > judged_fake.output[None]),
        }
        loss = adversarial
        if self.auxiliary_weight is not None and label is not None:
            told = _cross_entropy(judged_real, label) + _cross_entropy(judged_fake, label)
            loss = loss + self.auxiliary_weight * told  # equation 3
            metrics["class_accuracy"] = jnp.mean(jnp.argmax(judged_real.class_logits, axis=-1) == label)
        if self.penalties:
            metrics["penalty"] = self._penalty(variables, penalty_key, real, fake, step)
            loss = loss + metrics["penalty"]
        return loss, (state | {"discriminator": moved}, metrics)

    def generator_loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """Equation 2.

        Returns:
          The scalar, and the new state, with the metric ``class_accuracy`` on samples where there is an auxiliary
          classifier.
        """
        del step
        variables, label = Variables(params, state), label_of(batch, self.num_classes)
        sample_key, data_key, fake_key, dropout_key = jax.random.split(key, 4)
        samples, moved = self._samples(variables, sample_key, len(batch["x"]), label, train=True)
        loss, _, judged = self._contest(variables, (data_key, fake_key, dropout_key), batch["x"], samples, label)
        metrics: Metrics = {}
        if self.auxiliary_weight is not None and label is not None:
            loss = loss + self.auxiliary_weight * _cross_entropy(judged, label)  # equation 3
            metrics["class_accuracy"] = jnp.mean(jnp.argmax(judged.class_logits, axis=-1) == label)
        return loss, (state | {"generator": moved}, metrics)

    def sample(
        self,
        variables: Variables,
        key: Array,
        num_samples: int,
        *,
        label: Array | int | None = None,
        truncation: float | None = None,
    ) -> Array:
        """Draw from the model.

        Args:
          variables: what ``init`` or training returned.
          key: typed key.
          num_samples: number of samples, N.
          label: class of all samples, or int32 (N,) for each; only for models with classes.
          truncation: entries of z further than this from zero are drawn again, positive: less makes samples more
            typical and less varied (Andrew Brock, Jeff Donahue and Karen Simonyan 2019, arXiv:1809.11096). None for
            no limit.

        Returns:
          Samples (N, ...).
        """
        return self.decode(variables, self._noise(key, num_samples, truncation), label=label)

    def decode(self, variables: Variables, latent: Array, *, label: Array | int | None = None) -> Array:
        """Data generated from noise (B, latent_dim), and labels where there are classes."""
        return self._generate(variables, latent, label)[0]

    def sample_prior(self, variables: Variables, key: Array, num_samples: int) -> Array:
        """Noise, (num_samples, latent_dim)."""
        del variables
        return self._noise(key, num_samples, None)

    @functools.partial(jax.jit, static_argnames=("self", "num_batches", "batch_size"))
    def standing_statistics(
        self, variables: Variables, key: Array, *, num_batches: int = 16, batch_size: int = 256
    ) -> Variables:
        """Return the variables with the generator's batch statistics measured anew, as the mean of many batches.

        A moving average lags behind its parameters, and belongs to other ones where those are averaged themselves.

        Args:
          variables: what training returned.
          key: typed key.
          num_batches: of samples, at least 1; of all classes alike.
          batch_size: samples in each.
        """
        check_at_least("num_batches", num_batches, 1)

        def moved(state: PyTree, key: Array) -> PyTree:
            label_key, sample_key = jax.random.split(key)
            label = None
            if self.num_classes is not None:
                label = jax.random.randint(label_key, (batch_size,), 0, self.num_classes)
            start = variables._replace(state=variables.state | {"generator": state})
            return self._samples(start, sample_key, batch_size, label, train=True)[1]

        keys = jax.random.split(key, num_batches)
        standing = standing_statistics(moved, variables.state["generator"], keys)
        return variables._replace(state=variables.state | {"generator": standing})

    def diagnose(self, variables: Variables, key: Array, batch: Batch) -> Metrics:
        """Tell from a batch of data whether the game goes on: ``reached``, ``output_deviation`` and ``slope``.

        See ``genjax.gan.diagnosis``.
        """
        x, label = batch["x"], label_of(batch, self.num_classes)
        half = len(x) // (2 * self.pack) * self.pack
        label = None if label is None else label[half : 2 * half]
        sample_key, data_key, fake_key, dropout_key = jax.random.split(key, 4)
        samples, _ = self._samples(variables, sample_key, half, label, train=False)
        keys = (data_key, fake_key, dropout_key)

        def judge(samples: Array) -> tuple[Array, Array]:
            loss, real, fake = self._contest(variables, keys, x[half : 2 * half], samples, label)
            return loss, jnp.concatenate([real.output, fake.output])

        return diagnosis(judge, x[:half], x[half : 2 * half], samples)

    # The parts of the equations above.

    @property
    def _num_outputs(self) -> int:
        return 1 if self.auxiliary_weight is None else 1 + (self.num_classes or 0)

    def _noise(self, key: Array, num_samples: int, truncation: float | None) -> Array:
        check_at_least("num_samples", num_samples, 1)
        shape = (num_samples, self.latent_dim)
        if truncation is None:
            return jax.random.normal(key, shape)
        check_positive("truncation", truncation, "; use 0.5, for example, or None")
        return jax.random.truncated_normal(key, -truncation, truncation, shape)

    def _samples(
        self, variables: Variables, key: Array, num_samples: int, label: Array | None, train: bool
    ) -> tuple[Array, PyTree]:
        """Samples (N, ...), and the generator's new state."""
        noise_key, dropout_key = jax.random.split(key)
        return self._generate(variables, self._noise(noise_key, num_samples, None), label, dropout_key, train)

    def _generate(
        self,
        variables: Variables,
        latent: Array,
        label: Array | int | None,
        key: Array | None = None,
        train: bool = False,
    ) -> tuple[Array, PyTree]:
        arguments = (latent, *condition_inputs(label, self.num_classes, len(latent)))
        x, moved = apply_part(self, "generator", variables, *arguments, key=key, train=train)
        return at_least_float32(x), moved

    def _augmented(self, key: Array, x: Array) -> Array:
        return x if self.augment is None else self.augment(key, x)

    def _packed(self, x: Array, label: Array | None) -> tuple[Array, ...]:
        """Return the discriminator's arguments: x (B / m, ..., m C), and labels, one-hot, where it takes them."""
        given = () if self.auxiliary_weight is not None else condition_inputs(label, self.num_classes, len(x))
        return tuple(_joined(a, self.pack) for a in (x, *given))

    def _judge(
        self, variables: Variables, examples: tuple[Array, ...], key: Array | None, train: bool
    ) -> tuple[Judgement, PyTree]:
        outputs, moved = apply_part(self, "discriminator", variables, *examples, key=key, train=train)
        outputs = at_least_float32(outputs)
        return Judgement(outputs[:, 0], outputs[:, 1:]), moved

    def _judge_both(
        self, variables: Variables, key: Array, real: tuple[Array, ...], fake: tuple[Array, ...]
    ) -> tuple[Judgement, Judgement, PyTree]:
        """Judge data and samples, and return what this makes of the discriminator's state."""
        if not has_batch_statistics(variables.state["discriminator"]):
            both = tuple(jnp.concatenate(pair) for pair in zip(real, fake, strict=True))
            judged, moved = self._judge(variables, both, key, train=True)
            judged_real, judged_fake = (jax.tree.map(lambda a, i=i: jnp.split(a, 2)[i], judged) for i in range(2))
            return judged_real, judged_fake, moved
        real_key, fake_key = jax.random.split(key)
        judged_real, moved = self._judge(variables, real, real_key, train=True)
        variables = variables._replace(state=variables.state | {"discriminator": moved})
        judged_fake, moved = self._judge(variables, fake, fake_key, train=True)
        return judged_real, judged_fake, moved

    def _contest(
        self, variables: Variables, keys: tuple[Array, ...], x: Array, samples: Array, label: Array | None
    ) -> tuple[Array, Judgement, Judgement]:
        """The generator's loss (2), and what the discriminator says of data and of samples."""
        data_key, fake_key, dropout_key = keys
        real_key, fake_dropout_key = jax.random.split(dropout_key)
        # Data have a pass of their own: where the loss does not need it, compilation leaves it out.
        real, _ = self._judge(variables, self._packed(self._augmented(data_key, x), label), real_key, train=True)
        packed = self._packed(self._augmented(fake_key, samples), label)
        fake, _ = self._judge(variables, packed, fake_dropout_key, train=True)
        return self.adversarial_loss.generator(real.output, fake.output), real, fake  # equation 2

    def _penalty(
        self, variables: Variables, key: Array, real: tuple[Array, ...], fake: tuple[Array, ...], step: Array
    ) -> Array:
        """The sum of all penalties, the lazy ones at their steps."""

        def discriminate(x: Array) -> Array:
            # Without training each output is that of its own input alone, whatever the normalization.
            return self._judge(variables, (x, *real[1:]), None, train=False)[0].output

        total = jnp.float32(0)
        for penalty, penalty_key in zip(self.penalties, jax.random.split(key, len(self.penalties)), strict=True):
            value = functools.partial(penalty, discriminate, real[0], fake[0], penalty_key, step)
            if penalty.every == 1:
                total += value()
            else:
                due = step % penalty.every == 0
                total += jax.lax.cond(due, lambda n=penalty.every, v=value: n * v(), lambda: jnp.float32(0))
        return total


def _joined(x: Array, count: int) -> Array:
    """Join the last axes of ``count`` neighbours: (B, ..., C) to (B / count, ..., count C)."""
    if count == 1:
        return x
    grouped = x.reshape(-1, count, *x.shape[1:])
    return jnp.moveaxis(grouped, 1, -2).reshape(-1, *x.shape[1:-1], count * x.shape[-1])


def _cross_entropy(judged: Judgement, label: Array) -> Array:
    """Mean −log C(label), nats."""
    log_probs = jax.nn.log_softmax(judged.class_logits)
    return -jnp.mean(jnp.take_along_axis(log_probs, label[:, None], axis=-1))
