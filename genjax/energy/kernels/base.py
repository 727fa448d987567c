"""Markov chain kernels: what all of them have in common.

A kernel moves N chains at once towards a density p(x) that is known up to a factor, through log p(x) + const. An
*adjusted* kernel proposes x′ ~ q(x′ | x) and accepts it with the probability

    min(1, p(x′) q(x | x′) / (p(x) q(x′ | x))),                                                                  (1)

so that p is its stationary distribution. Without this step, a kernel is biased by its step size.

Nicholas Metropolis et al. 1953; Wilfred Hastings 1970.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from genjax.core import Array

LogDensity = Callable[[Array], Array]  # (N, ...) -> (N,), log p up to a constant, each of its own example only


class KernelState(NamedTuple):
    """State of N chains.

    Attributes:
      x: positions, (N, ...).
      log_density: log p(x) up to a constant, nats, (N,).
      gradient: ∇ log p(x), (N, ...), or None for kernels that use no gradient.
    """

    x: Array
    log_density: Array
    gradient: Any  # an array, or None


class KernelInfo(NamedTuple):
    """What happened in one step: ``acceptance``, the probability of equation 1, (N,); 1 without this step."""

    acceptance: Array


@runtime_checkable
class Kernel(Protocol):
    """A transition of N chains, as a value.

    Attributes:
      discrete: whether it moves binary data in place of real numbers.
      adjusted: whether its stationary distribution is exactly p.
      differentiable: whether gradients pass through its steps to the density.
      target_acceptance: mean acceptance to which its step size is best tuned, or None without a step size.
    """

    discrete: bool = False
    adjusted: bool = True
    differentiable: bool = True
    target_acceptance: float | None = None

    def init(self, log_density: LogDensity, x: Array) -> Any:
        """Return the state of chains at x, (N, ...); it has at least the attributes ``x`` and ``log_density``."""
        ...

    def step(self, log_density: LogDensity, key: Array, state: Any) -> tuple[Any, KernelInfo]:
        """Return the state after one step, and what happened in it."""
        ...

    def at(self, fraction: Array) -> Kernel:
        """Return the kernel at a fraction of a run, in [0, 1]; kernels without a schedule stay as they are."""
        del fraction
        return self


def with_gradient(log_density: LogDensity, x: Array) -> KernelState:
    """Return the state of chains at x, (N, ...), with its gradient."""

    def total(x: Array) -> tuple[Array, Array]:
        values = log_density(x)
        return jnp.sum(values), values

    gradient, values = jax.grad(total, has_aux=True)(x)
    return KernelState(x, values, gradient)


def metropolis(
    key: Array, state: KernelState, proposal: KernelState, log_proposal_ratio: Array | float = 0.0
) -> tuple[KernelState, KernelInfo]:
    """Accept proposals by equation 1, where the last argument is log q(x | x′) − log q(x′ | x), (N,).

    A proposal whose density is NaN is rejected.
    """
    log_ratio = proposal.log_density - state.log_density + log_proposal_ratio
    acceptance = jnp.exp(jnp.minimum(jnp.where(jnp.isnan(log_ratio), -jnp.inf, log_ratio), 0.0))
    accepted = jax.random.uniform(key, acceptance.shape, acceptance.dtype) < acceptance

    def choose(new: Array, old: Array) -> Array:
        return jnp.where(accepted.reshape(-1, *[1] * (new.ndim - 1)), new, old)

    return jax.tree.map(choose, proposal, state), KernelInfo(acceptance)
