"""Bijections that act on each element alone.

* ``Elementwise``: a transformer whose parameters are learned, one set for each element, and shifted by a linear map of
  the context where there is one: y_i = τ(x_i; θ_i + (A c)_i). With an affine transformer at the end of a flow it gives
  every class a Gaussian of its own to flow to.
* ``Logit``: data of an interval [low, high] to the real line, with u = (x − low) / (high − low),

      y = log p − log(1 − p),     p = α + (1 − 2α) u,     dy/dx = (1 − 2α) / ((high − low) p (1 − p)),            (1)

  α > 0 keeping y finite at both ends (Laurent Dinh, Jascha Sohl-Dickstein and Samy Bengio, 2017, arXiv:1605.08803,
  section 4.1). The real line is the image of an interval wider by α (high − low) / (1 − 2α) at both ends, where a
  density has a little of its mass, and a sample may lie.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import final

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from genjax.core import Array, Variables
from genjax.flow.transformers import Transformer
from genjax.ops import sum_except_batch

_NEXT_TO_0 = 2.0**-24  # 1 less this is the float32 number below 1


@final
@dataclass(frozen=True)
class Elementwise:
    """A transformer of each element with learned parameters.

    Attributes:
      transformer: the map; it begins as the identity. An ``Affine`` one keeps its bound of scales, e² here.
    """

    transformer: Transformer

    def init(self, key: Array, x: Array, context: Array | None = None) -> Variables:
        """See ``Bijection``."""
        del key
        shape = (*x.shape[1:-1], self.transformer.num_params, x.shape[-1])
        params = {"bias": jnp.zeros(shape)}
        if context is not None:
            params["kernel"] = jnp.zeros((math.prod(context.shape[1:]), *shape))
        return Variables(params, {})

    def forward(self, variables: Variables, x: Array, context: Array | None = None) -> tuple[Array, Array]:
        """See ``Bijection``."""
        y, log_derivative = self.transformer.forward(self._params(variables, x, context), x)
        return y, sum_except_batch(log_derivative)

    def inverse(self, variables: Variables, y: Array, context: Array | None = None) -> tuple[Array, Array]:
        """See ``Bijection``."""
        x, log_derivative = self.transformer.inverse(self._params(variables, y, context), y)
        return x, sum_except_batch(log_derivative)

    def _params(self, variables: Variables, x: Array, context: Array | None) -> Array:
        bias = variables.params["bias"]
        if context is None:
            return jnp.broadcast_to(bias, (len(x), *bias.shape))
        return bias[None] + jnp.tensordot(
            context.reshape(len(context), -1).astype(bias.dtype), variables.params["kernel"], axes=1
        )


@final
@dataclass(frozen=True, kw_only=True)
class Logit:
    """The logit of data in [low, high]: equation 1.

    Beyond the wider interval there is nothing: ``forward`` returns the logit of its nearest end, and a log-determinant
    of −∞, a density of zero.

    Attributes:
      low: the least value.
      high: the largest.
      alpha: α, in (0, 1/2).
    """

    low: float = 0.0
    high: float = 1.0
    alpha: float = 0.05

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"low is {self.low} and high is {self.high}, but low must be below high")
        if not 0 < self.alpha < 0.5:
            raise ValueError(f"alpha is {self.alpha}, but must be in (0, 0.5); 0.05 for images")

    def init(self, key: Array, x: Array, context: Array | None = None) -> Variables:
        """See ``Bijection``; nothing is learned.

        Raises:
          ValueError: for data beyond the interval, where its values are known.
        """
        del key, context
        if not isinstance(x, Tracer):
            self.check(x)
        return Variables({}, {})

    def forward(self, variables: Variables, x: Array, context: Array | None = None) -> tuple[Array, Array]:
        """See ``Bijection``."""
        del variables, context
        p = self.alpha + (1 - 2 * self.alpha) * (x - self.low) / (self.high - self.low)
        inside = (p >= 0) & (p <= 1)
        p = jnp.clip(p, _NEXT_TO_0, 1 - _NEXT_TO_0)
        log_p, log_q = jnp.log(p), jnp.log1p(-p)
        log_derivative = math.log((1 - 2 * self.alpha) / (self.high - self.low)) - log_p - log_q
        return log_p - log_q, sum_except_batch(jnp.where(inside, log_derivative, -jnp.inf))

    def inverse(self, variables: Variables, y: Array, context: Array | None = None) -> tuple[Array, Array]:
        """See ``Bijection``."""
        del variables, context
        unit = (jax.nn.sigmoid(y) - self.alpha) / (1 - 2 * self.alpha)
        log_derivative = math.log((self.high - self.low) / (1 - 2 * self.alpha)) + (
            jax.nn.log_sigmoid(y) + jax.nn.log_sigmoid(-y)
        )
        return self.low + (self.high - self.low) * unit, sum_except_batch(log_derivative)

    def check(self, x: Array) -> None:
        """Refuse data beyond the interval."""
        low, high = float(np.min(np.asarray(x))), float(np.max(np.asarray(x)))
        if not (low >= self.low and high <= self.high):
            raise ValueError(
                f"x has values from {low:g} to {high:g}, but this flow is of data in [{self.low:g}, {self.high:g}]; "
                "rescale the data, with data.dequantize for example, or set low and high"
            )
