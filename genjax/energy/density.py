"""The unnormalized density of an energy-based model, as functions of x.

    p(x) = exp(−E(x)) p₀(x) / Z,        Z = ∫ exp(−E(x)) p₀(x) dx,                                                (1)

for an energy E and a base density p₀. With K classes, each class y has an energy E(x, y), and

    p(x, y) = exp(−E(x, y)) p₀(x) / Z,        E(x) = −log Σ_y exp(−E(x, y)),                                      (2)

so that p(y | x) is the softmax over y of −E(x, y).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from genjax.core import Array, PyTree
from genjax.energy.bases import Base
from genjax.energy.kernels import Kernel

BLOCK_SIZE = 4_096  # number of quadrature points whose energies are computed at once


class EnergyDensity(NamedTuple):
    """Equation 1 for given parameters.

    Attributes:
      energies_of: function from parameters and positions (B, *shape) to energies of all classes, (B, K).
      params: parameters of the energy.
      base: base density p₀.
      base_variables: variables of the base.
      kernel: default kernel of the chains.
      temperature: τ by which the network's outputs are divided.
      label: class of all positions, int32 (), or of each, int32 (B,), for p(x | y); None for p(x).
    """

    energies_of: Callable[[PyTree, Array], Array]
    params: PyTree
    base: Base
    base_variables: PyTree
    kernel: Kernel
    temperature: float = 1.0
    label: Array | None = None

    def frozen(self) -> EnergyDensity:
        """Return the density with its gradient with respect to the parameters stopped."""
        return self._replace(params=jax.lax.stop_gradient(self.params))

    def energies(self, x: Array) -> Array:
        """Return the energies of all classes, (B, K); K is 1 without classes."""
        return self.energies_of(self.params, x)

    def energy(self, x: Array) -> Array:
        """Return E(x), or E(x, y) with a label, nats, (B,)."""
        energies = self.energies(x)
        if self.label is None:
            return -jax.nn.logsumexp(-energies, axis=-1)  # equation 2
        label = jnp.broadcast_to(self.label, energies.shape[:1])
        return jnp.take_along_axis(energies, label[:, None], axis=1)[:, 0]

    def class_log_probs(self, x: Array) -> Array:
        """Return log p(y | x) of all classes, nats, (B, K)."""
        return jax.nn.log_softmax(-self.energies(x), axis=-1)

    def log_density(self, x: Array) -> Array:
        """Return log p₀(x) − E(x), nats, (B,), after positions outside the support of the base are folded into it."""
        x = self.base.fold(x)
        return self.base.log_prob(self.base_variables, x) - self.energy(x)

    def score(self, x: Array) -> Array:
        """Return the score, ∇ log p(x), (B, *shape)."""
        return jax.grad(lambda x: jnp.sum(self.log_density(x)))(x)

    def sample_base(self, key: Array, num_samples: int) -> Array:
        """Draw samples of p₀, (N, *shape)."""
        return self.base.sample(self.base_variables, key, num_samples)

    def log_partitions(self, num_nodes: int) -> Array:
        """Return log ∫ exp(−E(x, y)) p₀(x) dx for each class y, nats, (K,), by the quadrature rule of the base."""
        points, log_weights = self.base.quadrature(self.base_variables, num_nodes)
        energies = jax.lax.map(lambda x: self.energies(x[None])[0], points, batch_size=BLOCK_SIZE)
        return jax.nn.logsumexp(log_weights[:, None] - energies, axis=0)


def check_kernel(kernel: Kernel, base: Base) -> None:
    """Raise ValueError if a kernel is for binary data and the base is not, or vice versa."""
    if kernel.discrete != base.discrete:
        moves, data = ("binary data" if discrete else "real numbers" for discrete in (kernel.discrete, base.discrete))
        cure = "energy.GibbsWithGradients()" if base.discrete else "energy.MALA(), for example"
        raise ValueError(f"kernel is {kernel}, which moves {moves}, but the base is of {data}; use {cure}")
