"""Kinds of units, each an exponential family.

A unit v with input a has p(v | a) = m(v) exp(a v) / ∫ m(v) exp(a v) dv, where the base measure m defines its kind:

    binary      v ∈ {0, 1}            m(v) = 1                 ∫ = 1 + eᵃ                mean σ(a)
    binomial    v ∈ {0 … n}           m(v) = n! / v! (n − v)!  ∫ = (1 + eᵃ)ⁿ             mean n σ(a)
    Gaussian    v ∈ ℝ                 m(v) = N(v; 0, 1)        ∫ = exp(a²/2)             mean a
    softmax     v one of K unit vectors                        ∫ = Σₖ exp(aₖ)            mean softmax a

A binomial unit is the sum of n binary units with shared weights. Gaussian units have unit variance, so data should be
standardized. Softmax units represent integers as one-hot vectors. Max Welling, Michal Rosen-Zvi and Geoffrey Hinton
2004, "Exponential family harmoniums with an application to information retrieval".
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Protocol, final, runtime_checkable

import jax
import jax.numpy as jnp
from annotated_types import Ge, MinLen

from genjax.arguments import PositiveInt, Sizes, check_arguments
from genjax.core import Array
from genjax.ops import (
    at_least_float32,
    check_example_shape,
    check_finite,
    check_values,
    gaussian_log_prob,
    sum_except_batch,
)


@runtime_checkable
class Units(Protocol):
    """Kind of the units of a layer, whose states are float32 arrays of shape (B, N).

    Kinds that inherit from it are discrete, with one entry for each number and a base measure of 1, unless they say
    otherwise.
    """

    @property
    def discrete(self) -> bool:
        """Whether units have a probability mass rather than a density."""
        return True

    def num_entries(self, size: int) -> int:
        """Return N for an example of ``size`` numbers."""
        return size

    def encode(self, x: Array, shape: Sequence[int]) -> Array:
        """Map data, shape (B, *shape), to states of the units, (B, N).

        Raises:
          ValueError: if the data have another shape or, outside compiled code, values that the units cannot take.
        """
        ...

    def decode(self, v: Array, shape: Sequence[int]) -> Array:
        """Map states or means of the units, (B, N), to data, (B, *shape)."""
        return v.reshape(v.shape[0], *shape)

    def log_measure(self, v: Array) -> Array:
        """Return log m(v), (B,)."""
        return jnp.zeros(v.shape[0], v.dtype)

    def log_partition(self, inputs: Array) -> Array:
        """Return the log-normalizer, summed over units, (B,), for inputs (B, N)."""
        ...

    def mean(self, inputs: Array) -> Array:
        """Return the means, (B, N), for inputs (B, N)."""
        ...

    def sample(self, key: Array, inputs: Array) -> Array:
        """Draw states, (B, N), for inputs (B, N)."""
        ...

    def sample_given(self, key: Array, inputs: Array, known: Array, is_known: Array) -> Array:
        """Draw states, (B, N), for inputs (B, N), given those that are known: ``known`` where ``is_known``, (B, N)."""
        return jnp.where(is_known, known, self.sample(key, inputs))

    def fit_bias(self, v: Array) -> Array:
        """Return biases, (N,), for which the means match those of v, (B, N), smoothed so that no value is ruled out."""
        ...


@final
@check_arguments
@dataclass(frozen=True)
class BinaryUnits(Units):
    """Units with values 0 and 1.

    >>> BinaryUnits().mean(jnp.zeros((1, 2))).tolist()
    [[0.5, 0.5]]
    """

    def encode(self, x: Array, shape: Sequence[int]) -> Array:
        check_example_shape(x, shape)
        check_values(x, lambda x: (x != 0) & (x != 1), "binary units take 0 and 1; binarize the data")
        return at_least_float32(x).reshape(x.shape[0], -1)

    def log_partition(self, inputs: Array) -> Array:
        return sum_except_batch(jax.nn.softplus(inputs))

    def mean(self, inputs: Array) -> Array:
        return jax.nn.sigmoid(inputs)

    def sample(self, key: Array, inputs: Array) -> Array:
        return (jax.random.uniform(key, inputs.shape, inputs.dtype) < jax.nn.sigmoid(inputs)).astype(inputs.dtype)

    def fit_bias(self, v: Array) -> Array:
        ones = jnp.sum(v, axis=0)
        return jnp.log(ones + 0.5) - jnp.log(v.shape[0] - ones + 0.5)


BINARY = BinaryUnits()


@final
@check_arguments
@dataclass(frozen=True)
class BinomialUnits(Units):
    """Units with values 0 … n: sums of n copies of a binary unit.

    Attributes:
      num_copies: n. Data are 0 and 1, which set all copies to the same value.

    >>> BinomialUnits(2).encode(jnp.array([[1.0, 0.0]]), (2,)).tolist()
    [[2.0, 0.0]]
    """

    num_copies: PositiveInt

    def encode(self, x: Array, shape: Sequence[int]) -> Array:
        return self.num_copies * BINARY.encode(x, shape)

    def decode(self, v: Array, shape: Sequence[int]) -> Array:
        """See ``Units``; data are the fraction of copies that are 1."""
        return BINARY.decode(v / self.num_copies, shape)

    def log_measure(self, v: Array) -> Array:
        gammaln, n = jax.scipy.special.gammaln, self.num_copies
        return sum_except_batch(gammaln(n + 1.0) - gammaln(v + 1) - gammaln(n - v + 1))

    def log_partition(self, inputs: Array) -> Array:
        return self.num_copies * BINARY.log_partition(inputs)

    def mean(self, inputs: Array) -> Array:
        return self.num_copies * BINARY.mean(inputs)

    def sample(self, key: Array, inputs: Array) -> Array:
        uniform = jax.random.uniform(key, (self.num_copies, *inputs.shape), inputs.dtype)
        return jnp.sum(uniform < jax.nn.sigmoid(inputs)[None], axis=0, dtype=inputs.dtype)

    def fit_bias(self, v: Array) -> Array:
        return BINARY.fit_bias(v / self.num_copies)


@final
@check_arguments
@dataclass(frozen=True)
class GaussianUnits(Units):
    """Real-valued units with unit variance given their input.

    >>> GaussianUnits().log_partition(jnp.ones((1, 2))).tolist()
    [1.0]
    """

    @property
    def discrete(self) -> bool:
        return False

    def encode(self, x: Array, shape: Sequence[int]) -> Array:
        check_example_shape(x, shape)
        check_finite(x)
        return at_least_float32(x).reshape(x.shape[0], -1)

    def log_measure(self, v: Array) -> Array:
        return sum_except_batch(gaussian_log_prob(v))

    def log_partition(self, inputs: Array) -> Array:
        return sum_except_batch(0.5 * jnp.square(inputs))

    def mean(self, inputs: Array) -> Array:
        return inputs

    def sample(self, key: Array, inputs: Array) -> Array:
        return inputs + jax.random.normal(key, inputs.shape, inputs.dtype)

    def fit_bias(self, v: Array) -> Array:
        return jnp.mean(v, axis=0)


@final
@check_arguments
@dataclass(frozen=True)
class SoftmaxUnits(Units):
    """Units with values 0 … K − 1, represented as one-hot vectors.

    Attributes:
      num_values: number of values, K.

    >>> SoftmaxUnits(3).encode(jnp.array([[2, 0]]), (2,)).tolist()
    [[0.0, 0.0, 1.0, 1.0, 0.0, 0.0]]
    """

    num_values: Annotated[int, Ge(2)]

    def num_entries(self, size: int) -> int:
        return self.num_values * size

    def encode(self, x: Array, shape: Sequence[int]) -> Array:
        if not jnp.issubdtype(x.dtype, jnp.integer):
            raise ValueError(f"x has dtype {x.dtype}, but softmax units take integers; use GaussianUnits for reals")
        out_of_range = lambda x: (x < 0) | (x >= self.num_values)  # noqa: E731
        check_example_shape(x, shape)
        check_values(x, out_of_range, f"softmax units take 0 to {self.num_values - 1}; raise num_values")
        return jax.nn.one_hot(x.reshape(x.shape[0], -1), self.num_values, dtype=jnp.float32).reshape(x.shape[0], -1)

    def decode(self, v: Array, shape: Sequence[int]) -> Array:
        """See ``Units``; means are mapped to their most likely values."""
        return jnp.argmax(self._split(v), axis=-1).astype(jnp.int32).reshape(v.shape[0], *shape)

    def log_partition(self, inputs: Array) -> Array:
        return jnp.sum(jax.nn.logsumexp(self._split(inputs), axis=-1), axis=-1)

    def mean(self, inputs: Array) -> Array:
        return jax.nn.softmax(self._split(inputs), axis=-1).reshape(inputs.shape)

    def sample(self, key: Array, inputs: Array) -> Array:
        """See ``Units``; inversion takes one random number per unit, and Gumbel noise would take one per value."""
        logits = self._split(inputs)
        masses = jnp.exp(logits - jnp.max(logits, axis=-1, keepdims=True)).reshape(-1, self.num_values)
        upper = jnp.triu(jnp.ones((self.num_values, self.num_values), masses.dtype))
        cumulative = jnp.matmul(masses, upper, precision="highest").reshape(logits.shape)
        threshold = jax.random.uniform(key, (*logits.shape[:-1], 1), logits.dtype) * cumulative[..., -1:]
        passed = jnp.sum(cumulative <= threshold, axis=-1)
        values = jnp.minimum(passed, self.num_values - 1)  # rounding may reach the total
        return jax.nn.one_hot(values, self.num_values, dtype=inputs.dtype).reshape(inputs.shape)

    def sample_given(self, key: Array, inputs: Array, known: Array, is_known: Array) -> Array:
        """See ``Units``; entries known to be 0 are ruled out, and so are all others where one is known to be 1."""
        is_one = self._split(is_known & (known == 1))
        is_zero = self._split(is_known & (known == 0)) | (jnp.any(is_one, axis=-1, keepdims=True) & ~is_one)
        return self.sample(key, jnp.where(is_zero.reshape(inputs.shape), -jnp.inf, inputs))

    def fit_bias(self, v: Array) -> Array:
        return jnp.log(jnp.sum(v, axis=0) + 1 / self.num_values) - math.log(v.shape[0] + 1)

    def _split(self, v: Array) -> Array:
        return v.reshape(v.shape[0], -1, self.num_values)


@final
@check_arguments
@dataclass(frozen=True)
class MixedUnits(Units):
    """A layer of units of several kinds, side by side; data are the states of the units themselves.

    Attributes:
      kinds: kinds of units, in order.
      sizes: number of entries of each kind.

    >>> layer = MixedUnits((BinaryUnits(), SoftmaxUnits(4)), (2, 4))
    >>> layer.mean(jnp.zeros((1, 6))).tolist()
    [[0.5, 0.5, 0.25, 0.25, 0.25, 0.25]]
    """

    kinds: Annotated[tuple[Units, ...], MinLen(1)]
    sizes: Sizes

    @property
    def discrete(self) -> bool:
        return all(units.discrete for units in self.kinds)

    def encode(self, x: Array, shape: Sequence[int]) -> Array:
        check_example_shape(x, shape)
        check_finite(x)
        return at_least_float32(x)

    def log_measure(self, v: Array) -> Array:
        return sum((units.log_measure(part) for units, part in self._by_kind(v)), start=jnp.zeros(v.shape[0], v.dtype))

    def log_partition(self, inputs: Array) -> Array:
        terms = (units.log_partition(part) for units, part in self._by_kind(inputs))
        return sum(terms, start=jnp.zeros(inputs.shape[0], inputs.dtype))

    def mean(self, inputs: Array) -> Array:
        return jnp.concatenate([units.mean(part) for units, part in self._by_kind(inputs)], axis=-1)

    def sample(self, key: Array, inputs: Array) -> Array:
        keys = jax.random.split(key, len(self.kinds))
        states = [units.sample(key, part) for key, (units, part) in zip(keys, self._by_kind(inputs), strict=True)]
        return jnp.concatenate(states, axis=-1)

    def sample_given(self, key: Array, inputs: Array, known: Array, is_known: Array) -> Array:
        keys = jax.random.split(key, len(self.kinds))
        kinds = zip(keys, *map(self._by_kind, (inputs, known, is_known)), strict=True)
        parts = [units.sample_given(key, a, v, mask) for key, (units, a), (_, v), (_, mask) in kinds]
        return jnp.concatenate(parts, axis=-1)

    def fit_bias(self, v: Array) -> Array:
        return jnp.concatenate([units.fit_bias(part) for units, part in self._by_kind(v)])

    def _by_kind(self, v: Array) -> list[tuple[Units, Array]]:
        """Pair each kind with its entries of v, (B, N)."""
        ends = list(itertools.accumulate(self.sizes))
        return list(zip(self.kinds, jnp.split(v, ends[:-1], axis=-1), strict=True))


def sample_independent(units: Units, bias: Array, key: Array, num_samples: int) -> Array:
    """Draw units, (num_samples, N), whose inputs are their biases, (N,)."""
    return units.sample(key, jnp.broadcast_to(bias, (num_samples, bias.shape[0])))


def conditional_log_prob(units: Units, inputs: Array, v: Array) -> Array:
    """Return log p(v | a), (B,), for units v, (B, N), with inputs a, (B, N)."""
    return units.log_measure(v) + jnp.sum(inputs * v, axis=-1) - units.log_partition(inputs)
