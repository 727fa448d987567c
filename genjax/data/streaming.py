"""Streaming: threads read training batches ahead, for data that does not fit on the accelerator.

With batch size B and M minibatches per step, step t uses the positions t·B·M … (t + 1)·B·M of the endless stream of
examples (``genjax.data.shuffling``), shaped (M, B). A stream is thus a pure function of the key and the step: it can
start at any step, and its batches equal those of resident data.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from genjax.arguments import NonNegativeInt, PositiveInt, check_arguments
from genjax.data.shuffling import domain_keys, key_words, shuffle_indices_from_words
from genjax.data.source import Source, UnpairedSource

_MAX_STEPS = 2**31 - 1  # training steps are int32


@check_arguments
def stream(
    source: Source,
    key: jax.Array,
    *,
    batch_size: PositiveInt,
    start_step: NonNegativeInt = 0,
    num_steps: NonNegativeInt | None = None,
    minibatches: PositiveInt = 1,
    shard: tuple[NonNegativeInt, PositiveInt] = (0, 1),
    prefetch: PositiveInt = 8,
    num_threads: NonNegativeInt = 4,
) -> Iterator[dict[str, np.ndarray]]:
    """Read the batches of training steps, in order and ahead of time.

    Args:
      source: source to read from.
      key: typed key, which determines the order of examples.
      batch_size: number of examples in a minibatch over all shards, B.
      start_step: first step.
      num_steps: number of steps; None for an endless stream.
      minibatches: number of minibatches per step, M.
      shard: (index i, count n) of this process, which reads rows i·B/n … (i + 1)·B/n of every minibatch; n
        divides B.
      prefetch: number of batches read ahead.
      num_threads: number of batches read at the same time; 0 reads in the caller's thread.

    Yields:
      Batches whose arrays have shape (B/n, ...), or (M, B/n, ...) when M > 1.
    """
    if isinstance(source, UnpairedSource):
        settings: dict[str, Any] = {
            "batch_size": batch_size,
            "start_step": start_step,
            "num_steps": num_steps,
            "minibatches": minibatches,
            "shard": shard,
            "prefetch": prefetch,
            "num_threads": num_threads,
        }
        key_x, key_y = domain_keys(key)
        pairs = zip(stream(source.x, key_x, **settings), stream(source.y, key_y, **settings), strict=True)
        return ({**x, **y} for x, y in pairs)
    _check(len(source), batch_size, shard)
    import grain

    words = key_words(key)
    index, count = shard
    rows = batch_size // count

    def read(step: int) -> dict[str, np.ndarray]:
        start = step * batch_size * minibatches
        positions = np.arange(start, start + batch_size * minibatches).reshape(minibatches, batch_size)
        shard_positions = positions[:, index * rows : (index + 1) * rows]
        batch = source.take(shuffle_indices_from_words(words, shard_positions.ravel(), len(source)))
        if minibatches == 1:
            return batch
        return {k: a.reshape(*shard_positions.shape, *a.shape[1:]) for k, a in batch.items()}

    stop = _MAX_STEPS if num_steps is None else start_step + num_steps
    options = grain.ReadOptions(num_threads=num_threads, prefetch_buffer_size=prefetch if num_threads else 0)
    return iter(grain.MapDataset.range(start_step, stop).map(read).to_iter_dataset(options))


def _check(size: int, batch_size: int, shard: tuple[int, int]) -> None:
    if batch_size > size:
        raise ValueError(f"batch_size is {batch_size}, but there are {size} examples; use 1 … {size}")
    index, count = shard
    if index >= count:
        raise ValueError(f"shard is {shard}, but must be (index, count) with 0 <= index < count")
    if batch_size % count:
        raise ValueError(
            f"batch_size is {batch_size}, but must be divisible by {count} shards; use a multiple of {count}"
        )
