"""Sources: finite sets of examples x_0 … x_{N-1}, read in batches by index.

A source is *resident* if it is in memory and small enough to be placed on the accelerator as a whole, where it is then
shuffled, indexed and preprocessed. Other sources are streamed (``genjax.data.streaming``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, final, runtime_checkable

import jax
import numpy as np

from genjax.arguments import PositiveInt, check_arguments
from genjax.data.progress import progress_bar

RESIDENT_BYTES = 2 * 2**30  # limit for the arrays of one split
MAX_ROUNDING = 1e-3  # error of float32, relative to the spread of the numbers
SMALL_BYTES = 2**29  # records up to this size are read into memory when a data set is opened

Spec = dict[str, jax.ShapeDtypeStruct]
Record = Mapping[str, Any]
Indices = np.ndarray | Sequence[int]

_NARROW = {np.dtype(np.int64): np.int32, np.dtype(np.uint64): np.int32, np.dtype(np.float64): np.float32}


class Records(Protocol):
    """Random access to single examples, for example a list or ``tfds.data_source``."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Record: ...


@runtime_checkable
class Source(Protocol):
    """A finite set of examples."""

    def __len__(self) -> int:
        """Return the number of examples."""
        ...

    def take(self, indices: Indices) -> dict[str, np.ndarray]:
        """Read the examples at ``indices``, integers (B,), as arrays of shape (B, ...)."""
        ...

    @property
    def spec(self) -> Spec:
        """Shape and type of one example by entry, without the batch axis."""
        ...

    @property
    def resident(self) -> bool:
        """Whether the whole source can be placed on the accelerator; if so, it is an ``ArraySource``."""
        ...


@check_arguments
@final
@dataclass(frozen=True, eq=False)
class ArraySource:
    """Examples in memory, one array for each entry of a batch.

    Attributes:
      arrays: arrays of real numbers (N, ...) by name, at least one. 64-bit numbers are converted to the 32 bits that
        JAX computes with.

    >>> source = ArraySource({"x": np.arange(6.0).reshape(3, 2), "label": [0, 1, 1]})
    >>> len(source), source.spec["x"].shape, source.take(np.array([2]))["x"].tolist()
    (3, (2,), [[4.0, 5.0]])
    """

    arrays: Mapping[str, Any]

    def __post_init__(self) -> None:
        if not self.arrays:
            raise ValueError("arrays is empty, but needs at least {'x': ...}")
        arrays = {name: _narrow(name, np.asarray(array)) for name, array in self.arrays.items()}
        lengths = {name: len(array) for name, array in arrays.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"arrays have different lengths {lengths}; every example needs an entry in each")
        object.__setattr__(self, "arrays", arrays)

    def __len__(self) -> int:
        return len(next(iter(self.arrays.values())))

    def take(self, indices: Indices) -> dict[str, np.ndarray]:
        """See ``Source.take``."""
        return {name: array[indices] for name, array in self.arrays.items()}

    @property
    def spec(self) -> Spec:
        """See ``Source.spec``."""
        return {name: jax.ShapeDtypeStruct(a.shape[1:], a.dtype) for name, a in self.arrays.items()}

    @property
    def resident(self) -> bool:
        """Whether the arrays take at most ``RESIDENT_BYTES``."""
        return sum(array.nbytes for array in self.arrays.values()) <= RESIDENT_BYTES


@final
@dataclass(frozen=True, eq=False)
class MappedSource:
    """Examples in files that are mapped into memory: each is read when it is used, and none is resident.

    Attributes:
      mapped: arrays (N, ...) by name, such as ``numpy.memmap``, of one length. Batches of 64-bit numbers are converted
        to 32 bits.
    """

    mapped: Mapping[str, np.ndarray]
    resident = False  # examples are streamed

    def __len__(self) -> int:
        return len(next(iter(self.mapped.values())))

    def take(self, indices: Indices) -> dict[str, np.ndarray]:
        """See ``Source.take``."""
        # With a leading axis, the precision is checked by the spread of all numbers, not of a few examples.
        return {name: _narrow(name, array[indices][None])[0] for name, array in self.mapped.items()}

    @property
    def spec(self) -> Spec:
        """See ``Source.spec``."""
        dtypes = {name: _NARROW.get(array.dtype, array.dtype) for name, array in self.mapped.items()}
        return {name: jax.ShapeDtypeStruct(a.shape[1:], dtypes[name]) for name, a in self.mapped.items()}


@final
@dataclass(frozen=True, eq=False)
class CheckedSource:
    """Examples whose values are checked whenever they are read.

    Attributes:
      source: source to read from.
      check: function ``(arrays, indices)`` that raises ValueError for wrong values.
    """

    source: Source
    check: Callable[[Mapping[str, np.ndarray], np.ndarray], None]

    def __len__(self) -> int:
        return len(self.source)

    def take(self, indices: Indices) -> dict[str, np.ndarray]:
        """See ``Source.take``."""
        arrays = self.source.take(indices)
        self.check(arrays, np.asarray(indices))
        return arrays

    @property
    def spec(self) -> Spec:
        """See ``Source.spec``."""
        return self.source.spec

    @property
    def resident(self) -> bool:
        """See ``Source.resident``."""
        return self.source.resident


