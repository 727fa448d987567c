"""Sums over examples in sufficient precision, and the arrays of a tree by name."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from genjax.core import Array, PyTree


def sum_except_batch(values: Array) -> Array:
    """Sum over all axes but the first, (B, ...) to (B,).

    >>> sum_except_batch(jnp.ones((2, 3, 4))).tolist()
    [12.0, 12.0]
    """
    return jnp.sum(values.reshape(values.shape[0], -1), axis=-1)


def leaves_by_path(tree: PyTree) -> dict[str, Any]:
    """Return the leaves of a tree by path, in the order of the tree.

    >>> leaves_by_path({"decoder": {"bias": 1}, "encoder": [2, 3]})
    {'decoder/bias': 1, 'encoder/0': 2, 'encoder/1': 3}
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def at_least_float32(value: Array) -> Array:
    """Convert half precision to float32 and keep wider types: log-likelihoods are never summed in half precision."""
    return value.astype(jnp.promote_types(value.dtype, jnp.float32))
