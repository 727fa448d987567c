"""Bijections: invertible maps of data that know how much they stretch volumes.

A bijection f takes a batch x (B, ...) to y = f(x), and back, with the log-determinant of its Jacobian matrix for every
example:

    forward:  y = f(x),        log |det ∂y/∂x|
    inverse:  x = f⁻¹(y),      log |det ∂x/∂y| = −log |det ∂y/∂x|

``forward`` is the way from data to noise. Bijections compose, log-determinants add up:

    f = f_L ∘ … ∘ f_1,         log |det ∂f| = Σ_l log |det ∂f_l|                                                  (1)

Each is a frozen dataclass, its configuration; what it learns is apart from it, in ``Variables``. A context (B, ...),
such as a one-hot label, may steer it: then there is a bijection for every context.

George Papamakarios, Eric Nalisnick, Danilo Rezende, Shakir Mohamed and Balaji Lakshminarayanan, "Normalizing flows for
probabilistic modeling and inference", 2021, arXiv:1912.02762.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

import jax
import jax.numpy as jnp

from genjax.core import Array, Variables


@runtime_checkable
class Bijection(Protocol):
    """An invertible map; its arrays have the batch axis first, and log-determinants shape (B,), in nats."""

    def init(self, key: Array, x: Array, context: Array | None = None) -> Variables:
        """Make its variables for data like ``x``: params, and as state the constants that nothing ever moves."""
        ...

    def forward(self, variables: Variables, x: Array, context: Array | None = None) -> tuple[Array, Array]:
        """Return y and log |det ∂y/∂x|."""
        ...

    def inverse(self, variables: Variables, y: Array, context: Array | None = None) -> tuple[Array, Array]:
        """Return x and log |det ∂x/∂y|."""
        ...


@final
@dataclass(frozen=True)
class Chain:
    """Bijections one after the other: equation 1. An empty chain is the identity.

    Attributes:
      bijections: in the order of ``forward``.
    """

    bijections: tuple[Bijection, ...]

    def init(self, key: Array, x: Array, context: Array | None = None) -> Variables:
        """See ``Bijection``; each part sees what those before it make of ``x``."""
        parts = []
        for i, bijection in enumerate(self.bijections):
            parts.append(bijection.init(jax.random.fold_in(key, i), x, context))
            x, _ = bijection.forward(parts[-1], x, context)
        return joined(parts)

    def forward(self, variables: Variables, x: Array, context: Array | None = None) -> tuple[Array, Array]:
        """See ``Bijection``."""
        total = no_log_det(x)
        for i, bijection in enumerate(self.bijections):
            x, log_det = bijection.forward(part(variables, i), x, context)
            total = total + log_det
        return x, total

    def inverse(self, variables: Variables, y: Array, context: Array | None = None) -> tuple[Array, Array]:
        """See ``Bijection``."""
        total = no_log_det(y)
        for i, bijection in reversed(tuple(enumerate(self.bijections))):
            y, log_det = bijection.inverse(part(variables, i), y, context)
            total = total + log_det
        return y, total


@final
@dataclass(frozen=True)
class Inverse:
    """A bijection run backwards.

    Attributes:
      bijection: whose two directions are exchanged.
    """

    bijection: Bijection

    def init(self, key: Array, x: Array, context: Array | None = None) -> Variables:
        """See ``Bijection``; only for one that keeps the shape of ``x``.

        Layers that begin with statistics of data begin as though ``x`` were their input, which it is not.
        """
        return jax.jit(self.bijection.init)(key, x, context)  # compiled, so that nothing is asked of its values

    def forward(self, variables: Variables, x: Array, context: Array | None = None) -> tuple[Array, Array]:
        """See ``Bijection``."""
        return self.bijection.inverse(variables, x, context)

    def inverse(self, variables: Variables, y: Array, context: Array | None = None) -> tuple[Array, Array]:
        """See ``Bijection``."""
        return self.bijection.forward(variables, y, context)


@final
@dataclass(frozen=True)
class Reshape:
    """Another shape for each example.

    Attributes:
      from_shape: of an example of data, without the batch axis.
      to_shape: what it becomes, of as many elements.

    Raises:
      ValueError: where the numbers of elements differ.
    """

    from_shape: tuple[int, ...]
    to_shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if math.prod(self.from_shape) != math.prod(self.to_shape):
            raise ValueError(
                f"from_shape is {self.from_shape} and to_shape {self.to_shape}, but {math.prod(self.from_shape)} "
                f"elements are not {math.prod(self.to_shape)}; give shapes of one size"
            )

    def init(self, key: Array, x: Array, context: Array | None = None) -> Variables:
        """See ``Bijection``; nothing is learned.

        Raises:
          ValueError: for data of another shape.
        """
        del key, context
        if x.shape[1:] != self.from_shape:
            raise ValueError(f"x has shape {x.shape}, but this reshapes (B, ...) from from_shape={self.from_shape}")
        return Variables({}, {})

    def forward(self, variables: Variables, x: Array, context: Array | None = None) -> tuple[Array, Array]:
        """See ``Bijection``."""
        del variables, context
        return x.reshape(len(x), *self.to_shape), no_log_det(x)

    def inverse(self, variables: Variables, y: Array, context: Array | None = None) -> tuple[Array, Array]:
        """See ``Bijection``."""
        del variables, context
        return y.reshape(len(y), *self.from_shape), no_log_det(y)


def no_log_det(x: Array) -> Array:
    """Return the log-determinant of what keeps volumes, zeros (B,)."""
    return jnp.zeros(len(x), jnp.promote_types(x.dtype, jnp.float32))


def joined(parts: Sequence[Variables]) -> Variables:
    """Return the variables of several bijections as those of one."""
    return Variables({str(i): v.params for i, v in enumerate(parts)}, {str(i): v.state for i, v in enumerate(parts)})


def part(variables: Variables, i: int) -> Variables:
    """Return the variables of the i-th of several bijections."""
    return Variables(variables.params[str(i)], variables.state[str(i)])
