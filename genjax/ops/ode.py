"""Ordinary differential equations: an explicit Runge–Kutta method of order 5, with steps as a tolerance asks for.

Tsit5: Charalampos Tsitouras, 2011. Solved by diffrax: Patrick Kidger, 2021, arXiv:2202.02435.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, final

import jax
import jax.numpy as jnp

from genjax.core import Array, PyTree
from genjax.ops.validation import check_at_least, check_choice

Rates = Callable[[Array, PyTree, PyTree], PyTree]  # (time, state, args) -> derivatives, shaped as the state


@final
@dataclass(frozen=True, kw_only=True)
class Solver:
    """How an ordinary differential equation is integrated: Tsit5, with adaptive steps.

    Attributes:
      rtol: error that a step may make, relative to the value; for every element.
      atol: error that it may make beside that.
      max_steps: how many steps there may be.
      adjoint: "checkpoint" differentiates the steps themselves, recomputing them from some that are kept: gradients of
        what was computed. "backsolve" solves the adjoint equation backwards: gradients to the tolerance, in memory that
        does not depend on ``max_steps``.
    """

    rtol: float = 1e-5
    atol: float = 1e-5
    max_steps: int = 1024
    adjoint: Literal["checkpoint", "backsolve"] = "checkpoint"

    def __post_init__(self) -> None:
        for name, value in (("rtol", self.rtol), ("atol", self.atol)):
            if not 1e-7 <= value < 1:
                raise ValueError(
                    f"{name} is {value}, but must be in [1e-7, 1): float32 has no more digits; 1e-5 is usual"
                )
        check_at_least("max_steps", self.max_steps, 1)
        check_choice("adjoint", self.adjoint, ("checkpoint", "backsolve"))

    def solve(
        self, rates: Rates, start: Array | float, end: Array | float, state: PyTree, args: PyTree
    ) -> tuple[PyTree, Array, Array]:
        """Integrate from one time to another.

        Args:
          rates: the equation. What gradients are to reach comes to it by ``args``.
          start: time of ``state``.
          end: time to reach, before or after ``start``.
          state: two trees of arrays: what the tolerance is kept for, and mere integrals over time, which it is
            not; neither is empty.
          args: what ``rates`` gets, arrays too.

        Returns:
          The state at the end, whether the end was reached, and the number of steps taken.
        """
        import diffrax

        def control(norm: Callable[[PyTree], Array]) -> diffrax.PIDController:
            return diffrax.PIDController(rtol=self.rtol, atol=self.atol, norm=norm)

        if self.adjoint == "checkpoint":
            adjoint = diffrax.RecursiveCheckpointAdjoint()
        else:  # gradients of parameters are mere integrals too: Kidger, Chen & Lyons (2021), arXiv:2009.09457
            kept = control(lambda both: _largest((both[0][0], both[1][0])))  # of the state, and of its adjoint
            adjoint = diffrax.BacksolveAdjoint(stepsize_controller=kept)
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(rates),  # pyright: ignore[reportArgumentType]
            diffrax.Tsit5(),
            t0=start,
            t1=end,
            dt0=None,
            y0=state,
            args=args,
            stepsize_controller=control(lambda state: _largest(state[0])),
            adjoint=adjoint,
            max_steps=self.max_steps,
            throw=False,
        )
        reached = solution.result == diffrax.RESULTS.successful
        return jax.tree.map(lambda last: last[0], solution.ys), reached, solution.stats["num_steps"]


def _largest(values: PyTree) -> Array:
    """The largest magnitude, so that a tolerance holds for every element, however many there are."""
    return jnp.max(jnp.stack([jnp.max(jnp.abs(leaf)) for leaf in jax.tree.leaves(values)]))
