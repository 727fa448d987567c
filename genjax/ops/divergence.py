"""The divergence of a vector field, exact or along random directions.

With J = ∂v/∂x the trace takes D products with unit vectors e_i, and random directions ε with E[ε εᵀ] = I estimate it,
without bias, by one (Michael Hutchinson, 1990):

    tr J = Σ_i e_iᵀ J e_i = E[εᵀ J ε],        ‖J‖²_F = Σ_i ‖J e_i‖² = E[‖J ε‖²].                                  (1)
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from genjax.core import Array
from genjax.ops.arrays import sum_except_batch


class Divergence(NamedTuple):
    """A field and what is known of its Jacobian matrix.

    Attributes:
      value: v(x), (B, ...).
      trace: of J, (B, S).
      squares: ‖J‖²_F, (B, S).
    """

    value: Array
    trace: Array
    squares: Array


def divergence(field: Callable[[Array], Array], x: Array, directions: Array | None = None) -> Divergence:
    """Return v(x), and equation 1 for every example.

    Args:
      field: v, from (B, ...) to the same shape, each example for itself.
      x: (B, ...).
      directions: ε, (S, B, ...), which each give an estimate; None for the exact trace, with S = 1, which takes the
        field as often as an example has elements.

    >>> divergence(lambda x: x * jnp.array([[2.0, 3.0]]), jnp.ones((1, 2))).trace.tolist()
    [[5.0]]
    """
    exact = directions is None
    if directions is None:
        size = math.prod(x.shape[1:])
        directions = jnp.eye(size, dtype=x.dtype).reshape(size, 1, *x.shape[1:])

    def push(direction: Array) -> tuple[Array, Array]:
        return jax.jvp(field, (x,), (jnp.broadcast_to(direction, x.shape),))

    value, pushed = jax.vmap(push, out_axes=(None, 0))(directions)  # v, and J ε for all ε
    traces = jax.vmap(sum_except_batch)(pushed * directions)  # equation 1
    squares = jax.vmap(sum_except_batch)(jnp.square(pushed))
    if exact:
        return Divergence(value, jnp.sum(traces, axis=0)[:, None], jnp.sum(squares, axis=0)[:, None])
    return Divergence(value, traces.T, squares.T)
