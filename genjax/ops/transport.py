"""Optimal transport between two samples with entropic regularization.

P_ij is the mass moved from point i to point j at cost C_ij. Among all plans P ≥ 0 with P 1 = 1/N and Pᵀ 1 = 1/M, the
minimizer of

    Σ_ij P_ij C_ij + ε Σ_ij P_ij log P_ij                                                                        (1)

has the form log P = (f_i + g_j − C_ij) / ε. Sinkhorn's iteration finds f and g by fitting the sums of columns and of
rows in turn,

    g_j ← −ε log Σ_i exp((f_i − C_ij) / ε) − ε log M,        f_i ← −ε log Σ_j exp((g_j − C_ij) / ε) − ε log N.     (2)

As ε → 0 the plan becomes optimal for the cost alone, and convergence slow: its rate approaches 1.

Marco Cuturi 2013, arXiv:1306.0895.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from genjax.arguments import PositiveInt, check_arguments
from genjax.core import Array
from genjax.ops.arrays import at_least_float32
from genjax.ops.validation import check_positive


@check_arguments
def sinkhorn(cost: Array, epsilon: Array | float, num_iterations: PositiveInt) -> Array:
    """Return log P, (N, M), of equation 1; rows of P sum to 1/N up to rounding, columns to 1/M in the limit.

    Args:
      cost: costs C, shape (N, M).
      epsilon: regularization ε > 0, finite, in units of the cost; a traced ε is not checked.
      num_iterations: number of iterations of equation 2, at least 1.

    >>> plan = jnp.exp(sinkhorn(jnp.array([[0.0, 1.0], [1.0, 0.0]]), 0.05, 10))
    >>> plan.round(3).tolist()
    [[0.5, 0.0], [0.0, 0.5]]
    """
    if cost.ndim != 2:
        raise ValueError(f"cost has shape {cost.shape}, but must be (N, M)")
    if not isinstance(epsilon, jax.Array):
        check_positive("epsilon", epsilon, "; 0.05 times the mean cost is usual")
    scaled = -at_least_float32(cost) / epsilon
    rows, columns = (-math.log(size) for size in cost.shape)

    def iterate(potentials: tuple[Array, Array], nothing: None) -> tuple[tuple[Array, Array], None]:  # f / ε and g / ε
        del nothing
        f, _ = potentials
        g = columns - jax.nn.logsumexp(scaled + f[:, None], axis=0)  # equation 2
        return (rows - jax.nn.logsumexp(scaled + g[None], axis=1), g), None

    begin = (jnp.zeros(cost.shape[0], scaled.dtype), jnp.zeros(cost.shape[1], scaled.dtype))
    (f, g), _ = jax.lax.scan(iterate, begin, None, length=num_iterations)
    return scaled + f[:, None] + g[None]
