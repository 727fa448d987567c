"""Reductions to one number for each example."""

from __future__ import annotations

import jax.numpy as jnp

from genjax.core import Array


def sum_over_example(values: Array) -> Array:
    """Add up all but the batch axis, (B, ...) to (B,).

    >>> sum_over_example(jnp.ones((2, 3, 4))).tolist()
    [12.0, 12.0]
    """
    return jnp.sum(values.reshape(len(values), -1), axis=-1)
