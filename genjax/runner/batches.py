"""How batches reach the compiled step.

Data that fits on the device stays there in its own dtype, and a dispatch of n steps receives only int32 indices (n, B).
Larger data is read ahead by worker threads and sent as arrays (n, B, ...). Both follow the same order, so the batches
are the same. Each of two unpaired sets arrives in its own way. With K seeds, everything sent has a leading axis of
length K; with M minibatches per step, an axis of length M precedes B.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Protocol, final

import jax
import jax.numpy as jnp
import numpy as np

from genjax import data
from genjax.core import Batch, PyTree
from genjax.data.shuffling import domain_keys
from genjax.sharding import Placement


class Feed(Protocol):
    """Sends batches to the compiled step."""

    constants: PyTree

    def send(self, start_step: int, num_steps: int) -> PyTree:
        """Return what ``num_steps`` steps from ``start_step`` on need, placed on the devices."""
        ...

    def pick(self, constants: PyTree, sent: PyTree) -> Batch:
        """Return the batch of one step from ``constants`` and that step's slice of ``sent``; runs under ``jit``."""
        ...


def make_feed(
    source: data.Source, keys: list[jax.Array], batch_size: int, minibatches: int, placement: Placement
) -> Feed:
    """Return a feed that keeps a source on the device if it fits, and streams it otherwise.

    There is one key of the order of examples for each seed; ``batch_size`` is over all devices, and ``minibatches`` the
    number of minibatches that one step consumes.
    """
    if isinstance(source, data.UnpairedSource):
        domains = zip((source.x, source.y), zip(*map(domain_keys, keys), strict=True), strict=True)
        return JointFeed([make_feed(domain, list(own), batch_size, minibatches, placement) for domain, own in domains])
    if isinstance(source, data.ArraySource) and source.resident:
        constants = placement.replicate(dict(source.arrays))
        return ResidentFeed(constants, len(source), keys, batch_size, minibatches, placement)
    return StreamFeed(source, keys, batch_size, minibatches, placement)


@final
class ResidentFeed:
    """Data on the device, arrays of ``size`` examples, and indices sent."""

    def __init__(
        self,
        constants: PyTree,
        size: int,
        keys: list[jax.Array],
        batch_size: int,
        minibatches: int,
        placement: Placement,
    ) -> None:
        self.constants, self._size, self._keys, self._placement = constants, size, keys, placement
        self._shape = (batch_size,) if minibatches == 1 else (minibatches, batch_size)

    def send(self, start_step: int, num_steps: int) -> PyTree:
        """Return indices, int32 of shape ([K,] n, [M,] B)."""
        count = int(np.prod(self._shape))
        positions = np.arange(start_step * count, (start_step + num_steps) * count)
        by_seed = [
            data.shuffle_indices(key, positions, self._size).reshape(num_steps, *self._shape) for key in self._keys
        ]
        indices = by_seed[0] if len(by_seed) == 1 else np.stack(by_seed)
        return self._placement.shard(indices, indices.ndim - 1)

    def pick(self, constants: PyTree, sent: PyTree) -> Batch:
        """Gather the examples; indices are always in range, and ``clip`` avoids the check."""
        return jax.tree.map(lambda a: jnp.take(a, sent, axis=0, mode="clip"), constants)


@final
class StreamFeed:
    """Data read ahead by worker threads, examples sent."""

    def __init__(
        self, source: data.Source, keys: list[jax.Array], batch_size: int, minibatches: int, placement: Placement
    ) -> None:
        self.constants: PyTree = {}
        self._keys, self._placement, self._minibatches = keys, placement, minibatches
        shard = (jax.process_index(), jax.process_count())
        self._open = functools.partial(data.stream, source, batch_size=batch_size, minibatches=minibatches, shard=shard)
        self._streams: list[Iterator[dict[str, np.ndarray]]] = []
        self._next_step = -1

    def send(self, start_step: int, num_steps: int) -> PyTree:
        """Return batches of shape ([K,] n, [M,] B, ...)."""
        if start_step != self._next_step:
            self._streams = [self._open(key, start_step=start_step) for key in self._keys]
        self._next_step = start_step + num_steps
        by_seed = [_stack([next(stream) for _ in range(num_steps)]) for stream in self._streams]
        batches = by_seed[0] if len(by_seed) == 1 else _stack(by_seed)
        batch_axis = 1 + int(len(by_seed) > 1) + int(self._minibatches > 1)
        return self._placement.shard_local(batches, batch_axis)

    def pick(self, constants: PyTree, sent: PyTree) -> Batch:
        """Return the batch that was sent."""
        del constants
        return sent


@final
class JointFeed:
    """Feeds side by side, whose entries make up a batch."""

    def __init__(self, feeds: list[Feed]) -> None:
        self._feeds = feeds
        self.constants: PyTree = [feed.constants for feed in feeds]

    def send(self, start_step: int, num_steps: int) -> PyTree:
        """Return what each feed sends."""
        return [feed.send(start_step, num_steps) for feed in self._feeds]

    def pick(self, constants: PyTree, sent: PyTree) -> Batch:
        """Return the entries of all feeds."""
        parts = [feed.pick(*arguments) for feed, *arguments in zip(self._feeds, constants, sent, strict=True)]
        return {name: array for part in parts for name, array in part.items()}


def _stack(batches: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return jax.tree.map(lambda *arrays: np.stack(arrays), *batches)
