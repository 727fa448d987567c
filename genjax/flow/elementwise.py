"""Elementwise bijections.

* ``Elementwise``: a univariate transformation with learned parameters for each element, shifted by a linear map of the
  condition c if there is one: y_i = τ(x_i; θ_i + (A c)_i). An affine one at the end of a flow gives each class a
  Gaussian of its own as the base density.
* ``Logit``: maps data in [low, high] to the real line. With u = (x − low) / (high − low),

      y = log p − log(1 − p),     p = α + (1 − 2α) u,     dy/dx = (1 − 2α) / ((high − low) p (1 − p)),            (1)

  where α > 0 keeps y finite at both ends (Laurent Dinh, Jascha Sohl-Dickstein and Samy Bengio, 2017, arXiv:1605.08803,
  section 4.1). The real line is the image of an interval wider by α (high − low) / (1 − 2α) at either end, so that a
  density has a little mass outside [low, high], and samples may lie there.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, final

import jax
import jax.numpy as jnp
from annotated_types import Gt, Lt

from genjax.arguments import Cure, check_arguments
from genjax.core import Array, Variables
from genjax.flow.univariate import UnivariateTransform
from genjax.ops import check_values, sum_except_batch

_MIN_P = 2.0**-24  # 1 - _MIN_P is the largest float32 number below 1


@final
@check_arguments
@dataclass(frozen=True)
class Elementwise:
    """A univariate transformation with learned parameters for each element.

    Attributes:
      transform: univariate transformation τ, initialized as the identity. The scale of ``Affine`` stays below e².
    """

    transform: UnivariateTransform

    def init(self, key: Array, x: Array, condition: Array | None = None) -> Variables:
        """See ``Bijection``."""
        del key
        shape = (*x.shape[1:-1], self.transform.num_params, x.shape[-1])
        dtype = jnp.promote_types(x.dtype, jnp.float32)
        params = {"bias": jnp.zeros(shape, dtype)}
        if condition is not None:
            params["kernel"] = jnp.zeros((math.prod(condition.shape[1:]), *shape), dtype)
        return Variables(params, {})

    def forward(self, variables: Variables, x: Array, condition: Array | None = None) -> tuple[Array, Array]:
        """See ``Bijection``."""
        y, log_derivative = self.transform.forward(self._params(variables, x, condition), x)
        return y, sum_except_batch(log_derivative)

    def inverse(self, variables: Variables, y: Array, condition: Array | None = None) -> tuple[Array, Array]:
        """See ``Bijection``."""
        x, log_derivative = self.transform.inverse(self._params(variables, y, condition), y)
        return x, sum_except_batch(log_derivative)

    def _params(self, variables: Variables, x: Array, condition: Array | None) -> Array:
        bias = variables.params["bias"]
        if condition is None:
            return jnp.broadcast_to(bias, (x.shape[0], *bias.shape))
        return bias[None] + jnp.tensordot(
            condition.reshape(condition.shape[0], -1).astype(bias.dtype), variables.params["kernel"], axes=1
        )


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class Logit:
    """The logit of data in [low, high]: equation 1.

    Outside the wider interval the density is zero: ``forward`` returns the logit of the nearest end and a
    log-determinant of −∞.

    Attributes:
      low: smallest value of the data.
      high: largest value of the data.
      alpha: margin α, in (0, 1/2).
    """

    low: float = 0.0
    high: float = 1.0
    alpha: Annotated[float, Gt(0), Lt(0.5), Cure("; 0.05 for images")] = 0.05

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"low is {self.low} and high is {self.high}, but low must be below high")

    def init(self, key: Array, x: Array, condition: Array | None = None) -> Variables:
        """See ``Bijection``; there are no parameters.

        Raises:
          ValueError: if data lie outside the interval; values traced by jit are not checked.
        """
        del key, condition
        check_values(
            x,
            lambda x: ~((x >= self.low) & (x <= self.high)),
            f"Logit takes data in [{self.low:g}, {self.high:g}]; rescale the data, for example with data.dequantize, "
            "or set low and high",
        )
        return Variables({}, {})

    def forward(self, variables: Variables, x: Array, condition: Array | None = None) -> tuple[Array, Array]:
        """See ``Bijection``."""
        del variables, condition
        p = self.alpha + (1 - 2 * self.alpha) * (x - self.low) / (self.high - self.low)
        inside = (p >= 0) & (p <= 1)
        p = jnp.clip(p, _MIN_P, 1 - _MIN_P)
        log_p, log_q = jnp.log(p), jnp.log1p(-p)
        log_derivative = math.log((1 - 2 * self.alpha) / (self.high - self.low)) - log_p - log_q
        return log_p - log_q, sum_except_batch(jnp.where(inside, log_derivative, -jnp.inf))

    def inverse(self, variables: Variables, y: Array, condition: Array | None = None) -> tuple[Array, Array]:
        """See ``Bijection``."""
        del variables, condition
        unit = (jax.nn.sigmoid(y) - self.alpha) / (1 - 2 * self.alpha)
        log_derivative = math.log((self.high - self.low) / (1 - 2 * self.alpha)) + (
            jax.nn.log_sigmoid(y) + jax.nn.log_sigmoid(-y)
        )
        return self.low + (self.high - self.low) * unit, sum_except_batch(log_derivative)
