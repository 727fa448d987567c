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
from dataclasses import dataclass
from typing import Annotated, final

import jax
import jax.numpy as jnp
from annotated_types import Gt

from genjax.arguments import Cure, PositiveInt, check_arguments
from genjax.core import Array, Batch, PyTree, Variables
from genjax.gan.game import AdversarialGame
from genjax.gan.statistics import standing_statistics
from genjax.nets import Net, NetSpec, apply_part
from genjax.ops import at_least_float32, condition_inputs, label_of
from genjax.ops.labels import Label

Truncation = Annotated[float, Gt(0), Cure("; use 0.5, for example")]


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class GAN(AdversarialGame):
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
      augment: T, a hashable function ``(key, x (B, ...)) -> (B, ...)``, or an ``AdaptiveAugmentation``, whose
        probability is part of the state; None for no augmentation.
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

    def init(self, key: Array, batch: Batch) -> Variables:
        """Initialize the variables for data (B, ..., C), B divisible by ``pack``; for errors see ``init_parts``."""
        x, label = batch["x"], label_of(batch, self.num_classes)
        noise = (jnp.zeros((x.shape[0], self.latent_dim)), *condition_inputs(label, self.num_classes, x.shape[0]))
        return self._init(key, x, label, {"generator": NetSpec(self.generator, noise, x.shape, "matching x")})

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
            return self._samples(current, sample_key, batch_size, label, train=True)[1]["generator"]

        keys = jax.random.split(key, num_batches)
        standing = standing_statistics(update, variables.state["generator"], keys)
        return variables._replace(state=variables.state | {"generator": standing})

    @property
    def _generator_parts(self) -> tuple[str, ...]:
        return ("generator",)

    def _noise(self, key: Array, num_samples: int, truncation: float | None) -> Array:
        shape = (num_samples, self.latent_dim)
        if truncation is None:
            return jax.random.normal(key, shape)
        return jax.random.truncated_normal(key, -truncation, truncation, shape)

    def _samples(
        self, variables: Variables, key: Array, num_samples: int, label: Array | None, train: bool
    ) -> tuple[Array, dict[str, PyTree]]:
        noise_key, dropout_key = jax.random.split(key)
        x, state = self._generate(variables, self._noise(noise_key, num_samples, None), label, dropout_key, train)
        return x, {"generator": state}

    def _generate(
        self, variables: Variables, latent: Array, label: Label, key: Array | None = None, train: bool = False
    ) -> tuple[Array, PyTree]:
        arguments = (latent, *condition_inputs(label, self.num_classes, latent.shape[0]))
        x, state = apply_part(self, "generator", variables, *arguments, key=key, train=train)
        return at_least_float32(x), state
