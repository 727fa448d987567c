"""Penalties on the gradients of a discriminator D in its inputs, which keep it from being steep.

    gradient penalty    E (‖∇D(x̂)‖ − t)²,     x̂ = u x + (1 − u) x̃,  u uniform on [0, 1), one for each pair           (1)
    R1                  ½ E ‖∇D(x)‖²                                                                              (2)

for data x and samples x̃, norms over all entries of an example. The first is for a critic of ``Wasserstein``, whose
gradients have norm t = 1 where it is at its best (Ishaan Gulrajani et al. 2017, arXiv:1704.00028); the second lets
training converge where data and samples lie on sets without volume (Lars Mescheder, Andreas Geiger and Sebastian
Nowozin 2018, arXiv:1801.04406). A penalty that is taken every n-th step alone, n times as strong, costs little (Tero
Karras et al. 2020, arXiv:1912.04958).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, final

import jax
import jax.numpy as jnp

from genjax.core import Array
from genjax.ops import check_at_least

Discriminate = Callable[[Array], Array]  # (B, ...) -> (B,), each output from its own input alone


class Penalty(Protocol):
    """What a discriminator minimizes beside its loss."""

    @property
    def every(self) -> int:
        """n: the penalty counts at steps 0, n, 2n …, n times."""
        ...

    def __call__(self, discriminate: Discriminate, real: Array, fake: Array, key: Array) -> Array:
        """Return the penalty, a scalar, of data and samples (B, ...)."""
        ...


@final
@dataclass(frozen=True, kw_only=True)
class GradientPenalty:
    """Equation 1, times a weight.

    Attributes:
      weight: of the penalty; the paper's is 10.
      target: t, the norm that is not punished.
      one_sided: whether smaller norms are not punished either.
      every: see ``Penalty``.

    Raises:
      ValueError: for a negative weight or target, or ``every`` below 1.

    >>> penalty = GradientPenalty(weight=10.0)
    >>> x = jnp.ones((3, 2))
    >>> penalty(lambda x: x @ jnp.array([3.0, 4.0]), x, -x, jax.random.key(0)).item()  # 10 (5 − 1)²
    160.0
    """

    weight: float = 10.0
    target: float = 1.0
    one_sided: bool = False
    every: int = 1

    def __post_init__(self) -> None:
        check_at_least("weight", self.weight, 0)
        check_at_least("target", self.target, 0)
        check_at_least("every", self.every, 1)

    def __call__(self, discriminate: Discriminate, real: Array, fake: Array, key: Array) -> Array:
        """Return the penalty of points between data and samples, as many of one as of the other."""
        if real.shape != fake.shape:
            raise ValueError(f"real has shape {real.shape}, but fake {fake.shape}; make them pairs")
        share = jax.random.uniform(key, (len(real), *[1] * (real.ndim - 1)), real.dtype)
        above = gradient_norms(discriminate, share * real + (1 - share) * fake) - self.target
        return self.weight * jnp.mean(jnp.square(jax.nn.relu(above) if self.one_sided else above))


@final
@dataclass(frozen=True, kw_only=True)
class R1:
    """Equation 2, times a weight.

    Attributes:
      weight: γ.
      every: see ``Penalty``.

    Raises:
      ValueError: for a negative weight, or ``every`` below 1.
    """

    weight: float = 1.0
    every: int = 1

    def __post_init__(self) -> None:
        check_at_least("weight", self.weight, 0)
        check_at_least("every", self.every, 1)

    def __call__(self, discriminate: Discriminate, real: Array, fake: Array, key: Array) -> Array:
        """Return the penalty of data; samples and key do not matter."""
        del fake, key
        return self.weight / 2 * jnp.mean(_squared_norms(discriminate, real))


def gradient_norms(discriminate: Discriminate, x: Array) -> Array:
    """Return ‖∇D(x)‖ of each example, (B,); its own gradient is finite, also where the norm is zero."""
    squared = _squared_norms(discriminate, x)
    positive = squared > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squared, 1.0)), 0.0)


def _squared_norms(discriminate: Discriminate, x: Array) -> Array:
    gradients = jax.grad(lambda x: jnp.sum(discriminate(x)))(x)
    return jnp.sum(jnp.square(gradients), axis=range(1, x.ndim))
