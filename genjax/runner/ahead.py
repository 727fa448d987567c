"""Ahead-of-time compilation: the programs of an experiment for chips that are not there, and what they cost.

Every stage's training step, and the sampler, are traced with shapes alone and compiled for the devices of a topology.
The step is the body of the training dispatch. The sampler has whole weights on every chip and splits its samples.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, final

import jax

from genjax.evaluation.samples import example_conditions
from genjax.experiment import SINGLE_STAGE, Experiment
from genjax.roofline import CHIPS, Chip, Collective, collectives, count_flops, roofline, share, wire_bytes
from genjax.runner.gpus import COMPILER_OPTIONS, GPUS, target_config
from genjax.runner.stages import StageWalk
from genjax.sharding import Placement

Platform = Literal["tpu", "cuda", "cpu"]
DEFAULT_TOPOLOGIES: Mapping[Platform, str] = {"tpu": "v5e:2x2", "cuda": "h100:8", "cpu": ""}
NUM_SAMPLES = 64


@final
@dataclasses.dataclass(frozen=True, kw_only=True)
class Target:
    """Devices to compile for.

    Attributes:
      platform: platform of the devices.
      devices: the devices, which need not exist.
      chip: published peaks of one of them, a chip or, on v4, one of its two cores; None for those that have none, CPUs.
      compiler_options: options of the compiler, by name.
    """

    platform: Platform
    devices: Sequence[Any]
    chip: Chip | None
    compiler_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@final
@dataclasses.dataclass(frozen=True, kw_only=True)
class Program:
    """A compiled program, in numbers of one chip.

    Attributes:
      name: name of the stage, or "sample".
      compile_seconds: time that compilation took.
      argument_bytes: bytes of parameters, optimizer, batch and data that stay on the chip.
      output_bytes: bytes of results that do not replace arguments.
      temporary_bytes: bytes of intermediate results.
      flops: FLOPs of matrix products and convolutions.
      bytes_moved: bytes between memory and chip, at least; see ``genjax.roofline``.
      collectives: collectives by kind.
      fits: whether all bytes fit the chip's memory; None without a chip.
      least_seconds: least time at the chip's peaks; None without a chip.
      bound: the resource that takes this time: products, memory or interconnect.
      error: what the compiler says of a program that does not fit; its numbers are then 0.
    """

    name: str
    compile_seconds: float
    argument_bytes: int = 0
    output_bytes: int = 0
    temporary_bytes: int = 0
    flops: float = 0.0
    bytes_moved: float = 0.0
    collectives: Mapping[str, Collective] = dataclasses.field(default_factory=dict)
    fits: bool | None = None
    least_seconds: float | None = None
    bound: str | None = None
    error: str | None = None

    @property
    def total_bytes(self) -> int:
        """Bytes of everything that is in memory at once."""
        return self.argument_bytes + self.output_bytes + self.temporary_bytes


def find_target(platform: Platform, topology: str) -> Target:
    """Return the devices of a topology such as ``v5e:2x2`` or ``h100:8``; on CPUs, those of this program.

    Raises:
      ValueError: if the compiler does not know the topology.
      ImportError: if the compiler for the platform is not installed.
    """
    if platform == "cpu":
        return Target(platform=platform, devices=jax.devices("cpu"), chip=None)
    return _find_gpus(topology) if platform == "cuda" else _find_tpus(topology)


def _find_tpus(topology: str) -> Target:
    if importlib.util.find_spec("libtpu") is None:
        raise ImportError("the compiler for TPUs is missing; install it with: pip install 'genjax-models[tpu-aot]'")
    from jax.experimental import topologies

    # The compiler looks for no TPU, leaves one to other programs, and logs nothing.
    os.environ.update(TPU_SKIP_MDS_QUERY="1", ALLOW_MULTIPLE_LIBTPU_LOAD="1", TPU_WORKER_HOSTNAMES="localhost")
    os.environ.update(TPU_ACCELERATOR_TYPE="v5litepod-4", TPU_MIN_LOG_LEVEL="3", TPU_STDERR_LOG_LEVEL="3")
    name = topology.partition(":")[0]
    try:
        devices = topologies.get_topology_desc(platform="tpu", topology_name=topology).devices
    except (jax.errors.JaxRuntimeError, ValueError, KeyError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"topology is {topology!r}, which the compiler rejects ({reason}); use v5e:2x2") from error
    chip, cores = CHIPS.get(name), 1 + max(device.core_on_chip for device in devices)
    return Target(platform="tpu", devices=devices, chip=None if chip is None else share(chip, cores))


def _find_gpus(topology: str) -> Target:
    """Return GPUs of one node, such as ``h100:8``."""
    name, _, count = topology.partition(":")
    if name not in GPUS or not count.isdecimal() or int(count) < 1:
        raise ValueError(
            f"topology is {topology!r}, but must be a GPU, one of {', '.join(GPUS)}, and a number of them; use h100:8"
        )
    if importlib.util.find_spec("jax_plugins.xla_cuda13") is None:
        raise ImportError("the compiler for GPUs is missing; install it with: pip install 'genjax-models[cuda-aot]'")
    from jax.experimental import topologies

    description = topologies.get_topology_desc(
        platform="cuda", target_config=target_config(name), topology=f"1x1x{count}"
    )
    return Target(platform="cuda", devices=description.devices, chip=CHIPS[name], compiler_options=COMPILER_OPTIONS)


def compile_ahead(
    experiment: Experiment,
    target: Target,
    *,
    mesh: Mapping[str, int] | None = None,
    announce: Callable[[str], None] = lambda name: None,
) -> Iterator[Program]:
    """Compile the training step of each stage, then the sampler, and yield what they cost.

    Args:
      experiment: experiment whose programs are compiled; nothing is trained.
      target: devices to compile for.
      mesh: sizes of the mesh axes, see ``genjax.sharding``.
      announce: called with the name of each program before it is compiled, which may take minutes.

    Raises:
      ValueError: if the mesh does not fit the devices, the batch or the model.
    """
    placement = Placement(mesh, target.devices)
    placement.check_batch(experiment.batch_size)
    # Arguments are read from data on one device of this machine, and moved to the target as shapes.
    walk = StageWalk(experiment, (0,), Placement(devices=jax.devices()[:1]))
    for loop in walk:
        name = "train" if loop.stage.name == SINGLE_STAGE else f"train {loop.stage.name}"
        announce(name)
        yield _compiled(name, loop.trace(placement), target)
        walk.finish(loop, loop.abstract())
    announce("sample")
    yield _compiled("sample", _trace_sampler(experiment, walk.finished, placement), target)


def _trace_sampler(experiment: Experiment, finished: Mapping[str, Any], placement: Placement) -> jax.stages.Traced:
    """Trace the draw of previews, with as many samples as all chips share evenly."""
    model = experiment.model
    condition = example_conditions(model, experiment.data, NUM_SAMPLES, experiment.preprocess)
    sharding = placement.split(0) if NUM_SAMPLES % placement.num_devices == 0 else placement.replicated

    def place(array: Any, sharding: Any = placement.replicated) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=sharding)

    def draw(variables: Any, key: jax.Array, condition: Mapping[str, jax.Array]) -> jax.Array:
        return model.sample(variables, key, NUM_SAMPLES, **experiment.preview_kwargs, **condition)

    variables = jax.tree.map(place, jax.eval_shape(experiment.model_variables, finished))
    arguments = (
        variables,
        place(jax.random.key(0)),
        jax.tree.map(functools.partial(place, sharding=sharding), condition),
    )
    return jax.jit(draw, out_shardings=sharding).trace(*arguments)


def _compiled(name: str, traced: jax.stages.Traced, target: Target) -> Program:
    started = time.perf_counter()
    try:
        lowered = traced.lower(lowering_platforms=(target.platform,))
        compiled = lowered.compile(compiler_options=dict(target.compiler_options))
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        used = re.search(r"Used \S+ of \S+ hbm", str(error))
        text = used[0] if used else str(error).splitlines()[0]
        return Program(name=name, compile_seconds=time.perf_counter() - started, fits=False, error=text)
    seconds = time.perf_counter() - started
    memory: Any = compiled.memory_analysis()
    found = collectives(compiled.as_text() or "")
    costs: Any = compiled.cost_analysis() or {}
    numbers: dict[str, Any] = {
        "argument_bytes": memory.argument_size_in_bytes,
        "output_bytes": memory.output_size_in_bytes - memory.alias_size_in_bytes,
        "temporary_bytes": memory.temp_size_in_bytes,
        "flops": count_flops(traced.jaxpr) / len(target.devices),
        # Without the compiler's count, what every program moves: arguments in and results out.
        "bytes_moved": costs.get("bytes accessed", memory.argument_size_in_bytes + memory.output_size_in_bytes),
        "collectives": found,
    }
    program = Program(name=name, compile_seconds=seconds, **numbers)
    if target.chip is None:
        return program
    bound = roofline(
        target.chip, flops=program.flops, memory_bytes=program.bytes_moved, collective_bytes=wire_bytes(found)
    )
    fits = program.total_bytes <= target.chip.memory
    return dataclasses.replace(program, fits=fits, least_seconds=bound.seconds, bound=bound.resource)
