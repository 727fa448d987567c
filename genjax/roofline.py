"""What a compiled program costs on a chip: products, memory traffic and collectives, and the time that each takes.

A step cannot be faster than the slowest of three resources, each at its published peak,

    t ≥ max(FLOPs / peak FLOP/s,  bytes / memory bandwidth,  collective bytes / interconnect bandwidth),           (1)

the roofline of Samuel Williams, Andrew Waterman and David Patterson 2009, "Roofline: an insightful visual performance
model for multicore architectures". The three are counted for one chip, as follows.

* FLOPs are those of matrix products and convolutions, two for each multiply-add, of the whole traced program, divided
  by the number of chips. Iterations of ``scan`` count each; the body of a ``while`` of unknown length counts once.
* Bytes are the compiler's own count, in which the body of a loop counts once: they are at least these.
* Collectives are read from the compiled program, iterations included. An all-reduce passes over the wire twice.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, final

from jax.extend.core import ClosedJaxpr, Jaxpr


@final
@dataclass(frozen=True, kw_only=True)
class Chip:
    """Published peaks of a chip.

    Attributes:
      flops: bfloat16 products, FLOP/s, without sparsity; those of float32 inputs run in one such pass by default.
      memory: bytes of its memory.
      memory_bandwidth: bytes/s between memory and chip.
      interconnect: bytes/s that a chip can send to others of its slice or node over all its links.
    """

    flops: float
    memory: float
    memory_bandwidth: float
    interconnect: float


# TPUs: cloud.google.com/tpu/docs/v4, /v5e, /v5p-training and /v6e (the interconnect is half the bidirectional one; that
# of v4, six links of 50 GB/s, is from Norman Jouppi et al. 2023, arXiv:2304.01433). GPUs: NVIDIA's data sheets of the
# H100 SXM, H200 SXM and A100 80GB SXM, with half the total of NVLink.
CHIPS: Mapping[str, Chip] = {
    "v4": Chip(flops=275e12, memory=32 * 2**30, memory_bandwidth=1200e9, interconnect=300e9),
    "v5e": Chip(flops=197e12, memory=16e9, memory_bandwidth=819e9, interconnect=200e9),
    "v5p": Chip(flops=459e12, memory=95e9, memory_bandwidth=2765e9, interconnect=600e9),
    "v6e": Chip(flops=918e12, memory=32e9, memory_bandwidth=1638e9, interconnect=400e9),
    "a100": Chip(flops=312e12, memory=80e9, memory_bandwidth=2039e9, interconnect=300e9),
    "h100": Chip(flops=989e12, memory=80e9, memory_bandwidth=3350e9, interconnect=450e9),
    "h200": Chip(flops=989e12, memory=141e9, memory_bandwidth=4800e9, interconnect=450e9),
}


def share(chip: Chip, cores: int) -> Chip:
    """Return the peaks of one of the cores of a chip, where each is a device of its own."""
    return Chip(
        **{name: getattr(chip, name) / cores for name in ("flops", "memory", "memory_bandwidth", "interconnect")}
    )


class Bound(NamedTuple):
    """The least time of a program in seconds, equation 1, and the resource that takes it."""

    seconds: float
    resource: str


def roofline(chip: Chip, *, flops: float, memory_bytes: float, collective_bytes: float) -> Bound:
    """Return the least time of a program on a chip and the resource that binds it.

    >>> roofline(CHIPS["v5e"], flops=197e9, memory_bytes=819e6, collective_bytes=800e6)
    Bound(seconds=0.004, resource='interconnect')
    """
    times = {
        "products": flops / chip.flops,
        "memory": memory_bytes / chip.memory_bandwidth,
        "interconnect": collective_bytes / chip.interconnect,
    }
    resource = max(times, key=lambda name: times[name])
    return Bound(times[resource], resource)


def count_flops(jaxpr: ClosedJaxpr | Jaxpr, dtype: str | None = None) -> float:
    """Return the FLOPs of the products and convolutions of a traced program over all devices.

    With a dtype, such as "bfloat16", only those of inputs of this dtype count.

    >>> import jax, jax.numpy as jnp
    >>> repeated = lambda x, w: jax.lax.fori_loop(0, 10, lambda _, x: x @ w, x)
    >>> count_flops(jax.make_jaxpr(repeated)(jnp.ones((2, 3)), jnp.ones((3, 3))))
    360.0
    """
    total = 0.0
    equations: list[Any] = jaxpr.eqns  # whose abstract values have shapes unknown to type checkers
    for equation in equations:
        params = equation.params
        products = _products(equation)
        if products is not None:
            counts = dtype is None or equation.invars[0].aval.dtype.name == dtype
            total += 2.0 * math.prod(equation.outvars[0].aval.shape) * products * counts
        elif equation.primitive.name == "cond":
            total += max(count_flops(branch, dtype) for branch in params["branches"])
        else:
            total += params.get("length", 1) * sum(count_flops(inner, dtype) for inner in _inner(params))
    return total


def _products(equation: Any) -> float | None:
    """Return the number of products in an output of a matrix product or convolution; None for other operations."""
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        (axes, _), _ = params["dimension_numbers"]
        shape = equation.invars[0].aval.shape
        return math.prod(shape[axis] for axis in axes)
    if name == "conv_general_dilated":
        kernel, numbers = equation.invars[1].aval.shape, params["dimension_numbers"]
        return math.prod(kernel) / kernel[numbers.rhs_spec[0]] / math.prod(params["lhs_dilation"])
    if name == "convolution":  # that of ``genjax.ops``, with kernels (*window, C, features)
        return math.prod(equation.invars[1].aval.shape[:-1]) / math.prod(params["window"].lhs_dilation)
    return None


def _inner(params: Mapping[str, Any]) -> Iterator[ClosedJaxpr | Jaxpr]:
    """Yield the programs inside an equation."""
    for value in params.values():
        for item in value if isinstance(value, tuple | list) else (value,):
            if isinstance(item, ClosedJaxpr | Jaxpr):
                yield item


COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute", "ragged-all-to-all")
_COMPUTATION = re.compile(r"^(?:ENTRY )?%?(\S+) \(.*\{$")
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%?(\S+) = (.*?) ([a-z][a-z0-9-]*)\((.*)$")
_CALLED = re.compile(
    r"(?:calls|to_apply|body|condition)=%?([\w.\-]+)|(?:branch_computations|called_computations)=\{(.*?)\}"
)
_ARRAY = re.compile(r"\b([a-z]+\d+[a-z0-9]*|pred)\[([\d,]*)\]")
_CONTINUED = "async_collective_fusion"  # name of computations in which a collective goes on beside other work
_WORK = ("fusion", "convolution", "dot", "while", "conditional", "call", "custom-call")
_BITS = {"pred": 8, "f8e4m3fn": 8, "f8e5m2": 8}


class Collective(NamedTuple):
    """All collectives of one kind in a step on one chip.

    Attributes:
      count: their number.
      bytes: bytes of their arrays.
      overlapped: bytes of those during which the compiled schedule has other work.
    """

    count: int
    bytes: int
    overlapped: int = 0


def collectives(text: str) -> dict[str, Collective]:
    """Return the collectives of a compiled program by kind, those in loops once for each iteration.

    The size of a collective is that of its larger side: what an all-gather returns, what a reduce-scatter takes.

    >>> text = '''ENTRY %main (x: f32[2]) -> f32[8] {
    ...   %x = f32[2]{0} parameter(0)
    ...   ROOT %all-gather.1 = f32[8]{0} all-gather(%x), dimensions={0}
    ... }'''
    >>> collectives(text)
    {'all-gather': Collective(count=1, bytes=32, overlapped=0)}
    """
    computations = _computations(text)
    executions = _executions(text, computations)
    overlapped = {start for name in executions for start in _overlapped(computations[name], computations)}
    totals: dict[str, Collective] = {}
    for name, times in executions.items():
        if name.startswith(_CONTINUED) or _target(computations[name]) == "AsyncCollectiveDone":
            continue  # parts of a collective that another computation starts
        sizes = {result: _bytes(shape) for result, shape, _, _ in computations[name]}
        for result, shape, operation, rest in computations[name]:
            kind = operation.removesuffix("-start")
            if kind not in COLLECTIVES:
                continue
            operands = re.findall(r"%([\w.\-]+)", rest.partition(")")[0])
            # A start returns its operands beside its results.
            size = times * max(sum(sizes.get(operand, 0) for operand in operands), _largest(shape, operation))
            count, total, others = totals.get(kind, Collective(0, 0))
            totals[kind] = Collective(count + times, total + size, others + size * bool({result, name} & overlapped))
    return totals


def _overlapped(instructions: Sequence[Instruction], computations: Mapping[str, list[Instruction]]) -> Iterator[str]:
    """Yield the collectives that have work between start and end: instructions, or computations of TPUs' fusions."""
    waiting: dict[tuple[str, ...], str] = {}  # starts without work so far, by what identifies their ends
    for result, _, operation, rest in instructions:
        called = _called(rest, computations) if operation == "fusion" else []
        inner = computations[called[0]] if called else []
        if operation.endswith("-start"):
            waiting[(result,)] = result
        elif operation.endswith("-done"):
            waiting.pop(tuple(re.findall(r"%([\w.\-]+)", rest)[:1]), None)
        elif _target(inner) == "AsyncCollectiveStart":
            waiting[_channel(inner)] = called[0]
        elif _target(inner) == "AsyncCollectiveDone":
            waiting.pop(_channel(inner), None)
        elif operation in _WORK:
            yield from waiting.values()
            waiting.clear()


