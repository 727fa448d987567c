"""Continuous flows: bijections that integrate a velocity field.

A network defines a velocity field v. Data x(0) = x flow along it to y = x(1),

    dx/dt = v(x, t),        d/dt log |det ∂x(t)/∂x(0)| = tr ∂v/∂x,                                                (1)

and the inverse integrates from t = 1 back to 0. The network need not be invertible. The trace takes D products with the
Jacobian matrix, or one with a random direction for an unbiased estimate (``genjax.ops.divergence``).

The solver is an explicit Runge–Kutta method of order 5 with adaptive steps. All examples of a batch take the same
steps, so that the network and its gradients are evaluated on whole batches. The element with the largest error sets the
step size: an example's result depends on the rest of its batch, but only within the tolerance.

Ricky Chen, Yulia Rubanova, Jesse Bettencourt and David Duvenaud, 2018, arXiv:1806.07366; Will Grathwohl, Ricky Chen,
Jesse Bettencourt, Ilya Sutskever and David Duvenaud, 2019, arXiv:1810.01367.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, final

import jax
import jax.numpy as jnp
from jax.core import Tracer

from genjax.arguments import check_arguments
from genjax.core import Array, PyTree, Variables
from genjax.flow.coupling import check_stateless, check_template
from genjax.nets import apply_net, init_net, output_shape
from genjax.ops import Solver, at_least_float32, divergence, sum_except_batch


class Solution(NamedTuple):
    """The solution of equation 1 for a batch, and integrals along its trajectories.

    Attributes:
      x: end point, (B, ...).
      log_det: log-determinant, (B, S): exact with S = 1, or an estimate for each of S directions; 0 without a trace.
      kinetic: ∫ ‖v‖² dt, (B,).
      jacobian: ∫ ‖∂v/∂x‖²_F dt, (B,); 0 without a trace.
      num_steps: number of solver steps, int32 ().
    """

    x: Array
    log_det: Array
    kinetic: Array
    jacobian: Array
    num_steps: Array


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class Continuous:
    """The flow of a velocity field from t = 0 to 1, with the exact trace: equation 1.

    Only the trace is exact: both directions and the log-determinant have the tolerance of the solver. The trace takes D
    passes of the network; ``FFJORD`` estimates it at a cost independent of D.

    Attributes:
      net: Linen module with a field ``output_shape``, which this class sets. It maps x (B, ...) and the time with the
        flattened condition (B, 1 + K) to v (B, ...), and has no batch statistics. Smooth activations need fewer steps.
      solver: solver of the differential equation.

    >>> from genjax import nets
    >>> bijection = Continuous(net=nets.MLP((16,), activation=jnp.tanh))
    >>> x = jnp.ones((3, 2))
    >>> variables = bijection.init(jax.random.key(0), x)
    >>> y, log_det = bijection.forward(variables, x)
    >>> bool(jnp.allclose(bijection.inverse(variables, y)[0], x, atol=1e-4))
    True
    """

    net: Any
    solver: Solver = field(default_factory=Solver)

    def __post_init__(self) -> None:
        check_template(self.net)

    def init(self, key: Array, x: Array, condition: Array | None = None) -> Variables:
        """See ``Bijection``.

        Raises:
          ValueError: if the output of the network does not have the shape of ``x``, or the network has a state.
        """
        net, net_condition = self._net_for(x), _net_condition(jnp.zeros(()), x, condition)
        shape = output_shape(net, key, x, net_condition)
        if shape != x.shape:
            raise ValueError(
                f"net returned shape {shape}, but a velocity needs that of x, {x.shape}; return output_shape"
            )
        params, state = init_net(net, key, x, net_condition)
        check_stateless(self.net, state)
        return Variables(params, {})

    def forward(self, variables: Variables, x: Array, condition: Array | None = None) -> tuple[Array, Array]:
        """See ``Bijection``; fails as ``integrate`` does."""
        solution = self.integrate(variables.params, x, condition, trace="exact")
        return solution.x, solution.log_det[:, 0]

    def inverse(self, variables: Variables, y: Array, condition: Array | None = None) -> tuple[Array, Array]:
        """See ``Bijection``; fails as ``integrate`` does."""
        solution = self.integrate(variables.params, y, condition, backwards=True, trace="exact")
        return solution.x, solution.log_det[:, 0]

    def integrate(
        self,
        params: PyTree,
        x: Array,
        condition: Array | None,
        *,
        backwards: bool = False,
        trace: Literal["none", "exact"] | Array = "none",
    ) -> Solution:
        """Integrate x (B, ...), float32, from t = 0 to 1, or back.

        The log-determinant is an estimate if ``trace`` consists of directions (S, B, ...). If ``solver.max_steps`` are
        not enough, the solution is NaN in compiled functions.

        Raises:
          RuntimeError: outside compiled functions, if ``solver.max_steps`` are not enough.
        """
        directions = None if isinstance(trace, str) else trace
        solution, success = _integrate(self, backwards, trace == "exact", params, x, condition, directions)
        if not isinstance(success, Tracer) and not bool(success):
            raise RuntimeError(
                f"the solver did not reach the end within max_steps={self.solver.max_steps}; allow more steps or "
                "larger rtol and atol, or train a smoother field: a smaller learning rate, kinetic_weight, tanh"
            )
        return solution

    def velocity(self, params: PyTree, t: Array, x: Array, condition: Array | None) -> Array:
        """Return v(x, t), float32 (B, ...)."""
        with jax.default_matmul_precision("float32"):  # rounding noise of TF32 would make solvers take tiny steps
            outputs, _ = apply_net(self._net_for(x), params, {}, x, _net_condition(t, x, condition))
        return at_least_float32(outputs)

    def _net_for(self, x: Array) -> Any:
        return self.net.clone(output_shape=x.shape[1:])


# Compiled here, so that calls outside of compiled functions compile once instead of every time.
@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _integrate(
    flow: Continuous,
    backwards: bool,
    exact: bool,
    params: PyTree,
    x: Array,
    condition: Array | None,
    directions: Array | None,
) -> tuple[Solution, Array]:
    with_trace = exact or directions is not None
    num_directions = 1 if directions is None else directions.shape[0]

    def rates(t: Array, state: PyTree, args: PyTree) -> PyTree:
        params, condition, directions = args
        v = functools.partial(flow.velocity, params, t, condition=condition)
        if not with_trace:
            value = v(state["x"])
            return {"x": value}, {"kinetic": sum_except_batch(jnp.square(value))}
        value, traces, squares = divergence(v, state["x"], directions)
        integrands = {"kinetic": sum_except_batch(jnp.square(value)), "jacobian": jnp.mean(squares, axis=1)}
        return {"x": value, "log_det": traces}, integrands

    zeros, log_det = jnp.zeros(x.shape[0], x.dtype), jnp.zeros((x.shape[0], num_directions), x.dtype)
    state, integrals = {"x": x}, {"kinetic": zeros}
    if with_trace:
        state, integrals = state | {"log_det": log_det}, integrals | {"jacobian": zeros}
    start, end = (1.0, 0.0) if backwards else (0.0, 1.0)
    (state, integrals), success, num_steps = flow.solver.solve(
        rates, start, end, state, (params, condition, directions), integrals
    )
    integrals = jax.tree.map(jnp.abs, integrals)  # backwards, dt < 0
    values = jax.tree.map(lambda value: jnp.where(success, value, jnp.nan), state | integrals)
    return Solution(**({"log_det": log_det, "jacobian": zeros} | values), num_steps=num_steps), success


def _net_condition(t: Array, x: Array, condition: Array | None) -> Array:
    """Return the time and the flattened condition as one array, (B, 1 + K)."""
    times = jnp.broadcast_to(t, (x.shape[0], 1)).astype(x.dtype)
    if condition is None:
        return times
    return jnp.concatenate([times, condition.reshape(condition.shape[0], -1).astype(x.dtype)], axis=1)
