"""Many identical layers, compiled as one.

The layers' variables are stacked along a new first axis and ``lax.scan`` runs over it: the program has one layer,
however many there are, and compiles as quickly. To differentiate, the activations x_0, …, x_L of all layers are kept,
memory that grows with L. A bijection need not keep them: from x_L alone the backward pass finds

    x_{l−1} = f_l⁻¹(x_l),        l = L, …, 1                                                                      (1)

and differentiates each layer at the input found: one more inverse and one more forward pass, and memory for one layer.
Aidan Gomez, Mengye Ren, Raquel Urtasun and Roger Grosse, 2017, arXiv:1707.04585; for flows Durk Kingma and Prafulla
Dhariwal, 2018, arXiv:1807.03039.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Literal, final

import jax
import jax.numpy as jnp

from genjax.core import Array, Variables
from genjax.flow.bijection import Bijection, no_log_det
from genjax.ops import check_at_least, check_choice


@final
@dataclass(frozen=True)
class Scan:
    """Layers of one configuration, each with variables of its own.

    Attributes:
      bijection: the layer, which keeps the shape and dtype of its input.
      num_layers: L.
      backward: "store" keeps every layer's input for the backward pass. "invert" computes them anew by (1), for layers
        whose inverse is as quick as their forward pass: couplings, not autoregressive ones. Its gradients have the
        rounding errors of the inverse, and it has no derivative in forward mode.
      unroll: how many layers the loop's body holds. More may run faster, and compile more slowly.

    >>> from genjax.flow import ActNorm
    >>> layers = Scan(ActNorm(), 3)
    >>> layers.init(jax.random.key(0), jnp.eye(4)).params["shift"].shape
    (3, 4)
    """

    bijection: Bijection
    num_layers: int
    backward: Literal["store", "invert"] = "store"
    unroll: int = 1

    def __post_init__(self) -> None:
        check_at_least("num_layers", self.num_layers, 1)
        check_at_least("unroll", self.unroll, 1)
        check_choice("backward", self.backward, ("store", "invert"))

    def init(self, key: Array, x: Array, context: Array | None = None) -> Variables:
        """See ``Bijection``; each layer sees what those before it make of ``x``."""

        def layer(x: Array, i: Array) -> tuple[Array, Variables]:
            variables = self.bijection.init(jax.random.fold_in(key, i), x, context)
            return self.bijection.forward(variables, x, context)[0], variables

        return jax.lax.scan(layer, x, jnp.arange(self.num_layers))[1]

    def forward(self, variables: Variables, x: Array, context: Array | None = None) -> tuple[Array, Array]:
        """See ``Bijection``."""
        if self.backward == "invert":
            return _forward_inverted(self, variables.params, x, context, variables.state)
        return self._run(variables, x, context)

    def inverse(self, variables: Variables, y: Array, context: Array | None = None) -> tuple[Array, Array]:
        """See ``Bijection``."""

        def layer(carry: tuple[Array, Array], own: Variables) -> tuple[tuple[Array, Array], None]:
            x, log_det = self.bijection.inverse(own, carry[0], context)
            return (x, carry[1] + log_det), None

        start = (y, no_log_det(y))
        return jax.lax.scan(layer, start, variables, length=self.num_layers, reverse=True, unroll=self.unroll)[0]

    def _run(self, variables: Variables, x: Array, context: Array | None) -> tuple[Array, Array]:
        def layer(carry: tuple[Array, Array], own: Variables) -> tuple[tuple[Array, Array], None]:
            y, log_det = self.bijection.forward(own, carry[0], context)
            return (y, carry[1] + log_det), None

        start = (x, no_log_det(x))
        return jax.lax.scan(layer, start, variables, length=self.num_layers, unroll=self.unroll)[0]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _forward_inverted(scan, params, x, context, state):  # noqa: ANN001, ANN202 pytrees, and what custom_vjp makes of them
    return scan._run(Variables(params, state), x, context)


def _forward_keeping_output(scan, params, x, context, state):  # noqa: ANN001, ANN202
    y, log_det = scan._run(Variables(params, state), x, context)
    return (y, log_det), (params, y, context, state)


def _backward(scan, kept, cotangents):  # noqa: ANN001, ANN202
    params, y, context, state = kept
    y_bar, log_det_bar = cotangents

    def layer(carry, own):  # noqa: ANN001, ANN202
        y, y_bar, context_bar = carry
        x = jax.lax.stop_gradient(scan.bijection.inverse(own, y, context)[0])  # equation 1
        _, pull = jax.vjp(lambda p, x, c: scan.bijection.forward(Variables(p, own.state), x, c), own.params, x, context)
        params_bar, x_bar, more = pull((y_bar, log_det_bar))
        return (x, x_bar, jax.tree.map(jnp.add, context_bar, more)), params_bar

    start = (y, y_bar, jax.tree.map(jnp.zeros_like, context))
    (_, x_bar, context_bar), params_bar = jax.lax.scan(
        layer, start, Variables(params, state), length=scan.num_layers, reverse=True, unroll=scan.unroll
    )
    return params_bar, x_bar, context_bar, None  # constants have no gradient


_forward_inverted.defvjp(_forward_keeping_output, _backward)
