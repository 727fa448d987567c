"""Continuous flows: bijections that integrate a velocity field.

A network gives a velocity v at every place and time. Data x(0) = x moves along it to y = x(1),

    dx/dt = v(x, t),        d/dt log |det ∂x(t)/∂x(0)| = tr ∂v/∂x,                                                (1)

and the inverse integrates from t = 1 back to 0. No part of the network has to be invertible. The trace takes D products
of the Jacobian matrix, or one with a random direction for an unbiased estimate (``genjax.ops.divergence``).

The solver is an explicit Runge–Kutta method of order 5, with steps as long as a tolerance lets them be. All examples of
a batch take the same steps, so that products with the weights, and the gradients of these, are those of whole batches.
The steps are as short as the worst element of the worst example needs: another batch changes the result of an example
within the tolerance and no further, whoever is in it.

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

from genjax.core import Array, PyTree, Variables
from genjax.flow.coupling import check_stateless, check_template
from genjax.nets import apply_net, init_net, output_shape
from genjax.ops import Solver, at_least_float32, divergence, sum_except_batch


class Journey(NamedTuple):
    """Where a batch arrives, and what it gathered on its way.

    Attributes:
      x: (B, ...).
      log_det: (B, S), exact with S = 1, or estimated along each of S directions; zero where no trace was taken.
      kinetic: ∫ ‖v‖² dt, (B,).
      jacobian: ∫ ‖∂v/∂x‖²_F dt, (B,); zero where no trace was taken.
      num_steps: of the solver, int32 ().
    """

    x: Array
    log_det: Array
    kinetic: Array
    jacobian: Array
    num_steps: Array


@final
@dataclass(frozen=True, kw_only=True)
class VelocityField:
    """A network as a velocity field, and the ways along it: equation 1.

    Attributes:
      net: a Linen module with a field ``output_shape``, which is set here: from x (B, ...) and a condition (B, 1 + K),
        the time and the flattened context, to v (B, ...). Smooth activations need fewer steps. No batch statistics.
      solver: of the equation.
    """

    net: Any
    solver: Solver = field(default_factory=Solver)

    def __post_init__(self) -> None:
        check_template(self.net)

    def init(self, key: Array, x: Array, context: Array | None = None) -> PyTree:
        """Make the network's parameters for data like ``x``.

        Raises:
          ValueError: where the network gives another shape than that of ``x``, or has a state.
        """
        net, conditions = self._net_for(x), _conditions(jnp.zeros(()), x, context)
        shape = output_shape(net, key, x, conditions)
        if shape != x.shape:
            raise ValueError(f"net returned shape {shape}, but a velocity has that of x, {x.shape}; heed output_shape")
        params, state = init_net(net, key, x, conditions)
        check_stateless(self.net, state)
        return params

    def travel(
        self,
        params: PyTree,
        x: Array,
        context: Array | None,
        *,
        backwards: bool = False,
        trace: Literal["none", "exact"] | Array = "none",
    ) -> Journey:
        """Move from t = 0 to 1, or back.

        Args:
          params: what ``init`` or training returned.
          x: (B, ...), float32.
          context: (B, ...) or None.
          backwards: whether to go from t = 1 to 0.
          trace: what the log-determinant takes: nothing, unit vectors, or directions (S, B, ...) kept all the way.

        Returns:
          The end of the journey; all NaN where it took more than ``solver.max_steps``, within compiled functions.

        Raises:
          RuntimeError: where it did and values are known.
        """
        directions = None if isinstance(trace, str) else trace
        journey, reached = _travel(self, backwards, trace == "exact", params, x, context, directions)
        if not isinstance(reached, Tracer) and not bool(reached):
            raise RuntimeError(
                f"the solver did not come through within max_steps={self.solver.max_steps}; allow more steps or larger "
                "rtol and atol, or keep the field smooth in training: a smaller learning rate, kinetic_weight, tanh"
            )
        return journey

    def __call__(self, params: PyTree, t: Array, x: Array, context: Array | None) -> Array:
        """Return v(x, t), float32 (B, ...)."""
        with jax.default_matmul_precision("float32"):  # rounding noise of TF32 makes solvers take tiny steps
            outputs, _ = apply_net(self._net_for(x), params, {}, x, _conditions(t, x, context))
        return at_least_float32(outputs)

    def _net_for(self, x: Array) -> Any:
        return self.net.clone(output_shape=x.shape[1:])


# Compiled here, so that calls that are not within a compiled function compile once, and not every time.
@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _travel(
    velocity: VelocityField,
    backwards: bool,
    exact: bool,
    params: PyTree,
    x: Array,
    context: Array | None,
    directions: Array | None,
) -> tuple[Journey, Array]:
    traced = exact or directions is not None
    num_directions = 1 if directions is None else len(directions)

    def rates(t: Array, state: PyTree, args: PyTree) -> PyTree:
        (x, *_), _ = state
        params, context, directions = args

        def v(x: Array) -> Array:
            return velocity(params, t, x, context)

        if not traced:
            velocities = v(x)
            return (velocities,), (sum_except_batch(jnp.square(velocities)),)
        along = divergence(v, x, directions)
        kinetic = sum_except_batch(jnp.square(along.value))
        return (along.value, along.trace), (kinetic, jnp.mean(along.squares, axis=1))

    none = jnp.zeros(len(x))
    log_det = jnp.zeros((len(x), num_directions))
    state = ((x, log_det), (none, none)) if traced else ((x,), (none,))
    start, end = (1.0, 0.0) if backwards else (0.0, 1.0)
    state, reached, num_steps = velocity.solver.solve(rates, start, end, state, (params, context, directions))
    (x, *log_dets), integrals = jax.tree.map(lambda value: jnp.where(reached, value, jnp.nan), state)
    kinetic, jacobian = (jnp.abs(integral) for integral in (*integrals, none)[:2])  # backwards, dt < 0
    return Journey(x, (*log_dets, log_det)[0], kinetic, jacobian, num_steps), reached


def _conditions(t: Array, x: Array, context: Array | None) -> Array:
    """Time, and the flattened context, as one array (B, 1 + K)."""
    times = jnp.broadcast_to(t, (len(x), 1)).astype(x.dtype)
    if context is None:
        return times
    return jnp.concatenate([times, context.reshape(len(context), -1).astype(x.dtype)], axis=1)


@final
@dataclass(frozen=True, kw_only=True)
class Continuous:
    """A velocity field from t = 0 to 1 as a bijection, its log-determinants by the exact trace: equation 1.

    Exact is the trace; the integral has the solver's tolerance, and so have both directions. The trace takes the
    network D times, which ``FFJORD`` estimates at a cost that does not depend on D.

    Attributes:
      net: see ``VelocityField``.
      solver: see ``Solver``.

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

    def init(self, key: Array, x: Array, context: Array | None = None) -> Variables:
        """See ``Bijection`` and ``VelocityField.init``."""
        return Variables(self._velocity.init(key, x, context), {})

    def forward(self, variables: Variables, x: Array, context: Array | None = None) -> tuple[Array, Array]:
        """See ``Bijection``, and ``VelocityField.travel`` for where it fails."""
        journey = self._velocity.travel(variables.params, x, context, trace="exact")
        return journey.x, journey.log_det[:, 0]

    def inverse(self, variables: Variables, y: Array, context: Array | None = None) -> tuple[Array, Array]:
        """See ``Bijection``, and ``VelocityField.travel`` for where it fails."""
        journey = self._velocity.travel(variables.params, y, context, backwards=True, trace="exact")
        return journey.x, journey.log_det[:, 0]

    @property
    def _velocity(self) -> VelocityField:
        return VelocityField(net=self.net, solver=self.solver)
