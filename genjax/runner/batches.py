"""How batches reach the compiled step.

Data that fits lies on the device, as the bytes it came in; a dispatch of n steps is sent only the indices, int32 of
shape (n, B). What does not fit is read by worker threads ahead of time and sent as arrays of shape (n, B, ...). Both
follow the same order, so the batches are the same. With K seeds everything sent gets a leading axis of length K; with M
minibatches a step, an axis of length M stands before B.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, final

import jax
import jax.numpy as jnp
import numpy as np

from genjax import data
from genjax.core import Batch, PyTree
from genjax.sharding import Placement


class Feed(Protocol):
    """Sends batches to the compiled step."""

    constants: PyTree

    def send(self, start_step: int, num_steps: int) -> PyTree:
        """Return what the steps from ``start_step`` on need, on the devices."""
        ...

    def pick(self, constants: PyTree, sent: PyTree) -> Batch:
        """Return one step's batch from ``constants`` and one step's part of what was sent; runs under ``jit``."""
        ...


def make_feed(
    source: data.Source, keys: list[jax.Array], batch_size: int, minibatches: int, placement: Placement
) -> Feed:
    """Choose the feed for a source: on the device where it fits, else streamed.

    Args:
      source: the examples.
      keys: one key for each seed; the seed's order of examples.
      batch_size: examples in a minibatch, over all devices together.
      minibatches: minibatches that one step consumes.
      placement: the devices.
    """
    if isinstance(source, data.ArraySource) and source.resident:
        return ResidentFeed(source, keys, batch_size, minibatches, placement)
    return StreamFeed(source, keys, batch_size, minibatches, placement)


@final
class ResidentFeed:
    """Data on the device, indices sent."""

    def __init__(
        self, source: data.ArraySource, keys: list[jax.Array], batch_size: int, minibatches: int, placement: Placement
    ) -> None:
        self.constants = placement.replicate(dict(source.arrays))
        self._size = len(source)
        self._keys = keys
        self._shape = (batch_size,) if minibatches == 1 else (minibatches, batch_size)
        self._placement = placement

    def send(self, start_step: int, num_steps: int) -> PyTree:
        """Return indices, int32 of shape ([K,] n, [M,] B)."""
        count = int(np.prod(self._shape))
        positions = np.arange(start_step * count, (start_step + num_steps) * count)
        picks = [
            data.shuffle_indices(key, positions, self._size).reshape(num_steps, *self._shape) for key in self._keys
        ]
        indices = picks[0] if len(picks) == 1 else np.stack(picks)
        return self._placement.shard(indices, indices.ndim - 1)

    def pick(self, constants: PyTree, sent: PyTree) -> Batch:
        """Gather the examples; indices are in range by construction, so ``clip`` only spares the check."""
        return jax.tree.map(lambda a: jnp.take(a, sent, axis=0, mode="clip"), constants)


@final
class StreamFeed:
    """Data read ahead by worker threads, examples sent."""

    def __init__(
        self, source: data.Source, keys: list[jax.Array], batch_size: int, minibatches: int, placement: Placement
    ) -> None:
        self.constants: PyTree = {}
        self._source, self._keys = source, keys
        self._batch_size, self._minibatches = batch_size, minibatches
        self._placement = placement
        self._streams: list[Iterator[dict[str, np.ndarray]]] = []
        self._next_step = -1

    def send(self, start_step: int, num_steps: int) -> PyTree:
        """Return batches of shape ([K,] n, [M,] B, ...)."""
        if start_step != self._next_step:
            self._streams = [self._open(key, start_step) for key in self._keys]
        self._next_step = start_step + num_steps
        seeds = [_stack([next(stream) for _ in range(num_steps)]) for stream in self._streams]
        batches = seeds[0] if len(seeds) == 1 else _stack(seeds)
        return self._placement.shard_local(batches, (len(seeds) > 1) + 1 + (self._minibatches > 1))

    def pick(self, constants: PyTree, sent: PyTree) -> Batch:
        """Return the batch as it was sent."""
        del constants
        return sent

    def _open(self, key: jax.Array, start_step: int) -> Iterator[dict[str, np.ndarray]]:
        return data.stream(
            self._source,
            key,
            batch_size=self._batch_size,
            start_step=start_step,
            minibatches=self._minibatches,
            shard=(jax.process_index(), jax.process_count()),
        )


def _stack(batches: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return jax.tree.map(lambda *arrays: np.stack(arrays), *batches)