def _target(instructions: Sequence[Instruction]) -> str:
    """Return the target of the custom call with which a computation ends, or nothing."""
    match = re.search(r'custom_call_target="(\w+)"', instructions[-1][3]) if instructions else None
    return match[1] if match else ""


def _channel(instructions: Sequence[Instruction]) -> tuple[str, ...]:
    """Return what all parts of one asynchronous collective of TPUs have in common."""
    rest = next((rest for _, _, operation, rest in instructions if operation in COLLECTIVES), "")
    return tuple(re.findall(r'(?:channel_id=|chain_id=")(\d+)', rest))


def wire_bytes(found: Mapping[str, Collective]) -> int:
    """Return the bytes that a chip sends for collectives; an all-reduce is a reduce-scatter and an all-gather."""
    return sum((2 if kind == "all-reduce" else 1) * collective.bytes for kind, collective in found.items())


Instruction = tuple[str, str, str, str]  # name, shape, operation, the rest of the line


def _computations(text: str) -> dict[str, list[Instruction]]:
    computations: dict[str, list[Instruction]] = {}
    current: list[Instruction] = []
    for line in text.splitlines():
        header = _COMPUTATION.match(line)
        if header:
            current = computations.setdefault(header[1], [])
            continue
        instruction = _INSTRUCTION.match(line)
        if instruction:
            current.append((instruction[1], instruction[2], instruction[3], instruction[4]))
    return computations


