"""Preprocessing in the compiled training step: functions ``(key, batch) -> batch`` that transform the entry ``x``.

``scale`` also transforms other entries, such as images that a model is conditioned on.

For x an integer k in 0 … L - 1 (L = ``levels``) and independent randomness for each element,

* ``scale``: low + (high - low) · k / (L - 1),
* ``dynamic_binarization``: 1 with probability k / (L - 1), else 0, drawn anew at every step
  (Salakhutdinov & Murray, "On the quantitative analysis of deep belief networks", 2008),
* ``static_binarization``: 1 where k / (L - 1) > threshold, else 0,
* ``dequantize``: low + (high - low) · (k + u) / L with u uniform on [0, 1), under which the expected log-density of a
  continuous model is a lower bound on its log-mass, up to -ln w per element, where w = (high - low) / L is the bin
  width (Theis, van den Oord & Bethge, "A note on the evaluation of generative models", 2015, arXiv:1511.01844).

and for any x and standard normal n

* ``gaussian_noise``: x + scale · n, so that columns with few distinct values have a density.

All return float32. Integers take 16 random bits per element, which determine the cost on a CPU: probabilities are exact
to 2^-17, and exactly 0 and 1 at the ends.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Protocol, final, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Gt, Interval

from genjax.arguments import Cure, check_arguments
from genjax.core import Array, Batch
from genjax.data.values import Values

Preprocess = Callable[[Array, Batch], Batch]
Levels = Annotated[int, Interval(ge=2, le=2**24), Cure("; use 256 for 8-bit images")]
_BINARY = Values(0, 1, 2)


@runtime_checkable
class HasBinWidth(Protocol):
    """Preprocessing that knows the bin width of the data that it dequantizes."""

    @property
    def bin_width(self) -> float | None:
        """Width of a bin in units of the result; None without dequantization."""
        ...


@runtime_checkable
class MapsValues(Protocol):
    """Preprocessing that knows which values it takes and returns."""

    def map_values(self, values: Values | None) -> Values | None:
        """Return the values of the result, None if they are unknown; ValueError if ``x`` may not have ``values``."""
        ...


@final
@dataclass(frozen=True)
class Transform:
    """A function of one entry with settings, ``(key, batch) -> batch``; compares, hashes and prints by value.

    Attributes:
      function: function ``(key, x, **settings) -> x``.
      settings: names and values of the settings.
      values: values of the result; None for values that depend on x.
      bin_width: width of the bin over which an integer is spread, in units of the result; None without dequantization.
      entry: name of the entry of the batch.

    >>> scale(levels=17, high=2.0)
    scale(levels=17, low=0.0, high=2.0)
    """

    function: Callable[..., Array]
    settings: tuple[tuple[str, Any], ...]
    values: Values | None = None
    bin_width: float | None = None
    entry: str = "x"

    def map_values(self, values: Values | None) -> Values | None:
        """See ``MapsValues``."""
        if self.entry != "x":
            return values
        levels = dict(self.settings).get("levels")
        if levels is not None and values is not None:
            taken = Values(0, levels - 1, levels)
            if values != taken and (values.levels is not None or not values.within(0, levels - 1)):
                cure = f"use levels={values.levels}" if values.are_whole() and values.levels else "leave it out"
                raise ValueError(f"{self!r} takes {taken}, but x has {values}; {cure}")
        return self.values

    def __call__(self, key: Array, batch: Batch) -> Batch:
        """Transform ``batch[entry]`` and keep the other entries."""
        if self.entry not in batch:
            raise ValueError(
                f"{self!r} transforms {self.entry!r}, but the batch has {sorted(batch)}; name one of these"
            )
        values, settings = batch[self.entry], dict(self.settings)
        if "levels" in settings and not jnp.issubdtype(values.dtype, jnp.integer):
            raise ValueError(
                f"{self.entry} has dtype {values.dtype}, but this transform needs integers; leave it out for this data"
            )
        return {**batch, self.entry: self.function(key, values, **settings)}

    def __repr__(self) -> str:
        settings = [*self.settings, *([("entry", self.entry)] if self.entry != "x" else [])]
        return f"{self.function.__name__.strip('_')}({', '.join(f'{k}={v!r}' for k, v in settings)})"


@check_arguments
@final
@dataclass(frozen=True)
class TransformChain:
    """Functions ``(key, batch) -> batch`` applied in order, each with its own key."""

    transforms: tuple[Preprocess, ...]

    @property
    def bin_width(self) -> float | None:
        """Bin width of the last transform of ``x``, which may stretch the bins of one before it in unknown ways."""
        of_x = [t for t in self.transforms if not (isinstance(t, Transform) and t.entry != "x")]
        return bin_width(of_x[-1]) if of_x else None

    def map_values(self, values: Values | None) -> Values | None:
        """See ``MapsValues``."""
        return functools.reduce(lambda values, transform: map_values(transform, values), self.transforms, values)

    def __call__(self, key: Array, batch: Batch) -> Batch:
        """Apply all transforms."""
        for i, transform in enumerate(self.transforms):
            batch = transform(jax.random.fold_in(key, i), batch)
        return batch


def chain(*transforms: Preprocess) -> TransformChain:
    """Compose transforms, applied from left to right, each with its own key."""
    return TransformChain(transforms)


def bin_width(preprocess: Preprocess) -> float | None:
    """Return the bin width of dequantized data, or None if data is not dequantized or the function no ``HasBinWidth``.

    >>> bin_width(dequantize(levels=4)), bin_width(chain(dequantize(levels=4))), bin_width(scale())
    (0.25, 0.25, None)
    """
    return preprocess.bin_width if isinstance(preprocess, HasBinWidth) else None


def map_values(preprocess: Preprocess, values: Values | None) -> Values | None:
    """Return the values of x after preprocessing; None if they are unknown.

    >>> map_values(scale(low=-1.0), Values(0, 255, 256))
    Values(low=-1.0, high=1.0, levels=256)
    """
    if preprocess is unchanged:
        return values
    return preprocess.map_values(values) if isinstance(preprocess, MapsValues) else None


@check_arguments
def scale(levels: Levels = 256, low: float = 0.0, high: float = 1.0, *, entry: str = "x") -> Transform:
    """Map integers 0 … levels - 1 evenly onto [low, high], or in reverse if low is above high.

    ``chain(scale(), scale(entry="y"))`` scales two entries of a batch.

    >>> batch = {"x": jnp.array([[0, 51, 255]], jnp.uint8)}
    >>> scale(low=-1.0)(jax.random.key(0), batch)["x"].tolist()
    [[-1.0, -0.5999999642372131, 1.0]]
    """
    if low == high:
        raise ValueError(f"low and high are {low}, but must differ, or all values become equal")
    settings = (("levels", levels), ("low", low), ("high", high))
    return Transform(_scale, settings, Values(min(low, high), max(low, high), levels), entry=entry)


@check_arguments
def dynamic_binarization(levels: Annotated[int, Interval(ge=2, le=2**16)] = 256) -> Transform:
    """Draw each element from a Bernoulli distribution with probability k / (levels - 1)."""
    return Transform(_dynamic_binarization, (("levels", levels),), _BINARY)  # 32 bits hold k 2^16


@check_arguments
def static_binarization(levels: Levels = 256, threshold: Annotated[float, Interval(ge=0, lt=1)] = 0.5) -> Transform:
    """Set each element to 1 where k / (levels - 1) > threshold, else to 0."""
    settings = (("levels", levels), ("threshold", threshold))
    return Transform(_static_binarization, settings, _BINARY)


@check_arguments
def dequantize(levels: Levels = 256, low: float = 0.0, high: float = 1.0) -> Transform:
    """Spread integers 0 … levels - 1 over [low, high), uniformly within each of ``levels`` bins.

    >>> dequantize(low=-1.0).bin_width  # 2 / 256
    0.0078125
    """
    if not low < high:
        raise ValueError(f"low is {low} and high is {high}, but low must be below high")
    settings = (("levels", levels), ("low", low), ("high", high))
    return Transform(_dequantize, settings, Values(low, high), bin_width=(high - low) / levels)


@check_arguments
def quantize(x: Array, levels: Levels = 256, low: float = 0.0, high: float = 1.0) -> Array:
    """Quantize x in [low, high) to the bins of ``dequantize`` and return their levels k / (levels - 1), in [0, 1].

    >>> quantize(jnp.array([-1.2, -0.9, 0.4, 1.0]), levels=3, low=-1.0).tolist()
    [0.0, 0.0, 1.0, 1.0]
    """
    level = jnp.floor((x - low) / (high - low) * levels)
    return jnp.clip(level, 0, levels - 1) / (levels - 1)


@check_arguments
def gaussian_noise(scale: Annotated[float, Gt(0), Cure("; 0.1 is usual for standardized data")]) -> Transform:
    """Add independent Gaussian noise of standard deviation ``scale`` > 0 to each element."""
    return Transform(_gaussian_noise, (("scale", float(scale)),))


def _gaussian_noise(key: Array, x: Array, *, scale: float) -> Array:
    return x.astype(jnp.float32) + scale * jax.random.normal(key, x.shape)


def _scale(key: Array, x: Array, *, levels: int, low: float, high: float) -> Array:
    del key
    return low + (high - low) * (x.astype(jnp.float32) / (levels - 1))


def _dynamic_binarization(key: Array, x: Array, *, levels: int) -> Array:
    top = levels - 1
    k = x.astype(jnp.uint32)
    threshold = (k * 2**16 + top // 2) // top  # round(2^16 k / (L - 1)), which is 2^16 at the top
    return (_bits16(key, x.shape) < threshold).astype(jnp.float32)


def _static_binarization(key: Array, x: Array, *, levels: int, threshold: float) -> Array:
    del key
    return (x.astype(jnp.int32) > math.floor(threshold * (levels - 1))).astype(jnp.float32)


def _dequantize(key: Array, x: Array, *, levels: int, low: float, high: float) -> Array:
    noise = _bits16(key, x.shape).astype(jnp.float32) * 2.0**-16
    spread = low + (high - low) * ((x.astype(jnp.float32) + noise) / levels)
    return jnp.minimum(spread, np.nextafter(np.float32(high), np.float32(low)))


def _bits16(key: Array, shape: tuple[int, ...]) -> Array:
    """Return uniform integers in 0 … 2^16 - 1 as uint32, four from each block of the Threefry cipher.

    ``jax.random.bits`` uses a whole block of 64 bits for every element of any width. No block spans two rows, so that a
    batch sharded over devices needs no communication.
    """
    if str(jax.random.key_impl(key)) != "threefry2x32" or not shape:
        return jax.random.bits(key, shape, jnp.uint16).astype(jnp.uint32)
    from jax.extend.random import threefry2x32_p

    rows, columns = shape[0], math.prod(shape[1:])
    blocks = -(-columns // 4)
    counter = jax.lax.iota(jnp.uint32, rows * blocks).reshape(rows, blocks)
    word0, word1 = jax.random.key_data(key)
    a, b = threefry2x32_p.bind(word0, word1, jnp.zeros_like(counter), counter)
    parts = [a & 0xFFFF, a >> 16, b & 0xFFFF, b >> 16]
    return jnp.concatenate(parts, axis=1)[:, :columns].reshape(shape)


def unchanged(key: Array, batch: Batch) -> Batch:
    """Return the batch as it is: the preprocessing of an experiment that names none."""
    del key
    return batch
