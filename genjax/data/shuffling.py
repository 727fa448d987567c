"""The order of training examples: a stateless random permutation for each epoch.

Position p of the endless stream of training examples holds example

    π_e(p mod N),    e = ⌊p / N⌋,

where the π_e are independent uniform permutations of 0 … N - 1. π_e sorts N random words of the counter-based generator
Philox (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011) that is keyed by (key, e), so that it can be
made at any time from nothing else: training resumes from any position, every example comes exactly once an epoch, and a
batch may straddle two epochs.
"""

from __future__ import annotations

import functools
import threading

import jax
import jax.numpy as jnp
import numpy as np

_lock = threading.Lock()


def order(key: jax.Array, positions: np.ndarray, size: int) -> np.ndarray:
    """Map positions of the stream of training examples to indices of examples.

    Args:
      key: one typed key.
      positions: non-negative integers of any shape.
      size: number of examples N.

    Returns:
      int32 indices in 0 … size - 1, in the shape of ``positions``.

    Raises:
      ValueError: when ``key`` is not one typed key, ``size`` is not positive or a position is negative.

    >>> epochs = order(jax.random.key(0), np.arange(8), 4).reshape(2, 4)
    >>> [sorted(epoch.tolist()) for epoch in epochs]
    [[0, 1, 2, 3], [0, 1, 2, 3]]
    """
    return order_of_words(key_words(key), positions, size)


def key_words(key: jax.Array) -> tuple[int, ...]:
    """Return the words of a typed key."""
    if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key) or key.shape:
        raise ValueError(f"key has dtype {key.dtype} and shape {key.shape}; give one typed key, jax.random.key(seed)")
    return tuple(np.asarray(jax.random.key_data(key)).tolist())


def order_of_words(words: tuple[int, ...], positions: np.ndarray, size: int) -> np.ndarray:
    """Do what ``order`` does, from the words of the key; touches no JAX, so that threads may call it freely."""
    if size < 1:
        raise ValueError(f"size is {size}, but there must be at least one example")
    positions = np.asarray(positions, np.int64)
    if positions.size and positions.min() < 0:
        raise ValueError(f"positions holds {positions.min()}, but the stream of examples starts at 0")
    epochs, offsets = np.divmod(positions, size)
    indices = np.empty(positions.shape, np.int32)
    for epoch in np.unique(epochs):
        here = epochs == epoch
        with _lock:  # threads that reach a new epoch together make its permutation once
            permutation = _permutation(words, int(epoch), size)
        indices[here] = permutation[offsets[here]]
    return indices


@functools.lru_cache(maxsize=4)
def _permutation(words: tuple[int, ...], epoch: int, size: int) -> np.ndarray:
    # Raw words, because NumPy promises their values for ever, which it does not for Generator.permutation.
    philox = np.random.Philox(np.random.SeedSequence(words, spawn_key=(epoch,)))
    return np.argsort(philox.random_raw(size), kind="stable").astype(np.int32)
