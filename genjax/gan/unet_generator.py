"""The generator of Pix2Pix: a U-Net from images to images, with dropout as its noise.

An encoder halves height and width n times, and a decoder doubles them n times. With convolutions E of stride 2 (4x4)
and D of stride 1 (3x3), instance normalization b, nearest-neighbor upsampling U and the leaky ReLU ρ,

    e₁ = E₁ ∗ y,                e_i = b(E_i ∗ ρ(e_{i−1})),               e_n = E_n ∗ ρ(e_{n−1}),                  (1)
    d_n = e_n,                  d_{i−1} = [e_{i−1}, drop b(D_i ∗ U relu(d_i))],                                   (2)
    x̃ = tanh(D₁ ∗ U relu(d₁)),                                                                                   (3)

where [·, ·] concatenates channels, so that edges of y reach x̃ past the bottleneck e_n. Only the first stages of the
decoder have dropout. The bottleneck is not normalized, because with a single pixel it would become zero.

Phillip Isola, Jun-Yan Zhu, Tinghui Zhou and Alexei Efros 2017, arXiv:1611.07004, section 6.1; the U-Net is that of Olaf
Ronneberger, Philipp Fischer and Thomas Brox 2015, arXiv:1505.04597. Differences from the paper: the number of stages is
free; upsampling and 3x3 convolutions replace transposed 4x4 convolutions, whose outputs show checkerboards (Augustus
Odena, Vincent Dumoulin and Chris Olah 2016, doi:10.23915/distill.00003); statistics are those of each image, which is
what batch normalization of a single image computes, so that no translation depends on the others in its batch.
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
from genjax.gan.heads import leaky_relu
from genjax.nets import Conv, apply_norm, check_images, upsample


@check_arguments
class UNetGenerator(nn.Module):
    """Images to images of the same height and width, equations 1 to 3.

    Attributes:
      features: channels of e₁ … e_n; each stage halves height and width, which must be even.
      output_channels: number of channels of the outputs.
      dropout: share of the entries that dropout sets to zero, in [0, 1), if ``train`` is True.
      num_dropout_stages: number of the first stages of the decoder that have dropout; 3 in the paper.
      output_activation: activation after the last convolution, ``nn.tanh`` for images in [-1, 1]; None for none.
      dtype: dtype of the computation; None follows the input. Parameters are always float32.

    >>> import jax
    >>> net = UNetGenerator((4, 8), output_channels=3)
    >>> net.init_with_output(jax.random.key(0), jnp.zeros((2, 8, 12, 1)))[0].shape
    (2, 8, 12, 3)
    """

    features: Annotated[Widths, Cure("; use (32, 64, 128, 256) for 64x64 pixels, for example")]
    output_channels: PositiveInt = 3
    dropout: DropoutRate = 0.5
    num_dropout_stages: NonNegativeInt = 3
    output_activation: Callable[[Array], Array] | None = nn.tanh
    dtype: Any = None

    @nn.compact
    def __call__(self, y: Array, train: bool = False) -> Array:
        """Map images (B, H, W, C) to images (B, H, W, output_channels)."""
        check_images("UNetGenerator", y.shape, len(self.features))
        conv = functools.partial(Conv, kernel_init=KERNEL_INIT, dtype=self.dtype)
        norm = functools.partial(apply_norm, kind="instance", train=train, dtype=self.dtype)
        skips, hidden, last = [], y, len(self.features) - 1
        for i, channels in enumerate(self.features):  # equation 1
            normalized = 0 < i < last
            layer = conv(channels, (4, 4), strides=2, padding=1, use_bias=not normalized)
            hidden = layer(leaky_relu(hidden) if i > 0 else hidden)
            hidden = norm(hidden) if normalized else hidden
            skips.append(hidden)
        hidden = skips.pop()
        for i, channels in enumerate(reversed(self.features[:-1])):  # equation 2
            hidden = norm(conv(channels, (3, 3), use_bias=False)(upsample(nn.relu(hidden))))
            if i < self.num_dropout_stages:
                hidden = nn.Dropout(self.dropout, deterministic=not train)(hidden)
            hidden = jnp.concatenate([skips.pop(), hidden], axis=-1)
        outputs = conv(self.output_channels, (3, 3))(upsample(nn.relu(hidden)))
        return outputs if self.output_activation is None else self.output_activation(outputs)  # equation 3
