"""R3GAN: a plain residual network for the relativistic loss with R1 and R2, without normalization.

The loss pairs each example with a sample (``Relativistic``), and both penalties R1 and R2, of equal weights γ at every
step, make training converge locally. The networks are then those of a modern classifier. With φ the leaky ReLU of slope
0.2, a 1x1 convolution K₁ that expands the channels, a 3x3 convolution K₂ in groups, and a 1x1 convolution K₃ back, all
blocks of both networks are

    h ← h + K₃ ∗ φ(K₂ ∗ φ(K₁ ∗ h + b₁) + b₂).                                                                     (1)

K₃ starts at zero, so that blocks start as the identity; the weights of K₁ and K₂ start as

    N(0, g² L^(−1/2) / n),        g² = 2 / (1 + 0.2²),                                                            (2)

for n inputs of a unit and L blocks in the network, as in Fixup (Hongyi Zhang, Yann Dauphin and Tengyu Ma 2019,
arXiv:1901.09321). Other weights start as N(0, 1 / n). Between stages of blocks, images are upsampled and downsampled
with the filter of ``genjax.nets.resampling``, and a 1x1 convolution, at the smaller size, changes the number of
channels. The smallest image is (A z)_c B_c for channel c, with a learned basis B of as many pixels, which starts as
N(0, 1); the discriminator ends with the inner products of each channel with such a basis, and a linear layer.    (3)

Nick Huang, Aaron Gokaslan, Volodymyr Kuleshov and James Tompkin 2024, arXiv:2501.05441. Differences from the paper: the
generator takes the one-hot label itself beside the noise, not an embedding of it, and the discriminator ends with the
usual ``DiscriminatorHead``, which adds an unconditional output to the product with the embedded label.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype

from genjax.arguments import NonNegativeFloat, NumClasses, PositiveInt, Widths, check_arguments
from genjax.core import Array
from genjax.gan.gan import GAN
from genjax.gan.heads import DiscriminatorHead, check_noise, leaky_relu
from genjax.gan.losses import Relativistic
from genjax.gan.penalties import R1
from genjax.nets import check_images, check_output_images, concat_condition, smooth_downsample, smooth_upsample

GAIN = math.sqrt(2 / (1 + 0.2**2))  # keeps the mean square through a leaky ReLU
WINDOW = 3  # of the grouped convolution
LINEAR_INIT = nn.initializers.variance_scaling(1.0, "fan_in", "normal")


@check_arguments
class R3GANGenerator(nn.Module):
    """Residual blocks from noise to images, equations 1 to 3, without a last activation.

    Attributes:
      features: channels of the stages, at least 1; each stage but the first doubles height and width.
      output_shape: image shape (H, W, C); H and W must be divisible by 2 ** (len(features) - 1).
      num_blocks: number of residual blocks of a stage, at least 1.
      expansion: factor of the channels inside a block, at least 1.
      group_size: channels of a group of K₂, which must divide ``expansion`` times all ``features``.
      dtype: dtype of the computation; None follows the input. Parameters are always float32.

    >>> import jax
    >>> net = R3GANGenerator((16, 8), output_shape=(8, 8, 1))
    >>> net.init_with_output(jax.random.key(0), jnp.zeros((2, 3)), jnp.eye(2, 10))[0].shape
    (2, 8, 8, 1)
    """

    features: Widths
    output_shape: Sequence[PositiveInt]
    num_blocks: PositiveInt = 2
    expansion: PositiveInt = 2
    group_size: PositiveInt = 16
    dtype: Any = None

    def __post_init__(self) -> None:
        check_output_images("R3GANGenerator", self.output_shape, self.features, num_doublings=len(self.features) - 1)
        _check_groups("R3GANGenerator", self.features, self.expansion, self.group_size)
        super().__post_init__()

    @nn.compact
    def __call__(self, z: Array, condition: Array | None = None, train: bool = False) -> Array:
        """Map noise (B, L) to images (B, H, W, C); ``condition`` (B, K) is concatenated to the noise."""
        del train
        check_noise(z.shape)
        height, width = (side // 2 ** (len(self.features) - 1) for side in self.output_shape[:2])
        coefficients = _linear(self.features[0], self.dtype)(concat_condition(z, condition))
        basis = self.param("basis", nn.initializers.normal(1.0), (height, width, self.features[0]))
        coefficients, basis = promote_dtype(coefficients, basis, dtype=self.dtype)
        hidden = jnp.einsum("bc,hwc->bhwc", coefficients, basis)  # equation 3
        for i, channels in enumerate(self.features):
            if i > 0:
                hidden = hidden if hidden.shape[-1] == channels else _linear(channels, self.dtype)(hidden)
                hidden = smooth_upsample(hidden)
            for _ in range(self.num_blocks):
                num_blocks = self.num_blocks * len(self.features)
                hidden = R3GANBlock(num_blocks, self.expansion, self.group_size, self.dtype)(hidden)
        return _linear(self.output_shape[2], self.dtype)(hidden)


@check_arguments
class R3GANDiscriminator(nn.Module):
    """Residual blocks from images to outputs, equations 1 to 3.

    Attributes:
      features: channels of the stages, at least 1; before each stage but the first, height and width are halved, and
        must be even.
      num_outputs: number of outputs per image, at least 1.
      num_blocks, expansion, group_size, dtype: see ``R3GANGenerator``.

    >>> import jax
    >>> net = R3GANDiscriminator((8, 16))
    >>> net.init_with_output(jax.random.key(0), jnp.zeros((2, 8, 8, 1)), jnp.eye(2, 10))[0].shape
    (2, 1)
    """

    features: Widths
    num_outputs: PositiveInt = 1
    num_blocks: PositiveInt = 2
    expansion: PositiveInt = 2
    group_size: PositiveInt = 16
    dtype: Any = None

    def __post_init__(self) -> None:
        _check_groups("R3GANDiscriminator", self.features, self.expansion, self.group_size)
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Array, condition: Array | None = None, train: bool = False) -> Array:
        """Map images (B, H, W, C) to (B, num_outputs); ``condition`` is (B, K), see ``DiscriminatorHead``."""
        check_images("R3GANDiscriminator", x.shape, len(self.features) - 1)
        hidden = _linear(self.features[0], self.dtype)(x)
        for i, channels in enumerate(self.features):
            if i > 0:
                hidden = smooth_downsample(hidden)
                hidden = hidden if hidden.shape[-1] == channels else _linear(channels, self.dtype)(hidden)
            for _ in range(self.num_blocks):
                num_blocks = self.num_blocks * len(self.features)
                hidden = R3GANBlock(num_blocks, self.expansion, self.group_size, self.dtype)(hidden)
        num_pixels = hidden.shape[1] * hidden.shape[2]
        basis = self.param("basis", nn.initializers.normal(num_pixels**-0.5), hidden.shape[1:])
        hidden, basis = promote_dtype(hidden, basis, dtype=self.dtype)
        products = jnp.einsum("bhwc,hwc->bc", hidden, basis)  # equation 3
        head = DiscriminatorHead(self.num_outputs, kernel_init=LINEAR_INIT, dtype=self.dtype, use_bias=False)
        return head(products, condition, train)


@check_arguments
def r3gan(
    features: Widths,
    output_shape: Sequence[PositiveInt],
    *,
    latent_dim: PositiveInt = 64,
    penalty: NonNegativeFloat = 1.0,
    num_classes: NumClasses | None = None,
    dtype: Any = None,
) -> GAN:
    """Return an R3GAN: both networks, the relativistic loss, and R1 and R2 at every step.

    Train it with Adam of β₁ = 0, one step of each network in turn, and an average of the parameters. The paper lets γ
    decay to a tenth; use ``AnnealedPenalty`` for that.

    Args:
      features: channels of the stages of the generator, from the smallest image; the discriminator has the reverse.
      output_shape: image shape (H, W, C); H and W must be divisible by 2 ** (len(features) - 1).
      latent_dim: length of the noise vector.
      penalty: γ, weight of both penalties, at least 0. The paper has 0.05 for CIFAR-10, 1 for stacked MNIST and 150 for
        faces of 256 pixels.
      num_classes: number of classes, or None for an unconditional model.
      dtype: dtype of the computation of both networks.

    >>> model = r3gan((16, 8), (8, 8, 1), penalty=0.1)
    >>> model.penalties
    (R1(weight=0.1, fake_weight=0.1, every=1),)
    """
    return GAN(
        latent_dim=latent_dim,
        generator=R3GANGenerator(features, output_shape, dtype=dtype),
        discriminator=R3GANDiscriminator(features[::-1], dtype=dtype),
        adversarial_loss=Relativistic(),
        penalties=(R1(weight=penalty, fake_weight=penalty),),
        num_classes=num_classes,
    )


class R3GANBlock(nn.Module):
    """The residual block of equation 1 on images (B, H, W, C), one of ``num_blocks`` in its network."""

    num_blocks: int
    expansion: int
    group_size: int
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map images (B, H, W, C) to images of the same shape."""
        expanded = self.expansion * x.shape[-1]
        init = nn.initializers.variance_scaling(GAIN**2 * self.num_blocks**-0.5, "fan_in", "normal")  # equation 2
        hidden = leaky_relu(nn.Dense(expanded, kernel_init=init, dtype=self.dtype)(x))
        kernel = self.param("kernel", init, (WINDOW, WINDOW, self.group_size, expanded))
        bias = self.param("bias", nn.initializers.zeros, (expanded,))
        hidden, kernel, bias = promote_dtype(hidden, kernel, bias, dtype=self.dtype)
        hidden = leaky_relu(grouped_convolution(hidden, kernel) + bias.reshape(1, 1, 1, -1))
        zeros = nn.initializers.zeros
        return x + nn.Dense(x.shape[-1], use_bias=False, kernel_init=zeros, dtype=self.dtype)(hidden)


