"""The deep convolutional GAN (DCGAN): strided convolutions in place of pooling, and batch normalization.

The generator projects noise to a few pixels with many channels, and doubles height and width by transposed
convolutions; the discriminator halves them by convolutions of stride 2. Features are batch-normalized, except at the
generator's output and the discriminator's input, and all weights are initialized as N(0, 0.02²).

Alec Radford, Luke Metz and Soumith Chintala, 2015, arXiv:1511.06434.

Differences from the paper: the number of stages is free, so images need not have 64 pixels a side; kernels are 4x4,
twice the stride, so that transposed convolutions overlap evenly; the discriminator may instead use spectral
normalization (Takeru Miyato et al. 2018, arXiv:1802.05957) or layer normalization (Ishaan Gulrajani et al. 2017,
arXiv:1704.00028).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import flax.linen as nn

from genjax.arguments import PositiveInt, check_arguments
from genjax.core import Array
from genjax.gan.heads import (
    Conditioning,
    DiscriminatorHead,
    Normalization,
    leaky_relu,
    project_and_reshape,
)
from genjax.nets import Conv, apply_layer, apply_norm, check_images, check_output_images, concat_condition

KERNEL_INIT = nn.initializers.normal(0.02)


@check_arguments
class DCGANGenerator(nn.Module):
    """Noise to images: a dense layer, then transposed 4x4 convolutions of stride 2.

    Attributes:
      features: channels before each stage, at least 1; each stage doubles height and width.
      output_shape: image shape (H, W, C); H and W must be divisible by 2 ** len(features).
      normalization: "batch" or None.
      activation: activation before each transposed convolution.
      output_activation: activation after the last convolution, ``nn.tanh`` for images in [-1, 1]; None for none.
      dtype: dtype of the computation; None follows the input. Parameters are always float32.

    >>> import jax, jax.numpy as jnp
    >>> net = DCGANGenerator((8, 4), output_shape=(28, 28, 1))
    >>> net.init_with_output(jax.random.key(0), jnp.zeros((2, 3)))[0].shape
    (2, 28, 28, 1)
    """

    features: Sequence[PositiveInt]
    output_shape: Sequence[PositiveInt]
    normalization: Literal["batch"] | None = "batch"
    activation: Callable[[Array], Array] = nn.relu
    output_activation: Callable[[Array], Array] | None = nn.tanh
    dtype: Any = None

    def __post_init__(self) -> None:
        check_output_images("DCGANGenerator", self.output_shape, self.features)
        super().__post_init__()

    @nn.compact
    def __call__(self, z: Array, condition: Array | None = None, train: bool = False) -> Array:
        """Map noise (B, L) to images (B, H, W, C); ``condition`` (B, K) is concatenated to the noise."""
        settings: dict[str, Any] = {"kernel_init": KERNEL_INIT, "dtype": self.dtype}
        transposed = functools.partial(Conv, kernel_size=(4, 4), input_dilation=2, padding=2, **settings)
        norm = functools.partial(apply_norm, kind=self.normalization, train=train, dtype=self.dtype)
        normalized = self.normalization is not None
        hidden = project_and_reshape(
            concat_condition(z, condition), self.features, self.output_shape, normalized=normalized, **settings
        )
        for channels in self.features[1:]:
            hidden = transposed(channels, use_bias=not normalized)(self.activation(norm(hidden)))
        outputs = transposed(self.output_shape[2])(self.activation(norm(hidden)))
        return outputs if self.output_activation is None else self.output_activation(outputs)


@check_arguments
class DCGANDiscriminator(nn.Module):
    """Images to outputs: 4x4 convolutions of stride 2, then a dense layer.

    Attributes:
      features: channels of the stages, at least 1; each halves height and width, which must be even before it.
      num_outputs: number of outputs per image, at least 1.
      normalization: "batch", "layer" (use it with a gradient penalty: it treats images separately), "spectral" or
        None. Of these only "spectral" applies to the first stage and the last layer.
      conditioning: "projection" or "concatenation"; see ``DiscriminatorHead``.
      activation: activation after each convolution.
      dtype: dtype of the computation; None follows the input. Parameters are always float32.

    >>> import jax, jax.numpy as jnp
    >>> net = DCGANDiscriminator((4, 8))
    >>> net.init_with_output(jax.random.key(0), jnp.zeros((2, 28, 28, 1)))[0].shape
    (2, 1)
    """

    features: Sequence[PositiveInt]
    num_outputs: PositiveInt = 1
    normalization: Normalization | None = "batch"
    conditioning: Conditioning = "projection"
    activation: Callable[[Array], Array] = leaky_relu
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, condition: Array | None = None, train: bool = False) -> Array:
        """Map images (B, H, W, C) to (B, num_outputs); ``condition`` is (B, K)."""
        check_images("DCGANDiscriminator", x.shape, len(self.features))
        spectral, concatenates = self.normalization == "spectral", self.conditioning == "concatenation"
        hidden = concat_condition(x, condition if concatenates else None)
        for i, channels in enumerate(self.features):
            kind = self.normalization if i > 0 else None
            use_bias = kind in ("spectral", None)
            conv = Conv(
                channels, (4, 4), strides=2, padding=1, use_bias=use_bias, kernel_init=KERNEL_INIT, dtype=self.dtype
            )
            hidden = apply_layer(conv, hidden, spectral=spectral, train=train)
            hidden = self.activation(apply_norm(hidden, kind, train=train, dtype=self.dtype))
        head = DiscriminatorHead(self.num_outputs, spectral, KERNEL_INIT, self.dtype)
        return head(hidden.reshape(x.shape[0], -1), None if concatenates else condition, train)
