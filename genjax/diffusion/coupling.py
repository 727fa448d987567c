"""Couplings: which noise belongs to which data in training.

What a network learns of x_t = α x₀ + σ ε depends on the pairs (x₀, ε) by their joint distribution, of which any will do
for flow matching that has the right marginals: the flow's velocity is the mean of α′ x₀ + σ′ ε given x_t, and leads
from noise to data. If those of a pair are near to each other, ways cross less, the velocity has less variance to be
learned from, and the ways of samples are straighter, so that few steps do. At best

    E‖x₀ − ε‖² = W₂²(data, noise),                                                                               (1)

where ways do not cross. Within a minibatch of B examples and B draws of noise the best plan P can be found, and
partners are drawn by it: noise j for example i with probability B P_ij. Each noise is drawn once in the mean, so that
the marginals are kept in expectation over minibatches; equation 1 holds for large ones.

It is for flow matching and samplers of the ordinary differential equation alone: noise of a pair is no longer normal
given the data, so that what a network learns is no score, and samplers that add noise, and bounds on the likelihood,
are not those of the coupled model. With labels the plan is over all classes, and noise then tells of the label.

Aram-Alexandre Pooladian et al. 2023, arXiv:2304.14772; Alexander Tong et al. 2024, arXiv:2302.00482.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, final

import jax
import jax.numpy as jnp

from genjax.core import Array
from genjax.ops import check_at_least, check_positive, sinkhorn


class Coupling(Protocol):
    """Which noise of a minibatch belongs to which of its examples."""

    def pair(self, key: Array, x: Array, noise: Array) -> Array:
        """Return the noise (B, ...) for each of x (B, ...), from independent noise (B, ...)."""
        ...


@final
@dataclass(frozen=True)
class SinkhornCoupling:
    """Partners by the entropic plan of the squared distance, in time and memory that grow as B².

    Attributes:
      epsilon: of the plan, relative to the mean cost; the less, the nearer are partners.
      num_iterations: of Sinkhorn's iteration.
    """

    epsilon: float = 0.05
    num_iterations: int = 50

    def __post_init__(self) -> None:
        check_positive("epsilon", self.epsilon, "; 0.05 is usual")
        check_at_least("num_iterations", self.num_iterations, 1)

    def pair(self, key: Array, x: Array, noise: Array) -> Array:
        """See ``Coupling``."""
        here, there = (side.reshape(len(side), -1) for side in (x, noise))
        product = jnp.matmul(here, there.T, precision=jax.lax.Precision.HIGHEST)
        cost = jnp.sum(jnp.square(here), axis=1)[:, None] + jnp.sum(jnp.square(there), axis=1)[None] - 2 * product
        plan = sinkhorn(cost, self.epsilon * jnp.mean(cost), self.num_iterations)
        return noise[jax.random.categorical(key, plan, axis=1)]


def draw_noise(coupling: Coupling | None, key: Array, x: Array) -> Array:
    """Return noise (B, ...) for x (B, ...), independent of it where there is no coupling."""
    if coupling is None:
        return jax.random.normal(key, x.shape, x.dtype)
    noise_key, pair_key = jax.random.split(key)
    return coupling.pair(pair_key, x, jax.random.normal(noise_key, x.shape, x.dtype))
