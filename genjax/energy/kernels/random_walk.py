"""Random-walk Metropolis: x′ = x + s ξ with ξ ~ N(0, I), accepted by ``metropolis``, without gradients.

Nicholas Metropolis et al. 1953; optimal acceptance 0.234 in high dimensions: Gareth Roberts, Andrew Gelman and Walter
Gilks 1997.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast, final

import jax

from genjax.arguments import PositiveFloat, check_arguments
from genjax.core import Array
from genjax.energy.kernels.base import Kernel, KernelInfo, KernelState, LogDensity, metropolis


@final
@check_arguments
@dataclass(frozen=True)
class RandomWalk(Kernel):
    """Random-walk Metropolis kernel.

    Attributes:
      step_size: s, standard deviation of the proposal.
    """

    step_size: PositiveFloat = 0.1
    differentiable = False
    target_acceptance = 0.234

    def tempered(self, beta: Array | float) -> RandomWalk:
        """See ``Kernel``; steps longer than s / √β, the scale of one mode, let hot chains jump between modes."""
        return RandomWalk(self.step_size / cast(float, beta))

    def init(self, log_density: LogDensity, x: Array) -> KernelState:
        """See ``Kernel``."""
        return KernelState(x, log_density(x), None)

    def step(self, log_density: LogDensity, key: Array, state: KernelState) -> tuple[KernelState, KernelInfo]:
        """See ``Kernel``."""
        noise_key, accept_key = jax.random.split(key)
        x = state.x + self.step_size * jax.random.normal(noise_key, state.x.shape, state.x.dtype)
        return metropolis(accept_key, state, self.init(log_density, x))
