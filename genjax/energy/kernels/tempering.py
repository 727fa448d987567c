"""Parallel tempering: replicas of a chain at several temperatures, which swap states with their neighbors.

Replica t targets p^βₜ. The inverse temperatures 1 = β₀ > … > β_{T−1} > 0 are a geometric sequence. Each step moves all
replicas by an adjusted kernel, with longer steps at smaller βₜ, and then proposes swaps of neighbors, which are
accepted with probability

    min(1, exp((βₜ − βₜ₊₁) (log p(xₜ₊₁) − log p(xₜ)))).                                                            (1)

Hot replicas cross between modes, and swaps pass their states to the replica of p.

Robert Swendsen and Jian-Sheng Wang 1986; Charles Geyer 1991.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, NamedTuple, final

import jax
import jax.numpy as jnp
from annotated_types import Ge, Gt, Lt

from genjax.arguments import Cure, check_arguments
from genjax.core import Array
from genjax.energy.kernels.base import Kernel, KernelState, LogDensity
from genjax.ops import swap_neighbors


class TemperedState(NamedTuple):
    """State of T replicas of N chains: ``replicas`` has fields (T, N, ...), with log p and its gradient at β = 1."""

    replicas: KernelState

    @property
    def x(self) -> Array:
        """Positions of the replicas at β = 1, (N, ...)."""
        return self.replicas.x[0]

    @property
    def log_density(self) -> Array:
        """Log p(x) up to a constant at these positions, nats, (N,)."""
        return self.replicas.log_density[0]


class TemperingInfo(NamedTuple):
    """Record of one step: acceptance of the moves at β = 1, (N,), and mean acceptance of the swaps, (T − 1,)."""

    acceptance: Array
    swap_acceptance: Array


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class ParallelTempering(Kernel):
    """Parallel tempering; all replicas of a chain start from the same state.

    Attributes:
      kernel: adjusted kernel that moves the replicas.
      num_temperatures: number of temperatures, T.
      min_beta: smallest inverse temperature, β of the hottest replica.
    """

    kernel: Kernel
    num_temperatures: Annotated[int, Ge(2), Cure("; use the kernel itself for one")] = 5
    min_beta: Annotated[float, Gt(0), Lt(1)] = 0.05

    def __post_init__(self) -> None:
        if not self.kernel.adjusted or isinstance(self.kernel, ParallelTempering):
            raise ValueError(
                f"kernel is {self.kernel}, but swaps are exact only between adjusted kernels; use an adjusted "
                "kernel, such as MALA"
            )

    @property
    def discrete(self) -> bool:
        """Whether states are binary."""
        return self.kernel.discrete

    @property
    def differentiable(self) -> bool:
        """Whether gradients pass through the steps of the kernel."""
        return self.kernel.differentiable

    @property
    def betas(self) -> Array:
        """Inverse temperatures βₜ, (T,), from 1 down to ``min_beta``."""
        return self.min_beta ** jnp.linspace(0.0, 1.0, self.num_temperatures)

    def init(self, log_density: LogDensity, x: Array) -> TemperedState:
        """See ``Kernel``."""
        state = self.kernel.init(log_density, x)
        return TemperedState(jax.tree.map(lambda a: jnp.broadcast_to(a, (self.num_temperatures, *a.shape)), state))

    def step(self, log_density: LogDensity, key: Array, state: TemperedState) -> tuple[TemperedState, TemperingInfo]:
        """See ``Kernel``."""
        move_key, swap_key, parity_key = jax.random.split(key, 3)

        def move(beta: Array, key: Array, replica: KernelState) -> tuple[KernelState, Array]:
            kernel = self.kernel.tempered(beta)
            new, info = kernel.step(lambda x: beta * log_density(x), key, _scaled(replica, beta))
            return _scaled(new, 1 / beta), info.acceptance

        keys = jax.random.split(move_key, self.num_temperatures)
        betas = self.betas.astype(state.x.dtype)
        replicas, acceptance = jax.vmap(move)(betas, keys, state.replicas)
        replicas, swap_acceptance = self._swap(swap_key, parity_key, replicas)
        return TemperedState(replicas), TemperingInfo(acceptance[0], swap_acceptance)

    def _swap(self, key: Array, parity_key: Array, replicas: KernelState) -> tuple[KernelState, Array]:
        """Propose swaps of all even or all odd pairs of neighbors."""
        log_density, betas = replicas.log_density, self.betas
        log_ratio = (betas[:-1] - betas[1:])[:, None] * (log_density[1:] - log_density[:-1])  # equation 1
        acceptance = jnp.exp(jnp.minimum(log_ratio, 0.0))
        pair = jnp.arange(self.num_temperatures - 1)
        proposed = (pair + jax.random.bernoulli(parity_key).astype(jnp.int32)) % 2 == 0
        swaps = (jax.random.uniform(key, acceptance.shape) < acceptance) & proposed[:, None]
        return swap_neighbors(swaps, replicas), jnp.mean(acceptance, axis=1)


def _scaled(state: KernelState, factor: Array) -> KernelState:
    """Return the state with log p and its gradient multiplied by a factor."""
    gradient = None if state.gradient is None else factor * state.gradient
    return KernelState(state.x, factor * state.log_density, gradient)
