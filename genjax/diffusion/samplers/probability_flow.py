"""The probability-flow equation, solved adaptively to a tolerance.

Yang Song et al. 2021, arXiv:2011.13456; equation 1 of ``genjax.diffusion.samplers.ode``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import final

import jax.numpy as jnp

from genjax.arguments import check_arguments
from genjax.core import Array, PyTree
from genjax.diffusion.processes import Level, NoiseProcess
from genjax.diffusion.samplers.base import Denoise, Sampler, Step, unless_last
from genjax.diffusion.samplers.ode import flow_velocity
from genjax.ops import Solver


@final
@check_arguments
@dataclass(frozen=True)
class ProbabilityFlow(Sampler):
    """The probability-flow equation solved to a tolerance between the levels, with as many evaluations as it takes.

    A grid of two steps is enough: from end to start, and from there to the data.

    Attributes:
      solver: tolerances and largest number of solver steps.
    """

    solver: Solver = field(default_factory=Solver)
    evaluations = 7  # at least: six in one step of the solver, and one for x̂₀

    def step(
        self, process: NoiseProcess, denoise: Denoise, t: Level, s: Level, key: Array, x: Array, carry: PyTree
    ) -> Step:
        """See ``Sampler``; x is NaN if the solver runs out of steps."""
        del key

        def velocity(time: Array, x: Array, args: PyTree) -> Array:
            del args
            return flow_velocity(process, time, denoise(x, time))

        def solve() -> Array:
            x_s, reached, _ = self.solver.solve(velocity, t.time, s.time, x, None)
            return jnp.where(reached, x_s, jnp.nan)

        data = denoise(x, t.time).data
        return Step(unless_last(t, s, solve, x), carry, data)
