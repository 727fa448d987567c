"""A transformer that encodes texts: one vector for each token, and one for the text.

A text of up to L tokens, padded to length L, gets a learned start token in front of it. Learned vectors of their
positions are added to those of the tokens. In each layer, all of them attend to each other, except for the padding,

    h ← h + W Attention(norm h),        h ← h + W₂ ρ(W₁ norm h),                                                 (1)

and the outputs are norm h. The start token makes the empty text a text like others: its context is one vector, which
stands for no text. That vector can also stand for a whole text.

Ashish Vaswani et al. 2017, arXiv:1706.03762, with norms in front, as in Ruibin Xiong et al. 2020, arXiv:2002.04745; the
start token: Jacob Devlin et al. 2019, arXiv:1810.04805.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import flax.linen as nn
import jax.numpy as jnp

from genjax.arguments import NonNegativeInt, PositiveFloat, PositiveInt, check_arguments
from genjax.core import Array
from genjax.nets.adapter import Net
from genjax.nets.attention import Context, multi_head_attention
from genjax.nets.group_norm import check_divisible


@runtime_checkable
class EncodesText(Net, Protocol):
    """A network from tokens (B, length), integers below ``num_tokens``, to a ``Context``."""

    @property
    def num_tokens(self) -> int:
        """Vocabulary size."""
        ...

    @property
    def length(self) -> int:
        """Length of the padded texts."""
        ...

    @property
    def pad_token(self) -> int:
        """Token that pads texts; a text of nothing else is the empty one."""
        ...


@check_arguments
class TextEncoder(nn.Module):
    """Transformer from texts (B, length) to a ``Context`` of length + 1 vectors, the first one that of the whole text.

    Attributes:
      num_tokens: vocabulary size, the padding included.
      length: length of the padded texts, L.
      features: number of channels, a multiple of the number of heads.
      num_layers: number of layers, equation 1.
      num_heads: number of attention heads.
      mlp_ratio: number of channels inside of equation 1, as a multiple of ``features``.
      activation: ρ.
      pad_token: token that pads texts.
      dtype: see ``nets``.

    >>> import jax
    >>> net = TextEncoder(num_tokens=10, length=4, features=8, num_heads=2)
    >>> context, _ = jax.eval_shape(net.init_with_output, jax.random.key(0), jnp.array([[3, 1, 0, 0]]))
    >>> context.vectors.shape, context.mask.shape
    ((1, 5, 8), (1, 5))
    """

    num_tokens: PositiveInt
    length: PositiveInt
    features: PositiveInt = 64
    num_layers: PositiveInt = 2
    num_heads: PositiveInt = 4
    mlp_ratio: PositiveFloat = 4.0
    activation: Callable[[Array], Array] = nn.gelu
    pad_token: NonNegativeInt = 0
    dtype: Any = None

    def __post_init__(self) -> None:
        check_divisible("TextEncoder", self.features, "num_heads", self.num_heads)
        super().__post_init__()

    @nn.compact
    def __call__(self, tokens: Array, train: bool = False) -> Context:
        """Map int32 (B, length) to vectors (B, length + 1, features) and their mask."""
        del train
        if tokens.shape[1:] != (self.length,):
            raise ValueError(
                f"tokens have shape {tokens.shape}, but this text encoder takes (B, {self.length}); pad or cut them"
            )
        embed = nn.Embed(self.num_tokens, self.features, dtype=self.dtype, name="tokens")
        initial = nn.initializers.normal(self.features**-0.5)
        start = self.param("start", initial, (self.features,))
        positions = self.param("positions", initial, (self.length, self.features))
        words = embed(tokens) + positions[None].astype(self.dtype or positions.dtype)
        first = jnp.broadcast_to(start.astype(words.dtype), (tokens.shape[0], 1, self.features))
        h = jnp.concatenate([first, words], axis=1)
        mask = jnp.concatenate([jnp.ones((tokens.shape[0], 1), bool), tokens != self.pad_token], axis=1)
        for i in range(self.num_layers):
            h = self._layer(h, mask, f"layer_{i}")
        return Context(nn.LayerNorm(dtype=self.dtype, name="norm")(h), mask)

    def _layer(self, h: Array, mask: Array, name: str) -> Array:
        names = ("num_heads", "mlp_ratio", "activation", "dtype")
        return TextLayer(**{setting: getattr(self, setting) for setting in names}, name=name)(h, mask)


class TextLayer(nn.Module):
    """One layer, equation 1; its attributes are those of ``TextEncoder``."""

    num_heads: int
    mlp_ratio: float
    activation: Callable[[Array], Array]
    dtype: Any = None

    @nn.compact
    def __call__(self, h: Array, mask: Array) -> Array:
        """Map (B, N, F) and a mask (B, N) to (B, N, F)."""
        _, num_tokens, features = h.shape
        dense, norm = functools.partial(nn.Dense, dtype=self.dtype), functools.partial(nn.LayerNorm, dtype=self.dtype)
        rows = norm()(h).reshape(-1, features)
        attended = multi_head_attention(rows, num_tokens, self.num_heads, self.dtype, mask)
        h = h + dense(features, name="attended")(attended).reshape(h.shape)
        inner = self.activation(dense(int(self.mlp_ratio * features), name="up")(norm()(h)))
        return h + dense(features, name="down")(inner)
