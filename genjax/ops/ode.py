"""Ordinary differential equations: an explicit Runge–Kutta method of order 5 with adaptive steps.

Tsit5: Charalampos Tsitouras, 2011. Solver: diffrax, Patrick Kidger, 2021, arXiv:2202.02435.
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
    """Solver of ordinary differential equations: Tsit5 with adaptive steps.

    Attributes:
      rtol: relative tolerance per step, for every element.
      atol: absolute tolerance per step, added to the relative one.
      max_steps: maximum number of steps.
      adjoint: how to compute gradients. "checkpoint" differentiates the steps themselves, recomputed from checkpoints:
        exact gradients of the computed solution. "backsolve" solves the adjoint equation backwards: gradients up to the
        tolerance, in memory that does not depend on ``max_steps``.
    """

    rtol: float = 1e-5
    atol: float = 1e-5
    max_steps: int = 1024
    adjoint: Literal["checkpoint", "backsolve"] = "checkpoint"

    def __post_init__(self) -> None:
        for name, value in (("rtol", self.rtol), ("atol", self.atol)):
            if not 1e-7 <= value < 1:
                raise ValueError(
                    f"{name} is {value}, but must be in [1e-7, 1), because float32 has no more digits; 1e-5 is usual"
                )
        check_at_least("max_steps", self.max_steps, 1)
        check_choice("adjoint", self.adjoint, ("checkpoint", "backsolve"))

    def solve(
        self, rates: Rates, start: Array | float, end: Array | float, state: PyTree, args: PyTree
    ) -> tuple[PyTree, Array, Array]:
        """Integrate from one time to another.

        Args:
          rates: right-hand side ``(time, state, args) -> derivatives``. Gradients reach only ``args`` and the state.
          start: initial time.
          end: final time, before or after ``start``.
          state: initial state, a pair of non-empty trees of arrays: the tolerance applies to the first; the second
            holds integrals over time, to which it does not apply.
          args: tree of arrays passed to ``rates``.

        Returns:
          The final state, whether ``end`` was reached, and the number of steps.
        """
        import diffrax

        def control(norm: Callable[[PyTree], Array]) -> diffrax.PIDController:
            return diffrax.PIDController(rtol=self.rtol, atol=self.atol, norm=norm)

        if self.adjoint == "checkpoint":
            adjoint = diffrax.RecursiveCheckpointAdjoint()
        else:  # gradients of parameters are integrals too, without tolerance: Kidger et al. (2021), arXiv:2009.09457
            controller = control(lambda both: _largest((both[0][0], both[1][0])))  # for the state and its adjoint
            adjoint = diffrax.BacksolveAdjoint(stepsize_controller=controller)
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
    """Return the largest magnitude, so that a tolerance holds for every element, however many there are."""
    return jnp.max(jnp.stack([jnp.max(jnp.abs(leaf)) for leaf in jax.tree.leaves(values)]))
