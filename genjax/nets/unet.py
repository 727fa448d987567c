"""The U-Net of diffusion models, from an image, a noise level and optionally a text to an image.

Residual blocks depend on the embedding e of noise level and condition (``LevelEmbedding``). With 3 × 3 convolutions K,
a 1 × 1 convolution S (the identity if the number of channels stays the same) and group normalization (``GroupNorm``),

    "shift":   u = K₁ ∗ ρ(norm h) + B e,        h ← S ∗ h + K₂ ∗ ρ(norm u),                                       (1)
    "film":    u = K₁ ∗ ρ(norm h),              h ← S ∗ h + K₂ ∗ ρ((1 + A e) ⊙ norm u + B e),                     (2)

where A e and B e are affine in e. At some heights, a block is followed by multi-head attention between pixels,

    h ← h + W Attention(norm h),                                                                                 (3)

and, with a context such as the words of a text (``Context``), by cross-attention from the pixels to it, of the same
form. The way down has ``num_blocks`` blocks at each height, which a convolution then halves. Two blocks follow at the
smallest height. The way up has one more block at each height; repeated pixels and a convolution then double it. The
input of each of its blocks is the concatenation of h and an output of the way down at this height.

Jonathan Ho, Ajay Jain and Pieter Abbeel 2020, arXiv:2006.11239; equation 2 and multiple heads: Prafulla Dhariwal and
Alex Nichol 2021, arXiv:2105.05233; cross-attention: Robin Rombach et al. 2022, arXiv:2112.10752, without their further
layers; Olaf Ronneberger, Philipp Fischer and Thomas Brox 2015, arXiv:1505.04597.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

import flax.linen as nn
import jax.numpy as jnp

from genjax.arguments import Cure, DropoutRate, PositiveInt, Widths, check_arguments
from genjax.core import Array
from genjax.nets.attention import Context, cross_attention, multi_head_attention
from genjax.nets.conv import Conv, check_images, upsample
from genjax.nets.group_norm import GroupNorm, check_divisible
from genjax.nets.levels import LevelEmbedding
from genjax.nets.mlp import scaled_init
from genjax.nets.tensor_parallel import split_axis

Modulation = Literal["film", "shift"]


@check_arguments
class UNet(nn.Module):
    """U-Net from images (B, H, W, C) to images of the same shape.

    Attributes:
      features: number of channels at the full height, a multiple of the number of groups.
      multipliers: factors on the number of channels at each height; each but the first halves height and width, which
        must be even.
      num_blocks: number of residual blocks at each height on the way down; the way up has one more.
      attention_at: heights at which pixels attend to each other and then to a context, among H, H / 2, ...
      num_heads: number of attention heads.
      num_groups: number of groups of channels for normalization.
      dropout: share of the channels before K₂ that training drops, in [0, 1).
      modulation: "film" for equation 2, or "shift" for equation 1.
      activation: ρ.
      output_scale: factor on the initial weights of the last layer, K₂ and W; with 0, as in the papers, outputs start
        at 0, and residual branches add nothing.
      dtype: see ``nets``; normalization and the embedding of the noise level are always float32 too.

    >>> import jax
    >>> net = UNet(features=8, num_blocks=1, attention_at=(7,))
    >>> x, level = jnp.zeros((2, 28, 28, 1)), jnp.zeros(2)
    >>> outputs, _ = jax.eval_shape(net.init_with_output, jax.random.key(0), x, level, jnp.eye(2, 10))
    >>> outputs.shape
    (2, 28, 28, 1)
    """

    features: PositiveInt
    multipliers: Annotated[Widths, Cure("; (1, 2, 2) is usual for small images")] = (1, 2, 2)
    num_blocks: PositiveInt = 2
    attention_at: Sequence[PositiveInt] = ()
    num_heads: PositiveInt = 4
    num_groups: PositiveInt = 8
    dropout: DropoutRate = 0.0
    modulation: Modulation = "film"
    activation: Callable[[Array], Array] = nn.silu
    output_scale: float = 0.0
    dtype: Any = None

    def __post_init__(self) -> None:
        check_divisible("UNet", self.features, "num_groups", self.num_groups)
        super().__post_init__()

    @nn.compact
    def __call__(
        self,
        x: Array,
        level: Array,
        condition: Array | None = None,
        context: Context | None = None,
        train: bool = False,
    ) -> Array:
        """Map x (B, H, W, C), noise levels (B,), a condition (B, K) and a context to the shape of x."""
        check_images("UNet", x.shape, len(self.multipliers) - 1, "multipliers")
        heights = [x.shape[1] // 2**i for i in range(len(self.multipliers))]
        for height in self.attention_at:
            if height not in heights:
                raise ValueError(
                    f"attention_at has {height}, but the network's heights are {heights}; choose among them"
                )
        embedding = LevelEmbedding(4 * self.features, activation=self.activation)
        embedded = self.activation(embedding(level, condition, context))
        widths = [self.features * multiplier for multiplier in self.multipliers]
        conv = functools.partial(Conv, kernel_size=(3, 3), dtype=self.dtype)

        def block(h: Array, width: int, *, attends: bool | None = None) -> Array:
            h = self._block(width)(h, embedded, train)
            attends = h.shape[1] in self.attention_at if attends is None else attends
            if not attends:
                return h
            h = self._attention()(h)
            return h if context is None else self._attention()(h, context)

        h = conv(self.features)(x)
        skips = [h]
        for i, width in enumerate(widths):
            if i > 0:
                h = conv(h.shape[-1], strides=2)(h)
                skips.append(h)
            for _ in range(self.num_blocks):
                h = block(h, width)
                skips.append(h)
        h = block(block(h, widths[-1]), widths[-1], attends=False)
        for i, width in reversed(list(enumerate(widths))):
            for _ in range(self.num_blocks + 1):
                h = block(jnp.concatenate([h, skips.pop()], axis=-1), width)
            if i > 0:
                h = conv(width)(upsample(h))
        h = self.activation(GroupNorm(self.num_groups, dtype=self.dtype)(h))
        return conv(x.shape[-1], kernel_init=scaled_init(self.output_scale))(h)

    def tensor_axis(self, path: str) -> int | None:
        """Return the axis of a parameter that tensor parallelism splits: channels inside of blocks, and heads."""
        if "/ResidualBlock_" in path:  # K₁, A and B; K₂
            return split_axis(path, outputs={"Conv_0", "modulation"}, inputs={"Conv_1"})
        if "/AttentionBlock_" in path:
            return split_axis(path, outputs={"query_key_value", "query", "key_value"}, inputs={"output"})
        return None

    def _block(self, features: int) -> ResidualBlock:
        names = ("num_groups", "dropout", "modulation", "activation", "output_scale", "dtype")
        return ResidualBlock(features, **{name: getattr(self, name) for name in names})

    def _attention(self) -> AttentionBlock:
        names = ("num_heads", "num_groups", "output_scale", "dtype")
        return AttentionBlock(**{name: getattr(self, name) for name in names})


class ResidualBlock(nn.Module):
    """Residual block, equation 1 or 2, with ``features`` output channels; see ``UNet`` for the other attributes."""

    features: int
    num_groups: int = 8
    dropout: float = 0.0
    modulation: Modulation = "film"
    activation: Callable[[Array], Array] = nn.silu
    output_scale: float = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, embedded: Array, train: bool = False) -> Array:
        """Map (B, H, W, C) and embeddings (B, E) to (B, H, W, features)."""
        conv = functools.partial(Conv, self.features, (3, 3), dtype=self.dtype)
        norm: Any = functools.partial(GroupNorm, self.num_groups, dtype=self.dtype)
        h = conv()(self.activation(norm()(x)))
        parts = 2 if self.modulation == "film" else 1
        vectors = nn.Dense(parts * self.features, name="modulation")(embedded)
        if self.modulation == "film":
            gain, bias = jnp.split(vectors, 2, axis=-1)
            h = norm()(h, gain, bias)  # equation 2
        else:
            h = norm()(h + vectors[:, None, None].astype(h.dtype))  # equation 1
        dropout: Any = nn.Dropout(self.dropout, broadcast_dims=(1, 2), deterministic=not train)
        h = dropout(self.activation(h))
        h = conv(kernel_init=scaled_init(self.output_scale))(h)
        if x.shape[-1] == self.features:
            return h + x
        # S is a product of matrices, whose gradient is faster on CPUs than that of a convolution.
        skip = nn.Dense(self.features, dtype=self.dtype, name="skip")(x.reshape(-1, x.shape[-1]))
        return h + skip.reshape(h.shape)


class AttentionBlock(nn.Module):
    """Multi-head attention, equation 3, between pixels or from pixels to a context; see ``UNet`` for the attributes."""

    num_heads: int
    num_groups: int = 8
    output_scale: float = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, context: Context | None = None) -> Array:
        """Map (B, H, W, C) to the same shape; C must be a multiple of the number of heads."""
        _, height, width, channels = x.shape
        check_divisible("attention", channels, "num_heads", self.num_heads)
        rows = GroupNorm(self.num_groups, dtype=self.dtype)(x).reshape(-1, channels)
        if context is None:
            attended = multi_head_attention(rows, height * width, self.num_heads, self.dtype)
        else:
            attended = cross_attention(rows, height * width, context, self.num_heads, self.dtype)
        initial = scaled_init(self.output_scale)
        outputs = nn.Dense(channels, kernel_init=initial, dtype=self.dtype, name="output")
        return x + outputs(attended).reshape(x.shape)
