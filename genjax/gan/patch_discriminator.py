"""The discriminator of Pix2Pix and CycleGAN: one output for each of many overlapping patches of an image.

Convolutions with 4x4 kernels follow each other, all but the last two with stride 2, and each but the last followed by a
leaky ReLU. An output sees a patch whose side r follows from the last layer backwards, with stride s of a layer:

    r ← s (r − 1) + 4,        from r = 1.                                                                         (1)

With n stages before the last layer this is 16 for n = 2, 34 for n = 3, and 70 for n = 4, as in the papers. A
discriminator of patches judges texture, has few parameters, and applies to images of any size; what is larger than a
patch is left to other terms of the loss.

Phillip Isola, Jun-Yan Zhu, Tinghui Zhou and Alexei Efros 2017, arXiv:1611.07004, sections 3.2.2 and 6.1.2. As in their
code, the first stage and the last layer are not normalized.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Annotated, Any, Literal

import flax.linen as nn

from genjax.arguments import Cure, Widths, check_arguments
from genjax.core import Array
from genjax.gan.dcgan import KERNEL_INIT
from genjax.gan.heads import leaky_relu
from genjax.nets import Conv, apply_layer, apply_norm, check_images, concat_condition

KERNEL_SIZE = 4


@check_arguments
class PatchDiscriminator(nn.Module):
    """Images to one output for each patch.

    Attributes:
      features: channels of the n stages; all but the last halve height and width, which must be even before it.
      normalization: "instance", "spectral" or None. Of these only "spectral" applies to the first stage and the last
        layer.
      activation: activation after each stage.
      dtype: dtype of the computation; None follows the input. Parameters are always float32.

    >>> import jax, jax.numpy as jnp
    >>> net = PatchDiscriminator((8, 8, 8, 8))
    >>> net.init_with_output(jax.random.key(0), jnp.zeros((2, 64, 64, 3)))[0].shape
    (2, 6, 6, 1)
    >>> net.receptive_field
    70
    """

    features: Annotated[Widths, Cure("; use (64, 128, 256, 512) for patches of 70x70, for example")]
    normalization: Literal["instance", "spectral"] | None = "instance"
    activation: Callable[[Array], Array] = leaky_relu
    dtype: Any = None

    @property
    def receptive_field(self) -> int:
        """Side of the patch that an output sees, equation 1."""
        side = 1
        for stride in reversed((*self._strides, 1)):
            side = stride * (side - 1) + KERNEL_SIZE
        return side

    @property
    def _strides(self) -> tuple[int, ...]:
        return (*[2] * (len(self.features) - 1), 1)

    @nn.compact
    def __call__(self, x: Array, condition: Array | None = None, train: bool = False) -> Array:
        """Map images (B, H, W, C) to (B, h, w, 1), with h = H / 2**(n − 1) − 2 and w = W / 2**(n − 1) − 2.

        ``condition`` (B, H, W, K), an image, or (B, K) is concatenated to the channels.
        """
        num_halvings = len(self.features) - 1
        check_images("PatchDiscriminator", x.shape, num_halvings)
        smallest = 3 * 2**num_halvings
        if min(x.shape[1:3]) < smallest:
            raise ValueError(
                f"PatchDiscriminator with {len(self.features)} stages got {x.shape[1]}x{x.shape[2]} pixels, but needs "
                f"at least {smallest}x{smallest}; give fewer features"
            )
        spectral = self.normalization == "spectral"
        conv = functools.partial(
            Conv, kernel_size=(KERNEL_SIZE, KERNEL_SIZE), padding=1, kernel_init=KERNEL_INIT, dtype=self.dtype
        )
        layer = functools.partial(apply_layer, spectral=spectral, train=train)
        hidden = concat_condition(x, condition)
        for i, (channels, stride) in enumerate(zip(self.features, self._strides, strict=True)):
            kind = self.normalization if i > 0 else None
            hidden = layer(conv(channels, strides=stride, use_bias=kind != "instance"), hidden)
            hidden = self.activation(apply_norm(hidden, kind, train=train, dtype=self.dtype))
        return layer(conv(1), hidden)
