"""Streaming: the batches of training read ahead by threads, for data that does not fit on the accelerator.

With batch size B and M minibatches a step, step t uses the positions t·B·M … (t + 1)·B·M of the endless stream of
examples (``genjax.data.shuffling``), shaped (M, B). So a stream is a pure function of the key and the step: it starts
anywhere, and gives exactly the batches that the same data gives when it is resident.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import jax
import numpy as np

from genjax.data.shuffling import key_words, order_of_words
from genjax.data.source import Source

_MAX_STEPS = 2**31 - 1  # the step of a training state is int32


def stream(
    source: Source,
    key: jax.Array,
    *,
    batch_size: int,
    start_step: int = 0,
    num_steps: int | None = None,
    minibatches: int = 1,
    shard: tuple[int, int] = (0, 1),
    prefetch: int = 8,
    num_threads: int = 4,
) -> Iterator[dict[str, np.ndarray]]:
    """Read the batches of training steps, in order and ahead of time.

    Args:
      source: what to read.
      key: one typed key, which fixes the order of examples.
      batch_size: number of examples B of one minibatch, over all shards.
      start_step: the first step to read for.
      num_steps: how many steps to read for; None never ends.
      minibatches: minibatches M that one step takes.
      shard: (index i, count n): this process's share, rows i·B/n … (i + 1)·B/n of every minibatch.
      prefetch: how many batches are read ahead.
      num_threads: how many batches are read at once; 0 reads in the caller's thread.

    Yields:
      Batches whose arrays have shape (B/n, ...), or (M, B/n, ...) when M > 1.

    Raises:
      ValueError: before anything is read, when a setting is out of range or shards do not divide the batch.
    """
    _check(len(source), batch_size, start_step, num_steps, minibatches, shard)
    words = key_words(key)
    index, count = shard
    rows = batch_size // count

    def read(step: int) -> dict[str, np.ndarray]:
        start = step * batch_size * minibatches
        positions = np.arange(start, start + batch_size * minibatches).reshape(minibatches, batch_size)
        mine = positions[:, index * rows : (index + 1) * rows]
        batch = source.take(order_of_words(words, mine.ravel(), len(source)))
        return batch if minibatches == 1 else {k: a.reshape(*mine.shape, *a.shape[1:]) for k, a in batch.items()}

    stop = _MAX_STEPS if num_steps is None else start_step + num_steps
    return _iterate(read, start_step, stop, prefetch, num_threads)


def _iterate(
    read: Callable[[int], dict[str, np.ndarray]], start: int, stop: int, prefetch: int, num_threads: int
) -> Iterator[dict[str, np.ndarray]]:
    import grain

    options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=prefetch if num_threads else 0)
    return iter(grain.MapDataset.range(start, stop).map(read).to_iter_dataset(options))


def _check(
    size: int, batch_size: int, start_step: int, num_steps: int | None, minibatches: int, shard: tuple[int, int]
) -> None:
    if not 1 <= batch_size <= size:
        raise ValueError(f"batch_size is {batch_size}, but there are {size} examples; give 1 … {size}")
    if minibatches < 1:
        raise ValueError(f"minibatches is {minibatches}, but a step takes at least 1")
    if start_step < 0 or (num_steps is not None and num_steps < 0):
        raise ValueError(f"start_step is {start_step} and num_steps {num_steps}, but neither may be negative")
    index, count = shard
    if count < 1 or not 0 <= index < count:
        raise ValueError(f"shard is {shard}, but it must be (index, count) with 0 <= index < count")
    if batch_size % count:
        raise ValueError(f"batch_size is {batch_size}, but {count} shards must divide it; give a multiple of {count}")
