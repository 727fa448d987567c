"""Penalties that keep a discriminator D from being steep: on its gradients in its inputs, or on its changes with them.

    gradient penalty    E (‖∇D(x̂)‖ − t)²,     x̂ = u x + (1 − u) x̃,  u uniform on [0, 1), one for each pair           (1)
    R1                  ½ E ‖∇D(x)‖²,          and with R2 the same of x̃                                          (2)
    consistency         E (D(T(x)) − D(x))²,   and where it is balanced the same of x̃                             (3)
    fading              s^(t / n) p            at the steps t of the first n, for another penalty p               (4)

for data x and samples x̃, norms over all entries of an example. The first is for a critic of ``Wasserstein``, whose
gradients have norm t = 1 where it is at its best (Ishaan Gulrajani et al. 2017, arXiv:1704.00028); the second lets
training converge where data and samples lie on sets without volume (Lars Mescheder, Andreas Geiger and Sebastian
Nowozin 2018, arXiv:1801.04406); the third has no gradient in it, but a random augmentation T that D should not mind
(Han Zhang, Zizhao Zhang, Augustus Odena and Honglak Lee 2020, arXiv:1910.12027; balanced, Zhengli Zhao et al. 2021,
arXiv:2002.04724). A penalty that is taken every n-th step alone, n times as strong, costs little (Tero Karras et al.
2020, arXiv:1912.04958).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, final

import jax
import jax.numpy as jnp

from genjax.core import Array
from genjax.gan.augmentation import Augment
from genjax.ops import check_at_least

Discriminate = Callable[[Array], Array]  # (B, ...) -> (B,), each output from its own input alone


class Penalty(Protocol):
    """What a discriminator minimizes beside its loss."""

    @property
    def every(self) -> int:
        """n: the penalty counts at steps 0, n, 2n …, n times."""
        ...

    def __call__(self, discriminate: Discriminate, real: Array, fake: Array, key: Array, step: Array) -> Array:
        """Return the penalty, a scalar, of data and samples (B, ...), at a step of training, int32."""
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
    >>> penalty(lambda x: x @ jnp.array([3.0, 4.0]), x, -x, jax.random.key(0), jnp.int32(0)).item()  # 10 (5 − 1)²
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

    def __call__(self, discriminate: Discriminate, real: Array, fake: Array, key: Array, step: Array) -> Array:
        """Return the penalty of points between data and samples, as many of one as of the other."""
        del step
        if real.shape != fake.shape:
            raise ValueError(f"real has shape {real.shape}, but fake {fake.shape}; make them pairs")
        share = jax.random.uniform(key, (len(real), *[1] * (real.ndim - 1)), real.dtype)
        above = gradient_norms(discriminate, share * real + (1 - share) * fake) - self.target
        return self.weight * jnp.mean(jnp.square(jax.nn.relu(above) if self.one_sided else above))


@final
@dataclass(frozen=True, kw_only=True)
class R1:
    """Equation 2, times a weight for data and another for samples.

    Attributes:
      weight: γ, of data.
      fake_weight: of samples, R2; 0 for none.
      every: see ``Penalty``.

    Raises:
      ValueError: for a negative weight, or ``every`` below 1.
    """

    weight: float = 1.0
    fake_weight: float = 0.0
    every: int = 1

    def __post_init__(self) -> None:
        check_at_least("weight", self.weight, 0)
        check_at_least("fake_weight", self.fake_weight, 0)
        check_at_least("every", self.every, 1)

    def __call__(self, discriminate: Discriminate, real: Array, fake: Array, key: Array, step: Array) -> Array:
        """Return the penalty of data, and of samples where they have a weight; key and step do not matter."""
        del key, step
        penalty = self.weight / 2 * jnp.mean(_squared_norms(discriminate, real))
        if self.fake_weight == 0:
            return penalty
        return penalty + self.fake_weight / 2 * jnp.mean(_squared_norms(discriminate, fake))


@final
@dataclass(frozen=True, kw_only=True)
class Consistency:
    """Equation 3, times a weight for data and another for samples.

    Attributes:
      augment: T, hashable; ``DifferentiableAugmentation`` for one.
      weight: of data; the papers' is 10.
      fake_weight: of samples; 10 in the second paper, and 0 asks nothing of them.
      every: see ``Penalty``.

    Raises:
      ValueError: for a negative weight, or ``every`` below 1.

    >>> penalty = Consistency(augment=lambda key, x: x + 1)
    >>> x = jnp.ones((3, 2))
    >>> penalty(lambda x: x @ jnp.array([3.0, 4.0]), x, -x, jax.random.key(0), jnp.int32(0)).item()  # 10 (3 + 4)²
    490.0
    """

    augment: Augment
    weight: float = 10.0
    fake_weight: float = 0.0
    every: int = 1

    def __post_init__(self) -> None:
        check_at_least("weight", self.weight, 0)
        check_at_least("fake_weight", self.fake_weight, 0)
        check_at_least("every", self.every, 1)

    def __call__(self, discriminate: Discriminate, real: Array, fake: Array, key: Array, step: Array) -> Array:
        """Return the penalty of data, and of samples where they have a weight."""
        del step
        real_key, fake_key = jax.random.split(key)
        penalty = self.weight * self._mean_change(discriminate, real, real_key)
        if self.fake_weight == 0:
            return penalty
        return penalty + self.fake_weight * self._mean_change(discriminate, fake, fake_key)

    def _mean_change(self, discriminate: Discriminate, x: Array, key: Array) -> Array:
        return jnp.mean(jnp.square(discriminate(self.augment(key, x)) - discriminate(x)))


@final
@dataclass(frozen=True, kw_only=True)
class Fading:
    """A penalty whose weight falls geometrically, (4), and then stays.

    A strong one at first spreads the samples over all data, where a weak one later lets them become sharp.

    Attributes:
      penalty: p.
      final: s in (0, 1], the share of its weight that is left in the end.
      steps: n, at least 1.

    Raises:
      ValueError: for a share that is not in (0, 1], or steps below 1.

    >>> penalty = Fading(penalty=R1(weight=2.0), final=0.01, steps=10)
    >>> x = jnp.ones((3, 2))
    >>> [round(penalty(lambda x: x[:, 0], x, x, jax.random.key(0), jnp.int32(t)).item(), 6) for t in (0, 5, 10, 99)]
    [1.0, 0.1, 0.01, 0.01]
    """

    penalty: Penalty
    final: float
    steps: int

    def __post_init__(self) -> None:
        check_at_least("steps", self.steps, 1)
        if not 0 < self.final <= 1:
            raise ValueError(f"final is {self.final}, but must be in (0, 1]: the share of the weight that is left")

    @property
    def every(self) -> int:
        """See ``Penalty``."""
        return self.penalty.every

    def __call__(self, discriminate: Discriminate, real: Array, fake: Array, key: Array, step: Array) -> Array:
        """Return the penalty, faded."""
        share = self.final ** jnp.minimum(step / self.steps, 1.0)  # equation 4
        return share * self.penalty(discriminate, real, fake, key, step)


def gradient_norms(discriminate: Discriminate, x: Array) -> Array:
    """Return ‖∇D(x)‖ of each example, (B,); its own gradient is finite, also where the norm is zero."""
    squared = _squared_norms(discriminate, x)
    positive = squared > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, squared, 1.0)), 0.0)


def _squared_norms(discriminate: Discriminate, x: Array) -> Array:
    gradients = jax.grad(lambda x: jnp.sum(discriminate(x)))(x)
    return jnp.sum(jnp.square(gradients), axis=range(1, x.ndim))
