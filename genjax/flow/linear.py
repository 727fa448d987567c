"""Linear bijections of the last axis: normalization, permutations, invertible matrices.

* ``ActNorm``: y = (x − μ) exp(s) per channel, where the first batch sets μ and s so that y has mean 0 and variance 1;
  log |det| = P Σ_c s_c over the P positions (pixels) of an example.
* ``Reverse``, ``Permutation``: channels in another order, log |det| = 0.
* ``InvertibleLinear``: y = W x at every position, the 1×1 convolution of images. With

      W = P L (U + diag(σ ⊙ exp(s)))                                                                              (1)

  of a permutation P and signs σ drawn once, L lower triangular with ones and U strictly upper triangular, the
  log-determinant costs nothing: log |det| = P Σ_c s_c. It begins as a random rotation, or as the identity.

Durk Kingma and Prafulla Dhariwal, "Glow", 2018, arXiv:1807.03039, sections 3.1 and 3.2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, final

import jax
import jax.numpy as jnp
from jax.scipy.linalg import lu, solve_triangular

from genjax.core import Array, Variables
from genjax.flow.bijection import no_log_det
from genjax.ops import check_choice

_SMALLEST_DEVIATION = 1e-6  # what is added to deviations


@final
@dataclass(frozen=True)
class ActNorm:
    """Shift and scale of every channel, begun from the first batch."""

    def init(self, key: Array, x: Array, context: Array | None = None) -> Variables:
        """See ``Bijection``."""
        del key, context
        rows = x.reshape(-1, x.shape[-1])
        varies = jnp.max(rows, axis=0) > jnp.min(rows, axis=0)  # a constant, whose deviation rounds, is not scaled
        log_scale = jnp.where(varies, -jnp.log(jnp.std(rows, axis=0) + _SMALLEST_DEVIATION), 0.0)
        return Variables({"shift": jnp.mean(rows, axis=0), "log_scale": log_scale}, {})

    def forward(self, variables: Variables, x: Array, context: Array | None = None) -> tuple[Array, Array]:
        """See ``Bijection``."""
        del context
        shift, log_scale = (along(variables.params[name], x) for name in ("shift", "log_scale"))
        return (x - shift) * jnp.exp(log_scale), _everywhere(jnp.sum(log_scale), x)

    def inverse(self, variables: Variables, y: Array, context: Array | None = None) -> tuple[Array, Array]:
        """See ``Bijection``."""
        del context
        shift, log_scale = (along(variables.params[name], y) for name in ("shift", "log_scale"))
        return y * jnp.exp(-log_scale) + shift, _everywhere(-jnp.sum(log_scale), y)


@final
@dataclass(frozen=True)
class Reverse:
    """The last axis in reverse order."""

    def init(self, key: Array, x: Array, context: Array | None = None) -> Variables:
        """See ``Bijection``; nothing is learned."""
        del key, x, context
        return Variables({}, {})

    def forward(self, variables: Variables, x: Array, context: Array | None = None) -> tuple[Array, Array]:
        """See ``Bijection``."""
        del variables, context
        return x[..., ::-1], no_log_det(x)

    def inverse(self, variables: Variables, y: Array, context: Array | None = None) -> tuple[Array, Array]:
        """See ``Bijection``."""
        return self.forward(variables, y, context)


@final
@dataclass(frozen=True)
class Permutation:
    """The last axis in an order drawn once, by ``init``."""

    def init(self, key: Array, x: Array, context: Array | None = None) -> Variables:
        """See ``Bijection``; the order is a constant."""
        del context
        order = jax.random.permutation(key, x.shape[-1])
        return Variables({}, {"order": order, "back": jnp.argsort(order)})

    def forward(self, variables: Variables, x: Array, context: Array | None = None) -> tuple[Array, Array]:
        """See ``Bijection``."""
        del context
        return jnp.take(x, variables.state["order"], axis=-1), no_log_det(x)

    def inverse(self, variables: Variables, y: Array, context: Array | None = None) -> tuple[Array, Array]:
        """See ``Bijection``."""
        del context
        return jnp.take(y, variables.state["back"], axis=-1), no_log_det(y)


@final
@dataclass(frozen=True)
class InvertibleLinear:
    """An invertible matrix on the last axis, by its PLU factors: equation 1.

    Attributes:
      start: "rotation" begins with a random one, "identity" with a random permutation alone: all factors but P are I.
    """

    start: Literal["rotation", "identity"] = "rotation"

    def __post_init__(self) -> None:
        check_choice("start", self.start, ("rotation", "identity"))

    def init(self, key: Array, x: Array, context: Array | None = None) -> Variables:
        """See ``Bijection``; P and σ are constants."""
        del context
        size = x.shape[-1]
        if self.start == "identity":
            zero = jnp.zeros((size, size))
            params = {"lower": zero, "upper": zero, "log_diagonal": jnp.zeros(size)}
            order, sign = jax.random.permutation(key, size), jnp.ones(size)
        else:
            rotation = jnp.linalg.qr(jax.random.normal(key, (size, size)))[0]
            permutation, lower, upper = lu(rotation)
            order = jnp.argmax(permutation, axis=1)
            diagonal = jnp.diagonal(upper)
            sign = jnp.sign(diagonal)
            params = {"lower": jnp.tril(lower, -1), "upper": jnp.triu(upper, 1), "log_diagonal": jnp.log(abs(diagonal))}
        return Variables(params, {"order": order, "back": jnp.argsort(order), "sign": sign})

    def forward(self, variables: Variables, x: Array, context: Array | None = None) -> tuple[Array, Array]:
        """See ``Bijection``."""
        del context
        lower, upper = self._factors(variables)
        # In full precision, or on GPUs the matrix is not the one whose determinant is returned, and not what is solved.
        matrix = jnp.matmul(lower, upper, precision="highest")[variables.state["order"]]  # rows permuted: P L U
        return jnp.matmul(x, matrix.T, precision="highest"), _everywhere(jnp.sum(variables.params["log_diagonal"]), x)

    def inverse(self, variables: Variables, y: Array, context: Array | None = None) -> tuple[Array, Array]:
        """See ``Bijection``."""
        del context
        lower, upper = self._factors(variables)
        rows = y[..., variables.state["back"]].reshape(-1, y.shape[-1])
        solved = solve_triangular(lower, rows.T, lower=True, unit_diagonal=True)
        x = solve_triangular(upper, solved).T.reshape(y.shape)
        return x, _everywhere(-jnp.sum(variables.params["log_diagonal"]), y)

    def _factors(self, variables: Variables) -> tuple[Array, Array]:
        params = variables.params
        lower = jnp.tril(params["lower"], -1) + jnp.eye(len(params["lower"]))
        diagonal = variables.state["sign"] * jnp.exp(params["log_diagonal"])
        return lower, jnp.triu(params["upper"], 1) + jnp.diag(diagonal)


def along(values: Array, x: Array) -> Array:
    """Give values of the last axis the rank of ``x``, as rank promotion must be explicit."""
    return values.reshape((1,) * (x.ndim - values.ndim) + values.shape)


def _everywhere(log_det: Array, x: Array) -> Array:
    """Return the log-determinant of all positions of each example, (B,), from that of one."""
    return jnp.full(len(x), math.prod(x.shape[1:-1]) * log_det)
