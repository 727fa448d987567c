"""Causal attention."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp

from genjax.core import Array
from genjax.ops.arrays import at_least_float32


def causal_attention(q: Array, k: Array, v: Array) -> Array:
    """Return Σ_{s≤t} softmax_s(q_t·k_s / √D) v_s for queries, keys and values of N heads, all of shape (B, T, N, D).

    This is ``jax.nn.dot_product_attention``. On CPUs the softmax is normalized after the product with v, which takes
    fewer passes over the T × T logits of a head, above all in the gradient.

    >>> zeros, v = jnp.zeros((1, 3, 1, 2)), jnp.arange(6.0).reshape(1, 3, 1, 2)
    >>> causal_attention(zeros, zeros, v)[0, :, 0].tolist()  # means over all positions up to t
    [[0.0, 1.0], [1.0, 2.0], [2.0, 3.0]]
    """
    attention = partial(jax.nn.dot_product_attention, is_causal=True)
    return jax.lax.platform_dependent(q, k, v, cpu=_normalize_last, default=attention)


def _normalize_last(q: Array, k: Array, v: Array) -> Array:
    positions = jnp.arange(q.shape[1])
    logits = at_least_float32(jnp.einsum("btnd,bsnd->bnts", q * q.shape[-1] ** -0.5, k))
    logits = jnp.where((positions[:, None] >= positions[None])[None, None], logits, -jnp.inf)
    weights = jnp.exp(logits - jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True)))
    attended = jnp.einsum("bnts,bsnd->bntd", weights.astype(v.dtype), v)
    return (attended / jnp.sum(weights, axis=-1)[..., None].astype(v.dtype)).swapaxes(1, 2)
