"""Coupling layers: one part of the data parametrizes a transformation of the other.

With x in two parts x_1 and x_2, and a network n,

    y_1 = x_1,        y_2 = τ(x_2; n(x_1)),                                                                       (1)

so that the Jacobian matrix is triangular, and log |det ∂y/∂x| = Σ log τ′ over the elements of x_2. Both directions take
one pass of the network, which may be of any kind. Laurent Dinh, David Krueger and Yoshua Bengio, 2015, arXiv:1410.8516.

The parts are the halves of the last axis, or the two colours of a checkerboard over the pixels of an image (Laurent
Dinh, Jascha Sohl-Dickstein and Samy Bengio, 2017, arXiv:1605.08803, section 3.4).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, final

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from genjax.arguments import check_arguments
from genjax.core import Array, Variables
from genjax.flow.univariate import UnivariateTransform
from genjax.nets import apply_net, init_net
from genjax.ops import at_least_float32, sum_except_batch
from genjax.ops.labels import NetCondition


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class Coupling:
    """A coupling layer: equation 1.

    Attributes:
      transform: univariate transformation τ.
      net: network n, a Linen module with a field ``output_shape``, which this layer sets. It maps x_1 (B, ..., C_1),
        and the condition if there is one, to (B, ..., num_params, C_2), and has no batch statistics.
      parts: "halves" of the last axis, x_1 the smaller one, or the pixels of a "checkerboard" of images (B, H, W, C).
      flip: whether x_1 and x_2 exchange roles.
    """

    transform: UnivariateTransform
    net: Any
    parts: Literal["halves", "checkerboard"] = "halves"
    flip: bool = False

    def __post_init__(self) -> None:
        check_template(self.net)

    def init(self, key: Array, x: Array, condition: Array | None = None) -> Variables:
        """See ``Bijection``; raises ValueError if x cannot be split in two, or the network has a state."""
        self._check(x)
        x_1, x_2 = self._split(x)
        params, state = init_net(self._net_for(x_2), key, x_1, *net_condition(condition))
        check_stateless(self.net, state)
        return Variables(params, {})

    def forward(self, variables: Variables, x: Array, condition: Array | None = None) -> tuple[Array, Array]:
        """See ``Bijection``."""
        x_1, x_2 = self._split(x)
        y_2, log_derivative = self.transform.forward(self._params(variables, x_1, x_2, condition), x_2)
        return self._join(x_1, y_2, log_derivative)

    def inverse(self, variables: Variables, y: Array, condition: Array | None = None) -> tuple[Array, Array]:
        """See ``Bijection``."""
        y_1, y_2 = self._split(y)
        x_2, log_derivative = self.transform.inverse(self._params(variables, y_1, y_2, condition), y_2)
        return self._join(y_1, x_2, log_derivative)

    def _params(self, variables: Variables, x_1: Array, x_2: Array, condition: Array | None) -> Array:
        params, _ = apply_net(self._net_for(x_2), variables.params, {}, x_1, *net_condition(condition))
        return at_least_float32(params)

    def _net_for(self, x_2: Array) -> nn.Module:
        return self.net.clone(output_shape=(*x_2.shape[1:-1], self.transform.num_params, x_2.shape[-1]))

    def _split(self, x: Array) -> tuple[Array, Array]:
        """Return x_1 and x_2; for a checkerboard, the image with the pixels of x_2 set to 0, and the image."""
        if self.parts == "checkerboard":
            return jnp.where(self._mask(x), x, 0.0), x
        first, second = jnp.split(x, [x.shape[-1] // 2], axis=-1)
        return (second, first) if self.flip else (first, second)

    def _join(self, x_1: Array, x_2: Array, log_derivative: Array) -> tuple[Array, Array]:
        if self.parts == "checkerboard":
            mask = self._mask(x_1)
            return jnp.where(mask, x_1, x_2), sum_except_batch(jnp.where(mask, 0.0, log_derivative))
        parts = (x_2, x_1) if self.flip else (x_1, x_2)
        return jnp.concatenate(parts, axis=-1), sum_except_batch(log_derivative)

    def _mask(self, x: Array) -> np.ndarray:
        """Return whether a pixel belongs to x_1, (1, H, W, 1)."""
        rows, columns = np.indices(x.shape[1:3])
        return (((rows + columns) % 2 == 0) != self.flip)[None, :, :, None]

    def _check(self, x: Array) -> None:
        if self.parts == "checkerboard" and (x.ndim != 4 or x.shape[1] * x.shape[2] < 2):
            raise ValueError(
                f"x has shape {x.shape}, but a checkerboard needs images (B, H, W, C) with at least two pixels; "
                "use parts='halves'"
            )
        if self.parts == "halves" and x.shape[-1] < 2:
            raise ValueError(
                f"x has shape {x.shape}, but a last axis of size {x.shape[-1]} cannot be halved; use an autoregressive "
                "flow for one dimension, and Squeeze or parts='checkerboard' for images with one channel"
            )


def net_condition(condition: Array | None) -> NetCondition:
    """Return the condition as further arguments of a network."""
    return () if condition is None else (condition,)


def check_template(net: Any) -> None:
    """Raise ValueError if a layer cannot set the output shape of a network."""
    if not isinstance(net, nn.Module) or not hasattr(net, "output_shape"):
        raise ValueError(f"net is {net!r}, but must be a Linen module with a field output_shape, such as nets.MLP")


def check_stateless(net: Any, state: Any) -> None:
    """Raise ValueError if a network has a state, such as batch statistics: examples of a batch would interact."""
    if jax.tree.leaves(state):
        raise ValueError(
            f"net has the collections {sorted(state)}, but a flow's networks may only have params; remove them: {net!r}"
        )


def check_pairs(num_layers: int) -> None:
    """Raise ValueError if the number of couplings is odd, because one half would be transformed less often."""
    if num_layers < 2 or num_layers % 2:
        raise ValueError(f"num_layers is {num_layers}, but couplings come in pairs; use 2, 4, …")
