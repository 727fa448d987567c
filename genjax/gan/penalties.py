"""Penalties that keep a discriminator D from being steep: on its input gradients, or on how it changes with its input.

    gradient penalty    E (‖∇D(x̂)‖ − t)²,     x̂ = u x + (1 − u) x̃,  u uniform on [0, 1), one per pair                (1)
    R1                  ½ E ‖∇D(x)‖²,          and R2, the same for x̃                                             (2)
    consistency         E (D(T(x)) − D(x))²,   and for x̃ if balanced                                              (3)
    annealed            s^min(t / n, 1) p      at step t, for another penalty p                                   (4)

for data x and samples x̃, with norms over all entries of an example. The first is for a critic of ``Wasserstein``: an
optimal critic has gradients of norm t = 1 (Ishaan Gulrajani et al. 2017, arXiv:1704.00028). The second makes training
converge where data and samples lie on sets of measure zero (Lars Mescheder, Andreas Geiger and Sebastian Nowozin 2018,
arXiv:1801.04406). The third needs no gradient, but a random augmentation T to which D should be invariant (Han Zhang,
Zizhao Zhang, Augustus Odena and Honglak Lee 2020, arXiv:1910.12027; balanced, Zhengli Zhao et al. 2021,
arXiv:2002.04724). A lazy penalty, computed every n-th step with n times its weight, costs little (Tero Karras et al.
2020, arXiv:1912.04958).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Protocol, final, runtime_checkable

import jax
import jax.numpy as jnp
from annotated_types import Interval

from genjax.arguments import Cure, NonNegativeFloat, PositiveInt, check_arguments
from genjax.core import Array
from genjax.gan.augmentation import Augment
from genjax.ops import squared_gradient_norms

Discriminate = Callable[[Array], Array]  # (B, ...) -> (B,), each output a function of its own input only


@runtime_checkable
class Penalty(Protocol):
    """A term that a discriminator minimizes in addition to its loss."""

    @property
    def every(self) -> int:
        """n, at least 1: the penalty is computed at steps 0, n, 2n … only, with n times its weight."""
        ...

    def __call__(self, discriminate: Discriminate, real: Array, fake: Array, key: Array, step: Array) -> Array:
        """Return the scalar penalty for data and samples, (B, ...) each, at a training step, int32."""
        ...


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class GradientPenalty:
    """Equation 1, times a weight.

    Attributes:
      weight: weight of the penalty, at least 0; 10 in the paper.
      target: t, the norm without penalty, at least 0.
      one_sided: whether only norms above the target are penalized.
      every: see ``Penalty``.

    >>> penalty = GradientPenalty(weight=10.0)
    >>> x = jnp.ones((3, 2))
    >>> penalty(lambda x: x @ jnp.array([3.0, 4.0]), x, -x, jax.random.key(0), jnp.int32(0)).item()  # 10 (5 − 1)²
    160.0
    """

    weight: NonNegativeFloat = 10.0
    target: NonNegativeFloat = 1.0
    one_sided: bool = False
    every: PositiveInt = 1

    def __call__(self, discriminate: Discriminate, real: Array, fake: Array, key: Array, step: Array) -> Array:
        """Return the penalty at points between data and samples, which must have the same shape."""
        del step
        if real.shape != fake.shape:
            raise ValueError(f"real has shape {real.shape}, but fake {fake.shape}; give as many samples as data")
        u = jax.random.uniform(key, (real.shape[0], *[1] * (real.ndim - 1)), real.dtype)
        excess = gradient_norms(discriminate, u * real + (1 - u) * fake) - self.target
        return self.weight * jnp.mean(jnp.square(jax.nn.relu(excess) if self.one_sided else excess))


@dataclass(frozen=True, kw_only=True)
class _WeightedPenalty:
    """A penalty with separate weights for data and samples."""

    weight: NonNegativeFloat = 1.0
    fake_weight: NonNegativeFloat = 0.0
    every: PositiveInt = 1

    def __call__(self, discriminate: Discriminate, real: Array, fake: Array, key: Array, step: Array) -> Array:
        """Return the penalty at data, plus that at samples if ``fake_weight`` > 0."""
        del step
        real_key, fake_key = jax.random.split(key)
        penalty = self.weight * self._mean(discriminate, real, real_key)
        if self.fake_weight == 0:
            return penalty
        return penalty + self.fake_weight * self._mean(discriminate, fake, fake_key)

    def _mean(self, discriminate: Discriminate, x: Array, key: Array) -> Array:
        """Return the penalty at examples x (B, ...), without its weight."""
        raise NotImplementedError


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class R1(_WeightedPenalty):
    """Equation 2, with weight γ at data, and R2 at samples.

    Attributes:
      weight: γ, weight of the penalty at data, at least 0.
      fake_weight: weight of R2, the penalty at samples, at least 0; 0 turns it off.
      every: see ``Penalty``.
    """

    def _mean(self, discriminate: Discriminate, x: Array, key: Array) -> Array:
        del key
        return jnp.mean(squared_gradient_norms(discriminate, x)) / 2


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class ConsistencyPenalty(_WeightedPenalty):
    """Equation 3, with separate weights for data and samples.

    Attributes:
      augment: T, hashable, such as ``DifferentiableAugmentation``.
      weight: weight of the penalty at data, at least 0; 10 in both papers.
      fake_weight: weight of the penalty at samples, at least 0, 10 in the second paper; 0 turns it off.
      every: see ``Penalty``.

    >>> penalty = ConsistencyPenalty(augment=lambda key, x: x + 1)
    >>> x = jnp.ones((3, 2))
    >>> penalty(lambda x: x @ jnp.array([3.0, 4.0]), x, -x, jax.random.key(0), jnp.int32(0)).item()  # 10 (3 + 4)²
    490.0
    """

    augment: Augment
    weight: NonNegativeFloat = 10.0

    def _mean(self, discriminate: Discriminate, x: Array, key: Array) -> Array:
        return jnp.mean(jnp.square(discriminate(self.augment(key, x)) - discriminate(x)))


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class AnnealedPenalty:
    """Equation 4: a penalty whose weight decays geometrically for some steps, and is constant afterwards.

    A strong penalty early in training spreads the samples over all data; a weak one later lets them become sharp.

    Attributes:
      penalty: p.
      final_scale: s in (0, 1], the factor on the weight after ``num_steps``.
      num_steps: n, number of steps of the decay, at least 1.

    >>> penalty = AnnealedPenalty(penalty=R1(weight=2.0), final_scale=0.01, num_steps=10)
    >>> x = jnp.ones((3, 2))
    >>> [round(penalty(lambda x: x[:, 0], x, x, jax.random.key(0), jnp.int32(t)).item(), 6) for t in (0, 5, 10, 99)]
    [1.0, 0.1, 0.01, 0.01]
    """

    penalty: Penalty
    final_scale: Annotated[float, Interval(gt=0, le=1), Cure("; use 1 for a constant weight")]
    num_steps: PositiveInt

    @property
    def every(self) -> int:
        """Interval of the penalty p; see ``Penalty``."""
        return self.penalty.every

    def __call__(self, discriminate: Discriminate, real: Array, fake: Array, key: Array, step: Array) -> Array:
        """Return the penalty, scaled for this step."""
        scale = self.final_scale ** jnp.minimum(step / self.num_steps, 1.0)  # equation 4
        return scale * self.penalty(discriminate, real, fake, key, step)


def sum_of_penalties(
    penalties: tuple[Penalty, ...], discriminate: Discriminate, real: Array, fake: Array, key: Array, step: Array
) -> Array:
    """Return the sum of all penalties, with lazy ones at their steps only; for the arguments see ``Penalty``."""
    total = jnp.float32(0)
    for penalty, penalty_key in zip(penalties, jax.random.split(key, len(penalties)), strict=True):
        value = functools.partial(penalty, discriminate, real, fake, penalty_key, step)
        if penalty.every == 1:
            total += value()
        else:
            due, zero = step % penalty.every == 0, jnp.zeros_like(jax.eval_shape(value))
            total += jax.lax.cond(due, lambda n=penalty.every, v=value: n * v(), lambda zero=zero: zero)
    return total


def gradient_norms(discriminate: Discriminate, x: Array) -> Array:
    """Return ‖∇D(x)‖ of each example, (B,). Its own gradient is finite even where the norm is zero."""
    return safe_sqrt(squared_gradient_norms(discriminate, x))


def safe_sqrt(x: Array) -> Array:
    """Return the square roots of nonnegative numbers, with gradient 0 instead of infinity at 0."""
    positive = x > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1.0)), 0.0)
