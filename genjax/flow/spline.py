"""The monotonic rational-quadratic spline.

K bins between the knots (x_0, y_0) = (−B, −B) and (x_K, y_K) = (B, B), of widths w_k and heights h_k, with derivatives
δ_k > 0 at the knots. Within bin k, with ξ = (x − x_k) / w_k and s = h_k / w_k,

    y = y_k + h_k (s ξ² + δ_k ξ(1 − ξ)) / D,          D = s (ξ² + (1 − ξ)²) + (δ_k + δ_{k+1}) ξ(1 − ξ)            (4)
    dy/dx = s² (δ_{k+1} ξ² + 2s ξ(1 − ξ) + δ_k (1 − ξ)²) / D²                                                    (5)

and beyond ±B, where δ_0 = δ_K = 1 joins it smoothly, y = x. On the way back, with η = (y − y_k) / h_k, ξ is the root of
the quadratic equation (6) of the paper, whose usual solution subtracts nearly equal numbers and may meet a negative
discriminant. With A = δ_k (1 − η) − δ_{k+1} η the discriminant is a sum of squares, and so are the terms of

    ξ     = 2s η / (A + 2s η + √Δ)                where A ≥ 0,        Δ = A² + 4s² η(1 − η) > 0,
    1 − ξ = 2s (1 − η) / (−A + 2s (1 − η) + √Δ)   where A < 0,                                                    (6)

all positive: nothing cancels in float32.

Equation numbers are those of Conor Durkan, Artur Bekasov, Iain Murray and George Papamakarios, 2019, arXiv:1906.04032,
as are the conventions; the spline is of J. A. Gregory and R. Delbourgo, 1982.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, final

import jax
import jax.numpy as jnp

from genjax.core import Array
from genjax.ops import check_at_least, check_positive

MIN_BIN = 1e-3  # least width and height of a bin, as a share of the interval
MIN_DERIVATIVE = 1e-3
_UNIT_DERIVATIVE = math.log(math.expm1(1 - MIN_DERIVATIVE))  # where softplus gives 1 - MIN_DERIVATIVE


@final
@dataclass(frozen=True, kw_only=True)
class RationalQuadraticSpline:
    """A spline on [−bound, bound], and the identity beyond: a transformer of 3K − 1 parameters.

    Its parameters are logits of K widths and of K heights, then the K − 1 inner derivatives before a softplus.

    Attributes:
      num_bins: K.
      bound: B; data is best scaled to lie within it.

    Raises:
      ValueError: for no bins, so many that none could be as wide as the least, or a bound that is not positive.

    >>> spline = RationalQuadraticSpline(num_bins=4, bound=2.0)
    >>> spline.forward(jnp.zeros((11, 3)), jnp.array([-5.0, 1.0, 2.0]))[0].tolist()
    [-5.0, 1.0, 2.0]
    """

    num_bins: int = 8
    bound: float = 3.0

    def __post_init__(self) -> None:
        check_at_least("num_bins", self.num_bins, 1)
        if self.num_bins * MIN_BIN >= 1:
            raise ValueError(f"num_bins is {self.num_bins}, but must be below {1 / MIN_BIN:.0f}, or bins have no width")
        check_positive("bound", self.bound, "; 3 is usual for standardized data")

    @property
    def num_params(self) -> int:
        """3K − 1."""
        return 3 * self.num_bins - 1

    def forward(self, params: Array, x: Array) -> tuple[Array, Array]:
        """See ``Transformer``."""
        inside = jnp.abs(x) < self.bound
        x_in = jnp.where(inside, x, 0.0)  # so that no gradient from beyond the bound meets a pole of the formula
        bin_ = self._bin(params, x_in, by_height=False)
        ratio = jnp.clip((x_in - bin_.x) / bin_.width, 0.0, 1.0)
        y, log_derivative = _inside(bin_, ratio)
        return jnp.where(inside, y, x), jnp.where(inside, log_derivative, 0.0)

    def inverse(self, params: Array, y: Array) -> tuple[Array, Array]:
        """See ``Transformer``."""
        inside = jnp.abs(y) < self.bound
        y_in = jnp.where(inside, y, 0.0)
        bin_ = self._bin(params, y_in, by_height=True)
        ratio = _root(bin_, jnp.clip((y_in - bin_.y) / bin_.height, 0.0, 1.0))
        _, log_derivative = _inside(bin_, ratio)
        return jnp.where(inside, bin_.x + bin_.width * ratio, y), jnp.where(inside, -log_derivative, 0.0)

    def _bin(self, params: Array, value: Array, *, by_height: bool) -> _Bin:
        """Return what the formulas need of the bin that ``value`` lies in.

        Masked sums over all bins pick it: arithmetic on whole arrays, on CPUs and accelerators alike faster than
        searching and gathering.
        """
        k = self.num_bins
        # One split, whose transpose is one concatenation; slices would become as many padded arrays.
        width_logits, height_logits, slopes = jax.lax.split(params, (k, k, k - 1), params.ndim - 2)
        widths, heights = self._sizes(width_logits), self._sizes(height_logits)
        edges = jnp.cumsum(jax.lax.stop_gradient(heights if by_height else widths), axis=-2)[..., :-1, :] - self.bound
        passed = value[..., None, :] >= edges  # of each inner knot
        always = jnp.ones_like(value[..., None, :], bool)
        here = jnp.concatenate([always, passed], axis=-2) & ~jnp.concatenate([passed, ~always], axis=-2)
        return _Bin(
            x=_sum_where(passed, widths[..., :-1, :]) - self.bound,
            y=_sum_where(passed, heights[..., :-1, :]) - self.bound,
            width=_sum_where(here, widths),
            height=_sum_where(here, heights),
            left=_derivative(_sum_where(here[..., 1:, :], slopes)),  # of the first bin 0: a derivative of 1
            right=_derivative(_sum_where(here[..., :-1, :], slopes)),
        )

    def _sizes(self, logits: Array) -> Array:
        """Softmax over bins, at least MIN_BIN each, that sum to 2 * bound."""
        shares = MIN_BIN + (1 - MIN_BIN * self.num_bins) * jax.nn.softmax(logits, axis=-2)
        return 2 * self.bound * shares


class _Bin(NamedTuple):
    """Of the bin that an element lies in: lower corner, size, and derivatives at both ends."""

    x: Array
    y: Array
    width: Array
    height: Array
    left: Array
    right: Array


def _inside(bin_: _Bin, ratio: Array) -> tuple[Array, Array]:
    """Return y and log dy/dx at ξ."""
    slope = bin_.height / bin_.width
    lower, between, upper = jnp.square(1 - ratio), ratio * (1 - ratio), jnp.square(ratio)
    denominator = slope * (lower + upper) + (bin_.left + bin_.right) * between
    y = bin_.y + bin_.height * (slope * upper + bin_.left * between) / denominator  # equation 4
    numerator = bin_.right * upper + 2 * slope * between + bin_.left * lower
    return y, 2 * jnp.log(slope / denominator) + jnp.log(numerator)  # equation 5


def _root(bin_: _Bin, share: Array) -> Array:
    """Return ξ where the spline has climbed the share η of the bin's height: equation 6."""
    slope = bin_.height / bin_.width
    tilt = bin_.left * (1 - share) - bin_.right * share
    root = jnp.sqrt(jnp.square(tilt) + 4 * jnp.square(slope) * share * (1 - share))
    climb = 2 * slope * jnp.where(tilt >= 0, share, 1 - share)
    ratio = climb / (jnp.abs(tilt) + climb + root)
    return jnp.where(tilt >= 0, ratio, 1 - ratio)


def _derivative(raw: Array) -> Array:
    return MIN_DERIVATIVE + jax.nn.softplus(raw + _UNIT_DERIVATIVE)


def _sum_where(condition: Array, values: Array) -> Array:
    return jnp.sum(jnp.where(condition, values, 0.0), axis=-2)
