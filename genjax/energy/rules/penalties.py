"""Penalties that stabilize the training of an energy.

    magnitude    E E(x)² + E E(x′)²                                                                               (1)
    gradient     E ‖∇E(x)‖²                                                                                       (2)

for data x and samples x′. The magnitude penalty bounds the energies, because contrastive divergence sees only their
differences (Yilun Du and Igor Mordatch 2019, arXiv:1903.08689). The gradient penalty keeps the energy smooth, so that
chains with a fixed step size have little bias. Spectral normalization of the layers of the network
(``nets.SpectralNorm``) also bounds the gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import jax.numpy as jnp

from genjax.arguments import NonNegativeFloat, check_arguments
from genjax.core import Array
from genjax.energy.density import EnergyDensity
from genjax.energy.rules.base import Penalty
from genjax.ops import squared_gradient_norms


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class EnergyMagnitude(Penalty):
    """Energy magnitude, equation 1, at data alone if no rule draws samples.

    Attributes:
      weight: weight of the penalty.
    """

    weight: NonNegativeFloat = 0.1

    def __call__(self, density: EnergyDensity, x: Array, samples: Array | None) -> Array:
        """See ``Penalty``."""
        sides = (x,) if samples is None else (x, samples)
        magnitudes = [jnp.mean(jnp.square(density.energy(side))) for side in sides]
        return self.weight * jnp.sum(jnp.stack(magnitudes))  # equation 1


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class GradientPenalty(Penalty):
    """Squared gradient norm of the energy at data, equation 2.

    Attributes:
      weight: weight of the penalty.
    """

    weight: NonNegativeFloat = 0.1

    def __call__(self, density: EnergyDensity, x: Array, samples: Array | None) -> Array:
        """See ``Penalty``."""
        del samples
        return self.weight * jnp.mean(squared_gradient_norms(density.energy, x))  # equation 2
