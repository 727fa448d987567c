"""Priors of latent vectors: draws, also from one class, and exact densities.

Each of K classes has the share 1/K of

* ``StandardNormal``: p(z) = N(z; 0, I), which has none;
* ``GaussianMixture``: petals, p(z) = 1/K Σ_k N(z; r e_k, s² e_k e_kᵀ + t² n_k n_kᵀ), with e_k the direction of the
  angle 2π k / K and n_k the one across it; class k is component k;
* ``SwissRoll``: c(√u) + σ ε with u uniform on [0, 1], ε ~ N(0, I) and the spiral c(t) = r t (cos 2π w t, sin 2π w t),
  on which √u spreads the points evenly but for its very middle; class k is the section k / K ≤ u < (k + 1) / K. Its
  density p(z) = ∫₀¹ N(z; c(t), σ² I) 2t dt is computed by Gauss-Legendre quadrature.

Petals and roll are priors of Alireza Makhzani et al., "Adversarial autoencoders", 2015, arXiv:1511.05644, section 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np

from genjax.core import Array
from genjax.ops.gaussians import gaussian_log_prob
from genjax.ops.labels import condition_inputs
from genjax.ops.validation import check_at_least, check_positive

_PANEL_NODES = 16  # of the quadrature; a panel this fine may be four standard deviations long
_PANEL_LENGTH = 4.0
_POINTS_AT_ONCE = 256  # whose quadratures are in memory together


@runtime_checkable
class Prior(Protocol):
    """A distribution of latent vectors (N, dim), perhaps of classes."""

    @property
    def dim(self) -> int:
        """Length of a vector."""
        ...

    @property
    def num_classes(self) -> int | None:
        """Number of classes, all of equal probability; None for a prior without classes."""
        ...

    def sample(self, key: Array, num_samples: int, label: Array | int | None = None) -> Array:
        """Draw vectors, shape (num_samples, dim), of the classes ``label``, int32 (num_samples,) or one, or of all."""
        ...

    def log_prob(self, z: Array) -> Array:
        """Log-density in nats of z (N, dim) under all classes together, shape (N,)."""
        ...


@final
@dataclass(frozen=True)
class StandardNormal:
    """N(0, I), which has no classes.

    Attributes:
      dim: length of a vector.

    >>> StandardNormal(2).log_prob(jnp.zeros((1, 2))).tolist()  # −log 2π
    [-1.8378770351409912]
    """

    dim: int

    def __post_init__(self) -> None:
        check_at_least("dim", self.dim, 1)

    @property
    def num_classes(self) -> int | None:
        """See ``Prior``."""
        return None

    def sample(self, key: Array, num_samples: int, label: Array | int | None = None) -> Array:
        """See ``Prior``; ``label`` must be None."""
        check_at_least("num_samples", num_samples, 1)
        condition_inputs(label, None, num_samples)
        return jax.random.normal(key, (num_samples, self.dim))

    def log_prob(self, z: Array) -> Array:
        """See ``Prior``."""
        return jnp.sum(gaussian_log_prob(z), axis=-1)


@final
@dataclass(frozen=True, kw_only=True)
class GaussianMixture:
    """Gaussian petals in the plane: centres on a circle around the origin, longest along the radius.

    Attributes:
      num_components: petals, and classes.
      radius: of the circle of centres.
      radial_scale: standard deviation along the radius.
      tangential_scale: standard deviation across it.
    """

    num_components: int = 10
    radius: float = 2.0
    radial_scale: float = 0.5
    tangential_scale: float = 0.15

    def __post_init__(self) -> None:
        check_at_least("num_components", self.num_components, 1)
        check_at_least("radius", self.radius, 0)
        check_positive("radial_scale", self.radial_scale)
        check_positive("tangential_scale", self.tangential_scale)

    @property
    def dim(self) -> int:
        """The plane's."""
        return 2

    @property
    def num_classes(self) -> int | None:
        """One class for each petal."""
        return self.num_components

    def sample(self, key: Array, num_samples: int, label: Array | int | None = None) -> Array:
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
@dataclass(frozen=True, kw_only=True)
class SwissRoll:
    """A spiral in the plane, from the origin outwards, blurred by Gaussian noise.

    Attributes:
      num_classes: sections along the roll.
      radius: distance of its outer end from the origin.
      num_turns: how often it goes round.
      scale: standard deviation σ of the noise, at least 0.01.
    """

    num_classes: int = 10
    radius: float = 3.0
    num_turns: float = 2.0
    scale: float = 0.1

    def __post_init__(self) -> None:
        check_at_least("num_classes", self.num_classes, 1)
        check_positive("radius", self.radius)
        check_positive("num_turns", self.num_turns)
        check_at_least("scale", self.scale, 0.01, ", for the quadrature along the roll")

    @property
    def dim(self) -> int:
        """The plane's."""
        return 2

    def sample(self, key: Array, num_samples: int, label: Array | int | None = None) -> Array:
        """See ``Prior``."""
        class_key, place_key, noise_key = jax.random.split(key, 3)
        section = _classes(class_key, self.num_classes, num_samples, label)
        u = (section + jax.random.uniform(place_key, (num_samples,))) / self.num_classes
        return self._spiral(jnp.sqrt(u)) + self.scale * jax.random.normal(noise_key, (num_samples, 2))

    def log_prob(self, z: Array) -> Array:
        """See ``Prior``."""
        nodes, weights = self._quadrature()
        centres, log_weights = self._spiral(jnp.asarray(nodes, z.dtype)), jnp.asarray(np.log(weights), z.dtype)

        def log_prob_of(point: Array) -> Array:
            terms = jnp.sum(gaussian_log_prob((point[None] - centres) / self.scale), axis=-1)
            return jax.nn.logsumexp(terms + log_weights) - 2 * math.log(self.scale)

        return jax.lax.map(log_prob_of, z, batch_size=_POINTS_AT_ONCE)

    def _spiral(self, t: Array) -> Array:
        return self.radius * t[:, None] * jnp.stack(_direction(self.num_turns * t), axis=-1)

    def _quadrature(self) -> tuple[np.ndarray, np.ndarray]:
        """Nodes t and weights for ∫₀¹ f(t) 2t dt."""
        fastest = self.radius * math.hypot(1.0, 2 * math.pi * self.num_turns)  # |dc/dt| at the outer end
        panels = math.ceil(fastest / (_PANEL_LENGTH * self.scale))
        nodes, weights = np.polynomial.legendre.leggauss(_PANEL_NODES)
        t = (np.arange(panels)[:, None] + (nodes[None] + 1) / 2).ravel() / panels
        return t, np.tile(weights / 2, panels) / panels * 2 * t


def _classes(key: Array, num_classes: int, num_samples: int, label: Array | int | None) -> Array:
    """Return classes of shape (num_samples,): the labels, or draws where there are none."""
    check_at_least("num_samples", num_samples, 1)
    if label is None:
        return jax.random.randint(key, (num_samples,), 0, num_classes)
    (one_hot,) = condition_inputs(label, num_classes, num_samples)
    return jnp.argmax(one_hot, axis=-1)


def _direction(turns: Array) -> tuple[Array, Array]:
    """Cosine and sine of an angle given in full turns."""
    return jnp.cos(2 * np.pi * turns), jnp.sin(2 * np.pi * turns)
