"""Preprocessing inside the compiled training step: functions ``(key, batch) -> batch`` of the entry ``x``.

With x an integer k in 0 … L - 1 (L = ``levels``) and independent randomness for each element,

* ``scale``: low + (high - low) · k / (L - 1),
* ``dynamic_binarization``: 1 with probability k / (L - 1), else 0, drawn afresh at every step
  (Salakhutdinov & Murray, "On the quantitative analysis of deep belief networks", 2008),
* ``static_binarization``: 1 where k / (L - 1) > threshold, else 0,
* ``dequantize``: low + (high - low) · (k + u) / L with u uniform on [0, 1), under which the expected log-density of a
  continuous model is a lower bound on its log-mass, up to -ln w an element, where w = (high - low) / L is the width of
  a bin (Theis, van den Oord & Bethge, "A note on the evaluation of generative models", 2015, arXiv:1511.01844).

and with any x and n standard normal

* ``gaussian_noise``: x + scale · n, so that columns of few values have a density.

All give float32. Randomness for integers has 16 bits an element, which is what decides the cost on a CPU: a probability
is exact to 2^-17, and exactly 0 and 1 at the ends.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import jax
import jax.numpy as jnp
import numpy as np

from genjax.core import Array, Batch
from genjax.ops import check_positive

Preprocess = Callable[[Array, Batch], Batch]


@final
@dataclass(frozen=True)
class Transform:
    """A function of ``x`` with its settings, ``(key, batch) -> batch``; compares, hashes and prints by value.

    Attributes:
      function: ``(key, x, **settings) -> x``.
      settings: names and values.
      bin_width: width of the bin over which every integer is spread, in the units of the result; None for what does
        not dequantize.

    >>> scale(levels=17, high=2.0)
    scale(levels=17, low=0.0, high=2.0)
    """

    function: Callable[..., Array]
    settings: tuple[tuple[str, Any], ...]
    bin_width: float | None = None

    def __call__(self, key: Array, batch: Batch) -> Batch:
        """Apply to ``batch["x"]`` and pass the other entries on."""
        return {**batch, "x": self.function(key, batch["x"], **dict(self.settings))}

    def __repr__(self) -> str:
        return f"{self.function.__name__.strip('_')}({', '.join(f'{k}={v!r}' for k, v in self.settings)})"


@final
@dataclass(frozen=True)
class Chain:
    """Transforms in order of application, each with its own key."""

    transforms: tuple[Preprocess, ...]

    @property
    def bin_width(self) -> float | None:
        """That of the last transform: what comes after a dequantization may stretch its bins in unknown ways."""
        return bin_width(self.transforms[-1]) if self.transforms else None

    def __call__(self, key: Array, batch: Batch) -> Batch:
        """Apply all of them."""
        for i, transform in enumerate(self.transforms):
            batch = transform(jax.random.fold_in(key, i), batch)
        return batch


def chain(*transforms: Preprocess) -> Chain:
    """Apply transforms from left to right, each with a key of its own."""
    return Chain(transforms)


def bin_width(preprocess: Preprocess) -> float | None:
    """Return the width of the bins of dequantized data, or None where data is not dequantized or the width unknown.

    Args:
      preprocess: a transform, a chain, or any function; one that has an attribute ``bin_width`` is believed.

    >>> bin_width(dequantize(levels=4)), bin_width(chain(dequantize(levels=4))), bin_width(scale())
    (0.25, 0.25, None)
    """
    return getattr(preprocess, "bin_width", None)


def scale(levels: int = 256, low: float = 0.0, high: float = 1.0) -> Transform:
    """Map integers 0 … levels - 1 evenly onto [low, high].

    >>> batch = {"x": jnp.array([[0, 51, 255]], jnp.uint8)}
    >>> scale(low=-1.0)(jax.random.key(0), batch)["x"].tolist()
    [[-1.0, -0.5999999642372131, 1.0]]
    """
    return Transform(_scale, (("levels", _checked(levels)), ("low", low), ("high", high)))


def dynamic_binarization(levels: int = 256) -> Transform:
    """Draw each element from the Bernoulli distribution with probability k / (levels - 1)."""
    return Transform(_dynamic_binarization, (("levels", _checked(levels, 2**16)),))  # 32 bits hold k 2^16


def static_binarization(levels: int = 256, threshold: float = 0.5) -> Transform:
    """Set each element to 1 where k / (levels - 1) > threshold, else to 0."""
    if not 0 <= threshold < 1:
        raise ValueError(f"threshold is {threshold}, but it must be in [0, 1) or every element becomes equal")
    return Transform(_static_binarization, (("levels", _checked(levels)), ("threshold", threshold)))


def dequantize(levels: int = 256, low: float = 0.0, high: float = 1.0) -> Transform:
    """Spread integers 0 … levels - 1 over [low, high), uniformly within each of the ``levels`` bins.

    >>> dequantize(low=-1.0).bin_width  # 2 / 256
    0.0078125
    """
    if not low < high:
        raise ValueError(f"low is {low} and high is {high}, but low must be below high")
    settings = (("levels", _checked(levels)), ("low", low), ("high", high))
    return Transform(_dequantize, settings, bin_width=(high - low) / levels)


def quantized(x: Array, levels: int = 256, low: float = 0.0, high: float = 1.0) -> Array:
    """Return images of so many levels in [0, 1]: for each x about [low, high] that of its bin of ``dequantize``.

    >>> quantized(jnp.array([-1.2, -0.9, 0.4, 1.0]), levels=3, low=-1.0).tolist()
    [0.0, 0.0, 1.0, 1.0]
    """
    level = jnp.floor((x - low) / (high - low) * levels)
    return jnp.clip(level, 0, levels - 1) / (levels - 1)


def gaussian_noise(scale: float) -> Transform:
    """Add independent Gaussian noise of standard deviation ``scale`` to each element.

    Raises:
      ValueError: for a scale that is not positive and finite.
    """
    check_positive("scale", scale, "; 0.1 is usual for standardized data")
    return Transform(_gaussian_noise, (("scale", float(scale)),))


def _gaussian_noise(key: Array, x: Array, *, scale: float) -> Array:
    return x.astype(jnp.float32) + scale * jax.random.normal(key, x.shape)


def _scale(key: Array, x: Array, *, levels: int, low: float, high: float) -> Array:
    del key
    return low + (high - low) * (_integers(x).astype(jnp.float32) / (levels - 1))


def _dynamic_binarization(key: Array, x: Array, *, levels: int) -> Array:
    top = levels - 1
    k = _integers(x).astype(jnp.uint32)
    threshold = (k * 2**16 + top // 2) // top  # round(2^16 k / (L - 1)), which is 2^16 at the top
    return (_bits16(key, x.shape) < threshold).astype(jnp.float32)


def _static_binarization(key: Array, x: Array, *, levels: int, threshold: float) -> Array:
    del key
    return (_integers(x).astype(jnp.int32) > math.floor(threshold * (levels - 1))).astype(jnp.float32)


def _dequantize(key: Array, x: Array, *, levels: int, low: float, high: float) -> Array:
    noise = _bits16(key, x.shape).astype(jnp.float32) * 2.0**-16
    spread = low + (high - low) * ((_integers(x).astype(jnp.float32) + noise) / levels)
    return jnp.minimum(spread, np.nextafter(np.float32(high), np.float32(low)))


def _bits16(key: Array, shape: tuple[int, ...]) -> Array:
    """Return uniform integers in 0 … 2^16 - 1 as uint32, four from each block of the Threefry cipher.

    ``jax.random.bits`` spends a whole block of 64 bits on every element, whatever its width. Blocks belong to rows, so
    that a batch sharded over devices needs no communication.
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


def _integers(x: Array) -> Array:
    if not jnp.issubdtype(x.dtype, jnp.integer):
        raise ValueError(f"x has dtype {x.dtype}, but this transform acts on integers; leave it out for this data")
    return x


def _checked(levels: int, limit: int = 2**24) -> int:
    if not 2 <= levels <= limit:
        raise ValueError(f"levels is {levels}, but it must be in 2 … {limit}; 256 for 8-bit images")
    return levels
