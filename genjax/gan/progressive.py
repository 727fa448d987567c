"""Progressive growing: the images of a GAN double in size while it trains.

Of k resolutions, the generator maps noise to features h₁ of the smallest images, and h_{i+1} = B_{i+1}(U h_i), where U
is nearest-neighbor upsampling and B_i are two 3x3 convolutions. The discriminator maps an image by P, average pooling
over 2x2 pixels, and its own blocks C_i back to features g₁ of the smallest images. The 1x1 convolutions T_i and F_i
lead to images and from them. When a resolution is added, its layers fade in with a blend α that rises from 0 to 1:

    G(z) = (1 − α) U T_{k−1}(h_{k−1}) + α T_k(h_k),                                                               (1)
    g_{k−1} = (1 − α) F_{k−1}(P x) + α P C_k(F_k(x)),                                                             (2)
    x ← (1 − α) U P x + α x        for data,                                                                      (3)
    α = min(1, t / T)        at step t of T steps that fade.                                                       (4)

At α = 0 the two networks are the smaller ones, with its samples upsampled and its data pooled; at α = 1 nothing of the
smaller T and F is left. Layers are named by the height of the images on which they act, so that a network has all the
layers of the smaller one by their names, but the last T or F. The noise and all features of the generator are
normalized by pixel; learning rates are equalized; the discriminator sees the standard deviation of its minibatch; there
is no activation at the output. See ``genjax.gan.equalized``.

Tero Karras, Timo Aila, Samuli Laine and Jaakko Lehtinen 2018, arXiv:1710.10196. Differences from the paper: sizes are
free, and a label, which the paper's discriminator predicts, may instead be projected (``genjax.gan.heads``).
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, final

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.arguments import NonNegativeInt, PositiveInt, Widths, check_arguments
from genjax.capabilities import Condition
from genjax.core import Array, Batch, Metrics, Objective, PyTree, Variables
from genjax.gan.equalized import EqualizedConv, EqualizedDense, MinibatchStd, pixel_norm
from genjax.gan.gan import GAN
from genjax.gan.heads import check_noise, leaky_relu
from genjax.gan.resnet import average_pool
from genjax.nets import check_images, concat_condition, upsample

GAIN = math.sqrt(2)  # of He's initialization
COLLECTION, BLEND = "growth", "blend"  # where a network's state has α


@check_arguments
class ProgressiveGenerator(nn.Module):
    """Generator that grows, equation 1.

    Its state has α, which is 1 at first, unless there is only one resolution.

    Attributes:
      features: channels of the resolutions, from the smallest; each doubles height and width.
      output_shape: image shape (H, W, C); H and W must be divisible by 2 ** (len(features) - 1).
      dtype: dtype of the computation; None follows the input. Parameters are always float32.

    >>> import jax
    >>> net = ProgressiveGenerator((8, 4), output_shape=(8, 8, 1))
    >>> images, variables = net.init_with_output(jax.random.key(0), jnp.zeros((2, 3)))
    >>> images.shape, sorted(variables["params"])
    ((2, 8, 8, 1), ['conv_4', 'conv_8', 'conv_8_in', 'project', 'to_image_4', 'to_image_8'])
    """

    features: Widths
    output_shape: Sequence[PositiveInt]
    dtype: Any = None

    def __post_init__(self) -> None:
        check_images("ProgressiveGenerator", (1, *self.output_shape), len(self.features) - 1)
        super().__post_init__()

    @nn.compact
    def __call__(self, z: Array, condition: Array | None = None) -> Array:
        """Map noise (B, L) to images (B, H, W, C); ``condition`` (B, K) is concatenated to the noise."""
        check_noise(z.shape)
        z = pixel_norm(concat_condition(z, condition))
        height, width = (side // 2 ** (len(self.features) - 1) for side in self.output_shape[:2])
        conv = functools.partial(EqualizedConv, gain=GAIN, dtype=self.dtype)
        project = EqualizedDense(height * width * self.features[0], gain=GAIN, dtype=self.dtype, name="project")
        hidden = self._activate(project(z).reshape(z.shape[0], height, width, self.features[0]))
        smaller = None
        for i, channels in enumerate(self.features):
            if i > 0:
                smaller, hidden = hidden, upsample(hidden)
                hidden = self._activate(conv(channels, name=f"conv_{hidden.shape[1]}_in")(hidden))
            hidden = self._activate(conv(channels, name=f"conv_{hidden.shape[1]}")(hidden))
        images = self._to_image(hidden)
        if smaller is None:
            return images
        return _blend(_alpha(self), upsample(self._to_image(smaller)), images)  # equation 1

    def _activate(self, x: Array) -> Array:
        return pixel_norm(leaky_relu(x))

    def _to_image(self, hidden: Array) -> Array:
        name = f"to_image_{hidden.shape[1]}"
        return EqualizedConv(self.output_shape[2], kernel_size=1, dtype=self.dtype, name=name)(hidden)


@check_arguments
class ProgressiveDiscriminator(nn.Module):
    """Discriminator that grows, equation 2.

    Its state has α, which is 1 at first, unless there is only one resolution.

    Attributes:
      features: channels of the resolutions, from the largest, each half as high and wide as the one before.
      num_outputs: number of outputs per image, at least 1.
      group_size: number of examples whose standard deviation the discriminator sees; see ``MinibatchStd``.
      dtype: dtype of the computation; None follows the input. Parameters are always float32.

    >>> import jax
    >>> net = ProgressiveDiscriminator((4, 8))
    >>> outputs, variables = net.init_with_output(jax.random.key(0), jnp.zeros((2, 8, 8, 1)))
    >>> outputs.shape, sorted(variables["params"])
    ((2, 1), ['conv_4', 'conv_8', 'conv_8_out', 'dense', 'from_image_4', 'from_image_8', 'output'])
    """

    features: Widths
    num_outputs: PositiveInt = 1
    group_size: PositiveInt = 4
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, condition: Array | None = None) -> Array:
        """Map images (B, H, W, C) to (B, num_outputs); ``condition`` (B, K) is projected."""
        check_images("ProgressiveDiscriminator", x.shape, len(self.features) - 1)
        conv = functools.partial(EqualizedConv, gain=GAIN, dtype=self.dtype)
        hidden = self._from_image(x, self.features[0])
        for i, channels in enumerate(self.features[1:]):
            height = hidden.shape[1]
            hidden = leaky_relu(conv(self.features[i], name=f"conv_{height}")(hidden))
            hidden = average_pool(leaky_relu(conv(channels, name=f"conv_{height}_out")(hidden)))
            if i == 0:
                hidden = _blend(_alpha(self), self._from_image(average_pool(x), channels), hidden)  # equation 2
        hidden = MinibatchStd(self.group_size)(hidden)
        hidden = leaky_relu(conv(self.features[-1], name=f"conv_{hidden.shape[1]}")(hidden))
        dense = EqualizedDense(self.features[-1], gain=GAIN, dtype=self.dtype, name="dense")
        hidden = leaky_relu(dense(hidden.reshape(x.shape[0], -1)))
        outputs = EqualizedDense(self.num_outputs, dtype=self.dtype, name="output")(hidden)
        if condition is None:
            return outputs
        # The gain makes up for the one-hot condition, of whose K entries one is not zero.
        num_features, gain = hidden.shape[-1], math.sqrt(condition.shape[-1])
        embed = EqualizedDense(num_features, use_bias=False, gain=gain, dtype=self.dtype, name="embedding")
        projection = jnp.sum(hidden * embed(condition.astype(hidden.dtype)), axis=-1, keepdims=True)
        return outputs + projection / math.sqrt(num_features)

    def _from_image(self, x: Array, channels: int) -> Array:
        name = f"from_image_{x.shape[1]}"
        return leaky_relu(EqualizedConv(channels, kernel_size=1, gain=GAIN, dtype=self.dtype, name=name)(x))


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class FadeIn:
    """A GAN whose largest resolution fades in, equations 3 and 4; its variables are those of the GAN.

    Attributes:
      gan: GAN of progressive networks with at least two resolutions.
      num_fade_steps: number of steps in which α rises to 1, T.

    >>> import jax
    >>> generator, discriminator = ProgressiveGenerator((8, 4), (8, 8, 1)), ProgressiveDiscriminator((4, 8))
    >>> gan = GAN(latent_dim=2, generator=generator, discriminator=discriminator)
    >>> model = FadeIn(gan=gan, num_fade_steps=100)
    >>> model.sample(model.init(jax.random.key(0), {"x": jnp.zeros((4, 8, 8, 1))}), jax.random.key(1), 3).shape
    (3, 8, 8, 1)
    """

    gan: GAN
    num_fade_steps: PositiveInt

    def __post_init__(self) -> None:
        if len(_networks(self.gan)[0].features) < 2:
            raise ValueError("gan has one resolution, but only a further one fades in; train the GAN itself")

    @property
    def num_classes(self) -> int | None:
        """Number of classes of the GAN."""
        return self.gan.num_classes

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """Class label, if the GAN has classes."""
        return self.gan.conditions

    def init(self, key: Array, batch: Batch) -> Variables:
        """Initialize the variables of the GAN, with α = 0."""
        params, state = self.gan.init(key, batch)
        return Variables(params, _with_alpha(state, jnp.float32(0)))

    def objectives(self) -> tuple[Objective, ...]:
        """Return the objectives of the GAN on blended data; the generator's leaves the next α in the state."""
        return tuple(
            dataclasses.replace(objective, loss=functools.partial(self._faded, objective))
            for objective in self.gan.objectives()
        )

    def sample(self, variables: Variables, key: Array, num_samples: PositiveInt, **options: Any) -> Array:
        """Draw samples, (num_samples, H, W, C), with the α of the variables; options are those of ``GAN.sample``."""
        return self.gan.sample(variables, key, num_samples, **options)

    def _faded(
        self, objective: Objective, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        alpha = state["generator"][COLLECTION][BLEND]
        x = _blend(alpha, upsample(average_pool(batch["x"])), batch["x"])  # equation 3
        loss, (state, metrics) = objective.loss(params, state, key, {**batch, "x": x}, step)
        if objective.name == "generator":  # the last turn, so that all turns of a step have one α
            state = _with_alpha(state, jnp.minimum(1, (step + 1) / self.num_fade_steps))  # equation 4
        return loss, (state, metrics | {"blend": alpha})


@check_arguments
def growing(gan: GAN, *, num_fade_steps: PositiveInt) -> tuple[GAN | FadeIn, ...]:
    """Return the models of all resolutions of a GAN of progressive networks, from the smallest to the GAN itself.

    All but the first fade in, over ``num_fade_steps`` ≥ 1 steps. Train them in turn, each on images of its size
    (``shrink``), from the variables of the one before (``grow``).

    >>> generator, discriminator = ProgressiveGenerator((8, 4), (8, 8, 1)), ProgressiveDiscriminator((4, 8))
    >>> model = GAN(latent_dim=2, generator=generator, discriminator=discriminator)
    >>> first, second = growing(model, num_fade_steps=100)
    >>> first.generator.output_shape, first.discriminator.features, second.gan == model
    ((4, 4, 1), (8,), True)
    """
    generator, discriminator = _networks(gan)
    height, width, channels = generator.output_shape
    count = len(generator.features)

    def at_resolution(number: int) -> GAN:
        divisor = 2 ** (count - number)
        shape = (height // divisor, width // divisor, channels)
        return dataclasses.replace(
            gan,
            generator=generator.clone(features=generator.features[:number], output_shape=shape),
            discriminator=discriminator.clone(features=discriminator.features[-number:]),
        )

    fading = (FadeIn(gan=at_resolution(number), num_fade_steps=num_fade_steps) for number in range(2, count + 1))
    return (at_resolution(1), *fading)


@check_arguments
def grow(smaller: Variables, larger: Variables) -> Variables:
    """Return the variables of a larger GAN with all layers that it shares, by name, with a smaller one.

    ``larger`` are initial variables, whose other layers and state stay as they are. Parts without a layer in common, or
    with layers of equal names and other shapes, raise ValueError.
    """

    def grown(part: str) -> PyTree:
        learned, layers = smaller.params[part], larger.params[part]
        shared = {name: learned[name] for name in layers if name in learned}
        shapes, needed = (jax.tree.map(jnp.shape, {name: tree[name] for name in shared}) for tree in (learned, layers))
        if not shared or shapes != needed:
            raise ValueError(
                f"the {part} has layers {shapes or sorted(learned)}, but the larger one {needed or sorted(layers)}; "
                "grow to twice the height and width, with the same features at the smaller resolutions"
            )
        return layers | shared

    return Variables({part: grown(part) for part in larger.params}, larger.state)


@check_arguments
def shrink(batch: Batch, num_halvings: NonNegativeInt) -> Batch:
    """Return a batch whose images ``x``, (B, H, W, C), are average-pooled to half their height and width repeatedly.

    Sides that are not divisible by 2 ** num_halvings raise ValueError.

    >>> shrink({"x": jnp.arange(8.0).reshape(1, 2, 4, 1)}, 1)["x"].ravel().tolist()
    [2.5, 4.5]
    """
    check_images("shrink", batch["x"].shape, num_halvings, "halvings")
    x = batch["x"]
    for _ in range(num_halvings):
        x = average_pool(x)
    return {**batch, "x": x}


def _networks(gan: GAN) -> tuple[ProgressiveGenerator, ProgressiveDiscriminator]:
    """Return the networks of a GAN; raise ValueError unless they grow together."""
    generator, discriminator = gan.generator, gan.discriminator
    if not isinstance(generator, ProgressiveGenerator) or not isinstance(discriminator, ProgressiveDiscriminator):
        raise ValueError(
            f"the networks are a {type(generator).__name__} and a {type(discriminator).__name__}, but only a "
            "ProgressiveGenerator and a ProgressiveDiscriminator grow; use these"
        )
    if len(generator.features) != len(discriminator.features):
        raise ValueError(
            f"the generator has features={tuple(generator.features)} and the discriminator "
            f"features={tuple(discriminator.features)}, but both must have as many resolutions; give as many features"
        )
    return generator, discriminator


def _alpha(net: nn.Module) -> Array:
    """Return α from the state of a network, initially 1."""
    return net.variable(COLLECTION, BLEND, jnp.ones, ()).value


def _with_alpha(state: PyTree, alpha: Array) -> PyTree:
    """Return the state of a GAN with this α in both networks."""
    return state | {part: state[part] | {COLLECTION: {BLEND: alpha}} for part in ("generator", "discriminator")}


def _blend(alpha: Array, smaller: Array, larger: Array) -> Array:
    """Return (1 − α) smaller + α larger."""
    alpha = alpha.astype(larger.dtype)
    return (1 - alpha) * smaller + alpha * larger
