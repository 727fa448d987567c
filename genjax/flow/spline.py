"""The monotonic rational-quadratic spline.

K bins of widths w_k and heights h_k lie between the knots (x_0, y_0) = (−B, −B) and (x_K, y_K) = (B, B), with
derivatives δ_k > 0 at the knots. Within bin k, with ξ = (x − x_k) / w_k and s = h_k / w_k,

    y = y_k + h_k (s ξ² + δ_k ξ(1 − ξ)) / D,          D = s (ξ² + (1 − ξ)²) + (δ_k + δ_{k+1}) ξ(1 − ξ)            (4)
    dy/dx = s² (δ_{k+1} ξ² + 2s ξ(1 − ξ) + δ_k (1 − ξ)²) / D²                                                    (5)

and y = x outside [−B, B], joined smoothly because δ_0 = δ_K = 1. For the inverse, with η = (y − y_k) / h_k, ξ is the
root of the paper's quadratic equation (6). The usual formula subtracts nearly equal numbers, and rounding may make its
discriminant negative. With A = δ_k (1 − η) − δ_{k+1} η the discriminant Δ is a sum of nonnegative terms, and in

    ξ     = 2s η / (A + 2s η + √Δ)                if A ≥ 0,        Δ = A² + 4s² η(1 − η) > 0,
    1 − ξ = 2s (1 − η) / (−A + 2s (1 − η) + √Δ)   if A < 0,                                                       (6)

every term is nonnegative: nothing cancels in float32.

Equation numbers and conventions follow Conor Durkan, Artur Bekasov, Iain Murray and George Papamakarios, 2019,
arXiv:1906.04032; the spline is due to J. A. Gregory and R. Delbourgo, 1982.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, NamedTuple, final

import jax
import jax.numpy as jnp
from annotated_types import Gt

from genjax.arguments import Cure, PositiveInt, check_arguments
from genjax.core import Array

MIN_BIN = 1e-3  # minimum width and height of a bin, as a fraction of the interval
MIN_DERIVATIVE = 1e-3
_UNIT_DERIVATIVE = math.log(math.expm1(1 - MIN_DERIVATIVE))  # softplus(_UNIT_DERIVATIVE) = 1 - MIN_DERIVATIVE


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class RationalQuadraticSpline:
    """A spline on [−bound, bound], and the identity outside: a univariate transformation with 3K − 1 parameters.

    The parameters are the logits of K widths, the logits of K heights, and the K − 1 inner derivatives before softplus.

    Attributes:
      num_bins: number of bins, K, below 1 / MIN_BIN, so that bins have a width.
      bound: half-width B of the interval; scale the data to lie within it.

    >>> spline = RationalQuadraticSpline(num_bins=4, bound=2.0)
    >>> spline.forward(jnp.zeros((11, 3)), jnp.array([-5.0, 1.0, 2.0]))[0].tolist()
    [-5.0, 1.0, 2.0]
    """

    num_bins: PositiveInt = 8
    bound: Annotated[float, Gt(0), Cure("; 3 is usual for standardized data")] = 3.0

    def __post_init__(self) -> None:
        if self.num_bins * MIN_BIN >= 1:
            raise ValueError(f"num_bins is {self.num_bins}, but must be below {1 / MIN_BIN:.0f}, or bins have no width")

    @property
    def num_params(self) -> int:
        """3K − 1."""
        return 3 * self.num_bins - 1

    def forward(self, params: Array, x: Array) -> tuple[Array, Array]:
        """See ``UnivariateTransform``."""
        inside = jnp.abs(x) < self.bound
        x_in = jnp.where(inside, x, 0.0)  # outside the bound the formula has poles, whose gradients would be NaN
        bin_ = self._bin(params, x_in, by_height=False)
        ratio = jnp.clip((x_in - bin_.x) / bin_.width, 0.0, 1.0)
        y, log_derivative = _inside(bin_, ratio)
        return jnp.where(inside, y, x), jnp.where(inside, log_derivative, 0.0)

    def inverse(self, params: Array, y: Array) -> tuple[Array, Array]:
        """See ``UnivariateTransform``."""
        inside = jnp.abs(y) < self.bound
        y_in = jnp.where(inside, y, 0.0)
        bin_ = self._bin(params, y_in, by_height=True)
        ratio = _root(bin_, jnp.clip((y_in - bin_.y) / bin_.height, 0.0, 1.0))
        _, log_derivative = _inside(bin_, ratio)
        return jnp.where(inside, bin_.x + bin_.width * ratio, y), jnp.where(inside, -log_derivative, 0.0)

    def _bin(self, params: Array, value: Array, *, by_height: bool) -> _Bin:
        """Return the bin that contains ``value``.

        It is selected by masked sums over all bins, which are faster than searching and gathering on CPUs and
        accelerators alike.
        """
        k = self.num_bins
        # The transpose of one split is one concatenation; that of three slices is three padded arrays.
        width_logits, height_logits, slopes = jax.lax.split(params, (k, k, k - 1), params.ndim - 2)
        widths, heights = self._sizes(width_logits), self._sizes(height_logits)
        edges = jnp.cumsum(jax.lax.stop_gradient(heights if by_height else widths), axis=-2)[..., :-1, :] - self.bound
        above = value[..., None, :] >= edges  # whether the value is above each inner knot
        true = jnp.ones_like(value[..., None, :], bool)
        in_bin = jnp.concatenate([true, above], axis=-2) & ~jnp.concatenate([above, ~true], axis=-2)
        return _Bin(
            x=_sum_where(above, widths[..., :-1, :]) - self.bound,
            y=_sum_where(above, heights[..., :-1, :]) - self.bound,
            width=_sum_where(in_bin, widths),
            height=_sum_where(in_bin, heights),
            left=_derivative(_sum_where(in_bin[..., 1:, :], slopes)),  # 0 in the first bin: derivative 1
            right=_derivative(_sum_where(in_bin[..., :-1, :], slopes)),
        )

    def _sizes(self, logits: Array) -> Array:
        """Return bin sizes that sum to 2 * bound, each at least a fraction MIN_BIN of it."""
        fractions = MIN_BIN + (1 - MIN_BIN * self.num_bins) * jax.nn.softmax(logits, axis=-2)
        return 2 * self.bound * fractions


class _Bin(NamedTuple):
    """The bin that contains an element: lower left corner, size, and derivatives at both ends."""

    x: Array
    y: Array
    width: Array
    height: Array
    left: Array
    right: Array


def _inside(bin_: _Bin, ratio: Array) -> tuple[Array, Array]:
    """Return y and log dy/dx at ξ."""
    slope = bin_.height / bin_.width
    lower, middle, upper = jnp.square(1 - ratio), ratio * (1 - ratio), jnp.square(ratio)
    denominator = slope * (lower + upper) + (bin_.left + bin_.right) * middle
    y = bin_.y + bin_.height * (slope * upper + bin_.left * middle) / denominator  # equation 4
    numerator = bin_.right * upper + 2 * slope * middle + bin_.left * lower
    return y, 2 * jnp.log(slope / denominator) + jnp.log(numerator)  # equation 5


def _root(bin_: _Bin, eta: Array) -> Array:
    """Return ξ for η: equation 6."""
    s = bin_.height / bin_.width
    a = bin_.left * (1 - eta) - bin_.right * eta
    root = jnp.sqrt(jnp.square(a) + 4 * jnp.square(s) * eta * (1 - eta))
    numerator = 2 * s * jnp.where(a >= 0, eta, 1 - eta)
    ratio = numerator / (jnp.abs(a) + numerator + root)
    return jnp.where(a >= 0, ratio, 1 - ratio)


def _derivative(raw: Array) -> Array:
    return MIN_DERIVATIVE + jax.nn.softplus(raw + _UNIT_DERIVATIVE)


def _sum_where(mask: Array, values: Array) -> Array:
    return jnp.sum(jnp.where(mask, values, 0.0), axis=-2)
