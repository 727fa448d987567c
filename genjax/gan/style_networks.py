"""The networks of StyleGAN2: mapping, modulated convolutions with noise, and a residual discriminator.

A modulated convolution of an image x with kernel W scales the input channels i of each example by a style s, and then
every output channel j such that independent inputs of unit variance have outputs of unit variance,

    y_j = (Σ_i W_ij ∗ (s_i x_i)) / √(Σ_i s_i² ‖W_ij‖² + ε),        s = A w + 1 at the start,                      (1)

which equals a convolution with a kernel W s / ‖W s‖ for each example. A layer adds noise n, one value for each pixel,

    h ← φ(y + c n + b),        φ(a) = √2 max(a, a / 5),                                                           (2)

with a learned scale c, 0 at the start. The generator begins with a learned constant image, and at each resolution adds
an image to that of the smaller ones (without the division in equation 1); ↑ and ↓ are smooth resampling:

    h ← layer(layer(↑ h)),        x ← ↑ x + image(h),                                                             (3)

with one layer instead of two at the smallest resolution. The discriminator has residual blocks

    h ← (↓(S ∗ h) + φ(↓(K₂ ∗ φ(K₁ ∗ h)))) / √2                                                                    (4)

and ends with the minibatch standard deviation, a convolution and two dense layers. All have equalized learning rates.

Tero Karras, Samuli Laine, Miika Aittala, Janne Hellsten, Jaakko Lehtinen and Timo Aila 2020, arXiv:1912.04958; mapping
and noise as in Karras et al. 2019, arXiv:1812.04948; conditioning as in Karras et al. 2020, arXiv:2006.06676.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.arguments import PositiveFloat, PositiveInt, Widths, check_arguments
from genjax.core import Array
from genjax.gan.equalized import (
    EPSILON,
    EqualizedConv,
    EqualizedDense,
    MinibatchStd,
    bias,
    convolve,
    equalized_kernel,
    pixel_norm,
    scaled_leaky_relu,
)
from genjax.nets import blur, check_images, smooth_downsample, smooth_upsample
from genjax.ops import at_least_float32, conv_general_dilated


@check_arguments
class MappingNetwork(nn.Module):
    """Dense layers from noise to styles.

    Attributes:
      features: length of a style.
      num_layers: number of layers; 8 in the paper, 2 in later work for small images.
      multiplier: learning-rate multiplier of the layers, below 1 because they tend to diverge.
      dtype: see ``nets``.

    >>> MappingNetwork(8).init_with_output(jax.random.key(0), jnp.zeros((2, 3)), jnp.eye(2))[0].shape
    (2, 8)
    """

    features: PositiveInt = 512
    num_layers: PositiveInt = 8
    multiplier: PositiveFloat = 0.01
    dtype: Any = None

    @nn.compact
    def __call__(self, z: Array, condition: Array | None = None) -> Array:
        """Map noise (B, L) to styles (B, features); ``condition`` is (B, K)."""
        hidden = pixel_norm(z)
        if condition is not None:
            embedded = EqualizedDense(self.features, dtype=self.dtype, name="embedding")(condition.astype(z.dtype))
            hidden = jnp.concatenate([hidden, pixel_norm(embedded)], axis=-1)
        for _ in range(self.num_layers):
            dense = EqualizedDense(self.features, multiplier=self.multiplier, dtype=self.dtype)
            hidden = scaled_leaky_relu(dense(hidden))
        return hidden


@check_arguments
class SynthesisNetwork(nn.Module):
    """Styles and noise to images, equations 1 to 3.

    Attributes:
      features: numbers of channels at each resolution, the smallest first; each but the first doubles height and width.
      output_shape: image shape (H, W, C); H and W must be divisible by 2 ** (len(features) - 1).
      dtype: dtype of the convolutions; None follows the styles. Demodulation and the sum of images are float32.

    >>> net = SynthesisNetwork((8, 8, 4), output_shape=(16, 16, 3))
    >>> net.num_styles, net.num_noise
    (6, 656)
    >>> net.init_with_output(jax.random.key(0), jnp.zeros((2, 6, 5)))[0].shape
    (2, 16, 16, 3)
    """

    features: Widths
    output_shape: tuple[PositiveInt, PositiveInt, PositiveInt]
    dtype: Any = None

    def __post_init__(self) -> None:
        check_images(type(self).__name__, (1, *self.output_shape), len(self.features) - 1)
        super().__post_init__()

    @property
    def num_styles(self) -> int:
        """Number of styles of an example: one for every layer, and one for the image of the largest resolution."""
        return 2 * len(self.features)

    @property
    def num_noise(self) -> int:
        """Number of noise values of an example: the pixels of all layers."""
        return sum(height * width for height, width in self._sides)

    @property
    def _sides(self) -> list[tuple[int, int]]:
        """Height and width of each layer."""
        height, width, _ = self.output_shape
        scales = [2**i for i in reversed(range(len(self.features)))]
        each = [(height // scale, width // scale) for scale in scales]
        return [each[0], *(sides for sides in each[1:] for _ in range(2))]

    @nn.compact
    def __call__(self, styles: Array, noise: Array | None = None) -> Array:
        """Map styles (B, num_styles, D) and noise (B, num_noise), 0 without it, to images (B, H, W, C)."""
        dtype = self.dtype or styles.dtype
        sizes = [height * width for height, width in self._sides]
        ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
        maps = [None if noise is None else noise[:, end - size : end] for size, end in zip(sizes, ends, strict=True)]
        height, width = self._sides[0]
        constant = self.param("constant", nn.initializers.normal(1.0), (height, width, self.features[0]))
        hidden = jnp.broadcast_to(constant[None], (styles.shape[0], *constant.shape)).astype(dtype)
        hidden = StyleLayer(self.features[0], dtype=dtype)(hidden, styles[:, 0], maps[0])
        image = ToImage(self.output_shape[2], dtype=dtype)(hidden, styles[:, 1])
        for i, features in enumerate(self.features[1:]):
            layer = functools.partial(StyleLayer, features, dtype=dtype)
            hidden = layer()(smooth_upsample(hidden), styles[:, 2 * i + 1], maps[2 * i + 1])
            hidden = layer()(hidden, styles[:, 2 * i + 2], maps[2 * i + 2])
            image = smooth_upsample(image) + ToImage(self.output_shape[2], dtype=dtype)(hidden, styles[:, 2 * i + 3])
        return image  # equation 3


class StyleLayer(nn.Module):
    """Modulated 3x3 convolution with noise, equation 2, to ``features`` channels."""

    features: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Array, w: Array, noise: Array | None) -> Array:
        """Map (B, H, W, C), a style (B, D) and noise (B, H W) to (B, H, W, features)."""
        styles = EqualizedDense(x.shape[-1], initial_bias=1.0, name="affine")(w)
        hidden = modulated_conv(x, equalized_kernel(self, (3, 3, x.shape[-1], self.features)), styles)
        scale = self.param("noise_scale", nn.initializers.zeros, ())
        if noise is not None:
            hidden = hidden + (scale * noise).astype(self.dtype).reshape(*x.shape[:3], 1)
        return scaled_leaky_relu(hidden + bias(self, hidden))


class ToImage(nn.Module):
    """Modulated 1x1 convolution to an image of ``channels``, without demodulation."""

    channels: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Array, w: Array) -> Array:
        """Map (B, H, W, C) and a style (B, D) to (B, H, W, channels), at least float32."""
        styles = EqualizedDense(x.shape[-1], initial_bias=1.0, name="affine")(w)
        kernel = equalized_kernel(self, (1, 1, x.shape[-1], self.channels))
        image = at_least_float32(modulated_conv(x, kernel, styles, demodulate=False))
        return image + bias(self, image)


def modulated_conv(x: Array, kernel: Array, styles: Array, *, demodulate: bool = True) -> Array:
    """Return equation 1, or its numerator, for images (B, H, W, C), a kernel (K, K, C, F) and styles (B, C).

    It scales inputs and outputs of one convolution, which is faster than a convolution with B kernels in groups.

    >>> y = modulated_conv(jnp.ones((1, 1, 1, 2)), jnp.ones((1, 1, 2, 1)), jnp.array([[3.0, 4.0]]))
    >>> round(y.item(), 4)  # (3 + 4) / √(3² + 4²)
    1.4
    """
    outputs = convolve(x * styles[:, None, None].astype(x.dtype), kernel.astype(x.dtype))
    if not demodulate:
        return outputs
    styles = at_least_float32(styles)
    squared = jnp.square(styles) @ jnp.sum(jnp.square(kernel), axis=(0, 1))
    return outputs * jax.lax.rsqrt(squared + EPSILON)[:, None, None].astype(x.dtype)


@check_arguments
class StyleDiscriminator(nn.Module):
    """Residual blocks from images to outputs, equation 4.

    With a condition y the output is ⟨φ(x), e(y)⟩ / √F for the last features φ(x) (B, F) and an embedding e.

    Attributes:
      features: numbers of channels at each resolution, the largest first; each but the first halves height and width,
        which must be even.
      group_size: see ``MinibatchStd``.
      dtype: dtype of the convolutions; None follows the input. The dense layers are float32.

    >>> net = StyleDiscriminator((4, 8, 8))
    >>> net.init_with_output(jax.random.key(0), jnp.zeros((4, 16, 16, 3)), jnp.eye(4))[0].shape
    (4, 1)
    """

    features: Widths
    group_size: PositiveInt = 4
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, condition: Array | None = None) -> Array:
        """Map images (B, H, W, C) to (B, 1); ``condition`` is (B, K)."""
        check_images(type(self).__name__, x.shape, len(self.features) - 1)
        conv = functools.partial(EqualizedConv, dtype=self.dtype)
        hidden = scaled_leaky_relu(conv(self.features[0], 1)(x))
        for features in self.features[1:]:
            hidden = ResidualDownBlock(features, dtype=self.dtype)(hidden)
        width = self.features[-1]
        hidden = scaled_leaky_relu(conv(width)(MinibatchStd(self.group_size)(hidden)))
        hidden = at_least_float32(hidden.reshape(x.shape[0], -1))
        hidden = scaled_leaky_relu(EqualizedDense(width)(hidden))
        if condition is None:
            return EqualizedDense(1)(hidden)
        embedded = pixel_norm(EqualizedDense(width, name="embedding")(condition.astype(hidden.dtype)))
        features = EqualizedDense(width, name="projection")(hidden)
        return jnp.sum(features * embedded, axis=-1, keepdims=True) / math.sqrt(width)


class ResidualDownBlock(nn.Module):
    """Residual block of equation 4, from (B, H, W, C) to (B, H / 2, W / 2, features)."""

    features: int
    dtype: Any

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Return the features at half the height and width."""
        conv = functools.partial(EqualizedConv, dtype=self.dtype)
        hidden = scaled_leaky_relu(conv(x.shape[-1])(x))
        kernel = equalized_kernel(self, (3, 3, x.shape[-1], self.features))
        # ↓ and K₂ in one convolution of stride 2.
        numbers = ("NHWC", "HWIO", "NHWC")
        hidden = conv_general_dilated(
            blur(hidden), kernel.astype(hidden.dtype), (2, 2), "VALID", dimension_numbers=numbers
        )
        hidden = scaled_leaky_relu(hidden + bias(self, hidden))
        skip = conv(self.features, 1, use_bias=False)(smooth_downsample(x))  # S commutes with ↓
        return (hidden + skip) / math.sqrt(2)
