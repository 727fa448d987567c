"""Bijections: invertible maps with a log-determinant.

A bijection f maps a batch x (B, ...) to y = f(x) and back, and returns the log-determinant of its Jacobian matrix for
each example:

    forward:  y = f(x),        log |det ∂y/∂x|
    inverse:  x = f⁻¹(y),      log |det ∂x/∂y| = −log |det ∂y/∂x|

``forward`` goes from data to noise. Under composition, log-determinants add up:

    f = f_L ∘ … ∘ f_1,         log |det ∂f| = Σ_l log |det ∂f_l|                                                  (1)

Each bijection is a frozen dataclass that holds its configuration; its parameters are separate, in ``Variables``. A
condition (B, ...), such as a one-hot label, makes it a family of bijections, one for each value of the condition.

George Papamakarios, Eric Nalisnick, Danilo Rezende, Shakir Mohamed and Balaji Lakshminarayanan, "Normalizing flows for
probabilistic modeling and inference", 2021, arXiv:1912.02762.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, final, runtime_checkable

import jax
import jax.numpy as jnp

from genjax.arguments import Sizes, check_arguments
from genjax.core import Array, Variables


@runtime_checkable
class Bijection(Protocol):
    """An invertible map of arrays (B, ...), with log-determinants (B,) in nats."""

    def init(self, key: Array, x: Array, condition: Array | None = None) -> Variables:
        """Make the variables for data like ``x``; the state holds constants, which training leaves alone."""
        ...

    def forward(self, variables: Variables, x: Array, condition: Array | None = None) -> tuple[Array, Array]:
        """Return y and log |det ∂y/∂x|."""
        ...

    def inverse(self, variables: Variables, y: Array, condition: Array | None = None) -> tuple[Array, Array]:
        """Return x and log |det ∂x/∂y|."""
        ...


@final
@check_arguments
@dataclass(frozen=True)
class Chain:
    """A composition of bijections: equation 1. An empty chain is the identity.

    Attributes:
      bijections: f_1 … f_L, in the order in which ``forward`` applies them.
    """

    bijections: tuple[Bijection, ...]

    def init(self, key: Array, x: Array, condition: Array | None = None) -> Variables:
        """See ``Bijection``; each bijection is initialized with the output of those before it."""
        layers = {}
        for i, bijection in enumerate(self.bijections):
            layers[i] = bijection.init(jax.random.fold_in(key, i), x, condition)
            x, _ = bijection.forward(layers[i], x, condition)
        return collect_variables(layers)

    def forward(self, variables: Variables, x: Array, condition: Array | None = None) -> tuple[Array, Array]:
        """See ``Bijection``."""
        total = zero_log_det(x)
        for i, bijection in enumerate(self.bijections):
            x, log_det = bijection.forward(child_variables(variables, i), x, condition)
            total = total + log_det
        return x, total

    def inverse(self, variables: Variables, y: Array, condition: Array | None = None) -> tuple[Array, Array]:
        """See ``Bijection``."""
        total = zero_log_det(y)
        for i, bijection in reversed(tuple(enumerate(self.bijections))):
            y, log_det = bijection.inverse(child_variables(variables, i), y, condition)
            total = total + log_det
        return y, total


@final
@check_arguments
@dataclass(frozen=True)
class Inverse:
    """The inverse of a bijection.

    Attributes:
      bijection: bijection whose ``forward`` and ``inverse`` are exchanged; it must preserve the shape of its input.
    """

    bijection: Bijection

    def init(self, key: Array, x: Array, condition: Array | None = None) -> Variables:
        """See ``Bijection``.

        Layers initialized from data statistics use those of ``x``, although ``x`` is the output of the bijection here.
        """
        # Under jit values are unknown, so that checks of the bijection's own input range do not reject ``x``.
        return jax.jit(self.bijection.init)(key, x, condition)

    def forward(self, variables: Variables, x: Array, condition: Array | None = None) -> tuple[Array, Array]:
        """See ``Bijection``."""
        return self.bijection.inverse(variables, x, condition)

    def inverse(self, variables: Variables, y: Array, condition: Array | None = None) -> tuple[Array, Array]:
        """See ``Bijection``."""
        return self.bijection.forward(variables, y, condition)


@final
@check_arguments
@dataclass(frozen=True)
class Reshape:
    """A reshape of each example.

    Attributes:
      from_shape: shape of one example of data, without the batch axis.
      to_shape: shape after ``forward``, with the same number of elements.
    """

    from_shape: Sizes
    to_shape: Sizes

    def __post_init__(self) -> None:
        if math.prod(self.from_shape) != math.prod(self.to_shape):
            raise ValueError(
                f"from_shape is {self.from_shape} and to_shape is {self.to_shape}, but they have "
                f"{math.prod(self.from_shape)} and {math.prod(self.to_shape)} elements; give shapes of equal size"
            )

    def init(self, key: Array, x: Array, condition: Array | None = None) -> Variables:
        """See ``Bijection``; there are no parameters. Raises ValueError if examples do not have ``from_shape``."""
        del key, condition
        if x.shape[1:] != self.from_shape:
            raise ValueError(f"x has shape {x.shape}, but must be (B, *from_shape) with from_shape={self.from_shape}")
        return Variables({}, {})

    def forward(self, variables: Variables, x: Array, condition: Array | None = None) -> tuple[Array, Array]:
        """See ``Bijection``."""
        del variables, condition
        return x.reshape(x.shape[0], *self.to_shape), zero_log_det(x)

    def inverse(self, variables: Variables, y: Array, condition: Array | None = None) -> tuple[Array, Array]:
        """See ``Bijection``."""
        del variables, condition
        return y.reshape(y.shape[0], *self.from_shape), zero_log_det(y)


def zero_log_det(x: Array) -> Array:
    """Return the log-determinant of a volume-preserving map, zeros (B,)."""
    return jnp.zeros(x.shape[0], jnp.promote_types(x.dtype, jnp.float32))


def promote(x: Array, variables: Variables) -> Array:
    """Return x in a type wide enough for the parameters too, because the carry of a loop must keep its type."""
    return x.astype(jnp.result_type(x, *jax.tree.leaves(variables.params)))


def collect_variables(parts: Mapping[Any, Variables]) -> Variables:
    """Return the variables of several parts as those of one, keyed by the name or index of the part."""
    return Variables({str(i): v.params for i, v in parts.items()}, {str(i): v.state for i, v in parts.items()})


def child_variables(variables: Variables, part: str | int) -> Variables:
    """Return the variables of one part, given its name or index."""
    return Variables(variables.params[str(part)], variables.state[str(part)])
