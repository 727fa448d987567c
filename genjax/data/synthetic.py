"""Synthetic densities in two dimensions, with samples, exact log-densities and entropies.

For x in the plane, all in nats:

* ``GaussianGrid``, ``GaussianRing``: p(x) = 1/K ∑_k N(x; μ_k, σ² I). If modes lie far apart, H = ln K + ln(2πe σ²).
* ``Checkerboard``: uniform on the dark squares of a board, H = ln(area).
* ``TwoMoons``: p(x) = 1/2 ∑_m 1/π ∫_0^π N(x; c_m(t), σ² I) dt along two half circles c_m.
* ``Circles``: circles of radii R_k blurred by N(0, σ² I); the integral over the circle is a Bessel function,
  p(x) = 1/K ∑_k exp(-(|x|² + R_k²) / 2σ²) I_0(|x| R_k / σ²) / 2πσ².
* ``Pinwheel``: Gaussian petals twisted by the angle α |x|. A twist preserves area, so H is that of the petals.

Other entropies are H = -∫ p(x) ln p(x) dx by the trapezoidal rule: for a density as smooth as a Gaussian of standard
deviation σ, nodes σ / 2 apart make an error far below that of float32.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass, replace
from typing import Annotated, Protocol, final, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge

from genjax.arguments import Cure, NonNegativeInt, PositiveFloat, PositiveInt, check_arguments
from genjax.core import Array
from genjax.data.dataset import Dataset
from genjax.data.deferred import opens_dataset
from genjax.data.source import ArraySource
from genjax.ops import gaussian_log_prob

_BLOCK = 2**13  # points of a quadrature evaluated at once, which bounds the memory
_FAR = 12.0  # modes this many standard deviations apart overlap by less than 1e-7 nats


@runtime_checkable
class Density(Protocol):
    """A normalized density in the plane."""

    @property
    def name(self) -> str:
        """Return the name in reports."""
        ...

    @property
    def entropy(self) -> float:
        """Return the differential entropy -E[log p(x)] in nats: the lowest loss that any model can reach."""
        ...

    def sample(self, key: Array, num_samples: int) -> Array:
        """Draw points, float32, shape (num_samples, 2)."""
        ...

    def log_prob(self, x: Array) -> Array:
        """Return log p(x) in nats, shape (N,), of points (N, 2)."""
        ...


@opens_dataset
def dataset(
    density: Density,
    key: Array,
    *,
    num_train: PositiveInt = 50_000,
    num_validation: NonNegativeInt = 0,
    num_test: NonNegativeInt = 10_000,
) -> Dataset:
    """Draw a data set of independent points ``x``, shape (2,).

    >>> data = dataset(GaussianGrid(), jax.random.key(0), num_train=100, num_test=20)
    >>> data.name, {name: len(source) for name, source in data.splits.items()}
    ('gaussians_25', {'train': 100, 'test': 20})
    """
    sizes = {"train": num_train, "validation": num_validation, "test": num_test}
    x = np.asarray(density.sample(key, sum(sizes.values())))
    ends = np.cumsum(list(sizes.values()))[:-1]
    parts = dict(zip(sizes, np.split(x, ends), strict=True))
    splits = {name: ArraySource({"x": part}) for name, part in parts.items() if len(part)}
    return Dataset(name=density.name, splits=splits)


@check_arguments
@final
@dataclass(frozen=True, kw_only=True)
class GaussianGrid:
    """Equal Gaussians on a square grid around the origin; the default is the "25 Gaussians" of the GAN literature.

    Attributes:
      size: number of modes along each side.
      spacing: distance of adjacent modes.
      scale: standard deviation σ of each mode.

    >>> round(GaussianGrid().entropy, 3)
    0.065
    """

    size: PositiveInt = 5
    spacing: PositiveFloat = 2.0
    scale: PositiveFloat = 0.05

    @property
    def name(self) -> str:
        """See ``Density``."""
        return f"gaussians_{self.size**2}"

    @property
    def modes(self) -> np.ndarray:
        """Return the centers of the modes, shape (size², 2)."""
        line = self.spacing * (np.arange(self.size) - (self.size - 1) / 2)
        return np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2).astype(np.float32)

    @property
    def entropy(self) -> float:
        """See ``Density``."""
        return _mixture_entropy(self, self.spacing)

    def sample(self, key: Array, num_samples: int) -> Array:
        """See ``Density``."""
        return _mixture_sample(key, num_samples, self.modes, self.scale)

    def log_prob(self, x: Array) -> Array:
        """See ``Density``."""
        return _mixture_log_prob(x, self.modes, self.scale)


@check_arguments
@final
@dataclass(frozen=True, kw_only=True)
class GaussianRing:
    """Equal Gaussians, evenly spaced on a circle around the origin.

    Attributes:
      num_modes: number of Gaussians.
      radius: radius of the circle.
      scale: standard deviation σ of each mode.

    >>> round(GaussianRing().entropy, 3)
    -2.907
    """

    num_modes: PositiveInt = 8
    radius: PositiveFloat = 2.0
    scale: PositiveFloat = 0.02

    @property
    def name(self) -> str:
        """See ``Density``."""
        return f"ring_{self.num_modes}"

    @property
    def modes(self) -> np.ndarray:
        """Return the centers of the modes, shape (num_modes, 2)."""
        angle = 2 * np.pi * np.arange(self.num_modes) / self.num_modes
        return (self.radius * np.stack([np.cos(angle), np.sin(angle)], axis=-1)).astype(np.float32)

    @property
    def entropy(self) -> float:
        """See ``Density``."""
        # A single mode has no neighbour, for which this formula would give 0.
        distance = 2 * self.radius * math.sin(math.pi / self.num_modes) if self.num_modes > 1 else math.inf
        return _mixture_entropy(self, distance)

    def sample(self, key: Array, num_samples: int) -> Array:
        """See ``Density``."""
        return _mixture_sample(key, num_samples, self.modes, self.scale)

    def log_prob(self, x: Array) -> Array:
        """See ``Density``."""
        return _mixture_log_prob(x, self.modes, self.scale)


@check_arguments
@final
@dataclass(frozen=True, kw_only=True)
class Checkerboard:
    """The uniform density on every second square of a board around the origin.

    Attributes:
      size: number of squares along each side of the board, even.
      side: side length of a square.

    >>> round(Checkerboard().entropy, 3)
    3.466
    """

    size: PositiveInt = 4
    side: PositiveFloat = 2.0
    name = "checkerboard"

    def __post_init__(self) -> None:
        if self.size % 2:
            raise ValueError(f"size is {self.size}, but must be even")

    @property
    def entropy(self) -> float:
        """See ``Density``."""
        return math.log(self.size**2 / 2 * self.side**2)

    def sample(self, key: Array, num_samples: int) -> Array:
        """See ``Density``."""
        square_key, place_key = jax.random.split(key)
        square = jax.random.randint(square_key, (num_samples,), 0, self.size**2 // 2)
        row, half = jnp.divmod(square, self.size // 2)
        corner = jnp.stack([2 * half + row % 2, row], axis=-1)
        return self.side * (corner + jax.random.uniform(place_key, (num_samples, 2)) - self.size / 2)

    def log_prob(self, x: Array) -> Array:
        """See ``Density``; -inf outside the dark squares."""
        square = jnp.floor(x / self.side + self.size / 2).astype(jnp.int32)
        on_board = jnp.all((square >= 0) & (square < self.size), axis=-1)
        dark = jnp.sum(square, axis=-1) % 2 == 0
        return jnp.where(on_board & dark, -self.entropy, -jnp.inf)


@check_arguments
@final
@dataclass(frozen=True, kw_only=True)
class TwoMoons:
    """Two interleaved half circles of radius 1 with Gaussian noise, as in scikit-learn's ``make_moons``.

    The upper one is (cos t, sin t), the lower (1 - cos t, 1/2 - sin t), with t uniform on [0, π].

    Attributes:
      scale: standard deviation σ of the noise, at least 0.01.
    """

    scale: Annotated[float, Ge(0.01), Cure(", for the quadrature along the arcs")] = 0.1
    name = "two_moons"

    @property
    def entropy(self) -> float:
        """See ``Density``."""
        return _entropy_on_grid(self, (-1.0, -0.5), (2.0, 1.0), self.scale)

    def sample(self, key: Array, num_samples: int) -> Array:
        """See ``Density``."""
        moon_key, arc_key, noise_key = jax.random.split(key, 3)
        lower = jax.random.bernoulli(moon_key, shape=(num_samples, 1))
        t = jax.random.uniform(arc_key, (num_samples,), maxval=np.pi)
        upper_arc, lower_arc = _moons(t)
        noise = self.scale * jax.random.normal(noise_key, (num_samples, 2))
        return jnp.where(lower, lower_arc, upper_arc) + noise

    def log_prob(self, x: Array) -> Array:
        """See ``Density``."""
        # Gauss-Legendre along the arc; nodes at most 0.6 σ apart leave an error far below float32's.
        nodes, weights = np.polynomial.legendre.leggauss(math.ceil(8.0 / self.scale))
        arcs = jnp.concatenate(_moons(jnp.asarray(np.pi / 2 * (nodes + 1), jnp.float32)))
        log_weights = jnp.asarray(np.log(np.tile(weights, 2) / 4), jnp.float32)
        terms = log_weights[None] + _log_normal(x[:, None, :] - arcs[None, :, :], self.scale)
        return jax.scipy.special.logsumexp(terms, axis=1)


@check_arguments
@final
@dataclass(frozen=True, kw_only=True)
class Circles:
    """Concentric circles around the origin with Gaussian noise.

    Attributes:
      radii: radii of the circles, all equally likely.
      scale: standard deviation σ of the noise.
    """

    radii: tuple[PositiveFloat, ...] = (1.0, 2.0)
    scale: PositiveFloat = 0.1
    name = "circles"

    def __post_init__(self) -> None:
        if not self.radii:
            raise ValueError("radii is (), but must be at least one radius")

    @property
    def entropy(self) -> float:
        """See ``Density``."""
        return _radial_entropy(self, max(self.radii), self.scale)

    def sample(self, key: Array, num_samples: int) -> Array:
        """See ``Density``."""
        radius_key, angle_key, noise_key = jax.random.split(key, 3)
        radius = jax.random.choice(radius_key, jnp.asarray(self.radii), (num_samples, 1))
        angle = jax.random.uniform(angle_key, (num_samples,), maxval=2 * np.pi)
        noise = self.scale * jax.random.normal(noise_key, (num_samples, 2))
        return radius * jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=-1) + noise

    def log_prob(self, x: Array) -> Array:
        """See ``Density``."""
        r, radii = jnp.linalg.norm(x, axis=-1)[:, None], jnp.asarray(self.radii)[None, :]
        bessel = jnp.log(jax.scipy.special.i0e(r * radii / self.scale**2))
        log_gaussian = -((r - radii) ** 2) / (2 * self.scale**2) - math.log(2 * math.pi * self.scale**2)
        return jax.scipy.special.logsumexp(log_gaussian + bessel, axis=1) - math.log(len(self.radii))


@check_arguments
@final
@dataclass(frozen=True, kw_only=True)
class Pinwheel:
    """Gaussian petals around the origin, twisted into spiral arms.

    A petal is a Gaussian centered at distance 1 from the origin; the twist rotates the point x by ``rate`` · |x|.

    Attributes:
      num_arms: number of petals.
      radial_scale: standard deviation of a petal along the radius, before the twist.
      tangential_scale: standard deviation of a petal perpendicular to the radius, before the twist.
      rate: twist in radians per unit of distance.
    """

    num_arms: PositiveInt = 5
    radial_scale: PositiveFloat = 0.3
    tangential_scale: PositiveFloat = 0.05
    rate: float = 1.5
    name = "pinwheel"

    @property
    def entropy(self) -> float:
        """See ``Density``."""
        untwisted = replace(self, rate=0.0)
        narrow, wide = sorted((self.radial_scale, self.tangential_scale))
        reach = 1.0 + 8 * (wide - narrow)
        return _entropy_on_grid(untwisted, (-reach, -reach), (reach, reach), narrow)

    def sample(self, key: Array, num_samples: int) -> Array:
        """See ``Density``."""
        arm_key, noise_key = jax.random.split(key)
        angle = 2 * np.pi / self.num_arms * jax.random.randint(arm_key, (num_samples,), 0, self.num_arms)
        petal = jax.random.normal(noise_key, (num_samples, 2)) * self._scales + jnp.array([[1.0, 0.0]])
        return _rotate(petal, angle + self.rate * jnp.linalg.norm(petal, axis=-1))

    def log_prob(self, x: Array) -> Array:
        """See ``Density``."""
        angles = 2 * np.pi / self.num_arms * np.arange(self.num_arms, dtype=np.float32)
        untwisted = _rotate(x, -self.rate * jnp.linalg.norm(x, axis=-1))
        petals = jax.vmap(lambda angle: _rotate(untwisted, jnp.broadcast_to(-angle, x.shape[:1])))(jnp.asarray(angles))
        z = (petals - jnp.array([1.0, 0.0])[None, None, :]) / self._scales[None]
        log_volume = math.log(self.radial_scale * self.tangential_scale * self.num_arms)
        return jax.scipy.special.logsumexp(jnp.sum(gaussian_log_prob(z), axis=-1), axis=0) - log_volume

    @property
    def _scales(self) -> Array:
        return jnp.array([[self.radial_scale, self.tangential_scale]])


def _moons(t: Array) -> tuple[Array, Array]:
    upper = jnp.stack([jnp.cos(t), jnp.sin(t)], axis=-1)
    return upper, jnp.array([[1.0, 0.5]]) - upper


def _rotate(x: Array, angle: Array) -> Array:
    """Rotate points (N, 2) by angles (N,)."""
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return jnp.stack([cos * x[:, 0] - sin * x[:, 1], sin * x[:, 0] + cos * x[:, 1]], axis=-1)


def _log_normal(difference: Array, scale: float) -> Array:
    return jnp.sum(gaussian_log_prob(difference / scale), axis=-1) - 2 * math.log(scale)


def _mixture_sample(key: Array, num_samples: int, modes: np.ndarray, scale: float) -> Array:
    mode_key, noise_key = jax.random.split(key)
    center = jnp.asarray(modes)[jax.random.randint(mode_key, (num_samples,), 0, len(modes))]
    return center + scale * jax.random.normal(noise_key, (num_samples, 2))


def _mixture_log_prob(x: Array, modes: np.ndarray, scale: float) -> Array:
    terms = _log_normal(x[:, None, :] - jnp.asarray(modes)[None, :, :], scale)
    return jax.scipy.special.logsumexp(terms, axis=1) - math.log(len(modes))


def _mixture_entropy(density: GaussianGrid | GaussianRing, distance: float) -> float:
    if distance > _FAR * density.scale or len(density.modes) == 1:
        return math.log(len(density.modes)) + math.log(2 * math.pi * math.e * density.scale**2)
    low, high = density.modes.min(axis=0), density.modes.max(axis=0)
    return _entropy_on_grid(density, (low[0], low[1]), (high[0], high[1]), density.scale)


@functools.lru_cache(maxsize=64)
def _entropy_on_grid(density: Density, low: tuple[float, float], high: tuple[float, float], scale: float) -> float:
    """Return the entropy in nats of a density that is smooth at ``scale`` and vanishes 8 scales outside a box."""
    axes = [np.arange(a - 8 * scale, b + 8 * scale, scale / 2) for a, b in zip(low, high, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    log_prob = _log_prob_in_blocks(density, grid)
    return float(-np.sum(np.exp(log_prob) * log_prob) * (scale / 2) ** 2)


@functools.lru_cache(maxsize=64)
def _radial_entropy(density: Density, radius: float, scale: float) -> float:
    """Return the entropy in nats of a rotationally symmetric density that vanishes 8 scales outside ``radius``."""
    r = np.arange(0.0, radius + 8 * scale, scale / 64)
    log_prob = _log_prob_in_blocks(density, np.stack([r, np.zeros_like(r)], axis=-1))
    return float(np.trapezoid(-2 * np.pi * r * np.exp(log_prob) * log_prob, r))


def _log_prob_in_blocks(density: Density, x: np.ndarray) -> np.ndarray:
    padded = np.pad(x.astype(np.float32), ((0, -len(x) % _BLOCK), (0, 0)))
    log_prob = jax.jit(density.log_prob)
    with jax.ensure_compile_time_eval():  # entropies are constants, even inside traced functions
        blocks = [np.asarray(log_prob(jnp.asarray(b)), np.float64) for b in padded.reshape(-1, _BLOCK, 2)]
    return np.concatenate(blocks)[: len(x)]


DENSITIES: dict[str, Density] = {
    density.name: density
    for density in (GaussianGrid(), GaussianRing(), Checkerboard(), TwoMoons(), Circles(), Pinwheel())
}
