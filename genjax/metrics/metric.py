"""What a metric is: pure functions over a state that streams and merges.

``init()`` makes an empty state, ``update(state, ...)`` has seen more, ``merge(a, b)`` has seen what both have, and
``compute(state)`` reads the values off. States are pytrees of arrays, so that updates jit, scan and shard; batches may
come in any order, from any number of devices.

Two accumulators lie under most metrics. ``Mean`` keeps count, mean and sum of squared deviations, merged by

    n = n_a + n_b,   δ = μ_b − μ_a,   μ = μ_a + δ n_b / n,   S = S_a + S_b + δ² n_a n_b / n

(Chan, Golub & LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979). ``Samples``
keeps the rows themselves, once, in a buffer of fixed capacity.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, final, runtime_checkable

import flax.struct
import jax.numpy as jnp

from genjax.core import Array, PyTree

Values = Mapping[str, Array]


@runtime_checkable
class Accumulator(Protocol):
    """Takes in batches, and merges."""

    def init(self) -> PyTree:
        """Return the state that has seen nothing."""
        ...

    def update(self, state: PyTree, x: Array) -> PyTree:
        """Take in rows, first axis B."""
        ...

    def merge(self, a: PyTree, b: PyTree) -> PyTree:
        """Return the state that has seen what both have."""
        ...


@runtime_checkable
class Metric(Protocol):
    """An accumulator whose state gives values; ``update`` takes what the metric compares."""

    def init(self) -> PyTree:
        """Return the state that has seen nothing."""
        ...

    def update(self, state: PyTree, *arrays: Array) -> PyTree:
        """Take in a batch."""
        ...

    def merge(self, a: PyTree, b: PyTree) -> PyTree:
        """Return the state that has seen what both have."""
        ...

    def compute(self, state: PyTree) -> Values:
        """Read the values off."""
        ...


class MeanState(flax.struct.PyTreeNode):
    """Count, mean and sum of squared deviations of numbers seen, float32 scalars."""

    count: Array
    mean: Array
    squared_deviations: Array


@final
@dataclass(frozen=True, kw_only=True)
class Mean:
    """Mean of numbers, with its standard error.

    Infinite numbers make the mean infinite, as a log-likelihood of zero does, and the standard error NaN.

    >>> metric = Mean()
    >>> first, second = (metric.update(metric.init(), jnp.array(x)) for x in ([1.0, 2.0], [6.0]))
    >>> state = metric.merge(first, second)
    >>> {name: round(float(value), 4) for name, value in metric.compute(state).items()}
    {'mean': 3.0, 'standard_error': 1.5275, 'count': 3.0}
    """

    def init(self) -> MeanState:
        """Return the state that has seen nothing."""
        return MeanState(count=jnp.zeros(()), mean=jnp.zeros(()), squared_deviations=jnp.zeros(()))

    def update(self, state: MeanState, x: Array) -> MeanState:
        """Take in numbers of any shape."""
        if x.size == 0:
            return state
        x = x.astype(jnp.float32)
        mean = jnp.mean(x)
        return self.merge(state, MeanState(jnp.full((), float(x.size)), mean, jnp.sum((x - mean) ** 2)))

    def merge(self, a: MeanState, b: MeanState) -> MeanState:
        """Return the state that has seen what both have."""
        count = a.count + b.count
        share = b.count / jnp.maximum(count, 1)
        delta = b.mean - a.mean
        mean = jnp.where(jnp.isfinite(delta), a.mean + delta * share, a.mean + b.mean)  # ∞ − ∞ is no step to ∞
        squared_deviations = a.squared_deviations + b.squared_deviations + delta**2 * a.count * share
        return MeanState(count, mean, squared_deviations)

    def compute(self, state: MeanState) -> Values:
        """Return mean, standard error of the mean and count; NaN where too few numbers were seen."""
        mean = jnp.where(state.count > 0, state.mean, jnp.nan)
        variance = jnp.where(state.count > 1, state.squared_deviations / (state.count - 1), jnp.nan)
        return {"mean": mean, "standard_error": jnp.sqrt(variance / state.count), "count": state.count}


class SamplesState(flax.struct.PyTreeNode):
    """Rows seen so far, the first ``count`` of ``buffer`` (capacity, ...); a count above the capacity is overflow."""

    buffer: Array
    count: Array

    @property
    def rows(self) -> Array:
        """The rows seen, shape (count, ...); reads the count, so only outside of ``jit``.

        Raises:
          ValueError: when there were more rows than the buffer holds.
        """
        count, capacity = int(self.count), self.buffer.shape[0]
        if count > capacity:
            raise ValueError(f"{count} samples came to a buffer with capacity={capacity}; give it capacity={count}")
        return self.buffer if count == capacity else self.buffer[:count]


@final
@dataclass(frozen=True, kw_only=True)
class Samples:
    """Keeps rows in a buffer; donate the state to ``update`` under ``jit`` and they are never in memory twice.

    Attributes:
      shape: of one row, for features ``(num_features,)``.
      capacity: rows that the buffer holds.

    Raises:
      ValueError: for a capacity below 1 or an empty row.
    """

    shape: tuple[int, ...]
    capacity: int

    def __post_init__(self) -> None:
        """Refuse what can hold nothing."""
        if self.capacity < 1 or math.prod(self.shape) < 1:
            raise ValueError(f"capacity is {self.capacity} and shape {self.shape}, but there must be room for a number")

    def init(self) -> SamplesState:
        """Return an empty buffer."""
        return SamplesState(buffer=jnp.zeros((self.capacity, *self.shape)), count=jnp.zeros((), jnp.int32))

    def update(self, state: SamplesState, x: Array) -> SamplesState:
        """Append rows, shape (B, *shape); those beyond the capacity are dropped and counted."""
        if x.shape[1:] != self.shape:
            raise ValueError(f"rows have shape {x.shape[1:]}, but this buffer keeps shape {self.shape}")
        places = state.count + jnp.arange(x.shape[0])
        return SamplesState(
            state.buffer.at[places].set(x.astype(state.buffer.dtype), mode="drop"), state.count + len(x)
        )

    def merge(self, a: SamplesState, b: SamplesState) -> SamplesState:
        """Return a's rows followed by b's."""
        rows = jnp.arange(self.capacity)
        places = jnp.where(rows < b.count, a.count + rows, self.capacity)
        return SamplesState(a.buffer.at[places].set(b.buffer, mode="drop"), a.count + b.count)


class Two(NamedTuple):
    """What was seen of the two sides of a comparison."""

    reference: PyTree
    generated: PyTree


@final
@dataclass(frozen=True, kw_only=True)
class TwoSample:
    """A metric that compares generated samples with a reference.

    Attributes:
      accumulator: takes in each side: ``Moments`` or ``Samples``.
      statistic: ``(reference_state, generated_state) -> values``.
    """

    accumulator: Accumulator
    statistic: Callable[[Any, Any], Values]

    def init(self) -> Two:
        """Return the state that has seen nothing."""
        return Two(self.accumulator.init(), self.accumulator.init())

    def update(self, state: Two, reference: Array | None = None, generated: Array | None = None) -> Two:
        """Take in rows of either side, or of both."""
        seen = (
            side if x is None else self.accumulator.update(side, x)
            for side, x in zip(state, (reference, generated), strict=True)
        )
        return Two(*seen)

    def merge(self, a: Two, b: Two) -> Two:
        """Return the state that has seen what both have."""
        return Two(*(self.accumulator.merge(x, y) for x, y in zip(a, b, strict=True)))

    def compute(self, state: Two) -> Values:
        """Return the statistic of both sides."""
        return self.statistic(state.reference, state.generated)
