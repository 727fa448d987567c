"""Where arrays live: one mesh over all devices of all processes, with a single axis, ``data``.

The same code serves one device and many: model and optimizer are replicated, batches are split along their batch axis,
and ``jit`` inserts the collectives, so that batch statistics are those of the whole batch.
"""

from __future__ import annotations

import os
from typing import final

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from genjax.core import PyTree

AXIS = "data"


@final
class Placement:
    """A mesh over all devices, and the layout of arrays on it."""

    def __init__(self) -> None:
        # Auto axes: the default, Explicit, rejects plain model code.
        self.mesh = jax.make_mesh((jax.device_count(),), (AXIS,), axis_types=(AxisType.Auto,))
        self.replicated = NamedSharding(self.mesh, PartitionSpec())

    @property
    def num_devices(self) -> int:
        """Number of devices over all processes."""
        return self.mesh.size

    @property
    def is_writer(self) -> bool:
        """Whether this process writes files and the terminal."""
        return jax.process_index() == 0

    def split(self, axis: int) -> NamedSharding:
        """Return the sharding that splits one axis over the devices."""
        return NamedSharding(self.mesh, PartitionSpec(*(None,) * axis, AXIS))

    def check_batch(self, batch_size: int) -> None:
        """Raise ValueError for a batch size that the devices cannot share evenly."""
        if batch_size % self.num_devices:
            raise ValueError(
                f"batch_size is {batch_size}, but {self.num_devices} devices must share it evenly; "
                f"use a multiple of {self.num_devices}, such as {-(-batch_size // self.num_devices) * self.num_devices}"
            )

    def check_memory(self, state: PyTree) -> None:
        """Raise ValueError if arrays, given by shapes and types, exceed the memory of a device that holds them all."""
        needed = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
        available = memory_per_device()
        if needed > available:
            raise ValueError(
                f"parameters and optimizer take {needed / 1e9:.3g} GB, but a device has {available / 1e9:.3g} GB of "
                "memory; make the networks smaller, or train fewer seeds"
            )

    def barrier(self, name: str) -> None:
        """Wait until every process has reached this point."""
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices(name)

    def replicate(self, tree: PyTree) -> PyTree:
        """Place host arrays, which every process holds alike, whole on every device."""
        return jax.tree.map(lambda a: self._put(a, self.replicated), tree)

    def shard(self, tree: PyTree, axis: int) -> PyTree:
        """Place host arrays, which every process holds alike, split along one axis over the devices."""
        return jax.tree.map(lambda a: self._put(a, self.split(axis)), tree)

    def shard_local(self, tree: PyTree, axis: int) -> PyTree:
        """Place arrays split along one axis, each process contributing its own part."""
        return jax.tree.map(lambda a: jax.make_array_from_process_local_data(self.split(axis), a), tree)

    def _put(self, array: np.ndarray | jax.Array, sharding: NamedSharding) -> jax.Array:
        if jax.process_count() == 1:
            return jax.device_put(array, sharding)
        if isinstance(array, jax.Array) and jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
            data = self._put(np.asarray(jax.random.key_data(array)), sharding)
            return jax.random.wrap_key_data(data)
        host = np.asarray(array)
        return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])


def memory_per_device() -> float:
    """Return the memory of one device in bytes; devices on CPU share that of the machine."""
    device = jax.local_devices()[0]
    stats = device.memory_stats() or {}
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return stats.get("bytes_limit", machine / jax.local_device_count())


def replica(tree: PyTree, index: int) -> PyTree:
    """Return one replica of a tree whose arrays have a leading axis of replicas."""
    return jax.tree.map(lambda a: a[index], tree)
