"""Shuffling: a stateless random permutation of the training examples for each epoch.

Position p of the endless stream of training examples holds example

    π_e(p mod N),    e = ⌊p / N⌋,

where the π_e are independent uniform permutations of 0 … N - 1. π_e sorts N random words of the counter-based generator
Philox (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", 2011), keyed by (key, e). It depends on nothing
else: training resumes from any position, every example occurs exactly once per epoch, and a batch may span two epochs.

The two sets of an ``UnpairedSource`` have such streams of their own, with N and permutations of their own, whose keys
are derived from the key of both.
"""

from __future__ import annotations

import functools
import threading

import jax
import jax.numpy as jnp
import numpy as np

from genjax.arguments import PositiveInt, check_arguments
from genjax.core import stream_key
from genjax.data.source import Source

_lock = threading.Lock()


@check_arguments
def shuffle_indices(key: jax.Array, positions: np.ndarray, size: PositiveInt) -> np.ndarray:
    """Map positions p ≥ 0 of the stream of training examples, of any shape, to indices of N = ``size`` examples, int32.

    >>> epochs = shuffle_indices(jax.random.key(0), np.arange(8), 4).reshape(2, 4)
    >>> [sorted(epoch.tolist()) for epoch in epochs]
    [[0, 1, 2, 3], [0, 1, 2, 3]]
    """
    return shuffle_indices_from_words(key_words(key), positions, size)


def random_examples(key: jax.Array, source: Source, count: int) -> dict[str, np.ndarray]:
    """Return at most ``count`` examples of a source, drawn without replacement, in random order.

    Unlike the first examples, they represent data that are sorted by class, as folders are.

    >>> from genjax.data import ArraySource
    >>> batch = random_examples(jax.random.key(0), ArraySource({"x": np.arange(3)}), 5)
    >>> sorted(batch["x"].tolist())
    [0, 1, 2]
    """
    return source.take(shuffle_indices(key, np.arange(min(count, len(source))), len(source)))


def domain_keys(key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Return the keys of the order of examples of ``x`` and of ``y`` in an ``UnpairedSource``."""
    return stream_key(key, "x"), stream_key(key, "y")


def key_words(key: jax.Array) -> tuple[int, ...]:
    """Return the words of a typed key."""
    if not jnp.issubdtype(key.dtype, jax.dtypes.prng_key) or key.shape:
        raise ValueError(f"key has dtype {key.dtype} and shape {key.shape}; give one typed key, jax.random.key(seed)")
    return tuple(np.asarray(jax.random.key_data(key)).tolist())


def shuffle_indices_from_words(words: tuple[int, ...], positions: np.ndarray, size: int) -> np.ndarray:
    """Return ``shuffle_indices`` from the words of the key; without JAX, so that threads may call it freely."""
    positions = np.asarray(positions, np.int64)
    if positions.size and positions.min() < 0:
        raise ValueError(f"positions holds {positions.min()}, but the stream of examples starts at 0")
    epochs, offsets = np.divmod(positions, size)
    indices = np.empty(positions.shape, np.int32)
    for epoch in np.unique(epochs):
        in_epoch = epochs == epoch
        with _lock:  # threads that reach a new epoch together compute its permutation once
            permutation = _permutation(words, int(epoch), size)
        indices[in_epoch] = permutation[offsets[in_epoch]]
    return indices


@functools.lru_cache(maxsize=4)
def _permutation(words: tuple[int, ...], epoch: int, size: int) -> np.ndarray:
    # Raw words, because NumPy guarantees their values for ever, unlike those of Generator.permutation.
    philox = np.random.Philox(np.random.SeedSequence(words, spawn_key=(epoch,)))
    return np.argsort(philox.random_raw(size), kind="stable").astype(np.int32)
