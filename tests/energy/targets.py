"""Two-dimensional densities whose moments a grid gives."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np


def skewed(x):
    """A density with a long tail: x₀ is the logarithm of a Gamma variable, and x₁ depends on it."""
    return 2 * x[:, 0] - jnp.exp(x[:, 0]) - 0.5 * jnp.square(x[:, 1] - 0.5 * jnp.square(x[:, 0]))


def correlated(x):
    """A Gaussian with correlation 0.9."""
    return -0.5 * (jnp.square(x[:, 0]) - 1.8 * x[:, 0] * x[:, 1] + jnp.square(x[:, 1])) / (1 - 0.81)


def bimodal(x):
    """Two Gaussians of unequal weights, near enough for local kernels to cross."""
    log_weights = jnp.log(jnp.array([0.3, 0.7]))
    centers = jnp.array([[-1.5, 0.0], [1.0, 0.5]])
    squares = jnp.sum(jnp.square(x[:, None] - centers[None]), axis=-1)
    return jax.nn.logsumexp(log_weights[None] - 0.5 * squares, axis=1)


def grid(limit: float = 12.0, size: int = 1201) -> np.ndarray:
    """Points of a square grid, (size², 2)."""
    line = np.linspace(-limit, limit, size, dtype=np.float32)
    return np.stack(np.meshgrid(line, line, indexing="ij"), axis=-1).reshape(-1, 2)


def moments(log_density) -> tuple[np.ndarray, np.ndarray]:
    """Means of (x₀, x₁, x₀², x₁², x₀ x₁) and their variances under the density, by a sum over the grid."""
    points = grid()
    log_p = np.asarray(log_density(jnp.asarray(points)), np.float64)
    p = np.exp(log_p - log_p.max())
    p /= p.sum()
    values = features(points.astype(np.float64))
    mean = p @ values
    return mean, p @ np.square(values - mean)


def features(x):
    """The functions (x₀, x₁, x₀², x₁², x₀ x₁) of points (..., 2)."""
    a, b = x[..., 0], x[..., 1]
    return np.stack([a, b, a**2, b**2, a * b], axis=-1)
