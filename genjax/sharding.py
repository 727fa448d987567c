"""Where arrays live: one mesh over all devices of all processes, and the one place that decides placements.

The mesh has up to three axes, whose sizes multiply to the number of devices:

* ``data``: batches are split, and everything else is copied;
* ``fsdp``: batches are split too, and so are parameters, their averages and the optimizer state, each array along its
  largest axis that the devices divide (Samyam Rajbhandari et al. 2020, arXiv:1910.02054, stage 3);
* ``model``: parameters are split as the model's ``tensor_axis`` says, and so is the work of its layers (Mohammad
  Shoeybi et al. 2019, arXiv:1909.08053); all devices along this axis see the same examples.

``jit`` inserts the collectives, so that models and learners know of no mesh, the same code serves one device and many,
and batch statistics are those of the whole batch.
"""

from __future__ import annotations

import math
import os
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from genjax.core import PyTree, TrainState
from genjax.ops import leaves_by_path

AXES = ("data", "fsdp", "model")
BATCH_AXES = ("data", "fsdp")
_LOST_CONNECTION = re.compile("(UNKNOWN|UNAVAILABLE|INTERNAL|ABORTED|CANCELLED|DEADLINE_EXCEEDED): ")
MIN_SPLIT = 1024  # elements; fewer take less memory than their collectives take time
HOST = "pinned_host"  # JAX's name of the memory of the host that devices read

Partition = Callable[[str], PartitionSpec | None]


def parse_mesh(text: str) -> dict[str, int]:
    """Return the sizes of a mesh by axis.

    Raises:
      ValueError: for an unknown axis, one that is named twice, or a size below 1.

    >>> parse_mesh("data=2,fsdp=4")
    {'data': 2, 'fsdp': 4}
    """
    sizes: dict[str, int] = {}
    for part in text.split(","):
        name, _, size = (piece.strip() for piece in part.partition("="))
        if name not in AXES:
            raise ValueError(
                f"mesh is {text!r}, but {name!r} is no axis; use data, fsdp and model, as in data=2,fsdp=4"
            )
        if name in sizes:
            raise ValueError(f"mesh is {text!r}, which names {name} twice; name each axis once")
        if not size.isdecimal() or int(size) < 1:
            raise ValueError(f"mesh is {text!r}, but the size of {name} must be a number of devices, as in {name}=2")
        sizes[name] = int(size)
    return sizes


def fitting_mesh(mesh: Mapping[str, int] | None, devices: Sequence[Any] | None = None) -> Mapping[str, int] | None:
    """Return the mesh that a run began with, or None with a warning if it does not fit the devices that are here now.

    ``devices`` are those of this program by default.
    """
    try:
        Placement(mesh, devices)
    except ValueError as error:
        if jax.process_index() == 0:
            reason = str(error).partition(";")[0]
            warnings.warn(
                f"the mesh that the run began with does not fit: {reason}; batches are split over all devices instead, "
                "and parameters copied: pass --mesh to split these",
                stacklevel=2,
            )
        return None
    return mesh


@final
@dataclass(frozen=True, kw_only=True)
class Rules:
    """What a model and an experiment say about the placement of parameters, by their paths such as ``net/up/kernel``.

    Attributes:
      tensor_axis: axis of a parameter, counted from its end, that the mesh axis ``model`` splits; None for no axis.
      partition: specification of a parameter, without the axis of replicas, in place of all rules; None for the rules.
    """

    tensor_axis: Callable[[str], int | None] | None = None
    partition: Partition | None = None


