"""Self-attention over the pixels of an image, and multi-head attention over tokens and over a context.

    o_i = Σ_j softmax_j(q_i · k_j) v_j,        y_i = x_i + γ W_o o_i,                                             (1)

for pixels i and j with features x_i ∈ ℝ^C, and q, k, v = W_q x, W_k x, W_v x ∈ ℝ^{C/8}. The scalar γ is learned and
starts at 0, so that a network initially trains as if it had no attention.

In cross-attention, queries come from tokens x_i of one sequence, and keys and values from the vectors c_j of another,
its context, such as the words of a text. With H heads, each on F/H of the F channels, and a mask of the vectors that
exist,

    o_i = Σ_j softmax_j(q_i · k_j / √(F/H)) v_j,        q_i = W_q x_i,  k_j = W_k c_j,  v_j = W_v c_j.             (2)

Equation 1: Han Zhang, Ian Goodfellow, Dimitris Metaxas and Augustus Odena, 2019, arXiv:1805.08318. Equation 2: Ashish
Vaswani et al. 2017, arXiv:1706.03762.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.arguments import check_arguments
from genjax.core import Array
from genjax.nets.conv import Conv
from genjax.nets.normalization import apply_layer


@check_arguments
class SelfAttention2D(nn.Module):
    """Self-attention over images (B, H, W, C), equation 1; it costs H²W² products per example.

    While γ is 0, as it is initially, γ is the only parameter here with a nonzero gradient.

    Attributes:
      spectral: whether the matrices are spectrally normalized.
      kernel_init: initializer of the matrices.

    >>> x = jnp.arange(16.0).reshape(1, 2, 2, 4)
    >>> y, variables = SelfAttention2D().init_with_output(jax.random.key(0), x)
    >>> bool((y == x).all()), sorted(variables["params"])
    (True, ['gamma', 'key', 'output', 'query', 'value'])
    """

    spectral: bool = False
    kernel_init: Callable[..., Array] = nn.initializers.lecun_normal()
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, train: bool = False) -> Array:
        """Map (B, H, W, C) to the same shape."""
        batch, height, width, channels = x.shape
        layer = functools.partial(apply_layer, spectral=self.spectral, train=train)
        # No biases: softmax is invariant to a bias of the keys.
        matrix = functools.partial(
            Conv, kernel_size=(1, 1), use_bias=False, kernel_init=self.kernel_init, dtype=self.dtype
        )
        inner = max(1, channels // 8)

        def project(name: str) -> Array:
            return layer(matrix(inner, name=name), x).reshape(batch, height * width, 1, inner)

        q, k, v = project("query"), project("key"), project("value")
        attended = jax.nn.dot_product_attention(q, k, v, scale=1.0).reshape(batch, height, width, inner)
        gamma = self.param("gamma", nn.initializers.zeros, (), jnp.float32)
        return x + gamma.astype(x.dtype) * layer(matrix(channels, name="output"), attended)


class Context(NamedTuple):
    """Vectors that tokens or pixels attend to, such as those of the words of a text.

    Attributes:
      vectors: (B, L, E).
      mask: bool (B, L), False for vectors that only pad an example; each example has at least one other.
    """

    vectors: Array
    mask: Array


def multi_head_attention(
    rows: Array, num_tokens: int, num_heads: int, dtype: Any = None, mask: Array | None = None
) -> Array:
    """Apply multi-head attention within the N tokens of each example, inside a compact method.

    Tokens of all examples are rows (B N, F), because products of matrices are faster; see ``nets.linear``. The heads
    split the F channels. Their concatenated outputs (B N, F) lack the output projection. No token attends to those
    where the mask, bool (B, N), is False.
    """
    features = rows.shape[-1]
    qkv = nn.Dense(3 * features, dtype=dtype, name="query_key_value")(rows)
    qkv = qkv.reshape(-1, num_tokens, 3, num_heads, features // num_heads)
    q, k, v = qkv[:, :, 0], qkv[:, :, 1], qkv[:, :, 2]
    allowed = None if mask is None else mask[:, None, None]
    return _attend(q, k, v, allowed).reshape(-1, features)


def cross_attention(rows: Array, num_tokens: int, context: Context, num_heads: int, dtype: Any = None) -> Array:
    """Apply multi-head attention from the N tokens of each example to its context, equation 2, in a compact method.

    Rows (B N, F) and the result are those of ``multi_head_attention``.
    """
    features, (vectors, mask) = rows.shape[-1], context
    heads = (num_heads, features // num_heads)
    q = nn.Dense(features, dtype=dtype, name="query")(rows).reshape(-1, num_tokens, *heads)
    kv = nn.Dense(2 * features, dtype=dtype, name="key_value")(vectors.reshape(-1, vectors.shape[-1]))
    kv = kv.astype(q.dtype).reshape(*vectors.shape[:2], 2, *heads)
    attended = _attend(q, kv[:, :, 0], kv[:, :, 1], mask[:, None, None])  # equation 2
    return attended.reshape(-1, features)


@jax.checkpoint
def _attend(q: Array, k: Array, v: Array, mask: Array | None) -> Array:
    """Apply attention, whose weights (B, heads, N, L) are computed again for the gradient rather than kept."""
    return jax.nn.dot_product_attention(q, k, v, mask=mask)
