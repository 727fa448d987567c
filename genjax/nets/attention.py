"""Self-attention: over the pixels of an image, and of tokens by several heads.

    o_i = Σ_j softmax_j(q_i · k_j) v_j,        y_i = x_i + γ W_o o_i,                                             (1)

for pixels i and j with features x_i ∈ ℝ^C, and q, k, v = W_q x, W_k x, W_v x ∈ ℝ^{C/8}. The scalar γ is learned and
begins at 0, so that a network trains at first as if there were no attention.

Han Zhang, Ian Goodfellow, Dimitris Metaxas and Augustus Odena, 2019, arXiv:1805.08318.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.core import Array
from genjax.nets.conv import Conv
from genjax.nets.normalization import apply_layer


class SelfAttention2D(nn.Module):
    """Equation 1, of images (B, H, W, C): H²W² products for each example, so for small H and W.

    While γ is 0, as it is at the start, gradients move γ alone of these parameters, and the others from then on.

    Attributes:
      spectral: whether the matrices are spectrally normalized.
      kernel_init: initial weights of the matrices.
      dtype: what it computes in; None follows the input. Parameters are float32 in any case.

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
        # No biases: softmax takes no notice of that of the keys.
        matrix = functools.partial(
            Conv, kernel_size=(1, 1), use_bias=False, kernel_init=self.kernel_init, dtype=self.dtype
        )
        inner = max(1, channels // 8)
        q, k, v = (
            layer(matrix(inner, name=name), x).reshape(batch, height * width, 1, inner)
            for name in ("query", "key", "value")
        )
        attended = jax.nn.dot_product_attention(q, k, v, scale=1.0).reshape(batch, height, width, inner)
        gamma = self.param("gamma", nn.initializers.zeros, (), jnp.float32)
        return x + gamma.astype(x.dtype) * layer(matrix(channels, name="output"), attended)


def multi_head_attention(rows: Array, num_tokens: int, num_heads: int, dtype: Any = None) -> Array:
    """Let the tokens of each example attend to each other, by several heads, inside a compact method.

    Args:
      rows: tokens of all examples, (B N, F): products are of matrices, see ``nets.linear``.
      num_tokens: N.
      num_heads: which share the F channels out.
      dtype: what it computes in; None follows the input. Parameters are float32 in any case.

    Returns:
      What the heads found, side by side, (B N, F), for a matrix of the caller's to mix.
    """
    features = rows.shape[-1]
    qkv = nn.Dense(3 * features, dtype=dtype, name="query_key_value")(rows)
    qkv = qkv.reshape(-1, num_tokens, 3, num_heads, features // num_heads)
    return jax.nn.dot_product_attention(*(qkv[:, :, i] for i in range(3))).reshape(-1, features)
