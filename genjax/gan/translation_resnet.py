"""The generator of CycleGAN: a residual network from images to images.

With 7x7 convolutions at both ends, 3x3 convolutions between, instance normalization b, nearest-neighbor upsampling U
and images padded by their reflections, a network of widths c₁ … c_n and k residual blocks computes

    h = relu b(K ∗ y),               h ← relu b(K ∗ h)  with stride 2, n − 1 times,                               (1)
    h ← h + b(K ∗ relu b(K ∗ h)),    k times,                                                                     (2)
    h ← relu b(K ∗ U h),             n − 1 times,             x̃ = tanh(K ∗ h).                                   (3)

Justin Johnson, Alexandre Alahi and Li Fei-Fei 2016, arXiv:1603.08155, in the form of Jun-Yan Zhu, Taesung Park, Phillip
Isola and Alexei Efros 2017, arXiv:1703.10593, appendix 7.2: widths (64, 128, 256), with 6 blocks for 128 pixels a side
and 9 for more. One difference: upsampling and 3x3 convolutions replace transposed convolutions; see ``UNetGenerator``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Annotated, Any

import flax.linen as nn
import jax.numpy as jnp

from genjax.arguments import Cure, DropoutRate, NonNegativeInt, PositiveInt, Widths, check_arguments
from genjax.core import Array
from genjax.gan.dcgan import KERNEL_INIT
from genjax.nets import Conv, GroupNorm, apply_norm, check_images, upsample


@check_arguments
class TranslationResNet(nn.Module):
    """Images to images of the same height and width, equations 1 to 3.

    Attributes:
      features: widths c₁ … c_n; each but the first halves height and width, which must be even.
      output_channels: number of channels of the outputs.
      num_blocks: number of residual blocks, k.
      margin: number of pixels that the first and the last kernel reach beyond the center, on each side; their side is
        2 margin + 1.
      dropout: share of the entries between the convolutions of a block that dropout sets to zero, in [0, 1), if
        ``train`` is True.
      output_activation: activation after the last convolution, ``nn.tanh`` for images in [-1, 1]; None for none.
      dtype: dtype of the computation; None follows the input. Parameters are always float32.

    >>> import jax
    >>> net = TranslationResNet((4, 8), output_channels=1, num_blocks=1)
    >>> net.init_with_output(jax.random.key(0), jnp.zeros((2, 8, 12, 3)))[0].shape
    (2, 8, 12, 1)
    """

    features: Annotated[Widths, Cure("; (64, 128, 256) is usual")] = (64, 128, 256)
    output_channels: PositiveInt = 3
    num_blocks: NonNegativeInt = 6
    margin: PositiveInt = 3
    dropout: DropoutRate = 0.0
    output_activation: Callable[[Array], Array] | None = nn.tanh
    dtype: Any = None

    @nn.compact
    def __call__(self, y: Array, train: bool = False) -> Array:
        """Map images (B, H, W, C) to images (B, H, W, output_channels)."""
        check_images("TranslationResNet", y.shape, len(self.features) - 1)
        norm = functools.partial(apply_norm, kind="instance", train=train, dtype=self.dtype)

        def conv(x: Array, channels: int, margin: int = 1, strides: int = 1, *, use_bias: bool = False) -> Array:
            padded = jnp.pad(x, ((0, 0), (margin, margin), (margin, margin), (0, 0)), mode="reflect")
            side = 2 * margin + 1
            settings: dict[str, Any] = {"use_bias": use_bias, "kernel_init": KERNEL_INIT, "dtype": self.dtype}
            return Conv(channels, (side, side), strides=strides, padding="VALID", **settings)(padded)

        first, *others = self.features
        hidden = nn.relu(norm(conv(y, first, self.margin)))
        for channels in others:  # equation 1
            hidden = nn.relu(norm(conv(hidden, channels, strides=2)))
        for _ in range(self.num_blocks):  # equation 2
            inner = nn.relu(norm(conv(hidden, hidden.shape[-1])))
            inner = nn.Dropout(self.dropout, deterministic=not train)(inner)
            # Later normalizations subtract a bias again, because reflections continue a constant image.
            hidden = hidden + GroupNorm(hidden.shape[-1], use_bias=False, dtype=self.dtype)(
                conv(inner, hidden.shape[-1])
            )
        for channels in reversed(self.features[:-1]):
            hidden = nn.relu(norm(conv(upsample(hidden), channels)))
        outputs = conv(hidden, self.output_channels, self.margin, use_bias=True)
        return outputs if self.output_activation is None else self.output_activation(outputs)  # equation 3