@final
class Placement:
    """A mesh over all devices, and the layout of arrays on it.

    Args:
      mesh: sizes of the axes, which multiply to the number of devices; None splits batches over all of them.
      devices: devices of the mesh; None for those of this program.

    Raises:
      ValueError: if the sizes do not multiply to the number of devices.
    """

    def __init__(self, mesh: Mapping[str, int] | None = None, devices: Sequence[Any] | None = None) -> None:
        devices = jax.devices() if devices is None else devices
        sizes = {"data": len(devices)} if mesh is None else dict(mesh)
        if math.prod(sizes.values()) != len(devices):
            raise ValueError(
                f"mesh is {_describe(sizes)}, which takes {math.prod(sizes.values())} devices, but there are "
                f"{len(devices)}; use sizes whose product is {len(devices)}, such as data={len(devices)}"
            )
        sizes = {name: sizes[name] for name in AXES if sizes.get(name, 1) > 1} or {"data": 1}
        # Auto axes: the default, Explicit, rejects plain model code.
        auto = (AxisType.Auto,) * len(sizes)
        self.mesh = jax.make_mesh(tuple(sizes.values()), tuple(sizes), axis_types=auto, devices=devices)
        self.replicated = NamedSharding(self.mesh, PartitionSpec())
        self._batch_axes = tuple(name for name in BATCH_AXES if name in sizes)
        if self._num_parts % jax.process_count() and len(self._batch_axes) < len(sizes):
            raise ValueError(
                f"mesh is {self}, which splits a batch into {self._num_parts} parts, but {jax.process_count()} "
                "processes read parts of their own; use a smaller model axis"
            )

    def __str__(self) -> str:
        """Return the sizes of the axes, such as ``data=2,fsdp=4``."""
        return _describe(self.mesh.shape)

    @property
    def num_devices(self) -> int:
        """Number of devices over all processes."""
        return self.mesh.size

    def describe_devices(self, kind: str) -> str:
        """Return the number of devices of a kind, and the mesh if it splits more than batches."""
        devices = f"{self.num_devices} {kind} devices"
        return devices if tuple(self.mesh.shape) == ("data",) else f"{devices} ({self})"

    @property
    def _num_parts(self) -> int:
        """Number of parts into which batches are split."""
        return math.prod(self.mesh.shape[name] for name in self._batch_axes)

    @property
    def is_writer(self) -> bool:
        """Whether this process writes files and the terminal."""
        return jax.process_index() == 0

    def split(self, axis: int) -> NamedSharding:
        """Return the sharding that splits one axis, that of the batch, over the devices."""
        names = self._batch_axes[0] if len(self._batch_axes) == 1 else self._batch_axes or None
        return NamedSharding(self.mesh, PartitionSpec(*(None,) * axis, names))

    def place(
        self, state: TrainState, rules: Rules, num_replicas: int = 1, *, offload_optimizer: bool = False
    ) -> TrainState:
        """Return shapes and types of a state with shardings: parameters and what follows them split, the rest copied.

        An array of the optimizer or of an average has the layout of its parameter, found by the end of its path. With
        ``offload_optimizer``, the large arrays of the optimizer are in the memory of the host.

        Raises:
          ValueError: if the mesh has a model axis for which the model has no rule, a partition does not fit, or the
            devices read no memory of the host.
        """
        if offload_optimizer:
            self._check_host_memory()
        if "model" in self.mesh.shape and rules.tensor_axis is None and rules.partition is None:
            raise ValueError(
                f"mesh is {self}, but the model does not say which axes of its parameters to split over model; "
                "use fsdp, or give the experiment a partition"
            )
        lead = int(num_replicas > 1)
        shapes = {path: leaf.shape[lead:] for path, leaf in leaves_by_path(state.params).items()}
        specs = {path: self._parameter_spec(path, shape, rules) for path, shape in shapes.items()}

        def spec_of(path: str, shape: tuple[int, ...]) -> PartitionSpec:
            entry, *parts = path.split("/")
            if entry in ("step", "state"):
                return PartitionSpec()
            ends = ("/".join(parts[start:]) for start in range(len(parts)))
            parameter = next((end for end in ends if shapes.get(end) == shape), None)
            return self._filled((None,) * len(shape), shape) if parameter is None else specs[parameter]

        def placed(path: Any, leaf: Any) -> jax.ShapeDtypeStruct:
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            spec = spec_of(name, leaf.shape[lead:])
            spec = PartitionSpec(*(None,) * lead, *spec) if len(spec) else spec
            is_on_host = offload_optimizer and name.startswith("opt_state/") and leaf.size >= MIN_SPLIT
            sharding = NamedSharding(self.mesh, spec, memory_kind=HOST if is_on_host else None)
            return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

        return jax.tree_util.tree_map_with_path(placed, state)

    def gather(self, params: PyTree, placed: PyTree, num_replicas: int = 1) -> PyTree:
        """Make parameters whole over fsdp for the computation of a step, under ``jit``, for one replica.

        Without this, the compiler may move activations, which are much larger, to the parts of the weights instead.
        ``placed`` are the parameters as ``place`` returns them, in which replicas come first.
        """
        if "fsdp" not in self.mesh.shape:
            return params

        def whole(array: Any, leaf: jax.ShapeDtypeStruct) -> Any:
            sharding: Any = leaf.sharding
            names = [None if "fsdp" in (axis or ()) else axis for axis in sharding.spec[int(num_replicas > 1) :]]
            return jax.lax.with_sharding_constraint(array, NamedSharding(self.mesh, PartitionSpec(*names)))

        return jax.tree.map(whole, params, placed)

    def spread(self, batch: PyTree, axis: int) -> PyTree:
        """Keep a batch split over the devices, under ``jit``, as ``gather`` makes parameters whole."""
        if "fsdp" not in self.mesh.shape:
            return batch
        return jax.lax.with_sharding_constraint(batch, self.split(axis))

    def _parameter_spec(self, path: str, shape: tuple[int, ...], rules: Rules) -> PartitionSpec:
        spec = None if rules.partition is None else rules.partition(path)
        if spec is not None:
            return self._checked(path, shape, spec)
        axes: list[str | None] = [None] * len(shape)
        axis = None if rules.tensor_axis is None else rules.tensor_axis(path)
        if axis is not None and "model" in self.mesh.shape and shape[axis] % self.mesh.shape["model"] == 0:
            axes[axis] = "model"
        return self._filled(tuple(axes), shape)

    def _filled(self, axes: tuple[str | None, ...], shape: tuple[int, ...]) -> PartitionSpec:
        """Return the specification in which fsdp splits the largest axis that is whole and that it divides."""
        if "fsdp" in self.mesh.shape and math.prod(shape) >= MIN_SPLIT:
            size = self.mesh.shape["fsdp"]
            free = [i for i, name in enumerate(axes) if name is None and shape[i] % size == 0]
            if free:
                largest = max(free, key=lambda i: shape[i])
                axes = (*axes[:largest], "fsdp", *axes[largest + 1 :])
        return PartitionSpec(*axes) if any(axes) else PartitionSpec()

    def _checked(self, path: str, shape: tuple[int, ...], spec: PartitionSpec) -> PartitionSpec:
        """Return a given specification without axes of size 1; raise ValueError if it does not fit the parameter."""
        if len(spec) > len(shape):
            raise ValueError(
                f"partition gives {path!r} the specification {spec}, but it has {len(shape)} axes; name at most these"
            )
        axes = []
        for size, entry in zip(shape, spec, strict=False):
            named = () if entry is None else (entry,) if isinstance(entry, str) else tuple(entry)
            unknown = [name for name in named if name not in AXES]
            if unknown:
                raise ValueError(
                    f"partition splits {path!r} over {unknown[0]!r}, but axes are data, fsdp and model; use these"
                )
            names = tuple(name for name in named if name in self.mesh.shape)
            parts = math.prod(self.mesh.shape[name] for name in names)
            if size % parts:
                raise ValueError(
                    f"partition splits an axis of {path!r} of length {size} into {parts} parts, which must divide it; "
                    "leave the axis whole"
                )
            axes.append(names or None)
        return PartitionSpec(*axes)

    def readable(self, tree: PyTree) -> PyTree:
        """Return arrays that this process can read whole: those that are split over processes are gathered."""
        gather = jax.jit(lambda array: array, out_shardings=self.replicated)
        return jax.tree.map(lambda a: a if a.is_fully_addressable or a.is_fully_replicated else gather(a), tree)

    def check_batch(self, batch_size: int) -> None:
        """Raise ValueError for a batch size that the devices cannot share evenly."""
        parts = self._num_parts
        if batch_size % parts:
            what = f"{parts} devices" if parts == self.num_devices else f"{parts} groups of devices (mesh {self})"
            raise ValueError(
                f"batch_size is {batch_size}, but {what} must share it evenly; "
                f"use a multiple of {parts}, such as {-(-batch_size // parts) * parts}"
            )

    def _check_host_memory(self) -> None:
        device = self.mesh.devices.flat[0]
        kinds = [memory.kind for memory in device.addressable_memories()]
        if HOST not in kinds:
            raise ValueError(
                f"offload_optimizer is set, but {device.device_kind} devices have no {HOST} memory, only "
                f"{', '.join(kinds)}; leave it out"
            )

    def check_memory(self, state: PyTree) -> None:
        """Raise ValueError if arrays, given by shapes, types and shardings, exceed the memory of a device."""
        needed, available = bytes_per_device(state), memory_per_device()
        if needed > available:
            raise ValueError(
                f"parameters and optimizer take {needed / 1e9:.3g} GB, but a device has {available / 1e9:.3g} GB of "
                "memory; make the networks smaller, train fewer seeds, or split them over devices with --mesh fsdp=…"
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


def is_communication_error(error: BaseException | None) -> bool:
    """Return whether an error or one of its causes may come from the communication between several processes.

    Where programs run in the caller's thread, as on CPUs, such an error is a ValueError that names its status.
    """
    if error is None or not jax.distributed.is_initialized():
        return False
    is_of_jax = isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" not in str(error)
    if is_of_jax or (isinstance(error, ValueError) and _LOST_CONNECTION.match(str(error))):
        return True
    return is_communication_error(error.__cause__ or error.__context__)


def _describe(sizes: Mapping[str, int]) -> str:
    return ",".join(f"{name}={size}" for name, size in sizes.items())


def to_device(tree: PyTree, placed: PyTree) -> PyTree:
    """Move those arrays to the device, under ``jit``, that ``Placement.place`` keeps in the memory of the host."""
    return _moved(tree, placed, jax.memory.Space.Device)


def to_host(tree: PyTree, placed: PyTree) -> PyTree:
    """Move arrays back that ``to_device`` has moved."""
    return _moved(tree, placed, jax.memory.Space.Host)


def _moved(tree: PyTree, placed: PyTree, space: Any) -> PyTree:
    def moved(array: Any, leaf: jax.ShapeDtypeStruct) -> Any:
        sharding: Any = leaf.sharding
        return jax.device_put(array, space) if sharding.memory_kind == HOST else array

    return jax.tree.map(moved, tree, placed)


def bytes_per_device(tree: PyTree) -> int:
    """Return the bytes that arrays, given by shapes, types and shardings, take on one device, without the host's."""
    on_device = (leaf for leaf in jax.tree.leaves(tree) if leaf.sharding.memory_kind != HOST)
    return sum(math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize for leaf in on_device)


def memory_per_device() -> float:
    """Return the memory of one device in bytes; devices on CPU share that of the machine."""
    device = jax.local_devices()[0]
    stats = device.memory_stats() or {}
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return stats.get("bytes_limit", machine / jax.local_device_count())


def replica(tree: PyTree, index: int) -> PyTree:
    """Return one replica of a tree whose arrays have a leading axis of replicas."""
    return jax.tree.map(lambda a: a[index], tree)
