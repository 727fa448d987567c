"""Draws from categorical distributions that are right in the tail.

A 32-bit Gumbel is at most 16, so that the maximum of logits and Gumbels draws a value of probability 10⁻⁸ beside a
probable one never, and one of 10⁻⁷ half as often as it should. Inversion by a 32-bit uniform number is as coarse: its
spacing is 10⁻⁷. In texts of discrete diffusion, the loss lowers the temperature (Kaiwen Zheng et al. 2024,
arXiv:2409.02908).

Here a uniform integer r of 40 bits is compared with cumulative sums of probabilities in units of 2⁻⁴⁰, as integers of
24 high and 16 low bits, which add without rounding:

    x = min {i ≠ m: Σ_{j ≤ i, j ≠ m} round(2⁴⁰ p_j) > r},        or m if no sum exceeds r,                        (1)

for the most probable value m. It takes what the others leave, so that the rounded probabilities need not sum to 1.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from genjax.core import Array

LOW_BITS, HIGH_BITS = 16, 24  # a float32 has 24 digits, and 2¹⁶ integers of 16 bits add up to 32 bits


def categorical(key: Array, logits: Array) -> Array:
    """Draw values from logits (..., K), int32 (...); the error of each probability is about 2⁻⁴⁰ ≈ 10⁻¹².

    Where a logit is NaN or the largest is not finite, as after a diverged training, the value is −1.

    Raises:
      ValueError: if K exceeds 2¹⁶.

    >>> categorical(jax.random.key(0), jnp.log(jnp.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]))).tolist()
    [1, 0]
    """
    num_values = logits.shape[-1]
    if num_values > 2**LOW_BITS:
        raise ValueError(f"logits are of {num_values} values, but at most {2**LOW_BITS} can be drawn exactly")
    probs = jax.nn.softmax(logits.astype(jnp.float32), axis=-1)
    most_probable = jnp.argmax(probs, axis=-1)
    is_most_probable = jax.nn.one_hot(most_probable, num_values, dtype=bool)
    scaled = jnp.where(is_most_probable, 0.0, probs) * 2.0**HIGH_BITS
    high = jnp.floor(scaled)
    low = jnp.minimum(jnp.round((scaled - high) * 2.0**LOW_BITS), 2.0**LOW_BITS - 1)
    low_sum = jnp.cumsum(low.astype(jnp.uint32), axis=-1)
    high_sum = jnp.cumsum(high.astype(jnp.uint32), axis=-1) + (low_sum >> LOW_BITS)
    low_sum = low_sum & (2**LOW_BITS - 1)
    bits = jax.random.bits(key, (2, *most_probable.shape, 1))
    r_high, r_low = bits[0] >> (32 - HIGH_BITS), bits[1] >> (32 - LOW_BITS)
    exceeds = (high_sum > r_high) | ((high_sum == r_high) & (low_sum > r_low))
    value = jnp.where(jnp.any(exceeds, axis=-1), jnp.argmax(exceeds, axis=-1), most_probable)  # equation 1
    return jnp.where(jnp.isfinite(jnp.max(logits, axis=-1)), value, -1).astype(jnp.int32)