def _executions(text: str, computations: Mapping[str, list[Instruction]]) -> dict[str, int]:
    """Return how often each computation runs; loops whose length the program does not state count once."""
    entry = re.search(r"^ENTRY %?(\S+) ", text, re.MULTILINE)
    times: dict[str, int] = {}

    def visit(name: str, count: int) -> None:
        times[name] = times.get(name, 0) + count
        for _, _, operation, rest in computations[name]:
            if operation.endswith(("-done", "-update")):  # of what a start runs
                continue
            length = _trip_count(rest, computations) if operation == "while" else 1
            for called in _called(rest, computations):
                visit(called, count * length)

    if entry:
        visit(entry[1], 1)
    return times


def _called(rest: str, computations: Mapping[str, list[Instruction]]) -> list[str]:
    """Return the names of the computations that an instruction calls."""
    names = [name for one, many in _CALLED.findall(rest) for name in (one, *re.split(r",\s*", many))]
    return [name.strip("% ") for name in names if name.strip("% ") in computations]


def _trip_count(rest: str, computations: Mapping[str, list[Instruction]]) -> int:
    """Return the length of a loop: what the compiler states, or the constant that its counter is compared with."""
    stated = re.search(r'known_trip_count":\{"n":"(\d+)"', rest)
    if stated:
        return int(stated[1])
    condition = re.search(r"condition=%?([\w.\-]+)", rest)
    lines = computations.get(condition[1], []) if condition else []
    constants = [int(line[3].partition(")")[0]) for line in lines if line[2] == "constant" and line[3][:1].isdigit()]
    return constants[0] if len(constants) == 1 else 1


def _bytes(shape: str) -> int:
    return sum(_size(dtype, axes) for dtype, axes in _ARRAY.findall(shape))


def _largest(shape: str, operation: str) -> int:
    sizes = [_size(dtype, axes) for dtype, axes in _ARRAY.findall(shape)] or [0]
    return max(sizes) if operation.endswith("-start") else sum(sizes)


def _size(dtype: str, axes: str) -> int:
    bits = _BITS.get(dtype) or int(re.sub(r"^[a-z]+", "", dtype))
    return math.prod(int(axis) for axis in axes.split(",") if axis) * bits // 8
