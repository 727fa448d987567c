"""First and last layers of GANs: the projection of noise to a small image, and the head of a discriminator.

A discriminator takes a label y, one-hot, in one of two ways. By concatenation, y becomes further channels of x, equal
at all pixels (Mehdi Mirza and Simon Osindero 2014, arXiv:1411.1784). By projection, y enters only at the last features
φ,

    D(x, y) = ψ(φ(x)) + ⟨V y, φ(x)⟩,                                                                             (1)

with ψ linear. This is the form of log p(x, y) − log q(x, y) if p(y | x) and q(y | x) are both a softmax of linear
functions of φ(x), as in a classifier (Takeru Miyato and Masanori Koyama 2018, arXiv:1802.05637).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp

from genjax.arguments import PositiveInt, check_arguments
from genjax.core import Array
from genjax.nets import apply_layer

Conditioning = Literal["projection", "concatenation"]
Normalization = Literal["spectral", "layer", "batch"]


@check_arguments
class DiscriminatorHead(nn.Module):
    """Last layer of a discriminator, equation 1.

    Attributes:
      num_outputs: number of outputs per example; each has its own ψ and V.
      spectral: whether ψ and V are spectrally normalized.
      kernel_init: initializer of the kernels.
      dtype: dtype of the computation; None follows the input. Parameters are always float32.
      use_bias: whether ψ has a bias, which a relativistic loss cancels.
    """

    num_outputs: PositiveInt = 1
    spectral: bool = False
    kernel_init: Callable[..., Array] = nn.initializers.lecun_normal()
    dtype: Any = None
    use_bias: bool = True

    @nn.compact
    def __call__(self, features: Array, condition: Array | None = None, train: bool = False) -> Array:
        """Map features (B, F) to (B, num_outputs); ``condition`` is y, (B, K), or None for ψ alone."""
        layer = functools.partial(apply_layer, spectral=self.spectral, train=train)
        dense = functools.partial(nn.Dense, kernel_init=self.kernel_init, dtype=self.dtype)
        outputs = layer(dense(self.num_outputs, use_bias=self.use_bias, name="linear"), features)
        if condition is None:
            return outputs
        size = features.shape[-1]
        embedding = dense(size * self.num_outputs, use_bias=False, name="embedding")
        embedded = layer(embedding, condition.astype(features.dtype)).reshape(-1, size, self.num_outputs)
        return outputs + jnp.einsum("bf,bfo->bo", features, embedded)


def leaky_relu(x: Array) -> Array:
    """Return the leaky ReLU of slope 0.2 that is usual in discriminators (Radford et al. 2015, arXiv:1511.06434)."""
    return nn.leaky_relu(x, 0.2)


def project_and_reshape(
    z: Array,
    features: Sequence[int],
    output_shape: Sequence[int],
    *,
    normalized: bool,
    layer: Callable[[nn.Module, Array], Array] = lambda dense, z: dense(z),
    **kwargs: Any,
) -> Array:
    """Map noise to the small image that a generator's stages upsample, by a dense layer inside a compact method.

    Args:
      z: noise, with its condition if any, (B, L); another shape raises ValueError.
      features: channels before each of n stages; the image is (B, H / 2**n, W / 2**n, features[0]).
      output_shape: (H, W, C) after the last stage.
      normalized: whether channels are batch-normalized afterwards.
      layer: function that applies a layer; see ``apply_layer``.
      **kwargs: arguments of the dense layer.
    """
    check_noise(z.shape)
    height, width = (side // 2 ** len(features) for side in output_shape[:2])
    # The dense layer has one bias per pixel; normalization over the channel cancels it only if there is one pixel.
    use_bias = not normalized or height * width > 1
    dense = nn.Dense(height * width * features[0], use_bias=use_bias, **kwargs)
    return layer(dense, z).reshape(z.shape[0], height, width, features[0])


def check_noise(shape: Sequence[int], min_length: int = 1) -> None:
    """Raise ValueError unless noise is a batch of vectors of at least this length."""
    if len(shape) != 2 or shape[1] < min_length:
        raise ValueError(
            f"the generator's noise has shape {tuple(shape)}, but must be (B, L) with L at least {min_length}; "
            "change latent_dim"
        )
