"""Masked autoregressive layers: each dimension is transformed given the preceding ones.

    y_i = τ(x_i; θ_i(x_1, …, x_{i−1})),        log |det ∂y/∂x| = Σ_i log τ′(x_i; θ_i)                            (1)

``forward`` takes one pass of a masked network (MADE). The inverse needs x_1 … x_{i−1} before θ_i:

* "sequential" inverts one dimension at a time and computes each unit of the network once: D steps that together cost
  about one pass;
* "jacobi" inverts all dimensions at once by the fixed-point iteration

      x ← τ⁻¹(y; θ(x)),                                                                                           (2)

  whose first i dimensions are exact after i passes. All are exact after D passes, and converge much earlier if the
  dimensions depend on each other weakly; the iteration stops on convergence. It has no reverse-mode gradient.

George Papamakarios, Theo Pavlakou and Iain Murray, 2017, arXiv:1705.07057. Fixed point: Yang Song, Chenlin Meng, Renjie
Liao and Stefano Ermon, 2021, arXiv:2002.03629.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, final

import jax
import jax.numpy as jnp

from genjax.arguments import Sizes, check_arguments
from genjax.core import Array, Variables
from genjax.flow.bijection import promote
from genjax.flow.coupling import net_condition
from genjax.flow.univariate import UnivariateTransform
from genjax.nets import MaskedMLP, apply_net, init_net
from genjax.ops import at_least_float32, sum_except_batch

_TOLERANCE = 1e-6  # of the fixed-point iteration, relative to 1 + |x|


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class MaskedAutoregressive:
    """A masked autoregressive layer for vectors (B, D): equation 1.

    Attributes:
      transform: univariate transformation τ.
      features: widths of the hidden layers of the masked network.
      activation: activation of the hidden layers.
      inversion: "sequential" or "jacobi"; both compute the same inverse.
    """

    transform: UnivariateTransform
    features: Sizes
    activation: Callable[[Array], Array] = jax.nn.relu
    inversion: Literal["sequential", "jacobi"] = "sequential"

    @property
    def _net(self) -> MaskedMLP:
        return MaskedMLP(self.features, self.transform.num_params, self.activation, output_scale=0.0)

    def init(self, key: Array, x: Array, condition: Array | None = None) -> Variables:
        """See ``Bijection``; raises ValueError if the data are not vectors."""
        return Variables(init_net(self._net, key, x, *net_condition(condition))[0], {})

    def forward(self, variables: Variables, x: Array, condition: Array | None = None) -> tuple[Array, Array]:
        """See ``Bijection``."""
        y, log_derivative = self.transform.forward(self._params(variables, x, condition), x)
        return y, sum_except_batch(log_derivative)

    def inverse(self, variables: Variables, y: Array, condition: Array | None = None) -> tuple[Array, Array]:
        """See ``Bijection``."""
        if self.inversion == "jacobi":
            return self._jacobi(variables, promote(y, variables), condition)

        empty, step = self._net.decoder(
            variables.params, y.shape[0], y.shape[1], *net_condition(condition), dtype=y.dtype
        )

        def dimension(carry: tuple[Any, Array], y: Array) -> tuple[tuple[Any, Array], Array]:
            outputs, cache = step(*carry)
            x = self.transform.inverse(outputs[:, :, None], y[:, None])[0][:, 0]
            return (cache, x), x

        x = jax.lax.scan(dimension, (empty, jnp.zeros_like(empty.x[:, 0])), y.T)[1].T
        # One pass computes the log-determinants of all dimensions faster than D partial ones.
        _, log_derivative = self.transform.forward(self._params(variables, x, condition), x)
        return x, -sum_except_batch(log_derivative)

    def _jacobi(self, variables: Variables, y: Array, condition: Array | None) -> tuple[Array, Array]:
        def step(carry: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
            count, _, x, _ = carry
            new, log_derivative = self.transform.inverse(self._params(variables, x, condition), y)  # equation 2
            converged = jnp.all(jnp.abs(new - x) <= _TOLERANCE * (1 + jnp.abs(x)))
            return count + 1, converged, new, sum_except_batch(log_derivative)

        def unfinished(carry: tuple[Array, Array, Array, Array]) -> Array:
            return ~carry[1] & (carry[0] < y.shape[1] + 1)  # D passes, and one for the log-determinants

        start = (jnp.int32(0), jnp.bool_(False), y, jnp.zeros(y.shape[0], y.dtype))
        _, _, x, log_det = jax.lax.while_loop(unfinished, step, start)
        return x, log_det

    def _params(self, variables: Variables, x: Array, condition: Array | None) -> Array:
        return at_least_float32(apply_net(self._net, variables.params, {}, x, *net_condition(condition))[0])
