"""The interface of Markov chain kernels, and Metropolis–Hastings acceptance.

A kernel moves N chains at once. Their target density p(x) is known up to normalization, as log p(x) + const. An
*adjusted* kernel proposes x′ ~ q(x′ | x) and accepts it with probability

    min(1, p(x′) q(x | x′) / (p(x) q(x′ | x))),                                                                  (1)

so that p is its stationary distribution. An *unadjusted* kernel accepts every proposal, and the stationary distribution
has a bias that grows with the step size.

Nicholas Metropolis et al. 1953; Wilfred Hastings 1970.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from genjax.core import Array

LogDensity = Callable[[Array], Array]  # (N, ...) -> (N,): log p(x) + const, each from its own row alone


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
    """Record of one step: ``acceptance``, the probability of equation 1, (N,), or 1 for unadjusted kernels."""

    acceptance: Array


@runtime_checkable
class Kernel(Protocol):
    """Transition kernel of N chains.

    Attributes:
      discrete: whether states are binary; otherwise they are real.
      adjusted: whether p is exactly the stationary distribution.
      differentiable: whether gradients pass through a step to the parameters of p.
      target_acceptance: mean acceptance to which the step size is tuned; None for kernels that are not tuned.
    """

    discrete: bool = False
    adjusted: bool = True
    differentiable: bool = True
    target_acceptance: float | None = None

    def init(self, log_density: LogDensity, x: Array) -> Any:
        """Return the state of chains at x, (N, ...), with at least the attributes ``x`` and ``log_density``."""
        return with_gradient(log_density, x)

    def step(self, log_density: LogDensity, key: Array, state: Any) -> tuple[Any, KernelInfo]:
        """Return the state after one step, and a record of the step."""
        ...

    def tempered(self, beta: Array | float) -> Kernel:
        """Return the kernel with a step size that suits p^β in place of p; kernels without one stay as they are."""
        del beta
        return self

    def at(self, fraction: Array) -> Kernel:
        """Return the kernel for a fraction of the run, in [0, 1]; a kernel without a schedule returns itself."""
        del fraction
        return self


def with_gradient(log_density: LogDensity, x: Array) -> KernelState:
    """Return the state of chains at x, (N, ...), with ∇ log p(x)."""

    def total(x: Array) -> tuple[Array, Array]:
        values = log_density(x)
        return jnp.sum(values), values

    gradient, values = jax.grad(total, has_aux=True)(x)
    return KernelState(x, values, gradient)


def metropolis(
    key: Array, state: KernelState, proposal: KernelState, log_proposal_ratio: Array | float = 0.0
) -> tuple[KernelState, KernelInfo]:
    """Accept or reject proposals by equation 1, where ``log_proposal_ratio`` is log q(x | x′) − log q(x′ | x), (N,).

    A proposal with a log-density of NaN is rejected.
    """
    log_ratio = proposal.log_density - state.log_density + log_proposal_ratio
    acceptance = jnp.exp(jnp.minimum(jnp.where(jnp.isnan(log_ratio), -jnp.inf, log_ratio), 0.0))
    accepted = jax.random.uniform(key, acceptance.shape, acceptance.dtype) < acceptance

    def choose(new: Array, old: Array) -> Array:
        return jnp.where(accepted.reshape(-1, *[1] * (new.ndim - 1)), new, old)

    return jax.tree.map(choose, proposal, state), KernelInfo(acceptance)
