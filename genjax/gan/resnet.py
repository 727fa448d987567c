"""Residual networks with spectral normalization: SN-GAN, with its projection discriminator and with self-attention.

A generator block doubles height and width by U, nearest-neighbor upsampling; a discriminator block may halve them by P,
average pooling over 2x2 pixels. With 3x3 convolutions K, 1x1 convolutions S and batch normalization b, whose gains and
biases may depend on the class, they are

    h ← K₂ ∗ relu b(K₁ ∗ U relu b(h)) + U(S ∗ h),                                                                (1)
    h ← P(K₂ ∗ relu(K₁ ∗ relu h)) + S ∗ P(h),                                                                    (2)

where the first discriminator block omits the activation in front, and S is the identity in blocks that change neither
size nor channels. The discriminator sums its last features over all pixels before the last layer, and its weights are
spectrally normalized.

Takeru Miyato, Toshiki Kataoka, Masanori Koyama and Yuichi Yoshida 2018, arXiv:1802.05957, appendix B; classes as in
Miyato and Koyama 2018, arXiv:1802.05637; self-attention and a spectrally normalized generator as in Han Zhang et al.
2019, arXiv:1805.08318. S commutes with U and P, and is applied where there are fewer pixels. One difference from the
paper: K₁ of the discriminator has as many output channels as the block (as in arXiv:1809.11096), not as its input.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp

from genjax.arguments import NonNegativeInt, PositiveInt, check_arguments
from genjax.core import Array
from genjax.gan.heads import (
    Conditioning,
    DiscriminatorHead,
    Normalization,
    project_and_reshape,
)
from genjax.nets import (
    Conv,
    SelfAttention2D,
    apply_layer,
    apply_norm,
    check_images,
    check_output_images,
    concat_condition,
    upsample,
)
from genjax.ops import check_choice

Layer = Callable[[nn.Module, Array], Array]  # applies a layer
Norm = Callable[[Array], Array]  # normalizes features, with parameters owned by the calling block

XAVIER = nn.initializers.xavier_uniform()


@check_arguments
class ResNetGenerator(nn.Module):
    """Residual blocks from noise to images, equation 1.

    Attributes:
      features: channels of the blocks, at least 1; each doubles height and width.
      output_shape: image shape (H, W, C); H and W must be divisible by 2 ** len(features).
      normalization: "batch", with gains and biases that depend on the condition, or None, with the condition
        concatenated to the noise.
      spectral: whether the convolutions and the dense layer are spectrally normalized.
      attention_at: image height at which self-attention is applied, one of H, H / 2, ...; None for no attention.
      output_activation: activation after the last convolution, ``nn.tanh`` for images in [-1, 1]; None for none.
      kernel_init: initializer of the kernels.
      dtype: dtype of the computation; None follows the input. Parameters are always float32.

    >>> import jax
    >>> net = ResNetGenerator((8, 8), output_shape=(28, 28, 1), attention_at=14)
    >>> net.init_with_output(jax.random.key(0), jnp.zeros((2, 3)), jnp.eye(2, 10))[0].shape
    (2, 28, 28, 1)
    """

    features: Sequence[PositiveInt]
    output_shape: Sequence[PositiveInt]
    normalization: Literal["batch"] | None = "batch"
    spectral: bool = False
    attention_at: PositiveInt | None = None
    output_activation: Callable[[Array], Array] | None = nn.tanh
    kernel_init: Callable[..., Array] = XAVIER
    dtype: Any = None

    def __post_init__(self) -> None:
        check_resnet_generator("ResNetGenerator", self.features, self.output_shape, self.attention_at)
        super().__post_init__()

    def __call__(self, z: Array, condition: Array | None = None, train: bool = False) -> Array:
        """Map noise (B, L) to images (B, H, W, C); ``condition`` is (B, K)."""
        if self.normalization is None:
            z, condition = concat_condition(z, condition), None
        norm = functools.partial(
            apply_norm, kind=self.normalization, condition=condition, train=train, dtype=self.dtype
        )
        return self.generate(z, [norm] * len(self.features), train)

    @nn.compact
    def generate(self, z: Array, norms: Sequence[Norm], train: bool) -> Array:
        """Map noise to images, with one normalization per block."""
        settings: dict[str, Any] = {"kernel_init": self.kernel_init, "dtype": self.dtype}
        layer = functools.partial(apply_layer, spectral=self.spectral, train=train)
        normalized = self.normalization is not None
        hidden = project_and_reshape(
            z, self.features, self.output_shape, normalized=normalized, layer=layer, **settings
        )
        for features, norm in zip(self.features, norms, strict=True):
            hidden = UpBlock(features, use_bias=not normalized, **settings)(hidden, layer, norm)
            if hidden.shape[1] == self.attention_at:
                hidden = SelfAttention2D(self.spectral, **settings)(hidden, train)
        hidden = nn.relu(apply_norm(hidden, self.normalization, train=train, dtype=self.dtype))
        outputs = layer(Conv(self.output_shape[2], (3, 3), **settings), hidden)
        return outputs if self.output_activation is None else self.output_activation(outputs)


@check_arguments
class ResNetDiscriminator(nn.Module):
    """Residual blocks from images to outputs, equation 2.

    Attributes:
      features: channels of the blocks, at least 1.
      num_outputs: number of outputs per image, at least 1.
      num_downsamplings: number of blocks, counted from the first, that halve height and width, which must be even.
      normalization: "spectral", "layer" (use it with a gradient penalty: it treats images separately), "batch" or None.
        Of these only "spectral" applies to the first block and the last layer.
      conditioning: "projection" or "concatenation"; see ``DiscriminatorHead``.
      attention_at: image height at which self-attention is applied, after the first block that ends there, which must
        exist; None for no attention.
      kernel_init: initializer of the kernels.
      dtype: dtype of the computation; None follows the input. Parameters are always float32.

    >>> import jax
    >>> net = ResNetDiscriminator((8, 8, 8), attention_at=7)
    >>> net.init_with_output(jax.random.key(0), jnp.zeros((2, 28, 28, 1)), jnp.eye(2, 10))[0].shape
    (2, 1)
    """

    features: Sequence[PositiveInt]
    num_outputs: PositiveInt = 1
    num_downsamplings: NonNegativeInt = 2
    normalization: Normalization | None = "spectral"
    conditioning: Conditioning = "projection"
    attention_at: PositiveInt | None = None
    kernel_init: Callable[..., Array] = XAVIER
    dtype: Any = None

    def __post_init__(self) -> None:
        if self.num_downsamplings > len(self.features):
            raise ValueError(
                f"num_downsamplings is {self.num_downsamplings}, but must be between 0 and the number of blocks, "
                f"{len(self.features)}; give more features"
            )
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Array, condition: Array | None = None, train: bool = False) -> Array:
        """Map images (B, H, W, C) to (B, num_outputs); ``condition`` is (B, K)."""
        check_images(type(self).__name__, x.shape, self.num_downsamplings)
        heights = [x.shape[1] // 2 ** min(i + 1, self.num_downsamplings) for i in range(len(self.features))]
        check_choice("attention_at", self.attention_at, (*dict.fromkeys(heights), None))
        spectral, concatenates = self.normalization == "spectral", self.conditioning == "concatenation"
        settings: dict[str, Any] = {"kernel_init": self.kernel_init, "dtype": self.dtype}
        layer = functools.partial(apply_layer, spectral=spectral, train=train)
        hidden = concat_condition(x, condition if concatenates else None)
        for i, features in enumerate(self.features):
            kind = self.normalization if i > 0 else None
            norm = functools.partial(apply_norm, kind=kind, train=train, dtype=self.dtype)
            block = DownBlock(
                features,
                downsamples=i < self.num_downsamplings,
                activates_input=i > 0,
                use_bias=kind in ("spectral", None),
                **settings,
            )
            hidden = block(hidden, layer, norm)
            if self.attention_at is not None and i == heights.index(self.attention_at):
                hidden = SelfAttention2D(spectral, **settings)(hidden, train)
        pooled = jnp.sum(nn.relu(hidden), axis=(1, 2))
        head = DiscriminatorHead(self.num_outputs, spectral, **settings)
        return head(pooled, None if concatenates else condition, train)


class UpBlock(nn.Module):
    """Generator block of equation 1, from (B, H, W, C) to (B, 2H, 2W, features).

    Attributes:
      features: number of output channels.
      use_bias: whether convolutions have biases; batch normalization at the end of the network cancels them all.
      kernel_init, dtype: see ``ResNetGenerator``.
    """

    features: int
    use_bias: bool
    kernel_init: Callable[..., Array]
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, layer: Layer, norm: Norm) -> Array:
        """Return the upsampled features; ``layer`` applies a layer, and ``norm`` is b."""
        conv = functools.partial(
            Conv, self.features, use_bias=self.use_bias, kernel_init=self.kernel_init, dtype=self.dtype
        )
        hidden = layer(conv((3, 3)), upsample(nn.relu(norm(x))))
        hidden = layer(conv((3, 3)), nn.relu(norm(hidden)))
        return hidden + upsample(layer(conv((1, 1)), x))


class DownBlock(nn.Module):
    """Discriminator block of equation 2, from (B, H, W, C) to (B, H/2, W/2, features), or with unchanged H and W.

    Attributes:
      features: number of output channels.
      downsamples: whether height and width are halved.
      activates_input: whether the block begins with an activation.
      use_bias: whether the first convolution has a bias.
      kernel_init, dtype: see ``ResNetDiscriminator``.
    """

    features: int
    downsamples: bool
    activates_input: bool
    use_bias: bool
    kernel_init: Callable[..., Array]
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, layer: Layer, norm: Norm) -> Array:
        """Return the new features; ``layer`` applies a layer, and ``norm`` comes before each activation."""
        conv = functools.partial(Conv, self.features, kernel_init=self.kernel_init, dtype=self.dtype)
        pool = average_pool if self.downsamples else lambda x: x
        hidden = nn.relu(norm(x)) if self.activates_input else x
        hidden = layer(conv((3, 3), use_bias=self.use_bias), hidden)
        hidden = layer(conv((3, 3)), nn.relu(norm(hidden)))
        changes = self.downsamples or x.shape[-1] != self.features
        return pool(hidden) + (layer(conv((1, 1)), pool(x)) if changes else x)


def average_pool(x: Array) -> Array:
    """Return the averages over 2x2 pixels of (B, H, W, C), (B, H/2, W/2, C).

    >>> average_pool(jnp.arange(8.0).reshape(1, 2, 4, 1))[0, :, :, 0].tolist()
    [[2.5, 4.5]]
    """
    batch, height, width, channels = x.shape
    return x.reshape(batch, height // 2, 2, width // 2, 2, channels).mean(axis=(2, 4))


def check_resnet_generator(
    name: str, features: Sequence[int], output_shape: Sequence[int], attention_at: int | None
) -> None:
    """Raise ValueError if the image size is not divisible, or no block ends at ``attention_at``."""
    check_output_images(name, output_shape, features)
    heights = [output_shape[0] // 2**i for i in reversed(range(len(features)))]
    check_choice("attention_at", attention_at, (*heights, None))
