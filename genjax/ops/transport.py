"""Optimal transport between two samples, smoothed by entropy.

Of all plans P ≥ 0 with P 1 = 1/N and Pᵀ 1 = 1/M, where P_ij is how much of point i goes to point j at cost C_ij, the
one that minimizes

    Σ_ij P_ij C_ij + ε Σ_ij P_ij log P_ij                                                                        (1)

is of the form log P = (f_i + g_j − C_ij) / ε, and Sinkhorn's iteration finds f and g by setting the sums of columns
and of rows right in turn,

    g_j ← −ε log Σ_i exp((f_i − C_ij) / ε) − ε log M,        f_i ← −ε log Σ_j exp((g_j − C_ij) / ε) − ε log N.     (2)

As ε → 0 the plan becomes the cheapest one, and the iteration slow: errors of the columns fall by a factor that nears 1.

Marco Cuturi 2013, arXiv:1306.0895.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

from genjax.core import Array
from genjax.ops.arrays import at_least_float32
from genjax.ops.validation import check_at_least, check_positive


def sinkhorn(cost: Array, epsilon: Array | float, num_iterations: int) -> Array:
    """Return the logarithm of the plan of equation 1.

    Args:
      cost: C, (N, M).
      epsilon: ε, positive, in units of the cost.
      num_iterations: of equation 2.

    Returns:
      log P, (N, M): the sums of P's rows are 1/N but for rounding, those of its columns are 1/M in the limit.

    Raises:
      ValueError: for a cost that is no matrix, no iterations, and, where it is known, an ε that is not positive.

    >>> plan = jnp.exp(sinkhorn(jnp.array([[0.0, 1.0], [1.0, 0.0]]), 0.05, 10))
    >>> plan.round(3).tolist()
    [[0.5, 0.0], [0.0, 0.5]]
    """
    if cost.ndim != 2:
        raise ValueError(f"cost has shape {cost.shape}, but must be (N, M): of each point to each")
    check_at_least("num_iterations", num_iterations, 1)
    if not isinstance(epsilon, jax.Array):
        check_positive("epsilon", epsilon, "; 0.05 times the mean cost is usual")
    scaled = -at_least_float32(cost) / epsilon
    rows, columns = (-math.log(size) for size in cost.shape)

    def iterate(potentials: tuple[Array, Array], nothing: None) -> tuple[tuple[Array, Array], None]:  # f / ε and g / ε
        del nothing
        f, _ = potentials
        g = columns - jax.nn.logsumexp(scaled + f[:, None], axis=0)  # equation 2
        return (rows - jax.nn.logsumexp(scaled + g[None], axis=1), g), None

    begin = (jnp.zeros(len(cost), scaled.dtype), jnp.zeros(cost.shape[1], scaled.dtype))
    (f, g), _ = jax.lax.scan(iterate, begin, None, length=num_iterations)
    return scaled + f[:, None] + g[None]
