"""The ends of a GAN's networks: from noise to the first pixels, and from features to what a discriminator says.

A discriminator takes a label y, one-hot, in one of two ways. By concatenation y is further channels of x, the same at
all pixels (Mehdi Mirza and Simon Osindero 2014, arXiv:1411.1784). By projection it meets the last features φ alone,

    D(x, y) = ψ(φ(x)) + ⟨V y, φ(x)⟩,                                                                             (1)

with ψ linear: the form of log p(x, y) − log q(x, y) where p(y | x) and q(y | x) both are softmax of linear functions of
φ(x), as those of classifiers are (Takeru Miyato and Masanori Koyama 2018, arXiv:1802.05637).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp

from genjax.core import Array
from genjax.nets import apply_layer
from genjax.ops import check_at_least, check_choice

Conditioning = Literal["projection", "concatenation"]
Normalization = Literal["spectral", "layer", "batch"]


class DiscriminatorHead(nn.Module):
    """The last layer of a discriminator: equation 1.

    Attributes:
      num_outputs: of each example; each has ψ and V of its own.
      spectral: whether ψ and V are spectrally normalized.
      kernel_init: initial weights.
      dtype: what it computes in; None follows the input. Parameters are float32 in any case.
    """

    num_outputs: int = 1
    spectral: bool = False
    kernel_init: Callable[..., Array] = nn.initializers.lecun_normal()
    dtype: Any = None

    @nn.compact
    def __call__(self, features: Array, condition: Array | None = None, train: bool = False) -> Array:
        """Map (B, F) to (B, num_outputs); ``condition`` (B, K) is y, and None leaves it out."""
        layer = functools.partial(apply_layer, spectral=self.spectral, train=train)
        dense = functools.partial(nn.Dense, kernel_init=self.kernel_init, dtype=self.dtype)
        outputs = layer(dense(self.num_outputs, name="linear"), features)
        if condition is None:
            return outputs
        size = features.shape[-1]
        embedding = dense(size * self.num_outputs, use_bias=False, name="embedding")
        embedded = layer(embedding, condition.astype(features.dtype)).reshape(-1, size, self.num_outputs)
        return outputs + jnp.einsum("bf,bfo->bo", features, embedded)


def leaky_relu(x: Array) -> Array:
    """Leaky ReLU of slope 0.2, usual in discriminators (Radford et al. 2015, arXiv:1511.06434)."""
    return nn.leaky_relu(x, 0.2)


def first_pixels(
    z: Array,
    features: Sequence[int],
    output_shape: Sequence[int],
    *,
    normalized: bool,
    layer: Callable[[nn.Module, Array], Array] = lambda dense, z: dense(z),
    **settings: Any,
) -> Array:
    """Map noise (B, L) to the pixels that stages are to double, by a dense layer inside a compact method.

    Args:
      z: the noise, with what joins it.
      features: channels before each stage.
      output_shape: (H, W, C) after the last one.
      normalized: whether channels are normalized by batch statistics later.
      layer: how a layer is applied; see ``apply_layer``.
      **settings: of the dense layer.

    Returns:
      (B, h, w, features[0]), with h = H / 2 ** len(features), and w likewise.

    Raises:
      ValueError: where the noise is no vectors.
    """
    check_noise(z.shape)
    height, width = (side // 2 ** len(features) for side in output_shape[:2])
    # A bias for each pixel, which a normalization of channels takes away where there is one pixel alone.
    use_bias = not normalized or height * width > 1
    dense = nn.Dense(height * width * features[0], use_bias=use_bias, **settings)
    return layer(dense, z).reshape(len(z), height, width, features[0])


def check_noise(shape: Sequence[int], least: int = 1) -> None:
    """Refuse noise that is no vectors of that length at least."""
    if len(shape) != 2 or shape[1] < least:
        raise ValueError(f"the generator got noise of shape {shape}, but takes (B, L) with L at least {least}")


def check_generator(features: Sequence[int], normalization: str | None) -> None:
    """Refuse settings of a generator that make no network."""
    check_at_least("the smallest of features", min(features, default=1), 1)
    check_choice("normalization", normalization, ("batch", None))


def check_discriminator(
    features: Sequence[int], num_outputs: int, normalization: str | None, conditioning: str
) -> None:
    """Refuse settings of a discriminator that make no network."""
    check_at_least("the smallest of features", min(features, default=1), 1)
    check_at_least("num_outputs", num_outputs, 1)
    check_choice("normalization", normalization, ("spectral", "layer", "batch", None))
    check_choice("conditioning", conditioning, ("projection", "concatenation"))
