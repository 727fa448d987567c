"""Sharding over one mesh of all devices of all processes, with a single axis, ``data``.

The same code runs on one device and on many: model and optimizer are replicated, batches are sharded along their batch
axis, and ``jit`` inserts the collectives, so that batch statistics are those of the whole batch.
"""

from __future__ import annotations

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
    """A mesh of all devices, and the placement of arrays on it.

    Attributes:
      mesh: mesh of all devices of all processes.
      replicated: sharding that replicates an array on every device.
    """

    def __init__(self) -> None:
        # Auto axes, because the default, Explicit, rejects ordinary model code.
        self.mesh = jax.make_mesh((jax.device_count(),), (AXIS,), axis_types=(AxisType.Auto,))
        self.replicated = NamedSharding(self.mesh, PartitionSpec())

    @property
    def num_devices(self) -> int:
        """Number of devices of all processes."""
        return self.mesh.size

    @property
    def is_writer(self) -> bool:
        """Whether this process writes files and to the terminal."""
        return jax.process_index() == 0

    def split(self, axis: int) -> NamedSharding:
        """Return the sharding that splits one axis over all devices."""
        return NamedSharding(self.mesh, PartitionSpec(*(None,) * axis, AXIS))

    def check_batch(self, batch_size: int) -> None:
        """Raise if the devices cannot share a batch evenly."""
        if batch_size % self.num_devices:
            raise ValueError(
                f"batch_size is {batch_size}, but {self.num_devices} devices must share it evenly; "
                f"use a multiple of {self.num_devices}, such as {-(-batch_size // self.num_devices) * self.num_devices}"
            )

    def barrier(self, name: str) -> None:
        """Wait until every process has reached this point."""
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices(name)

    def replicate(self, tree: PyTree) -> PyTree:
        """Copy host arrays, equal in every process, to every device."""
        return jax.tree.map(lambda a: self._put(a, self.replicated), tree)

    def shard(self, tree: PyTree, axis: int) -> PyTree:
        """Shard host arrays, equal in every process, along one axis."""
        return jax.tree.map(lambda a: self._put(a, self.split(axis)), tree)

    def shard_local(self, tree: PyTree, axis: int) -> PyTree:
        """Shard arrays along one axis; each process holds its own part of that axis."""
        return jax.tree.map(lambda a: jax.make_array_from_process_local_data(self.split(axis), a), tree)

    def _put(self, array: np.ndarray | jax.Array, sharding: NamedSharding) -> jax.Array:
        if jax.process_count() == 1:
            return jax.device_put(array, sharding)
        if isinstance(array, jax.Array) and jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
            data = self._put(np.asarray(jax.random.key_data(array)), sharding)
            return jax.random.wrap_key_data(data)
        host = np.asarray(array)
        return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])
