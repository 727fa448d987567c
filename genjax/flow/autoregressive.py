"""Masked autoregressive layers: every dimension is transformed given those before it.

    y_i = τ(x_i; θ_i(x_1, …, x_{i−1})),        log |det ∂y/∂x| = Σ_i log τ′(x_i; θ_i)                            (1)

``forward`` takes one pass of a masked network (MADE). The inverse has to know x_1 … x_{i−1} before θ_i:

* "sequential" finds dimension after dimension, each unit of the network computed once: D steps that together cost
  about one pass;
* "jacobi" finds all of them at once by iterating the fixed point

      x ← τ⁻¹(y; θ(x)),                                                                                           (2)

  whose first i dimensions are right after i passes: after D passes all are, and long before it where the dimensions
  depend on each other weakly. It stops where nothing moves any more. It has no gradient in reverse mode.

George Papamakarios, Theo Pavlakou and Iain Murray, 2017, arXiv:1705.07057. Fixed point: Yang Song, Chenlin Meng, Renjie
Liao and Stefano Ermon, 2021, arXiv:2002.03629.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, final

import jax
import jax.numpy as jnp

from genjax.core import Array, Variables
from genjax.flow.coupling import given
from genjax.flow.transformers import Transformer
from genjax.nets import MaskedMLP, apply_net, init_net
from genjax.ops import at_least_float32, sum_except_batch

_STILL = 1e-6  # times 1 + |x|: an iteration that moves no element further has converged


@final
@dataclass(frozen=True, kw_only=True)
class MaskedAutoregressive:
    """A masked autoregressive layer of vectors (B, D): equation 1.

    Attributes:
      transformer: τ.
      features: widths of the network's hidden layers.
      activation: after each of them.
      inversion: "sequential" or "jacobi"; both find the same inverse.
    """

    transformer: Transformer
    features: tuple[int, ...]
    activation: Any = jax.nn.relu
    inversion: Literal["sequential", "jacobi"] = "sequential"

    def __post_init__(self) -> None:
        if self.inversion not in ("sequential", "jacobi"):
            raise ValueError(f"inversion is {self.inversion!r}, but must be 'sequential' or 'jacobi'")

    @property
    def _net(self) -> MaskedMLP:
        return MaskedMLP(self.features, self.transformer.num_params, self.activation, output_scale=0.0)

    def init(self, key: Array, x: Array, context: Array | None = None) -> Variables:
        """See ``Bijection``.

        Raises:
          ValueError: for data that are no vectors.
        """
        return Variables(init_net(self._net, key, x, *given(context))[0], {})

    def forward(self, variables: Variables, x: Array, context: Array | None = None) -> tuple[Array, Array]:
        """See ``Bijection``."""
        y, log_derivative = self.transformer.forward(self._params(variables, x, context), x)
        return y, sum_except_batch(log_derivative)

    def inverse(self, variables: Variables, y: Array, context: Array | None = None) -> tuple[Array, Array]:
        """See ``Bijection``."""
        if self.inversion == "jacobi":
            return self._jacobi(variables, y, context)

        empty, step = self._net.decoder(variables.params, len(y), y.shape[1], *given(context))

        def dimension(carry: tuple[Any, Array], y: Array) -> tuple[tuple[Any, Array], Array]:
            outputs, cache = step(*carry)
            x = self.transformer.inverse(outputs[:, :, None], y[:, None])[0][:, 0]
            return (cache, x), x

        x = jax.lax.scan(dimension, (empty, jnp.zeros(len(y))), y.T)[1].T
        # One pass for the log-determinants of all dimensions, quicker than D pieces of it.
        _, log_derivative = self.transformer.forward(self._params(variables, x, context), x)
        return x, -sum_except_batch(log_derivative)

    def _jacobi(self, variables: Variables, y: Array, context: Array | None) -> tuple[Array, Array]:
        def step(carry: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
            count, _, x, _ = carry
            new, log_derivative = self.transformer.inverse(self._params(variables, x, context), y)  # equation 2
            still = jnp.all(jnp.abs(new - x) <= _STILL * (1 + jnp.abs(x)))
            return count + 1, still, new, sum_except_batch(log_derivative)

        def unfinished(carry: tuple[Array, Array, Array, Array]) -> Array:
            return ~carry[1] & (carry[0] < y.shape[1] + 1)  # one pass more: the last for the log-determinants

        start = (jnp.int32(0), jnp.bool_(False), y, jnp.zeros(len(y), y.dtype))
        _, _, x, log_det = jax.lax.while_loop(unfinished, step, start)
        return x, log_det

    def _params(self, variables: Variables, x: Array, context: Array | None) -> Array:
        return at_least_float32(apply_net(self._net, variables.params, {}, x, *given(context))[0])
