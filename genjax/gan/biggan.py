"""BigGAN: residual networks with noise as an input of every generator block.

The noise is split, z = (z_0, z_1, ..., z_n). The first part is projected to the first pixels; each other part, with the
one-hot label y, gives the gains and biases of batch normalization in its block (equation 2 of
``genjax.nets.normalization``):

    b_i(h) = (1 + G_i c_i) (h − μ) / s + B_i c_i,        c_i = (z_i, E y),                                        (1)

with one embedding E shared by all blocks. In both networks all weights are initialized orthogonal, and all but E are
spectrally normalized. Blocks, attention and the projection discriminator are those of ``genjax.gan.resnet``.

Andrew Brock, Jeff Donahue and Karen Simonyan, 2019, arXiv:1809.11096, appendix B. Differences from the paper: sizes are
free; attention uses an eighth of the channels for values as well as keys, without pooling; and there is no orthogonal
regularization.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from genjax.arguments import PositiveInt, check_arguments
from genjax.core import Array
from genjax.gan.heads import check_noise
from genjax.gan.resnet import Norm, ResNetDiscriminator, ResNetGenerator, check_resnet_generator
from genjax.nets import ConditionalBatchNorm, concat_condition

ORTHOGONAL = nn.initializers.orthogonal()


@check_arguments
class BigGANGenerator(nn.Module):
    """Residual blocks from noise to images, conditioned on the noise by their normalization, equation 1.

    Attributes:
      embedding_dim: length of E y, at least 1. Other attributes: see ``ResNetGenerator``.

    >>> import jax
    >>> net = BigGANGenerator((8, 8), output_shape=(28, 28, 1), embedding_dim=4, attention_at=14)
    >>> net.init_with_output(jax.random.key(0), jnp.zeros((2, 6)), jnp.eye(2, 10))[0].shape
    (2, 28, 28, 1)
    """

    features: Sequence[PositiveInt]
    output_shape: Sequence[PositiveInt]
    embedding_dim: PositiveInt = 128
    attention_at: PositiveInt | None = None
    output_activation: Callable[[Array], Array] | None = nn.tanh
    dtype: Any = None

    def __post_init__(self) -> None:
        check_resnet_generator("BigGANGenerator", self.features, self.output_shape, self.attention_at)
        super().__post_init__()

    @nn.compact
    def __call__(self, z: Array, condition: Array | None = None, train: bool = False) -> Array:
        """Map noise (B, L) with L > len(features) to images (B, H, W, C); ``condition`` is (B, K)."""
        check_noise(z.shape, min_length=len(self.features) + 1)
        first, *parts = jnp.array_split(z, len(self.features) + 1, axis=1)
        if condition is not None:
            settings: dict[str, Any] = {"kernel_init": ORTHOGONAL, "dtype": self.dtype, "name": "embedding"}
            embedded = nn.Dense(self.embedding_dim, use_bias=False, **settings)(condition.astype(z.dtype))
            parts = [concat_condition(part, embedded) for part in parts]

        def norm(part: Array) -> Norm:
            settings: dict[str, Any] = {"spectral": True, "kernel_init": ORTHOGONAL, "dtype": self.dtype}
            return lambda x: ConditionalBatchNorm(**settings)(x, part, train)  # parameters belong to the calling block

        blocks = ResNetGenerator(
            self.features,
            self.output_shape,
            spectral=True,
            attention_at=self.attention_at,
            output_activation=self.output_activation,
            kernel_init=ORTHOGONAL,
            dtype=self.dtype,
        )
        return blocks.generate(first, [norm(part) for part in parts], train)


@check_arguments
class BigGANDiscriminator(ResNetDiscriminator):
    """Residual blocks from images to outputs: ``ResNetDiscriminator``, with orthogonal initialization.

    >>> import jax
    >>> net = BigGANDiscriminator((8, 8, 8), attention_at=14)
    >>> net.init_with_output(jax.random.key(0), jnp.zeros((2, 28, 28, 1)), jnp.eye(2, 10))[0].shape
    (2, 1)
    """

    kernel_init: Callable[..., Array] = ORTHOGONAL
