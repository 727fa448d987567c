"""Adversarial losses, from the discriminator's outputs r for data and f for samples.

Let p be the density of the data and q that of the samples. Losses are means over a batch, where ζ is softplus and
h(a) = max(0, 1 + a):

    name                  discriminator                  generator        minimum over discriminators
    minimax               ζ(−r) + ζ(f)                   −ζ(f)            2 log 2 − 2 JS(p, q)                    (1)
    non-saturating        ζ(−r) + ζ(f)                   ζ(−f)            2 log 2 − 2 JS(p, q)                    (2)
    least squares         (r − 1)² + (f + 1)²            f²               2 − ∫ (p − q)² / (p + q)                (3)
    Wasserstein           f − r                          −f               −W₁(p, q), among 1-Lipschitz outputs    (4)
    hinge                 h(−r) + h(f)                   −f               2 − 2 TV(p, q)                          (5)
    relativistic average  ζ(f̄ − r) + ζ(f − r̄)            ζ(r̄ − f) + ζ(r − f̄)                                       (6)
    relativistic          ζ(f − r)                       ζ(r − f)         log 2 if p = q, and less otherwise      (7)

JS is the Jensen–Shannon divergence in nats, TV the total variation ½ ∫ |p − q|, W₁ the optimal transport distance, the
integral in (3) Pearson's χ² between 2q and p + q, and bars are means over the batch. The discriminator's loss therefore
estimates a divergence: the true value if the discriminator is optimal, a lower bound otherwise. (7) pairs data with
samples: every sample has to look as real as some example, so that samples from one mode cannot stand for all (Ruoyu
Sun, Tiantian Fang and Alexander Schwing 2020, arXiv:2011.04926).

(1, 2) Ian Goodfellow et al. 2014, arXiv:1406.2661. (3) Xudong Mao et al. 2017, arXiv:1611.04076, with targets −1 and 1
for the discriminator and 0 for the generator. (4) Martin Arjovsky, Soumith Chintala and Léon Bottou 2017,
arXiv:1701.07875. (5) Jae Hyun Lim and Jong Chul Ye 2017, arXiv:1705.02894; Takeru Miyato et al. 2018, arXiv:1802.05957.
(6, 7) Alexia Jolicoeur-Martineau 2019, arXiv:1807.00734.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

import jax.numpy as jnp
from jax.nn import relu

from genjax.core import Array
from genjax.ops import logistic_fake_loss, logistic_real_loss


@runtime_checkable
class AdversarialLoss(Protocol):
    """Scalar losses of both networks, from the discriminator's outputs (B,) for data and for samples."""

    def discriminator(self, real: Array, fake: Array) -> Array:
        """Return the discriminator's loss."""
        ...

    def generator(self, real: Array, fake: Array) -> Array:
        """Return the generator's loss."""
        ...

    def divergence(self, loss: Array) -> Array:
        """Return the lower bound on the divergence between data and samples that a discriminator loss implies."""
        ...


@dataclass(frozen=True)
class _CrossEntropy:
    """The discriminator of equations 1 and 2; the divergence is JS, at most log 2."""

    def discriminator(self, real: Array, fake: Array) -> Array:
        """Return the cross-entropy, nats."""
        return jnp.mean(logistic_real_loss(real)) + jnp.mean(logistic_fake_loss(fake))

    def divergence(self, loss: Array) -> Array:
        """Return log 2 − loss / 2, nats, which is zero for equal densities."""
        return math.log(2) - loss / 2


@final
@dataclass(frozen=True)
class Minimax(_CrossEntropy):
    """Equation 1: the generator maximizes what the discriminator minimizes; the divergence is JS, at most log 2.

    The generator's gradient vanishes where the discriminator is certain; ``NonSaturating`` avoids this.

    >>> Minimax().divergence(Minimax().discriminator(jnp.zeros(3), jnp.zeros(3))).item()
    0.0
    """

    def generator(self, real: Array, fake: Array) -> Array:
        """Return the mean of log(1 − σ(f)), nats."""
        del real
        return -jnp.mean(logistic_fake_loss(fake))


@final
@dataclass(frozen=True)
class NonSaturating(_CrossEntropy):
    """Equation 2: the discriminator of ``Minimax``, with a generator that maximizes the mean of log σ(f)."""

    def generator(self, real: Array, fake: Array) -> Array:
        """Return the mean of −log σ(f), nats."""
        del real
        return jnp.mean(logistic_real_loss(fake))


@final
@dataclass(frozen=True)
class LeastSquares:
    """Equation 3; the divergence is Pearson's χ² between 2q and p + q, at most 2."""

    def discriminator(self, real: Array, fake: Array) -> Array:
        """Return the squared distance of outputs from 1 for data and from −1 for samples."""
        return jnp.mean(jnp.square(real - 1)) + jnp.mean(jnp.square(fake + 1))

    def generator(self, real: Array, fake: Array) -> Array:
        """Return the squared distance of outputs from 0, the optimal output if p = q."""
        del real
        return jnp.mean(jnp.square(fake))

    def divergence(self, loss: Array) -> Array:
        """Return χ²."""
        return 2 - loss


@final
@dataclass(frozen=True)
class Wasserstein:
    """Equation 4; the divergence is W₁ only if outputs are 1-Lipschitz, which needs a penalty or normalization."""

    def discriminator(self, real: Array, fake: Array) -> Array:
        """Return the mean output for samples minus the mean output for data."""
        return jnp.mean(fake) - jnp.mean(real)

    def generator(self, real: Array, fake: Array) -> Array:
        """Return the negative mean output for samples."""
        del real
        return -jnp.mean(fake)

    def divergence(self, loss: Array) -> Array:
        """Return W₁, in units of the data."""
        return -loss


@final
@dataclass(frozen=True)
class Hinge:
    """Equation 5; the divergence is the total variation, at most 1."""

    def discriminator(self, real: Array, fake: Array) -> Array:
        """Return the mean shortfall of outputs below 1 for data, plus their mean excess over −1 for samples."""
        return jnp.mean(relu(1 - real)) + jnp.mean(relu(1 + fake))

    def generator(self, real: Array, fake: Array) -> Array:
        """Return the negative mean output for samples."""
        del real
        return -jnp.mean(fake)

    def divergence(self, loss: Array) -> Array:
        """Return TV."""
        return 1 - loss / 2


@final
@dataclass(frozen=True)
class RelativisticAverage(_CrossEntropy):
    """Equation 6: whether data look more real than the average sample, and samples less real than average data.

    The minimum over discriminators is zero if p and q do not overlap and 2 log 2 if they are equal.
    """

    def discriminator(self, real: Array, fake: Array) -> Array:
        """Return the cross-entropy of outputs relative to the mean of the other side, nats."""
        return super().discriminator(real - jnp.mean(fake), fake - jnp.mean(real))

    def generator(self, real: Array, fake: Array) -> Array:
        """Return the same loss with data and samples exchanged."""
        return self.discriminator(fake, real)


@final
@dataclass(frozen=True)
class Relativistic:
    """Equation 7: whether an example looks more real than the sample it is paired with."""

    def discriminator(self, real: Array, fake: Array) -> Array:
        """Return the cross-entropy of telling which of a pair is real, nats."""
        return jnp.mean(logistic_real_loss(real - fake))

    def generator(self, real: Array, fake: Array) -> Array:
        """Return the same loss with data and samples exchanged."""
        return self.discriminator(fake, real)

    def divergence(self, loss: Array) -> Array:
        """Return log 2 − loss, nats, at most log 2; zero for equal densities."""
        return math.log(2) - loss
