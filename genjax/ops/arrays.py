"""Sums over examples, in sufficient precision."""

from __future__ import annotations

import jax.numpy as jnp

from genjax.core import Array


def sum_except_batch(values: Array) -> Array:
    """Sum over all axes but the first, (B, ...) to (B,).

    >>> sum_except_batch(jnp.ones((2, 3, 4))).tolist()
    [12.0, 12.0]
    """
    return jnp.sum(values.reshape(values.shape[0], -1), axis=-1)


def at_least_float32(value: Array) -> Array:
    """Convert half precision to float32 and keep wider types: log-likelihoods are never summed in half precision."""
    return value.astype(jnp.promote_types(value.dtype, jnp.float32))
