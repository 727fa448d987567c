"""Small convolutional networks between images (B, H, W, C) and vectors, and from images to arrays over pixels."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from genjax import ops
from genjax.arguments import NonNegativeInt, PositiveInt, check_arguments
from genjax.core import Array
from genjax.nets.mlp import concat_condition, scaled_init


class Conv(nn.Conv):
    """Linen's convolution of images (B, H, W, C), with gradients that are fast inside compiled loops.

    On CPUs, the gradients of ``nn.Conv`` are 10 to 30 times slower in scanned training steps; see ``ops.convolution``.
    """

    conv_general_dilated: Any = ops.conv_general_dilated


@check_arguments
class ConvEncoder(nn.Module):
    """Map an image to a vector: strided 3x3 convolutions, then a dense layer.

    Attributes:
      features: numbers of channels of the stages; each halves height and width, which must be even.
      output_features: length of the vector.
      activation: activation after each convolution.
    """

    features: Sequence[PositiveInt]
    output_features: PositiveInt
    activation: Callable[[Array], Array] = nn.gelu
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, condition: Array | None = None) -> Array:
        """Map (B, H, W, C) to (B, output_features); ``condition`` (B, K) is concatenated before the dense layer."""
        check_images("ConvEncoder", x.shape, len(self.features))
        for width in self.features:
            x = self.activation(Conv(width, (3, 3), strides=2, dtype=self.dtype)(x))
        hidden = concat_condition(x.reshape(x.shape[0], -1), condition)
        return nn.Dense(self.output_features, dtype=self.dtype)(hidden)


@check_arguments
class ConvDecoder(nn.Module):
    """Map a vector to an image: a dense layer, then transposed 4x4 convolutions.

    Attributes:
      features: numbers of channels before each stage; each stage doubles height and width.
      output_shape: shape of the image, (H, W, C); H and W must be divisible by 2 ** len(features).
      activation: activation before each transposed convolution.
    """

    features: Sequence[PositiveInt]
    output_shape: Sequence[PositiveInt]
    activation: Callable[[Array], Array] = nn.gelu
    dtype: Any = None

    def __post_init__(self) -> None:
        check_output_images("ConvDecoder", self.output_shape, self.features)
        super().__post_init__()

    @nn.compact
    def __call__(self, latent: Array, condition: Array | None = None) -> Array:
        """Map (B, D) to (B, H, W, C); ``condition`` (B, K) is concatenated to the vector."""
        factor = 2 ** len(self.features)
        height, width = self.output_shape[0] // factor, self.output_shape[1] // factor
        hidden = nn.Dense(height * width * self.features[0], dtype=self.dtype)(concat_condition(latent, condition))
        hidden = hidden.reshape(-1, height, width, self.features[0])
        for channels in (*self.features[1:], self.output_shape[2]):  # transposed: zeros between the pixels
            layer = Conv(channels, (4, 4), input_dilation=2, padding=2, dtype=self.dtype)
            hidden = layer(self.activation(hidden))
        return hidden


@check_arguments
class ResidualCNN(nn.Module):
    """Map an image to an array over the same pixels: a convolution, residual blocks, and a last convolution.

    Attributes:
      features: number of channels of the hidden layers.
      num_blocks: number of residual blocks, each a 3x3 and a 1x1 convolution after activations.
      output_shape: shape of an output, (H, W, ...), where H and W must be those of the image.
      activation: activation before each convolution but the first.
      output_scale: factor on the initial weights of the last layer; with 0, outputs start at 0.

    >>> import jax, jax.numpy as jnp
    >>> net = ResidualCNN(features=8, output_shape=(4, 4, 2, 3))
    >>> net.init_with_output(jax.random.key(0), jnp.zeros((5, 4, 4, 1)))[0].shape
    (5, 4, 4, 2, 3)
    """

    features: PositiveInt
    num_blocks: NonNegativeInt = 1
    output_shape: Sequence[PositiveInt] | None = None
    activation: Callable[[Array], Array] = nn.relu
    output_scale: float = 1.0
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, condition: Array | None = None) -> Array:
        """Map (B, H, W, C) to (B, *output_shape); ``condition`` is (B, H, W, K), or (B, K) for all pixels."""
        if x.ndim != 4 or self.output_shape is None or tuple(self.output_shape[:2]) != x.shape[1:3]:
            raise ValueError(
                f"ResidualCNN got shape {x.shape} with output_shape={self.output_shape}, but maps images (B, H, W, C) "
                "to output_shape=(H, W, ...); give it the image's own H and W"
            )
        hidden = Conv(self.features, (3, 3), dtype=self.dtype)(concat_condition(x, condition))
        for _ in range(self.num_blocks):
            inner = Conv(self.features, (3, 3), dtype=self.dtype)(self.activation(hidden))
            hidden = hidden + Conv(self.features, (1, 1), dtype=self.dtype)(self.activation(inner))
        initial = scaled_init(self.output_scale)
        channels = math.prod(self.output_shape[2:])
        outputs = Conv(channels, (3, 3), kernel_init=initial, dtype=self.dtype)(self.activation(hidden))
        return outputs.reshape(x.shape[0], *self.output_shape)


def upsample(x: Array) -> Array:
    """Upsample images (B, H, W, C) to twice the height and width by nearest neighbors.

    >>> upsample(jnp.arange(2.0).reshape(1, 1, 2, 1))[0, :, :, 0].tolist()
    [[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, 1.0]]
    """
    batch, height, width, channels = x.shape
    repeated = jnp.broadcast_to(x[:, :, None, :, None], (batch, height, 2, width, 2, channels))
    return repeated.reshape(batch, 2 * height, 2 * width, channels)


def check_images(name: str, shape: Sequence[int], num_halvings: int, stages: str = "features") -> None:
    """Raise if the inputs of a network are not images (B, H, W, C) whose sides can be halved often enough.

    ``name`` is that of the network, and ``stages`` that of the setting which determines the number of halvings.
    """
    if len(shape) != 4:
        raise ValueError(f"{name} got shape {tuple(shape)}, but takes images (B, H, W, C); use an MLP for vectors")
    divisor = 2**num_halvings
    if any(side % divisor for side in shape[1:3]):
        raise ValueError(
            f"{name} halves the image {num_halvings} times, but {shape[1]}x{shape[2]} is not divisible by {divisor}; "
            f"pad or resize it to {-(-shape[1] // divisor) * divisor}x{-(-shape[2] // divisor) * divisor}, "
            f"or give fewer {stages}"
        )


def check_output_images(
    name: str, output_shape: Sequence[int], features: Sequence[int], num_doublings: int | None = None
) -> None:
    """Raise if the outputs of a network are not images (H, W, C) whose sides its stages reach by doubling.

    There are ``num_doublings``; if None, one in each stage.
    """
    if not features or len(output_shape) != 3:
        raise ValueError(
            f"{name} has features={tuple(features)} and output_shape={tuple(output_shape)}, but "
            "needs at least one stage and (H, W, C); give for example features=(32, 16), output_shape=(28, 28, 1)"
        )
    check_images(name, (1, *output_shape), len(features) if num_doublings is None else num_doublings)