@check_arguments
@final
@dataclass(frozen=True, eq=False)
class UnpairedSource:
    """Two sets of examples of any sizes whose examples do not belong together, such as photos and paintings.

    In training each set runs through permutations of its own, so that no pair of examples recurs (see
    ``genjax.data.shuffling``). Everywhere else example i consists of example i of either set. There are as many as the
    smaller set has, so that none counts twice; the rest of the larger set is left out.

    Attributes:
      x: examples of the domain that is generated, with an entry ``x``.
      y: examples of the other domain, whose entries ``x`` does not have.

    >>> photos, maps = ArraySource({"x": np.zeros((5, 2))}), ArraySource({"y": np.ones((3, 4))})
    >>> source = UnpairedSource(photos, maps)
    >>> len(source), source.spec["x"].shape, source.spec["y"].shape
    (3, (2,), (4,))
    """

    x: Source
    y: Source
    resident = False  # as a whole, though each of the sets may be

    def __post_init__(self) -> None:
        both = sorted(self.x.spec.keys() & self.y.spec.keys())
        if both:
            raise ValueError(f"x and y both have an entry {both[0]!r}; rename it in one of them, for example to 'y'")

    def __len__(self) -> int:
        return min(len(self.x), len(self.y))

    def take(self, indices: Indices) -> dict[str, np.ndarray]:
        """See ``Source.take``."""
        return {**self.x.take(indices), **self.y.take(indices)}

    @property
    def spec(self) -> Spec:
        """See ``Source.spec``."""
        return {**self.x.spec, **self.y.spec}


def _narrow(name: str, array: np.ndarray) -> np.ndarray:
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name} has dtype {array.dtype}, but must hold real numbers; convert it")
    if array.ndim == 0:
        raise ValueError(f"{name} is the single number {array}, but must be an array whose first axis is the examples")
    narrow = _NARROW.get(array.dtype)
    if narrow is None:
        return array
    if array.dtype.kind in "iu" and array.size and (array.min() < -(2**31) or array.max() >= 2**31):
        raise ValueError(
            f"{name} holds {array.min()} … {array.max()}, but integers must fit in 32 bits; rescale or remap them"
        )
    if array.dtype.kind == "f":
        _check_precision(name, array)
    with np.errstate(over="ignore"):  # an overflow becomes inf, which Dataset rejects with the entry's name
        return array.astype(narrow)


def _check_precision(name: str, array: np.ndarray) -> None:
    """Raise if float32 would merge the numbers of a column, as those of timestamps."""
    if not array.size:
        return
    columns = array.reshape(len(array), -1) if array.ndim <= 2 else array.reshape(-1, 1)
    low, high = columns.min(axis=0), columns.max(axis=0)
    magnitude, spread = np.maximum(np.abs(low), np.abs(high)), high - low
    # Rounding noise is no spread; errors of float32 are at most 2^-24 of the magnitude.
    for column in np.flatnonzero((spread > 1e-12 * magnitude) & (2.0**-24 * magnitude > MAX_ROUNDING * spread)):
        error = np.abs(columns[:, column].astype(np.float32) - columns[:, column]).max()
        if error > MAX_ROUNDING * spread[column]:
            raise ValueError(
                f"{name} holds numbers from {low[column]} to {high[column]}, whose differences float32 cannot keep; "
                f"subtract {low[column]} first"
            )


@final
@dataclass(frozen=True, eq=False)
class DeferredSource:
    """Examples that stay unopened until one is read; their number and shapes are known. See ``genjax.data.deferred``.

    Attributes:
      length: number of examples.
      spec: shape and dtype of each entry of an example.
      open: returns the source itself.
    """

    length: int
    spec: Spec
    open: Callable[[], Source]
    resident = False  # nothing is in memory yet

    def __len__(self) -> int:
        return self.length

    def take(self, indices: Indices) -> dict[str, np.ndarray]:
        """See ``Source.take``."""
        return self.open().take(indices)

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """Arrays of the source, if it has some; AttributeError otherwise."""
        return getattr(self.open(), "arrays")  # noqa: B009 - sources of records have none


