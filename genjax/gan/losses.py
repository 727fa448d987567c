"""What discriminator and generator minimize, from the discriminator's outputs r of data and f of samples.

Let data have the density p and samples q. Losses are means over a batch, where ζ is softplus and h(a) = max(0, 1 + a):

    name                  discriminator                  generator        least loss of the discriminator
    minimax               ζ(−r) + ζ(f)                   −ζ(f)            2 log 2 − 2 JS(p, q)                    (1)
    non-saturating        ζ(−r) + ζ(f)                   ζ(−f)            2 log 2 − 2 JS(p, q)                    (2)
    least squares         (r − 1)² + (f + 1)²            f²               2 − ∫ (p − q)² / (p + q)                (3)
    Wasserstein           f − r                          −f               −W₁(p, q), among 1-Lipschitz outputs    (4)
    hinge                 h(−r) + h(f)                   −f               2 − 2 TV(p, q)                          (5)
    relativistic average  ζ(f̄ − r) + ζ(f − r̄)            ζ(r̄ − f) + ζ(r − f̄)                                       (6)
    relativistic          ζ(f − r)                       ζ(r − f)         log 2 for p = q, and less else            (7)

JS is the Jensen–Shannon divergence in nats, TV the total variation ½ ∫ |p − q|, W₁ the distance of optimal transport,
the integral of (3) Pearson's χ² of 2q from p + q, and bars are means over the batch. So the discriminator's loss tells
a divergence: the true one where the discriminator is at its best, and otherwise less. (7) takes data and samples in
pairs: every sample is to look as real as some example does, so that those of one mode cannot stand for all (Ruoyu Sun,
Tiantian Fang and Alexander Schwing 2020, arXiv:2011.04926).

(1, 2) Ian Goodfellow et al. 2014, arXiv:1406.2661. (3) Xudong Mao et al. 2017, arXiv:1611.04076, with labels −1 and 1
and a generator that aims at 0. (4) Martin Arjovsky, Soumith Chintala and Léon Bottou 2017, arXiv:1701.07875. (5) Jae
Hyun Lim and Jong Chul Ye 2017, arXiv:1705.02894; Takeru Miyato et al. 2018, arXiv:1802.05957. (6, 7) Alexia
Jolicoeur-Martineau 2019, arXiv:1807.00734.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, final

import jax.numpy as jnp
from jax.nn import relu, softplus

from genjax.core import Array


class AdversarialLoss(Protocol):
    """Losses of both players, scalars, from outputs (B,) of data and of samples."""

    def discriminator(self, real: Array, fake: Array) -> Array:
        """Return the discriminator's."""
        ...

    def generator(self, real: Array, fake: Array) -> Array:
        """Return the generator's."""
        ...

    def divergence(self, loss: Array) -> Array:
        """Return what a discriminator of such a loss tells of the divergence of samples from data, a lower bound."""
        ...


@final
@dataclass(frozen=True)
class Minimax:
    """Equation 1: the generator maximizes what the discriminator minimizes; the divergence is JS, at most log 2.

    Its gradient vanishes where the discriminator is sure, which is what ``NonSaturating`` is for.

    >>> Minimax().divergence(Minimax().discriminator(jnp.zeros(3), jnp.zeros(3))).item()
    0.0
    """

    def discriminator(self, real: Array, fake: Array) -> Array:
        """Cross-entropy, nats."""
        return jnp.mean(softplus(-real)) + jnp.mean(softplus(fake))

    def generator(self, real: Array, fake: Array) -> Array:
        """Mean of log(1 − σ(f))."""
        del real
        return -jnp.mean(softplus(fake))

    def divergence(self, loss: Array) -> Array:
        """JS, nats."""
        return math.log(2) - loss / 2


@final
@dataclass(frozen=True)
class NonSaturating:
    """Equation 2: the discriminator is that of ``Minimax``, and the generator maximizes the mean of log σ(f)."""

    def discriminator(self, real: Array, fake: Array) -> Array:
        """Cross-entropy, nats."""
        return Minimax().discriminator(real, fake)

    def generator(self, real: Array, fake: Array) -> Array:
        """Mean of −log σ(f)."""
        del real
        return jnp.mean(softplus(-fake))

    def divergence(self, loss: Array) -> Array:
        """JS, nats."""
        return Minimax().divergence(loss)


@final
@dataclass(frozen=True)
class LeastSquares:
    """Equation 3; the divergence is Pearson's χ² of 2q from p + q, at most 2."""

    def discriminator(self, real: Array, fake: Array) -> Array:
        """Squared distance of outputs from 1 for data, and from −1 for samples."""
        return jnp.mean(jnp.square(real - 1)) + jnp.mean(jnp.square(fake + 1))

    def generator(self, real: Array, fake: Array) -> Array:
        """Squared distance from 0, where neither is more probable."""
        del real
        return jnp.mean(jnp.square(fake))

    def divergence(self, loss: Array) -> Array:
        """χ²."""
        return 2 - loss


@final
@dataclass(frozen=True)
class Wasserstein:
    """Equation 4; the divergence is W₁ only where outputs are 1-Lipschitz, which takes a penalty or normalization."""

    def discriminator(self, real: Array, fake: Array) -> Array:
        """Mean output of samples above that of data."""
        return jnp.mean(fake) - jnp.mean(real)

    def generator(self, real: Array, fake: Array) -> Array:
        """Mean output of samples, negative."""
        del real
        return -jnp.mean(fake)

    def divergence(self, loss: Array) -> Array:
        """W₁, in units of the data."""
        return -loss


@final
@dataclass(frozen=True)
class Hinge:
    """Equation 5; the divergence is the total variation, at most 1."""

    def discriminator(self, real: Array, fake: Array) -> Array:
        """What outputs of data are below 1, and those of samples above −1."""
        return jnp.mean(relu(1 - real)) + jnp.mean(relu(1 + fake))

    def generator(self, real: Array, fake: Array) -> Array:
        """Mean output of samples, negative."""
        del real
        return -jnp.mean(fake)

    def divergence(self, loss: Array) -> Array:
        """TV."""
        return 1 - loss / 2


@final
@dataclass(frozen=True)
class RelativisticAverage:
    """Equation 6: whether data look more real than samples do on average, and the other way round.

    The least loss is zero where p and q do not overlap and 2 log 2 where they are the same.
    """

    def discriminator(self, real: Array, fake: Array) -> Array:
        """Cross-entropy of outputs from the mean of the others, nats."""
        return jnp.mean(softplus(jnp.mean(fake) - real)) + jnp.mean(softplus(fake - jnp.mean(real)))

    def generator(self, real: Array, fake: Array) -> Array:
        """The same with the parts exchanged; data take part in it."""
        return self.discriminator(fake, real)

    def divergence(self, loss: Array) -> Array:
        """Half of what the loss is below 2 log 2, nats, at most log 2; zero for equal densities."""
        return math.log(2) - loss / 2


@final
@dataclass(frozen=True)
class Relativistic:
    """Equation 7: whether an example looks more real than a sample does, and the other way round."""

    def discriminator(self, real: Array, fake: Array) -> Array:
        """Cross-entropy of telling which of a pair is real, nats."""
        return jnp.mean(softplus(fake - real))

    def generator(self, real: Array, fake: Array) -> Array:
        """The same with the parts exchanged; data take part in it."""
        return self.discriminator(fake, real)

    def divergence(self, loss: Array) -> Array:
        """What the loss is below log 2, nats, at most log 2; zero for equal densities."""
        return math.log(2) - loss
