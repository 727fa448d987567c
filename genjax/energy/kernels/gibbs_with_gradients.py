"""Gibbs with gradients: Metropolis–Hastings for binary vectors, with proposals informed by the gradient.

Flipping bit i changes log p(x) by approximately

    dᵢ(x) = −(2 xᵢ − 1) ∂ log p(x) / ∂xᵢ,                                                                         (1)

and by exactly dᵢ(x) if log p is linear in each bit. The kernel proposes to flip bit i ~ q(i | x) = softmax(d(x) / 2),
and accepts by ``metropolis`` with the reverse proposal q(i | x′).

Will Grathwohl, Kevin Swersky, Milad Hashemi, David Duvenaud and Chris Maddison 2021, arXiv:2102.04509, algorithm 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import jax
import jax.numpy as jnp

from genjax.arguments import check_arguments
from genjax.core import Array
from genjax.energy.kernels.base import Kernel, KernelInfo, KernelState, LogDensity, metropolis, with_gradient


@final
@check_arguments
@dataclass(frozen=True)
class GibbsWithGradients(Kernel):
    """Gibbs-with-gradients kernel, which proposes one flip per step."""

    discrete = True
    differentiable = False

    def step(self, log_density: LogDensity, key: Array, state: KernelState) -> tuple[KernelState, KernelInfo]:
        """See ``Kernel``."""
        bit_key, accept_key = jax.random.split(key)
        log_q = _log_flip_probabilities(state)
        bit = jax.random.categorical(bit_key, log_q)[:, None]  # (N, 1)
        flat = state.x.reshape(state.x.shape[0], -1)
        flipped = jnp.put_along_axis(flat, bit, 1 - jnp.take_along_axis(flat, bit, axis=1), axis=1, inplace=False)
        proposal = with_gradient(log_density, flipped.reshape(state.x.shape))
        ratio = jnp.take_along_axis(_log_flip_probabilities(proposal) - log_q, bit, axis=1)[:, 0]
        return metropolis(accept_key, state, proposal, ratio)


def _log_flip_probabilities(state: KernelState) -> Array:
    """Return log q(i | x), (N, D)."""
    change = -(2 * state.x - 1) * state.gradient  # equation 1
    return jax.nn.log_softmax(change.reshape(change.shape[0], -1) / 2, axis=-1)
