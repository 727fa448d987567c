"""Causal and full attention."""

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
    return _attention(q, k, v, is_causal=True)


def full_attention(q: Array, k: Array, v: Array) -> Array:
    """Return Σ_s softmax_s(q_t·k_s / √D) v_s; see ``causal_attention``."""
    return _attention(q, k, v, is_causal=False)


def _attention(q: Array, k: Array, v: Array, is_causal: bool) -> Array:
    attention = partial(jax.nn.dot_product_attention, is_causal=is_causal)
    on_cpus = partial(_normalize_last, is_causal=is_causal)
    return jax.lax.platform_dependent(q, k, v, cpu=on_cpus, default=attention)


def _normalize_last(q: Array, k: Array, v: Array, is_causal: bool) -> Array:
    logits = at_least_float32(jnp.einsum("btnd,bsnd->bnts", q * q.shape[-1] ** -0.5, k))
    if is_causal:
        positions = jnp.arange(q.shape[1])
        logits = jnp.where((positions[:, None] >= positions[None])[None, None], logits, -jnp.inf)
    weights = jnp.exp(logits - jax.lax.stop_gradient(jnp.max(logits, axis=-1, keepdims=True)))
    attended = jnp.einsum("bnts,bsnd->bntd", weights.astype(v.dtype), v)
    return (attended / jnp.sum(weights, axis=-1)[..., None].astype(v.dtype)).swapaxes(1, 2)


def attend_to_first(q: Array, k: Array, v: Array, length: Array) -> Array:
    """Return attention of one query to the first ``length`` keys: q is (B, 1, N, D), and k and v are (B N, T, D).

    >>> k, v = jnp.zeros((1, 4, 2)), jnp.arange(8.0).reshape(1, 4, 2)
    >>> attend_to_first(jnp.zeros((1, 1, 1, 2)), k, v, 3)[0, 0].tolist()
    [[2.0, 3.0]]
    """
    scaled = q.reshape(k.shape[0], k.shape[2]) * q.shape[-1] ** -0.5
    logits = at_least_float32(jnp.einsum("nd,ntd->nt", scaled, k))
    logits = jnp.where((jnp.arange(k.shape[1]) < length)[None], logits, -jnp.inf)
    weights = jax.nn.softmax(logits, axis=-1).astype(v.dtype)
    return jnp.einsum("nt,ntd->nd", weights, v).reshape(q.shape)
