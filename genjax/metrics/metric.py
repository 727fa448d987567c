"""Streaming metrics: pure functions over a state that updates and merges.

``init()`` returns an empty state, ``update(state, ...)`` adds a batch, ``merge(a, b)`` combines two states, and
``compute(state)`` returns the values. States are pytrees of arrays, so that updates can be jitted, scanned and sharded;
batches may come in any order, from any number of devices.

Most metrics are built on two accumulators. ``Mean`` keeps count, mean and sum of squared deviations, merged by

    n = n_a + n_b,   δ = μ_b − μ_a,   μ = μ_a + δ n_b / n,   S = S_a + S_b + δ² n_a n_b / n

(Chan, Golub & LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979). ``Samples``
keeps the rows themselves in a buffer of fixed capacity.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, final, runtime_checkable

import flax.struct
import jax.numpy as jnp

from genjax.arguments import PositiveInt, Shape, check_arguments
from genjax.core import Array, PyTree

Values = Mapping[str, Array]


@runtime_checkable
class Accumulator(Protocol):
    """Has a state that takes batches and merges."""

    def init(self) -> PyTree:
        """Return an empty state."""
        ...

    def update(self, state: PyTree, x: Array, /) -> PyTree:
        """Add rows, first axis B."""
        ...

    def merge(self, a: PyTree, b: PyTree) -> PyTree:
        """Combine two states."""
        ...


@runtime_checkable
class Metric(Accumulator, Protocol):
    """An accumulator that computes values from its state; ``update`` takes the arrays that it compares."""

    def update(self, state: PyTree, /, *arrays: Array) -> PyTree:
        """Add a batch."""
        ...

    def compute(self, state: PyTree) -> Values:
        """Return the values."""
        ...


class MeanState(flax.struct.PyTreeNode):
    """Count, mean and sum of squared deviations, float32 scalars."""

    count: Array
    mean: Array
    squared_deviations: Array


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class Mean:
    """Mean of numbers, with its standard error.

    One infinite number, such as the log-likelihood of an impossible example, makes the mean infinite and the standard
    error NaN.

    >>> metric = Mean()
    >>> first, second = (metric.update(metric.init(), jnp.array(x)) for x in ([1.0, 2.0], [6.0]))
    >>> state = metric.merge(first, second)
    >>> {name: round(float(value), 4) for name, value in metric.compute(state).items()}
    {'mean': 3.0, 'standard_error': 1.5275, 'count': 3.0}
    """

    def init(self) -> MeanState:
        """Return an empty state."""
        return MeanState(count=jnp.zeros(()), mean=jnp.zeros(()), squared_deviations=jnp.zeros(()))

    def update(self, state: MeanState, x: Array) -> MeanState:
        """Add numbers, an array of any shape."""
        if x.size == 0:
            return state
        x = x.astype(jnp.float32)
        mean = jnp.mean(x)
        return self.merge(state, MeanState(jnp.full((), float(x.size)), mean, jnp.sum((x - mean) ** 2)))

    def merge(self, a: MeanState, b: MeanState) -> MeanState:
        """Combine two states."""
        count = a.count + b.count
        share = b.count / jnp.maximum(count, 1)
        delta = b.mean - a.mean
        mean = jnp.where(jnp.isfinite(delta), a.mean + delta * share, a.mean + b.mean)  # δ is NaN for ∞ − ∞
        squared_deviations = a.squared_deviations + b.squared_deviations + delta**2 * a.count * share
        return MeanState(count, mean, squared_deviations)

    def compute(self, state: MeanState) -> Values:
        """Return mean, standard error of the mean and count; NaN for too few numbers."""
        mean = jnp.where(state.count > 0, state.mean, jnp.nan)
        variance = jnp.where(state.count > 1, state.squared_deviations / (state.count - 1), jnp.nan)
        return {"mean": mean, "standard_error": jnp.sqrt(variance / state.count), "count": state.count}


class SamplesState(flax.struct.PyTreeNode):
    """The first ``count`` rows of ``buffer``, (capacity, ...); a count above the capacity means overflow."""

    buffer: Array
    count: Array

    @property
    def rows(self) -> Array:
        """Rows so far, shape (count, ...), outside ``jit`` only; raises ValueError if the buffer overflowed."""
        count, capacity = int(self.count), self.buffer.shape[0]
        if count > capacity:
            raise ValueError(f"{count} samples exceed a buffer of capacity={capacity}; use capacity={count}")
        return self.buffer if count == capacity else self.buffer[:count]


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class Samples:
    """Buffer of rows; donate the state to ``update`` under ``jit`` to keep them in memory once only.

    Attributes:
      shape: shape of one row, not empty; for features ``(num_features,)``.
      capacity: number of rows that the buffer holds, at least 1.
    """

    shape: Shape
    capacity: PositiveInt

    def init(self) -> SamplesState:
        """Return an empty buffer."""
        return SamplesState(buffer=jnp.zeros((self.capacity, *self.shape)), count=jnp.zeros((), jnp.int32))

    def update(self, state: SamplesState, x: Array) -> SamplesState:
        """Append rows, shape (B, *shape); rows beyond the capacity are dropped but counted."""
        if x.shape[1:] != self.shape:
            raise ValueError(f"rows have shape {x.shape[1:]}, but the buffer holds shape {self.shape}")
        places = state.count + jnp.arange(len(x))
        buffer = state.buffer.at[places].set(x.astype(state.buffer.dtype), mode="drop")
        return SamplesState(buffer, state.count + len(x))

    def merge(self, a: SamplesState, b: SamplesState) -> SamplesState:
        """Return a's rows followed by b's."""
        rows = jnp.arange(self.capacity)
        places = jnp.where(rows < b.count, a.count + rows, self.capacity)
        return SamplesState(a.buffer.at[places].set(b.buffer, mode="drop"), a.count + b.count)


class TwoSampleState(NamedTuple):
    """States of the two accumulators of a comparison."""

    reference: PyTree
    generated: PyTree


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class TwoSample:
    """Streaming metric that compares generated samples with a reference.

    Attributes:
      accumulator: accumulator of either sample, ``Moments`` or ``Samples``.
      statistic: function ``(reference_state, generated_state) -> values``.
    """

    accumulator: Accumulator
    statistic: Callable[[Any, Any], Values]

    def init(self) -> TwoSampleState:
        """Return an empty state."""
        return TwoSampleState(self.accumulator.init(), self.accumulator.init())

    def update(
        self, state: TwoSampleState, reference: Array | None = None, generated: Array | None = None
    ) -> TwoSampleState:
        """Add rows of the reference, of generated samples, or of both."""
        states = (
            part if x is None else self.accumulator.update(part, x)
            for part, x in zip(state, (reference, generated), strict=True)
        )
        return TwoSampleState(*states)

    def merge(self, a: TwoSampleState, b: TwoSampleState) -> TwoSampleState:
        """Combine two states."""
        return TwoSampleState(*(self.accumulator.merge(x, y) for x, y in zip(a, b, strict=True)))

    def compute(self, state: TwoSampleState) -> Values:
        """Return the statistic of the two samples."""
        return self.statistic(state.reference, state.generated)
