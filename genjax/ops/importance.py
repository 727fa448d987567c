"""Averages over many importance weights, in memory that does not depend on their number.

For independent z_k ~ q(z | x) and w_k = p(x, z_k) / q(z_k | x),

    E[1/K Σ_k w_k] = p(x),        E[1/K Σ_k log w_k] ≤ E[log 1/K Σ_k w_k] ≤ log p(x),

and the second bound increases to log p(x) with K (Burda, Grosse & Salakhutdinov 2016, arXiv:1509.00519, theorem 1).

Weights of annealed importance sampling have the mean Z / Z₀, and the delta method gives log Z an interval.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge

from genjax.arguments import Cure, PositiveInt, check_arguments
from genjax.core import Array

QUANTILE_99 = 2.5758  # of the standard normal distribution, two-sided

NumParticles = Annotated[int, Ge(2), Cure("; one particle gives no interval")]
LogWeights = Callable[[Array], Array]  # keys (S,), one for each sample -> log w in nats, (S, B)


@check_arguments
def log_mean_weight(
    log_weights: LogWeights, key: Array, num_samples: PositiveInt, chunk_size: PositiveInt = 16
) -> Array:
    """Return log 1/K Σ_k w_k, an estimate of log p(x) in nats, shape (B,), from ``num_samples`` samples.

    Each sample has its own key, so that the result does not depend on ``chunk_size``, the number in memory at once.
    """

    def add(total: Array, log_weight: Array, valid: Array) -> Array:
        return jnp.logaddexp(total, jax.nn.logsumexp(jnp.where(valid, log_weight, -jnp.inf), axis=0))

    total = _fold(add, -jnp.inf, log_weights, key, num_samples, chunk_size)
    return total - np.log(num_samples)  # Burda et al. (2016), eq. 8


@check_arguments
def mean_log_weight(
    log_weights: LogWeights, key: Array, num_samples: PositiveInt, chunk_size: PositiveInt = 16
) -> Array:
    """Return 1/K Σ_k log w_k, the evidence lower bound from K samples in nats, (B,); see ``log_mean_weight``."""

    def add(total: Array, log_weight: Array, valid: Array) -> Array:
        return total + jnp.sum(jnp.where(valid, log_weight, 0.0), axis=0)

    return _fold(add, 0.0, log_weights, key, num_samples, chunk_size) / num_samples


class LogPartition(NamedTuple):
    """An estimate of log Z.

    Attributes:
      value: estimate of log Z, nats.
      low: lower end of its 99 % interval by the delta method, which assumes that many particles have similar weights.
      high: upper end of that interval.
      effective_sample_size: (Σ w)² / Σ w²; below some 20, the interval is too short.
      particles: final states of the particles, (P, ...).
    """

    value: Array
    low: Array
    high: Array
    effective_sample_size: Array
    particles: Array


def log_partition_of(
    log_weight: Array, particles: Array, *, base_log_partition: Array | float = 0.0, backwards: bool = False
) -> LogPartition:
    """Return log Z from the weights of annealed importance sampling, log w (P,), of mean Z / Z₀ or, backwards, Z₀ / Z.

    >>> estimate = log_partition_of(jnp.log(jnp.array([1.0, 3.0])), jnp.zeros((2, 1)))
    >>> jnp.exp(estimate.value).item()
    2.0
    """
    weight = jnp.exp(log_weight - jnp.max(log_weight))
    mean = jnp.mean(weight)
    error = jnp.std(weight, ddof=1) / (mean * jnp.sqrt(log_weight.shape[0]))
    log_ratio = jnp.max(log_weight) + jnp.log(mean)
    value = base_log_partition + (-log_ratio if backwards else log_ratio)
    effective = jnp.square(jnp.sum(weight)) / jnp.sum(jnp.square(weight))
    return LogPartition(value, value - QUANTILE_99 * error, value + QUANTILE_99 * error, effective, particles)


def _fold(
    add: Callable[[Array, Array, Array], Array],
    start: float,
    log_weights: LogWeights,
    key: Array,
    num_samples: int,
    chunk_size: int,
) -> Array:
    """Accumulate log w chunk by chunk; ``add`` gets a mask, because the last chunk may hold too many samples."""
    size = min(chunk_size, num_samples)

    def chunk(first: Array) -> tuple[Array, Array]:
        numbers = first + jnp.arange(size)
        keys = jax.vmap(lambda number: jax.random.fold_in(key, number))(numbers)
        return log_weights(keys), (numbers < num_samples)[:, None]

    shape = jax.eval_shape(lambda: chunk(jnp.int32(0))[0])
    total = jnp.full(shape.shape[1:], start, shape.dtype)
    return jax.lax.scan(lambda t, first: (add(t, *chunk(first)), None), total, jnp.arange(0, num_samples, size))[0]
