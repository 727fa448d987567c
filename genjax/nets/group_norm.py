"""Group normalization, optionally with gains and biases that depend on a condition.

With mean μ and variance s² over all pixels and the channels of a group, for each example,

    y = (1 + a) ⊙ (γ ⊙ (x − μ) / √(s² + ε) + β) + b,                                                             (1)

where γ and β are learned for each channel, and a and b are given for each channel and example, or 0.

Yuxin Wu and Kaiming He 2018, arXiv:1803.08494; a and b as in Prafulla Dhariwal and Alex Nichol 2021, arXiv:2105.05233.
"""

from __future__ import annotations

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.arguments import NonNegativeFloat, PositiveInt, check_arguments
from genjax.core import Array
from genjax.ops import at_least_float32


@check_arguments
class GroupNorm(nn.Module):
    """Group normalization, equation 1.

    Attributes:
      num_groups: number of groups of adjacent channels, at least 1, which divides C.
      epsilon: ε.
      use_bias: whether there is β, which has no effect if a later normalization subtracts it again.
      dtype: dtype of the outputs; None follows the input. Statistics and parameters are always float32.
    """

    num_groups: PositiveInt
    epsilon: NonNegativeFloat = 1e-5
    use_bias: bool = True
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, gain: Array | None = None, bias: Array | None = None) -> Array:
        """Map (B, ..., C) to the same shape; ``gain`` and ``bias``, a and b, are (B, C)."""
        channels = x.shape[-1]
        check_divisible("GroupNorm", channels, "num_groups", self.num_groups)
        factor = self.param("scale", nn.initializers.ones, (channels,), jnp.float32)[None]
        offset = jnp.zeros((1, channels), jnp.float32)
        if self.use_bias:
            offset = self.param("bias", nn.initializers.zeros, (channels,), jnp.float32)[None]
        dtype = self.dtype or x.dtype
        x = at_least_float32(x)
        mean, square = self._group_means(x), self._group_means(jnp.square(x))
        # Everything but x has shape (B, C), so x itself takes part in only one product and one sum.
        factor = factor * jax.lax.rsqrt(jnp.maximum(square - jnp.square(mean), 0) + self.epsilon)
        offset = offset - factor * mean
        if gain is not None:
            factor, offset = factor * (1 + gain), offset * (1 + gain)
        if bias is not None:
            offset = offset + bias
        shape = (x.shape[0], *[1] * (x.ndim - 2), channels)
        return (x * factor.reshape(shape) + offset.reshape(shape)).astype(dtype)  # equation 1

    def _group_means(self, x: Array) -> Array:
        """Return the means over groups, (B, C), equal for the channels of a group."""
        means = jnp.mean(x, axis=tuple(range(1, x.ndim - 1)))
        groups = jnp.mean(means.reshape(x.shape[0], self.num_groups, -1), axis=2)
        return jnp.repeat(groups, x.shape[-1] // self.num_groups, axis=1)


def check_divisible(name: str, channels: int, setting: str, divisor: int) -> None:
    """Raise if the channels of a network are not divisible by a setting."""
    if channels % divisor:
        raise ValueError(
            f"{name} has {channels} channels, but needs a multiple of {setting}={divisor}; change one of them"
        )
