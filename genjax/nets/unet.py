"""The U-Net of diffusion models: image and level of noise to an image.

Residual blocks see the embedding e of level and condition (``LevelEmbedding``). With convolutions K of 3 × 3 pixels, S
of 1 × 1 (the identity where channels stay the same) and group normalization (``GroupNorm``),

    "shift":   u = K₁ ∗ ρ(norm h) + B e,        h ← S ∗ h + K₂ ∗ ρ(norm u),                                       (1)
    "film":    u = K₁ ∗ ρ(norm h),              h ← S ∗ h + K₂ ∗ ρ((1 + A e) ⊙ norm u + B e),                     (2)

where A e and B e are affine in e. Where pixels attend to each other, a block is followed by attention of several heads,

    h ← h + W Attention(norm h).                                                                                 (3)

A way down has ``num_blocks`` blocks at each height and then halves it by a convolution; there are two blocks at the
least height; and a way up, with one block more at each height than the way down, doubles it by repeated pixels and a
convolution, and each of its blocks sees beside h what the way down had there.

Jonathan Ho, Ajay Jain and Pieter Abbeel 2020, arXiv:2006.11239; equation 2 and several heads: Prafulla Dhariwal and
Alex Nichol 2021, arXiv:2105.05233; Olaf Ronneberger, Philipp Fischer and Thomas Brox 2015, arXiv:1505.04597.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax.numpy as jnp

from genjax.core import Array
from genjax.nets.attention import multi_head_attention
from genjax.nets.conv import Conv, check_images, upsample
from genjax.nets.group_norm import GroupNorm, check_divisible
from genjax.nets.levels import LevelEmbedding
from genjax.nets.mlp import scaled_init
from genjax.ops import check_at_least, check_choice, check_dropout

Modulation = Literal["film", "shift"]


class UNet(nn.Module):
    """Images (B, H, W, C) to images of the same shape.

    Attributes:
      features: channels at the greatest height.
      multipliers: of the channels at each height; all but the first halve height and width.
      num_blocks: residual blocks at each height on the way down; there is one more on the way up.
      attention_at: heights of the pixels that attend to each other, out of H, H / 2, ...
      num_heads: of attention.
      num_groups: of channels, for normalization.
      dropout: share of the channels that training leaves out before K₂, in [0, 1).
      modulation: "film" or "shift", equation 2 or 1.
      activation: ρ.
      output_scale: factor on the initial weights of the last layer, and of those of K₂ and W; with 0, as in the papers,
        the network predicts 0 at first, and blocks add nothing.
      dtype: what the layers compute in; None follows the input. Parameters, and what normalization and embedding of the
        level compute in, are float32 in any case.

    Raises:
      ValueError: for sizes below 1, or features that are no multiple of the groups or heads.

    >>> import jax
    >>> net = UNet(features=8, num_blocks=1, attention_at=(7,))
    >>> x, level = jnp.zeros((2, 28, 28, 1)), jnp.zeros(2)
    >>> outputs, _ = jax.eval_shape(net.init_with_output, jax.random.key(0), x, level, jnp.eye(2, 10))
    >>> outputs.shape
    (2, 28, 28, 1)
    """

    features: int
    multipliers: Sequence[int] = (1, 2, 2)
    num_blocks: int = 2
    attention_at: Sequence[int] = ()
    num_heads: int = 4
    num_groups: int = 8
    dropout: float = 0.0
    modulation: Modulation = "film"
    activation: Callable[[Array], Array] = nn.silu
    output_scale: float = 0.0
    dtype: Any = None

    def __post_init__(self) -> None:
        for name in ("features", "num_blocks", "num_heads", "num_groups"):
            check_at_least(name, getattr(self, name), 1)
        check_at_least("the number of multipliers", len(self.multipliers), 1, "; (1, 2, 2) is usual for small images")
        check_at_least("the smallest of multipliers", min(self.multipliers), 1)
        check_choice("modulation", self.modulation, ("film", "shift"))
        check_dropout(self.dropout)
        check_divisible("UNet", self.features, "num_groups", self.num_groups)
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Array, level: Array, condition: Array | None = None, train: bool = False) -> Array:
        """Map x (B, H, W, C), at levels (B,) of noise and under a condition (B, K), to the same shape.

        Raises:
          ValueError: where H or W cannot be halved so often, and for attention at a height that there is not.
        """
        check_images("UNet", x.shape, len(self.multipliers) - 1, "multipliers")
        heights = [x.shape[1] // 2**i for i in range(len(self.multipliers))]
        for height in self.attention_at:
            if height not in heights:
                raise ValueError(
                    f"attention_at has {height}, but the network's heights are {heights}; give some of them"
                )
        embedding = LevelEmbedding(4 * self.features, activation=self.activation)
        embedded = self.activation(embedding(level, condition))
        widths = [self.features * multiplier for multiplier in self.multipliers]
        conv = functools.partial(Conv, kernel_size=(3, 3), dtype=self.dtype)

        def block(h: Array, width: int, *, attends: bool | None = None) -> Array:
            h = self._block(width)(h, embedded, train)
            attends = h.shape[1] in self.attention_at if attends is None else attends
            return self._attention()(h) if attends else h

        h = conv(self.features)(x)
        seen = [h]
        for i, width in enumerate(widths):
            if i > 0:
                h = conv(h.shape[-1], strides=2)(h)
                seen.append(h)
            for _ in range(self.num_blocks):
                h = block(h, width)
                seen.append(h)
        h = block(block(h, widths[-1]), widths[-1], attends=False)
        for i, width in reversed(list(enumerate(widths))):
            for _ in range(self.num_blocks + 1):
                h = block(jnp.concatenate([h, seen.pop()], axis=-1), width)
            if i > 0:
                h = conv(width)(upsample(h))
        h = self.activation(GroupNorm(self.num_groups, dtype=self.dtype)(h))
        return conv(x.shape[-1], kernel_init=scaled_init(self.output_scale))(h)

    def _block(self, features: int) -> ResidualBlock:
        names = ("num_groups", "dropout", "modulation", "activation", "output_scale", "dtype")
        return ResidualBlock(features, **{name: getattr(self, name) for name in names})

    def _attention(self) -> AttentionBlock:
        names = ("num_heads", "num_groups", "output_scale", "dtype")
        return AttentionBlock(**{name: getattr(self, name) for name in names})


class ResidualBlock(nn.Module):
    """Equation 1 or 2. Attributes: see ``UNet``; ``features`` are channels of the outputs."""

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
        *gain, bias = jnp.split(vectors, parts, axis=-1)
        # Equation 2 or 1.
        h = norm()(h, *gain, bias) if gain else norm()(h + bias[:, None, None].astype(h.dtype))
        dropout: Any = nn.Dropout(self.dropout, broadcast_dims=(1, 2), deterministic=not train)
        h = dropout(self.activation(h))
        h = conv(kernel_init=scaled_init(self.output_scale))(h)
        if x.shape[-1] == self.features:
            return h + x
        # S is a product of matrices, whose gradient is quicker on CPUs than that of a convolution.
        skipped = nn.Dense(self.features, dtype=self.dtype, name="skip")(x.reshape(-1, x.shape[-1]))
        return h + skipped.reshape(h.shape)


class AttentionBlock(nn.Module):
    """Equation 3. Attributes: see ``UNet``."""

    num_heads: int
    num_groups: int = 8
    output_scale: float = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array) -> Array:
        """Map (B, H, W, C) to the same shape.

        Raises:
          ValueError: where C is no multiple of the number of heads.
        """
        _, height, width, channels = x.shape
        check_divisible("attention", channels, "num_heads", self.num_heads)
        rows = GroupNorm(self.num_groups, dtype=self.dtype)(x).reshape(-1, channels)
        attended = multi_head_attention(rows, height * width, self.num_heads, self.dtype)
        initial = scaled_init(self.output_scale)
        outputs = nn.Dense(channels, kernel_init=initial, dtype=self.dtype, name="output")
        return x + outputs(attended).reshape(x.shape)
