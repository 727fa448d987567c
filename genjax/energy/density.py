"""The unnormalized density of an energy model, as functions of positions.

    p(x) = exp(−E(x)) p₀(x) / Z,        Z = ∫ exp(−E(x)) p₀(x) dx,                                                (1)

for an energy E and a base p₀. With K classes, there is one energy for each, and

    p(x, y) = exp(−E(x, y)) p₀(x) / Z,        E(x) = −log Σ_y exp(−E(x, y)),                                      (2)

where p(y | x) is the softmax over y of −E(x, y).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from genjax.core import Array, PyTree
from genjax.energy.bases import Base
from genjax.energy.kernels import Kernel

BLOCK_SIZE = 4_096  # points of a quadrature whose energies are computed at once


class EnergyDensity(NamedTuple):
    """Equation 1 at some parameters.

    Attributes:
      energies_of: function from parameters and positions (B, *shape) to energies of all classes, (B, K).
      params: parameters of the energy.
      base: p₀.
      base_variables: variables of p₀.
      kernel: kernel that samples the density by default.
      label: class of all positions, int32 (), or of each, (N,), for p(x | y); None for p(x).
    """

    energies_of: Callable[[PyTree, Array], Array]
    params: PyTree
    base: Base
    base_variables: PyTree
    kernel: Kernel
    label: Array | None = None

    def frozen(self) -> EnergyDensity:
        """Return the density without gradients with respect to its parameters."""
        return self._replace(params=jax.lax.stop_gradient(self.params))

    def energies(self, x: Array) -> Array:
        """Return the energies of all classes, (B, K); K is 1 without classes."""
        return self.energies_of(self.params, x)

    def energy(self, x: Array) -> Array:
        """Return E(x), or E(x, y) with labels, nats, (B,)."""
        energies = self.energies(x)
        if self.label is None:
            return -jax.nn.logsumexp(-energies, axis=-1)  # equation 2
        label = jnp.broadcast_to(self.label, energies.shape[:1])
        return jnp.take_along_axis(energies, label[:, None], axis=1)[:, 0]

    def log_density(self, x: Array) -> Array:
        """Return log p(x) + log Z, nats, (B,); positions outside of the support of the base are reflected into it."""
        x = self.base.fold(x)
        return self.base.log_prob(self.base_variables, x) - self.energy(x)

    def score(self, x: Array) -> Array:
        """Return ∇ log p(x), (B, *shape)."""
        return jax.grad(lambda x: jnp.sum(self.log_density(x)))(x)

    def sample_base(self, key: Array, num_samples: int) -> Array:
        """Draw from p₀, (N, *shape)."""
        return self.base.sample(self.base_variables, key, num_samples)

    def log_partitions(self, num_nodes: int) -> Array:
        """Return log ∫ exp(−E(x, y)) p₀(x) dx of every class by the base's quadrature, nats, (K,)."""
        points, log_weights = self.base.quadrature(self.base_variables, num_nodes)
        energies = jax.lax.map(lambda x: self.energies(x[None])[0], points, batch_size=BLOCK_SIZE)
        return jax.nn.logsumexp(log_weights[:, None] - energies, axis=0)


def check_kernel(kernel: Kernel, base: Base) -> None:
    """Raise if a kernel cannot move the data of a base."""
    if kernel.discrete != base.discrete:
        moves, data = ("binary data" if discrete else "real numbers" for discrete in (kernel.discrete, base.discrete))
        cure = "energy.GibbsWithGradients()" if base.discrete else "energy.MALA(), for example"
        raise ValueError(f"kernel is {kernel}, which moves {moves}, but the base is of {data}; use {cure}")
