"""Standing statistics of a network's batch normalization.

Batch normalization keeps moving averages of mean and variance. A pass over a batch with statistics s updates them to

    a ← m a + (1 − m) s,                                                                                         (1)

which is (1 − m) s from a = 0, with derivative m in a.

Standing statistics are the mean of s over many batches at fixed parameters (Andrew Brock, Jeff Donahue and Karen
Simonyan 2019, arXiv:1809.11096).
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from genjax.core import Array, PyTree
from genjax.nets.normalization import is_batch_average


def standing_statistics(update: Callable[[PyTree, Array], PyTree], state: PyTree, keys: Array) -> PyTree:
    """Return a network's state with standing statistics in place of moving averages, and other entries unchanged.

    ``update`` is ``(state, key) -> state``, a pass over a batch drawn with the key; ``keys`` has one for each batch.
    """

    def with_averages(value: Array) -> PyTree:
        return jax.tree_util.tree_map_with_path(
            lambda path, a: jnp.full_like(a, value) if is_batch_average(path) else a, state
        )

    def statistics(key: Array) -> PyTree:
        from_zero, momentum = jax.jvp(lambda a: update(with_averages(a), key), (jnp.zeros(()),), (jnp.ones(()),))
        return jax.tree.map(lambda a, m: a / (1 - m), from_zero, momentum)  # equation 1

    means = jax.tree.map(lambda s: jnp.mean(s, axis=0), jax.lax.map(statistics, keys))
    return jax.tree_util.tree_map_with_path(
        lambda path, old, mean: mean if is_batch_average(path) else old, state, means
    )
