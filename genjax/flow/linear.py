"""Linear bijections of the last axis: normalization, permutations, invertible matrices.

* ``ActNorm``: y = (x − μ) exp(s) per channel, where μ and s are initialized so that y has mean 0 and variance 1 on the
  first batch; log |det| = N Σ_c s_c for the N positions (pixels) of an example.
* ``Reverse``, ``Permutation``: reorder the channels; log |det| = 0.
* ``InvertibleLinear``: y = W x at each position, a 1×1 convolution for images. With

      W = P L (U + diag(σ ⊙ exp(s))),                                                                             (1)

  a fixed permutation P and fixed signs σ, L unit lower triangular and U strictly upper triangular, the log-determinant
  costs nothing: log |det| = N Σ_c s_c. W is initialized as a random rotation, or as a permutation.

Durk Kingma and Prafulla Dhariwal, "Glow", 2018, arXiv:1807.03039, sections 3.1 and 3.2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple, final

import jax
import jax.numpy as jnp
from jax.scipy.linalg import lu, solve_triangular

from genjax.arguments import check_arguments
from genjax.core import Array, Variables
from genjax.flow.bijection import zero_log_det

_EPSILON = 1e-6  # added to standard deviations


class PermutationState(NamedTuple):
    """The constants of a permutation.

    Attributes:
      order: input channel of each output channel, int32 (C,).
      inverse_order: output channel of each input channel, int32 (C,).
    """

    order: Array
    inverse_order: Array


class InvertibleLinearState(NamedTuple):
    """The constants of an ``InvertibleLinear``: equation 1.

    Attributes:
      order: rows of L (U + …) in the order of P, int32 (C,).
      inverse_order: order of P⁻¹, int32 (C,).
      sign: σ, ±1, (C,).
    """

    order: Array
    inverse_order: Array
    sign: Array


@final
@check_arguments
@dataclass(frozen=True)
class ActNorm:
    """Shift and scale of each channel, initialized from the first batch."""

    def init(self, key: Array, x: Array, condition: Array | None = None) -> Variables:
        """See ``Bijection``."""
        del key, condition
        rows = x.reshape(-1, x.shape[-1])
        # The standard deviation of a constant channel is only rounding error; such channels are not scaled.
        varies = jnp.max(rows, axis=0) > jnp.min(rows, axis=0)
        log_scale = jnp.where(varies, -jnp.log(jnp.std(rows, axis=0) + _EPSILON), 0.0)
        return Variables({"shift": jnp.mean(rows, axis=0), "log_scale": log_scale}, {})

    def forward(self, variables: Variables, x: Array, condition: Array | None = None) -> tuple[Array, Array]:
        """See ``Bijection``."""
        del condition
        shift, log_scale = (expand_channels(variables.params[name], x) for name in ("shift", "log_scale"))
        return (x - shift) * jnp.exp(log_scale), _over_positions(jnp.sum(log_scale), x)

    def inverse(self, variables: Variables, y: Array, condition: Array | None = None) -> tuple[Array, Array]:
        """See ``Bijection``."""
        del condition
        shift, log_scale = (expand_channels(variables.params[name], y) for name in ("shift", "log_scale"))
        return y * jnp.exp(-log_scale) + shift, _over_positions(-jnp.sum(log_scale), y)


@final
@check_arguments
@dataclass(frozen=True)
class Reverse:
    """Reversal of the last axis."""

    def init(self, key: Array, x: Array, condition: Array | None = None) -> Variables:
        """See ``Bijection``; there are no parameters."""
        del key, x, condition
        return Variables({}, {})

    def forward(self, variables: Variables, x: Array, condition: Array | None = None) -> tuple[Array, Array]:
        """See ``Bijection``."""
        del variables, condition
        return x[..., ::-1], zero_log_det(x)

    def inverse(self, variables: Variables, y: Array, condition: Array | None = None) -> tuple[Array, Array]:
        """See ``Bijection``."""
        return self.forward(variables, y, condition)


@final
@check_arguments
@dataclass(frozen=True)
class Permutation:
    """A permutation of the last axis, drawn by ``init`` and fixed from then on."""

    def init(self, key: Array, x: Array, condition: Array | None = None) -> Variables:
        """See ``Bijection``; the state is a ``PermutationState``."""
        del condition
        order = jax.random.permutation(key, x.shape[-1])
        return Variables({}, PermutationState(order, jnp.argsort(order)))

    def forward(self, variables: Variables, x: Array, condition: Array | None = None) -> tuple[Array, Array]:
        """See ``Bijection``."""
        del condition
        return jnp.take(x, variables.state.order, axis=-1), zero_log_det(x)

    def inverse(self, variables: Variables, y: Array, condition: Array | None = None) -> tuple[Array, Array]:
        """See ``Bijection``."""
        del condition
        return jnp.take(y, variables.state.inverse_order, axis=-1), zero_log_det(y)


@final
@check_arguments
@dataclass(frozen=True)
class InvertibleLinear:
    """Multiplication of the last axis by an invertible matrix in PLU form: equation 1.

    Attributes:
      start: initial matrix, "rotation" for a random rotation, "identity" for a random permutation, W = P.
    """

    start: Literal["rotation", "identity"] = "rotation"

    def init(self, key: Array, x: Array, condition: Array | None = None) -> Variables:
        """See ``Bijection``; the state is an ``InvertibleLinearState``."""
        del condition
        size, dtype = x.shape[-1], jnp.promote_types(x.dtype, jnp.float32)
        if self.start == "identity":
            zero = jnp.zeros((size, size), dtype)
            params = {"lower": zero, "upper": zero, "log_diagonal": jnp.zeros(size, dtype)}
            order, sign = jax.random.permutation(key, size), jnp.ones(size, dtype)
        else:
            rotation = jnp.linalg.qr(jax.random.normal(key, (size, size), dtype))[0]
            permutation, lower, upper = lu(rotation)
            order = jnp.argmax(permutation, axis=1)
            diagonal = jnp.diagonal(upper)
            sign = jnp.sign(diagonal)
            params = {"lower": jnp.tril(lower, -1), "upper": jnp.triu(upper, 1), "log_diagonal": jnp.log(abs(diagonal))}
        return Variables(params, InvertibleLinearState(order, jnp.argsort(order), sign))

    def forward(self, variables: Variables, x: Array, condition: Array | None = None) -> tuple[Array, Array]:
        """See ``Bijection``."""
        del condition
        lower, upper = self._factors(variables)
        # Full precision: TF32 on GPUs would break the agreement with the inverse and with the log-determinant.
        matrix = jnp.matmul(lower, upper, precision="highest")[variables.state.order]  # permuting rows multiplies by P
        return jnp.matmul(x, matrix.T, precision="highest"), _over_positions(
            jnp.sum(variables.params["log_diagonal"]), x
        )

    def inverse(self, variables: Variables, y: Array, condition: Array | None = None) -> tuple[Array, Array]:
        """See ``Bijection``."""
        del condition
        lower, upper = self._factors(variables)
        rows = y[..., variables.state.inverse_order].reshape(-1, y.shape[-1])
        columns = solve_triangular(lower, rows.T, lower=True, unit_diagonal=True)
        x = solve_triangular(upper, columns).T.reshape(y.shape)
        return x, _over_positions(-jnp.sum(variables.params["log_diagonal"]), y)

    def _factors(self, variables: Variables) -> tuple[Array, Array]:
        params = variables.params
        lower = jnp.tril(params["lower"], -1) + jnp.eye(params["lower"].shape[0], dtype=params["lower"].dtype)
        diagonal = variables.state.sign * jnp.exp(params["log_diagonal"])
        return lower, jnp.triu(params["upper"], 1) + jnp.diag(diagonal)


def expand_channels(values: Array, x: Array) -> Array:
    """Return channel values (C,) with the rank of ``x``, because rank promotion must be explicit."""
    return values.reshape((1,) * (x.ndim - values.ndim) + values.shape)


def _over_positions(log_det: Array, x: Array) -> Array:
    """Return the log-determinant of each example, (B,), given that of one position."""
    return jnp.full(x.shape[0], math.prod(x.shape[1:-1]) * log_det)
