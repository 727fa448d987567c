"""Divergence of a vector field v, exact or estimated along random directions.

The trace of J = ∂v/∂x takes D products with unit vectors e_i. Random directions ε with E[ε εᵀ] = I give an unbiased
estimate from one product each (Michael Hutchinson, 1990):

    tr J = Σ_i e_iᵀ J e_i = E[εᵀ J ε],        ‖J‖²_F = Σ_i ‖J e_i‖² = E[‖J ε‖²].                                  (1)

For a score s, integration by parts turns its distance from the score of the density q of x into terms without q,

    ½ E‖s − ∇ log q‖² = E[tr ∂s/∂x + ½ ‖s‖²] + ½ E‖∇ log q‖²                                                       (2)

(Aapo Hyvärinen 2005; with random directions, Yang Song et al. 2019, arXiv:1905.07088).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from genjax.core import Array
from genjax.ops.arrays import sum_except_batch

CHUNK_SIZE = 16  # products that an exact trace computes at once


class Divergence(NamedTuple):
    """A vector field with trace and norm of its Jacobian matrix J, exact (S = 1) or for S random directions.

    Attributes:
      value: v(x), shape (B, ...).
      trace: tr J, shape (B, S).
      squares: ‖J‖²_F, shape (B, S).
    """

    value: Array
    trace: Array
    squares: Array


def divergence(field: Callable[[Array], Array], x: Array, directions: Array | None = None) -> Divergence:
    """Return v(x), and equation 1 for every example.

    The field maps x (B, ...) to the same shape and does not mix examples. Each of the ``directions`` ε, (S, B, ...),
    gives one estimate; None is the exact trace (S = 1), one Jacobian-vector product for each element of an example.

    >>> divergence(lambda x: x * jnp.array([[2.0, 3.0]]), jnp.ones((1, 2))).trace.tolist()
    [[5.0]]
    """
    if directions is None and math.prod(x.shape[1:]) > CHUNK_SIZE:
        return _exact_in_chunks(field, x)
    exact = directions is None
    if directions is None:
        directions = _unit_vectors(x)

    def push(direction: Array) -> tuple[Array, Array]:
        return jax.jvp(field, (x,), (jnp.broadcast_to(direction, x.shape).astype(x.dtype),))

    value, pushed = jax.vmap(push, out_axes=(None, 0))(directions)  # v, and J ε for all ε
    traces = jax.vmap(sum_except_batch)(pushed * directions)  # equation 1
    squares = jax.vmap(sum_except_batch)(jnp.square(pushed))
    if exact:
        return Divergence(value, jnp.sum(traces, axis=0)[:, None], jnp.sum(squares, axis=0)[:, None])
    return Divergence(value, traces.T, squares.T)


def _unit_vectors(x: Array) -> Array:
    size = math.prod(x.shape[1:])
    return jnp.eye(size, dtype=x.dtype).reshape(size, 1, *x.shape[1:])


def _exact_in_chunks(field: Callable[[Array], Array], x: Array) -> Divergence:
    """Return the exact trace from some products at a time, which bounds the memory."""
    value, jvp = jax.linearize(field, x)

    def terms(direction: Array) -> tuple[Array, Array]:
        pushed = jvp(jnp.broadcast_to(direction, x.shape))
        return sum_except_batch(pushed * direction), sum_except_batch(jnp.square(pushed))

    traces, squares = jax.lax.map(terms, _unit_vectors(x), batch_size=CHUNK_SIZE)
    return Divergence(value, jnp.sum(traces, axis=0)[:, None], jnp.sum(squares, axis=0)[:, None])


def implicit_score_loss(score: Callable[[Array], Any], x: Array, directions: Array, *, has_aux: bool = False) -> Any:
    """Return tr ∂s/∂x + ½ ‖s‖² of equation 2, (B,), with the trace along directions (S, B, ...) of ±1.

    The score maps x (B, ...) to the same shape and does not mix examples; with ``has_aux`` it returns a pair, and so
    does this function.

    >>> implicit_score_loss(lambda x: -x, jnp.array([[1.0, 2.0]]), jnp.ones((1, 1, 2))).tolist()  # −2 + 5 / 2
    [0.5]
    """
    value, jvp, *aux = jax.linearize(score, x, has_aux=has_aux)
    slopes = jnp.mean(jax.vmap(lambda v: v * jvp(v))(directions), axis=0)
    loss = sum_except_batch(slopes + 0.5 * jnp.square(value))
    return (loss, aux[0]) if has_aux else loss