@check_arguments
@final
@dataclass(frozen=True, eq=False)
class RecordSource:
    """Examples read by random access to records, never resident.

    Attributes:
      records: see ``Records``. Its method ``__getitems__(indices)`` is used if there is one.
      transform: function from a record to the entries of an example; None keeps the record.

    Raises:
      ValueError: from ``take`` and ``spec``, if the shape or type of a record differs from that of the first one.
    """

    records: Records
    transform: Callable[[Record], Record] | None = None
    resident = False  # records are streamed

    def __len__(self) -> int:
        return len(self.records)

    def take(self, indices: Indices) -> dict[str, np.ndarray]:
        """See ``Source.take``."""
        spec, numbers = self.spec, [int(i) for i in indices]
        examples = [self._example(record) for record in _read(self.records, numbers)]
        return {name: _stack(name, entry, examples, numbers) for name, entry in spec.items()}

    @property
    def spec(self) -> Spec:
        """See ``Source.spec``; reads the first record once."""
        return self._first_spec

    @cached_property
    def _first_spec(self) -> Spec:
        first = self._example(self.records[0])
        return {name: jax.ShapeDtypeStruct(a.shape, a.dtype) for name, a in first.items()}

    def _example(self, record: Record) -> dict[str, np.ndarray]:
        example = record if self.transform is None else self.transform(record)
        return {name: _narrow(name, np.asarray(value)[None])[0] for name, value in example.items()}


def _read(records: Records, numbers: list[int]) -> Sequence[Record]:
    bulk = getattr(records, "__getitems__", None)
    return [records[i] for i in numbers] if bulk is None else bulk(numbers)


def _stack(
    name: str, entry: jax.ShapeDtypeStruct, examples: list[dict[str, np.ndarray]], numbers: list[int]
) -> np.ndarray:
    out = np.empty((len(examples), *entry.shape), entry.dtype)
    for row, (example, number) in enumerate(zip(examples, numbers, strict=True)):
        value = example.get(name)
        if value is None or value.shape != entry.shape or value.dtype != entry.dtype:
            actual = "nothing" if value is None else f"{value.dtype}{list(value.shape)}"
            expected = f"{np.dtype(entry.dtype)}{list(entry.shape)}"
            raise ValueError(
                f"record {number} holds {actual} as {name}, but record 0 holds {expected}; "
                "make all records equal in shape and type by a transform or a size"
            )
        out[row] = value
    return out


@final
@dataclass(frozen=True, eq=False)
class Selection:
    """The records at some indices, in that order."""

    records: Records
    indices: np.ndarray

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> Record:
        return self.records[int(self.indices[index])]

    def __getitems__(self, indices: Sequence[int]) -> Sequence[Record]:
        return _read(self.records, [int(self.indices[i]) for i in indices])


def select(source: Source, indices: np.ndarray) -> Source:
    """Return a source of the examples at ``indices``, in that order; contiguous ranges of arrays are not copied."""
    if isinstance(source, RecordSource):
        return RecordSource(Selection(source.records, indices), source.transform)
    if len(indices) and len(indices) == indices[-1] - indices[0] + 1:
        rows = slice(indices[0], indices[-1] + 1)
        if isinstance(source, ArraySource):
            return ArraySource({name: array[rows] for name, array in source.arrays.items()})
        if isinstance(source, MappedSource):
            return MappedSource({name: array[rows] for name, array in source.mapped.items()})
    return ArraySource(source.take(indices))


def num_bytes(source: Source) -> int:
    """Return the size of all examples in memory, in bytes."""
    return len(source) * sum(int(np.prod(s.shape)) * np.dtype(s.dtype).itemsize for s in source.spec.values())


@check_arguments
def materialize(source: Source, *, block: PositiveInt = 512) -> ArraySource:
    """Read a whole source into memory, ``block`` examples at a time; an ``ArraySource`` is returned unchanged.

    A progress bar appears on stderr if that takes more than a second.

    >>> materialize(RecordSource([{"x": 1.5}, {"x": 2.5}])).arrays["x"].tolist()
    [1.5, 2.5]
    """
    if isinstance(source, ArraySource):
        return source
    size = len(source)
    arrays = {name: np.empty((size, *entry.shape), entry.dtype) for name, entry in source.spec.items()}
    with progress_bar("reading", size, " examples", delay=1, leave=False) as bar:
        for start in range(0, size, block):
            indices = np.arange(start, min(start + block, size))
            for name, array in source.take(indices).items():
                arrays[name][indices] = array
            bar.update(len(indices))
    return ArraySource(arrays)


@check_arguments
def batches(source: Source, size: PositiveInt) -> Iterator[tuple[dict[str, np.ndarray], int]]:
    """Yield a source in order, in batches of one size, so that a single shape is compiled.

    Each batch, arrays of shape (size, ...), comes with its number of examples, 1 to ``size``; repeats of the last
    example pad the last batch.

    >>> [(batch["x"].tolist(), count) for batch, count in batches(ArraySource({"x": np.arange(3.0)}), 2)]
    [([0.0, 1.0], 2), ([2.0, 2.0], 1)]
    """
    for start in range(0, len(source), size):
        rows = np.minimum(np.arange(start, start + size), len(source) - 1)
        yield source.take(rows), min(size, len(source) - start)
