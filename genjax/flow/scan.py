"""Many identical layers, compiled as one.

The variables of the layers are stacked along a new first axis, over which ``lax.scan`` runs: the program contains one
layer, and its compilation time does not depend on the number of layers. Reverse-mode differentiation normally stores
the activations x_0, …, x_L of all layers, in memory that grows with L. A bijection need not store them: from x_L alone
the backward pass recomputes

    x_{l−1} = f_l⁻¹(x_l),        l = L, …, 1,                                                                     (1)

and differentiates each layer there, at the cost of one more inverse and one more forward pass, with memory for one
layer. Aidan Gomez, Mengye Ren, Raquel Urtasun and Roger Grosse, 2017, arXiv:1707.04585; for flows Durk Kingma and
Prafulla Dhariwal, 2018, arXiv:1807.03039.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Literal, final

import jax
import jax.numpy as jnp

from genjax.arguments import PositiveInt, check_arguments
from genjax.core import Array, Variables
from genjax.flow.bijection import Bijection, promote, zero_log_det


@final
@check_arguments
@dataclass(frozen=True)
class Scan:
    """Layers of one configuration, each with its own variables.

    Attributes:
      bijection: the layer; it must preserve the shape and dtype of its input.
      num_layers: number of layers, L.
      backward: "store" keeps the input of each layer for the backward pass; "invert" recomputes it by equation 1. The
        latter suits layers whose inverse is as fast as their forward pass: couplings, not autoregressive layers. Its
        gradients have the rounding errors of the inverse, and it has no forward-mode derivative.
      unroll: number of layers in the body of the loop. More may run faster, but compile more slowly.

    >>> from genjax.flow import ActNorm
    >>> layers = Scan(ActNorm(), 3)
    >>> layers.init(jax.random.key(0), jnp.eye(4)).params["shift"].shape
    (3, 4)
    """

    bijection: Bijection
    num_layers: PositiveInt
    backward: Literal["store", "invert"] = "store"
    unroll: PositiveInt = 1

    def init(self, key: Array, x: Array, condition: Array | None = None) -> Variables:
        """See ``Bijection``; each layer is initialized with the output of those before it."""

        def layer(x: Array, i: Array) -> tuple[Array, Variables]:
            variables = self.bijection.init(jax.random.fold_in(key, i), x, condition)
            return self.bijection.forward(variables, x, condition)[0], variables

        return jax.lax.scan(layer, x, jnp.arange(self.num_layers))[1]

    def forward(self, variables: Variables, x: Array, condition: Array | None = None) -> tuple[Array, Array]:
        """See ``Bijection``."""
        x = promote(x, variables)
        if self.backward == "invert":
            return _reversible_forward(self, variables.params, x, condition, variables.state)
        return self._run(variables, x, condition)

    def inverse(self, variables: Variables, y: Array, condition: Array | None = None) -> tuple[Array, Array]:
        """See ``Bijection``."""
        return self._run(variables, promote(y, variables), condition, backwards=True)

    def _run(
        self, variables: Variables, x: Array, condition: Array | None, backwards: bool = False
    ) -> tuple[Array, Array]:
        step = self.bijection.inverse if backwards else self.bijection.forward

        def layer(carry: tuple[Array, Array], variables: Variables) -> tuple[tuple[Array, Array], None]:
            x, log_det = step(variables, carry[0], condition)
            return (x, carry[1] + log_det), None

        start = (x, zero_log_det(x))
        return jax.lax.scan(layer, start, variables, length=self.num_layers, reverse=backwards, unroll=self.unroll)[0]


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _reversible_forward(scan, params, x, condition, state):  # noqa: ANN001, ANN202 pytrees, as custom_vjp passes them
    return scan._run(Variables(params, state), x, condition)


def _forward_rule(scan, params, x, condition, state):  # noqa: ANN001, ANN202
    y, log_det = scan._run(Variables(params, state), x, condition)
    return (y, log_det), (params, y, condition, state)


def _backward_rule(scan, residuals, cotangents):  # noqa: ANN001, ANN202
    params, y, condition, state = residuals
    y_bar, log_det_bar = cotangents

    def layer(carry, variables):  # noqa: ANN001, ANN202
        y, y_bar, condition_bar = carry
        x = jax.lax.stop_gradient(scan.bijection.inverse(variables, y, condition)[0])  # equation 1

        def forward(params, x, condition):  # noqa: ANN001, ANN202
            return scan.bijection.forward(Variables(params, variables.state), x, condition)

        _, pull = jax.vjp(forward, variables.params, x, condition)
        params_bar, x_bar, layer_bar = pull((y_bar, log_det_bar))
        return (x, x_bar, jax.tree.map(jnp.add, condition_bar, layer_bar)), params_bar

    start = (y, y_bar, jax.tree.map(jnp.zeros_like, condition))
    (_, x_bar, condition_bar), params_bar = jax.lax.scan(
        layer, start, Variables(params, state), length=scan.num_layers, reverse=True, unroll=scan.unroll
    )
    return params_bar, x_bar, condition_bar, None  # the state is constant


_reversible_forward.defvjp(_forward_rule, _backward_rule)
