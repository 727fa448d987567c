"""The embedding of noise levels, conditions and texts.

A noise level ℓ ∈ [0, 1], from 0 for clean inputs to 1 for pure noise, is represented by sines and cosines at K
geometrically decreasing frequencies. A perceptron embeds them, and a condition c is added:

    s = (cos 1000 ℓ ω_k, sin 1000 ℓ ω_k)_k,        ω_k = 10000^{−k/K},   k = 0 … K − 1,                          (1)

    e = W₂ ρ(W₁ s + b₁) + b₂ + C c.                                                                              (2)

With a context, such as the words of a text (``Context``), a linear map of its first vector is also added.

Equation 1 is the position embedding of Ashish Vaswani et al. 2017, arXiv:1706.03762. Jonathan Ho, Ajay Jain and Pieter
Abbeel 2020, arXiv:2006.11239, use it for noise levels with equation 2, without a condition; their steps 1 … 1000 are
1000 ℓ here. The condition is added as in Prafulla Dhariwal and Alex Nichol 2021, arXiv:2105.05233; the
vector of a text, as in Alex Nichol et al. 2021, arXiv:2112.10741.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from genjax.arguments import PositiveInt, check_arguments
from genjax.core import Array
from genjax.nets.attention import Context

NUM_STEPS = 1_000.0
MAX_PERIOD = 10_000.0


@check_arguments
class LevelEmbedding(nn.Module):
    """Embedding of noise levels and conditions, equation 2.

    Attributes:
      features: length of e.
      num_frequencies: number of frequencies, K.
      activation: ρ.
      dtype: dtype of the computation; None for float32. The sines and cosines are always float32.

    >>> import jax
    >>> net = LevelEmbedding(features=8)
    >>> net.init_with_output(jax.random.key(0), jnp.array([0.0, 0.5]), jnp.eye(2, 3))[0].shape
    (2, 8)
    """

    features: PositiveInt
    num_frequencies: PositiveInt = 32
    activation: Callable[[Array], Array] = nn.silu
    dtype: Any = None

    @nn.compact
    def __call__(self, level: Array, condition: Array | None = None, context: Context | None = None) -> Array:
        """Map levels (B,), a condition (B, K) and a context to (B, features)."""
        if level.ndim != 1:
            raise ValueError(f"level has shape {level.shape}, but must have shape (B,), one level per example")
        hidden = self.activation(nn.Dense(self.features, dtype=self.dtype)(sinusoids(level, self.num_frequencies)))
        embedding = nn.Dense(self.features, dtype=self.dtype)(hidden)
        if condition is not None:
            dense = nn.Dense(self.features, use_bias=False, dtype=self.dtype, name="condition")
            embedding = embedding + dense(condition)  # equation 2
        if context is not None:
            dense = nn.Dense(self.features, use_bias=False, dtype=self.dtype, name="text")
            embedding = embedding + dense(context.vectors[:, 0])
        return embedding


def sinusoids(level: Array, num_frequencies: int) -> Array:
    """Map levels (B,) to their cosines and sines, equation 1, float32 (B, 2 K).

    >>> sinusoids(jnp.zeros(1), 2).tolist()
    [[1.0, 1.0, 0.0, 0.0]]
    """
    frequencies = jnp.exp(-math.log(MAX_PERIOD) / num_frequencies * jnp.arange(num_frequencies, dtype=jnp.float32))
    angle = NUM_STEPS * level.astype(jnp.float32)[:, None] * frequencies[None]
    return jnp.concatenate([jnp.cos(angle), jnp.sin(angle)], axis=-1)