def grouped_convolution(x: Array, kernel: Array) -> Array:
    """Convolve images (B, H, W, C) with kernels (3, 3, C / G, F) in G groups, with zeros beyond the border.

    On CPUs, XLA has no fast kernels for the gradients of the gradients that R1 and R2 need, and for replicas that are
    trained together. There it is a sum of matrix products, one for each position in the window.
    """
    return jax.lax.platform_dependent(x, kernel, cpu=_sum_over_window, default=_grouped_convolution)


def _grouped_convolution(x: Array, kernel: Array) -> Array:
    numbers = ("NHWC", "HWIO", "NHWC")
    groups = x.shape[-1] // kernel.shape[2]
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), "SAME", dimension_numbers=numbers, feature_group_count=groups
    )


def _sum_over_window(x: Array, kernel: Array) -> Array:
    batch, height, width, channels = x.shape
    rows, columns, size, features = kernel.shape
    # Groups first: XLA multiplies batches of matrices fastest without a further transposition.
    padded = jnp.pad(x, ((0, 0), (rows // 2, rows // 2), (columns // 2, columns // 2), (0, 0)))
    padded = jnp.moveaxis(padded.reshape(*padded.shape[:3], channels // size, size), 3, 0)
    kernel = jnp.moveaxis(kernel.reshape(rows, columns, size, channels // size, -1), 3, 2)
    products = (
        padded[:, :, a : a + height, b : b + width].reshape(channels // size, -1, size) @ kernel[a, b]
        for a in range(rows)
        for b in range(columns)
    )
    return jnp.moveaxis(sum(products, start=jnp.zeros((), x.dtype)), 0, 1).reshape(batch, height, width, features)


def _linear(features: int, dtype: Any) -> nn.Dense:
    """Return a 1x1 convolution, or a dense layer, without biases."""
    return nn.Dense(features, use_bias=False, kernel_init=LINEAR_INIT, dtype=dtype)


def _check_groups(name: str, features: Sequence[int], expansion: int, group_size: int) -> None:
    """Raise ValueError if groups do not divide the channels inside the blocks."""
    for width in features:
        if expansion * width % group_size:
            raise ValueError(
                f"{name} has blocks of {expansion} x {width} = {expansion * width} channels, which are not divisible "
                f"by group_size={group_size}; use group_size={math.gcd(*(expansion * each for each in features))}"
            )
