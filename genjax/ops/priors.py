"""Priors of latent vectors: samples, also of single classes, and exact densities.

Each of K classes has probability 1/K:

* ``StandardNormal``: p(z) = N(z; 0, I), without classes;
* ``GaussianMixture``: petals, p(z) = 1/K Σ_k N(z; r e_k, s² e_k e_kᵀ + t² n_k n_kᵀ), with e_k the direction of the
  angle 2π k / K and n_k the direction perpendicular to it; class k is component k;
* ``SwissRoll``: c(√u) + σ ε with u uniform on [0, 1], ε ~ N(0, I) and the spiral c(t) = r t (cos 2π w t, sin 2π w t),
  on which √u spreads the points evenly except near its center; class k is the section k / K ≤ u < (k + 1) / K. Its
  density p(z) = ∫₀¹ N(z; c(t), σ² I) 2t dt is computed by Gauss-Legendre quadrature.

Both mixtures are priors of Alireza Makhzani et al., "Adversarial autoencoders", 2015, arXiv:1511.05644, section 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Protocol, final, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge

from genjax.arguments import Cure, NonNegativeFloat, PositiveFloat, PositiveInt, check_arguments
from genjax.core import Array
from genjax.ops.gaussians import gaussian_log_prob
from genjax.ops.labels import Label, condition_inputs

_PANEL_NODES = 16  # quadrature nodes per panel
_PANEL_LENGTH = 4.0  # maximum length of a panel, in standard deviations
_POINTS_AT_ONCE = 256  # points whose quadratures are in memory at once

RollScale = Annotated[float, Ge(0.01), Cure(", for the quadrature along the roll")]


@runtime_checkable
class Prior(Protocol):
    """A distribution of latent vectors (N, dim), with or without classes."""

    @property
    def dim(self) -> int:
        """Dimension of a latent vector."""
        ...

    @property
    def num_classes(self) -> int | None:
        """Number of classes, which are equally likely; None for a prior without classes."""
        ...

    def sample(self, key: Array, num_samples: PositiveInt, label: Label = None) -> Array:
        """Draw vectors (num_samples, dim) of classes ``label``: int32 (num_samples,), one integer, or None for all."""
        ...

    def log_prob(self, z: Array) -> Array:
        """Return the marginal log-density of z (N, dim) over classes, in nats, shape (N,)."""
        ...


@final
@check_arguments
@dataclass(frozen=True)
class StandardNormal:
    """Standard normal prior N(0, I), without classes.

    Attributes:
      dim: dimension of a latent vector.

    >>> StandardNormal(2).log_prob(jnp.zeros((1, 2))).tolist()  # −log 2π
    [-1.8378770351409912]
    """

    dim: PositiveInt
    num_classes = None

    def sample(self, key: Array, num_samples: PositiveInt, label: Label = None) -> Array:
        """See ``Prior``; ``label`` must be None."""
        condition_inputs(label, None, num_samples)
        return jax.random.normal(key, (num_samples, self.dim))

    def log_prob(self, z: Array) -> Array:
        """See ``Prior``."""
        return jnp.sum(gaussian_log_prob(z), axis=-1)


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class GaussianMixture:
    """Mixture of Gaussians in the plane, whose means lie on a circle around the origin; petals along the radius.

    Attributes:
      num_components: number of components, which are the classes.
      radius: radius of the circle of means.
      radial_scale: standard deviation along the radius.
      tangential_scale: standard deviation perpendicular to the radius.
    """

    num_components: PositiveInt = 10
    radius: NonNegativeFloat = 2.0
    radial_scale: PositiveFloat = 0.5
    tangential_scale: PositiveFloat = 0.15
    dim = 2

    @property
    def num_classes(self) -> int | None:
        """Number of components."""
        return self.num_components

    def sample(self, key: Array, num_samples: PositiveInt, label: Label = None) -> Array:
        """See ``Prior``."""
        class_key, noise_key = jax.random.split(key)
        component = _classes(class_key, self.num_components, num_samples, label)
        radial, tangential = jax.random.normal(noise_key, (2, num_samples))
        along, across = self.radius + self.radial_scale * radial, self.tangential_scale * tangential
        cos, sin = _direction(component / self.num_components)
        return jnp.stack([along * cos - across * sin, along * sin + across * cos], axis=-1)

    def log_prob(self, z: Array) -> Array:
        """See ``Prior``."""
        cos, sin = _direction(jnp.arange(self.num_components) / self.num_components)
        x, y = z[:, :1], z[:, 1:]
        along, across = x * cos[None] + y * sin[None], y * cos[None] - x * sin[None]
        radial = gaussian_log_prob((along - self.radius) / self.radial_scale)
        tangential = gaussian_log_prob(across / self.tangential_scale)
        log_volume = math.log(self.radial_scale * self.tangential_scale * self.num_components)
        return jax.nn.logsumexp(radial + tangential, axis=1) - log_volume


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class SwissRoll:
    """Spiral in the plane, starting at the origin, blurred by Gaussian noise.

    Attributes:
      num_classes: number of classes, which are sections along the roll.
      radius: distance of the outer end from the origin.
      num_turns: number of turns.
      scale: standard deviation σ of the noise, at least 0.01.
    """

    num_classes: PositiveInt = 10
    radius: PositiveFloat = 3.0
    num_turns: PositiveFloat = 2.0
    scale: RollScale = 0.1
    dim = 2

    def sample(self, key: Array, num_samples: PositiveInt, label: Label = None) -> Array:
        """See ``Prior``."""
        class_key, place_key, noise_key = jax.random.split(key, 3)
        section = _classes(class_key, self.num_classes, num_samples, label)
        u = (section + jax.random.uniform(place_key, (num_samples,))) / self.num_classes
        return self._spiral(jnp.sqrt(u)) + self.scale * jax.random.normal(noise_key, (num_samples, 2))

    def log_prob(self, z: Array) -> Array:
        """See ``Prior``."""
        nodes, weights = self._quadrature()
        centers, log_weights = self._spiral(jnp.asarray(nodes, z.dtype)), jnp.asarray(np.log(weights), z.dtype)

        def log_prob_of(point: Array) -> Array:
            terms = jnp.sum(gaussian_log_prob((point[None] - centers) / self.scale), axis=-1)
            return jax.nn.logsumexp(terms + log_weights) - 2 * math.log(self.scale)

        return jax.lax.map(log_prob_of, z, batch_size=_POINTS_AT_ONCE)

    def _spiral(self, t: Array) -> Array:
        return self.radius * t[:, None] * jnp.stack(_direction(self.num_turns * t), axis=-1)

    def _quadrature(self) -> tuple[np.ndarray, np.ndarray]:
        """Return nodes t and weights for ∫₀¹ f(t) 2t dt."""
        fastest = self.radius * math.hypot(1.0, 2 * math.pi * self.num_turns)  # |dc/dt| at the outer end
        panels = math.ceil(fastest / (_PANEL_LENGTH * self.scale))
        nodes, weights = np.polynomial.legendre.leggauss(_PANEL_NODES)
        t = (np.arange(panels)[:, None] + (nodes[None] + 1) / 2).ravel() / panels
        return t, np.tile(weights / 2, panels) / panels * 2 * t


def _classes(key: Array, num_classes: int, num_samples: int, label: Label) -> Array:
    """Return classes (num_samples,): the labels, or random classes without labels."""
    if label is None:
        return jax.random.randint(key, (num_samples,), 0, num_classes)
    (one_hot,) = condition_inputs(label, num_classes, num_samples)
    return jnp.argmax(one_hot, axis=-1)


def _direction(turns: Array) -> tuple[Array, Array]:
    """Return cosine and sine of an angle in full turns."""
    return jnp.cos(2 * np.pi * turns), jnp.sin(2 * np.pi * turns)
