"""Pix2Pix: image translation learned from pairs.

For pairs of an image x and its source y, a generator G with noise z and a discriminator D with one output for each
patch of a pair alternately minimize

    discriminator    min over D    L_D(D(x, y), D(G(y, z), y)) + Σ penalties                                     (1)
    generator        min over G    L_G(D(x, y), D(G(y, z), y)) + λ E |x − G(y, z)|                                (2)

with losses of ``genjax.gan.losses``, whose means run over examples and patches; |·| is the mean over pixels and
channels. The second term of (2) makes translations right on average, but blurred where y leaves x open; the first makes
their patches look real. Networks see images in [−1, 1], where λ = 100 is usual. The noise z is the dropout of G, which
therefore stays on when images are translated.

Phillip Isola, Jun-Yan Zhu, Tinghui Zhou and Alexei Efros 2017, arXiv:1611.07004.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

import jax
import jax.numpy as jnp

from genjax.arguments import NonNegativeFloat, PositiveInt, check_arguments
from genjax.capabilities import Condition
from genjax.core import Array, Batch, Metrics, Objective, PyTree, Variables
from genjax.gan.diagnosis import gan_diagnosis
from genjax.gan.losses import AdversarialLoss, NonSaturating
from genjax.gan.penalties import Penalty, sum_of_penalties
from genjax.gan.translation import (
    center,
    centered_pair,
    check_channels,
    check_source,
    discriminate,
    discriminate_both,
    discriminator_spec,
    half_size,
    source_condition,
    uncenter,
)
from genjax.nets import Net, NetSpec, apply_part, init_parts
from genjax.ops import at_least_float32, check_choice


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class Pix2Pix:
    """Image translation from y to x (Isola et al. 2017, arXiv:1611.07004).

    Batches have images ``"x"`` and their sources ``"y"`` in [0, 1], (B, H, W, C) each, with equal B, H and W.

    Attributes:
      generator: network from y to x, (B, H, W, C) each, in [-1, 1]. Its dropout is the noise, and is on whenever it is
        applied. Batch normalization would make a translation depend on the others in its batch.
      discriminator: network from x and y, two arguments, to outputs (B, ..., 1), one for each patch; None trains the
        generator by the L1 distance alone.
      adversarial_loss: losses L_D and L_G.
      penalties: penalties added to the discriminator's loss, for the mean output of an image, as functions of x.
      l1_weight: λ, weight of the L1 distance, at least 0; 100 in the paper.
      source_channels: number of channels of y.

    >>> from genjax import gan
    >>> model = Pix2Pix(generator=gan.UNetGenerator((4, 8)), discriminator=gan.PatchDiscriminator((4,)))
    >>> x = jnp.full((2, 8, 8, 3), 0.5)
    >>> variables = model.init(jax.random.key(0), {"x": x, "y": x})
    >>> model.translate(variables, jax.random.key(1), x).shape
    (2, 8, 8, 3)
    """

    generator: Net
    discriminator: Net | None
    adversarial_loss: AdversarialLoss = field(default_factory=NonSaturating)
    penalties: tuple[Penalty, ...] = ()
    l1_weight: NonNegativeFloat = 100.0
    source_channels: PositiveInt = 3

    def __post_init__(self) -> None:
        if self.discriminator is None and (self.penalties or self.l1_weight == 0):
            raise ValueError(
                f"discriminator is None, penalties are {self.penalties} and l1_weight is {self.l1_weight}, but without "
                "a discriminator there is only the L1 distance; set l1_weight above 0 and leave penalties out"
            )

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """The source y."""
        return source_condition(self.source_channels, paired=True)

    @property
    def directions(self) -> tuple[str, ...]:
        """Only "y_to_x"."""
        return ("y_to_x",)

    @property
    def lacks(self) -> tuple[str, ...]:
        """``diagnose``, if there is no discriminator."""
        return ("diagnose",) if self.discriminator is None else ()

    def init(self, key: Array, batch: Batch) -> Variables:
        """Initialize the variables; for errors about networks see ``init_parts``.

        Raises:
          ValueError: if y is missing, x and y are integers or differ in B, H or W, or y has other channels than
            ``source_channels``.
        """
        x, y = centered_pair(self, batch)
        check_channels(self, y)
        if x.shape[:-1] != y.shape[:-1]:
            raise ValueError(
                f"x has shape {x.shape} and y {y.shape}, but Pix2Pix learns from pairs of equal size; resize them, or "
                "use CycleGAN for images that are not paired"
            )
        parts = {"generator": NetSpec(self.generator, (y,), x.shape, "matching x")}
        if self.discriminator is not None:
            parts["discriminator"] = discriminator_spec(self.discriminator, key, x, y)
        return init_parts(key, parts)

    def objectives(self) -> tuple[Objective, ...]:
        """Return the objectives of discriminator (1), if there is one, and generator (2), in this order."""
        generator = Objective(name="generator", wrt=("generator",), loss=self.generator_loss)
        if self.discriminator is None:
            return (generator,)
        return (Objective(name="discriminator", wrt=("discriminator",), loss=self.discriminator_loss), generator)

    def discriminator_loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """Return the discriminator's loss (1), its new state, and metrics.

        Metrics are ``divergence``, see ``AdversarialLoss``; ``accuracy``, the share of patches of the data whose output
        is higher than that of the same patch of the translation; and with penalties ``penalty``, their sum.
        """
        variables, (x, y) = Variables(params, state), centered_pair(self, batch)
        generator_key, discriminator_key, penalty_key = jax.random.split(key, 3)
        x_hat, _ = self._generate(variables, generator_key, y)
        real, fake, new_state = discriminate_both(
            self, "discriminator", variables, discriminator_key, (x, y), (x_hat, y)
        )
        loss = self.adversarial_loss.discriminator(real, fake)  # equation 1
        metrics = {"divergence": self.adversarial_loss.divergence(loss), "accuracy": jnp.mean(real > fake)}
        if self.penalties:

            def mean_output(x: Array) -> Array:
                outputs, _ = discriminate(self, "discriminator", variables, x, y, key=None, train=False)
                return jnp.mean(outputs, axis=1)

            metrics["penalty"] = sum_of_penalties(self.penalties, mean_output, x, x_hat, penalty_key, step)
            loss = loss + metrics["penalty"]
        return loss, ({**state, "discriminator": new_state}, metrics)

    def generator_loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """Return the generator's loss (2), its new state, and metrics.

        Metrics are ``l1``, the mean absolute error of images in [-1, 1], and with a discriminator ``adversarial``, the
        first term of (2).
        """
        del step
        variables, (x, y) = Variables(params, state), centered_pair(self, batch)
        generator_key, discriminator_key = jax.random.split(key)
        x_hat, new_state = self._generate(variables, generator_key, y)
        metrics = {"l1": jnp.mean(jnp.abs(x - x_hat))}
        loss = self.l1_weight * metrics["l1"]
        if self.discriminator is not None:
            real, fake, _ = discriminate_both(self, "discriminator", variables, discriminator_key, (x, y), (x_hat, y))
            metrics["adversarial"] = self.adversarial_loss.generator(real, fake)
            loss = metrics["adversarial"] + loss  # equation 2
        return loss, ({**state, "generator": new_state}, metrics)

    def sample(self, variables: Variables, key: Array, num_samples: PositiveInt, *, y: Array | None = None) -> Array:
        """Draw one x for each y (num_samples, H, W, C), (num_samples, H, W, C)."""
        return self.translate(variables, key, check_source(self, y, num_samples))

    def translate(self, variables: Variables, key: Array, x: Array, *, direction: str = "y_to_x") -> Array:
        """Translate sources, the argument ``x``, to images (B, H, W, C); ``key`` draws the dropout."""
        check_choice("direction", direction, self.directions)
        check_channels(self, x)
        return uncenter(self._generate(variables, key, center(x))[0])

    def diagnose(self, variables: Variables, key: Array, batch: Batch) -> Metrics:
        """Return ``coverage``, ``discriminator_std`` and ``generator_gradient``; see ``genjax.gan.diagnosis``."""
        x, y = centered_pair(self, batch)
        half = half_size(x)
        real, source = x[half : 2 * half], y[half : 2 * half]
        generator_key, discriminator_key = jax.random.split(key)
        x_hat, _ = self._generate(variables, generator_key, source)

        def objective(x_hat: Array) -> tuple[Array, Array]:
            outputs = discriminate_both(
                self, "discriminator", variables, discriminator_key, (real, source), (x_hat, source)
            )
            return self.adversarial_loss.generator(*outputs[:2]), jnp.concatenate(outputs[:2])

        return gan_diagnosis(objective, x[:half], real, x_hat)

    def _generate(self, variables: Variables, key: Array, y: Array) -> tuple[Array, PyTree]:
        """Return translations of y, both in [-1, 1], and the generator's new state."""
        x_hat, state = apply_part(self, "generator", variables, y, key=key, train=True)
        return at_least_float32(x_hat), state
