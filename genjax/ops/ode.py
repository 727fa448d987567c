"""Ordinary differential equations: an explicit Runge–Kutta method of order 5 with adaptive steps.

Tsit5: Charalampos Tsitouras, 2011. Solver: diffrax, Patrick Kidger, 2021, arXiv:2202.02435.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal, final

import jax
import jax.numpy as jnp
from annotated_types import Ge, Lt

from genjax.arguments import Cure, PositiveInt, check_arguments
from genjax.core import Array, PyTree

Rates = Callable[[Array, PyTree, PyTree], PyTree]  # (time, state, args) -> time derivative of the state

Tolerance = Annotated[float, Ge(1e-7), Lt(1), Cure(", the precision of float32; try 1e-5")]


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class Solver:
    """A solver of ordinary differential equations: Tsit5 with adaptive steps.

    Attributes:
      rtol: relative error tolerance of a step, for each element, in [1e-7, 1).
      atol: absolute error tolerance of a step, for each element, in [1e-7, 1).
      max_steps: maximum number of steps.
      adjoint: "checkpoint" differentiates the steps themselves, recomputing them from checkpoints: exact gradients of
        the numerical solution. "backsolve" solves the adjoint equation backwards: gradients to the tolerance, with
        memory that does not depend on ``max_steps``.
    """

    rtol: Tolerance = 1e-5
    atol: Tolerance = 1e-5
    max_steps: PositiveInt = 1024
    adjoint: Literal["checkpoint", "backsolve"] = "checkpoint"

    def solve(
        self,
        rates: Rates,
        start: Array | float,
        end: Array | float,
        state: PyTree,
        args: PyTree,
        integrals: PyTree | None = None,
    ) -> tuple[PyTree, Array, Array]:
        """Integrate from one time to another.

        Args:
          rates: right-hand side, ``(t, state, args) -> derivative``, or with ``integrals``
            ``(t, state, args) -> (derivative, integrands)``. Gradients reach ``args``, but no closed-over arrays.
          start: initial time.
          end: final time, before or after ``start``.
          state: initial value, a tree of arrays, whose error the tolerances bound.
          args: tree of arrays that ``rates`` receives.
          integrals: initial values of integrals over time, whose error does not affect the steps.

        Returns:
          The final state, or with ``integrals`` the pair of both; whether ``end`` was reached; the number of steps.

        >>> import jax.numpy as jnp
        >>> y, success, _ = Solver().solve(lambda t, y, rate: rate * y, 0.0, 1.0, jnp.ones(1), jnp.log(2.0))
        >>> bool(success), round(float(y[0]), 4)
        (True, 2.0)
        """
        import diffrax

        def vector_field(t: Array, both: PyTree, args: PyTree) -> PyTree:
            rate = rates(t, both[0], args)
            return (rate,) if integrals is None else rate

        def control(norm: Callable[[PyTree], Array]) -> diffrax.PIDController:
            return diffrax.PIDController(rtol=self.rtol, atol=self.atol, norm=norm)

        if self.adjoint == "checkpoint":
            adjoint = diffrax.RecursiveCheckpointAdjoint()
        else:  # parameter gradients are such integrals too: Kidger, Chen & Lyons (2021), arXiv:2009.09457
            controller = control(lambda both: _max_norm((both[0][0], both[1][0])))  # of the state and its adjoint
            adjoint = diffrax.BacksolveAdjoint(stepsize_controller=controller)
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(vector_field),  # pyright: ignore[reportArgumentType]
            diffrax.Tsit5(),
            t0=start,
            t1=end,
            dt0=None,
            y0=(state,) if integrals is None else (state, integrals),
            args=args,
            stepsize_controller=control(lambda both: _max_norm(both[0])),
            adjoint=adjoint,
            max_steps=self.max_steps,
            throw=False,
        )
        success = solution.result == diffrax.RESULTS.successful
        both = jax.tree.map(lambda last: last[0], solution.ys)
        return both[0] if integrals is None else both, success, solution.stats["num_steps"]


def _max_norm(values: PyTree) -> Array:
    """Return the largest magnitude, so that the tolerance holds for each element, however many there are."""
    return jnp.max(jnp.stack([jnp.max(jnp.abs(leaf)) for leaf in jax.tree.leaves(values)]))
