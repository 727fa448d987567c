"""Couplings: which noise is paired with which data in training.

A network trained on x_t = α x₀ + σ ε depends on the joint distribution of the pairs (x₀, ε). Flow matching allows any
joint distribution with the right marginals: its velocity is the mean of α′ x₀ + σ′ ε given x_t and transports noise to
data. If the noise of a pair is close to its data, paths cross less, the target has less variance, and the paths of
samples are straighter, so that fewer steps suffice. At best

    E‖x₀ − ε‖² = W₂²(data, noise),                                                                               (1)

and paths do not cross. Within a minibatch of B examples and B draws of noise, ``SinkhornCoupling`` computes the optimal
plan P and draws partners from it: noise j for example i with probability B P_ij. Each noise is drawn once on average,
so that the marginals hold in expectation over minibatches; equation 1 holds for large ones.

Couplings are for flow matching with deterministic samplers only. Given the data, the noise of a pair is no longer
normal, so that the network does not learn the score: stochastic samplers and likelihood bounds are invalid. The plan
ignores labels, so that in a conditional model the noise depends on the label.

Aram-Alexandre Pooladian et al. 2023, arXiv:2304.14772; Alexander Tong et al. 2024, arXiv:2302.00482.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Protocol, final, runtime_checkable

import jax
import jax.numpy as jnp
from annotated_types import Gt

from genjax.arguments import Cure, PositiveInt, check_arguments
from genjax.core import Array
from genjax.ops.distances import squared_distances
from genjax.ops.transport import sinkhorn


@runtime_checkable
class Coupling(Protocol):
    """A rule that pairs the noise of a minibatch with its examples."""

    def pair(self, key: Array, x: Array, noise: Array) -> Array:
        """Return the noise of each example of x (B, ...), chosen from independent noise (B, ...)."""
        ...


@final
@check_arguments
@dataclass(frozen=True)
class SinkhornCoupling:
    """Pairs drawn from the entropic optimal plan of the squared distance, in time and memory O(B²).

    Attributes:
      epsilon: entropic regularization relative to the mean cost; smaller values give closer pairs.
      num_iterations: number of Sinkhorn iterations.
    """

    epsilon: Annotated[float, Gt(0), Cure("; 0.05 is usual")] = 0.05
    num_iterations: PositiveInt = 50

    def pair(self, key: Array, x: Array, noise: Array) -> Array:
        """See ``Coupling``."""
        a, b = (array.reshape(array.shape[0], -1) for array in (x, noise))
        cost = squared_distances(a, b)
        plan = sinkhorn(cost, self.epsilon * jnp.mean(cost), self.num_iterations)
        return noise[jax.random.categorical(key, plan, axis=1)]


def draw_noise(coupling: Coupling | None, key: Array, x: Array) -> Array:
    """Draw noise (B, ...) for x (B, ...), independent of x if there is no coupling."""
    if coupling is None:
        return jax.random.normal(key, x.shape, x.dtype)
    noise_key, pair_key = jax.random.split(key)
    return coupling.pair(pair_key, x, jax.random.normal(noise_key, x.shape, x.dtype))
