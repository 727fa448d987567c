"""Diagonal Gaussians: log-density and Kullback-Leibler divergence.

For one-dimensional Gaussians q = N(m, v) and p = N(m₀, v₀),

    KL(q ‖ p) = ½ (v / v₀ + (m − m₀)² / v₀ − 1 − log(v / v₀)),

and for diagonal Gaussians it is the sum over dimensions (Kingma & Welling 2014, arXiv:1312.6114, appendix B).
"""

from __future__ import annotations

import math

import jax.numpy as jnp

from genjax.core import Array
from genjax.ops.arrays import at_least_float32


def gaussian_kl(
    mean: Array, log_var: Array, prior_mean: Array | float = 0.0, prior_log_var: Array | float = 0.0
) -> Array:
    """Return KL(N(mean, exp(log_var)) ‖ N(prior_mean, exp(prior_log_var))) in nats, one number per dimension.

    Means and log-variances have one shape, those of the prior p may be scalars; the default p is the standard normal.
    Sum over the last axis for the divergence of vectors.

    >>> gaussian_kl(jnp.array([1.0, 0.0]), jnp.zeros(2)).tolist()
    [0.5, 0.0]
    """
    log_ratio = log_var - prior_log_var
    distance = jnp.square(mean - prior_mean) * jnp.exp(-jnp.asarray(prior_log_var))
    # expm1 keeps the digits of posteriors close to their prior, where most dimensions of a VAE lie.
    return 0.5 * (jnp.expm1(log_ratio) - log_ratio + distance)


def gaussian_log_prob(x: Array, mean: Array | float = 0.0, log_var: Array | float = 0.0) -> Array:
    """Return the log-density of N(mean, exp(log_var)) at x in nats, one number per dimension, float32 or wider.

    >>> round(float(gaussian_log_prob(jnp.float32(1.0))), 4)  # -(1 + ln 2π) / 2
    -1.4189
    """
    log_var = jnp.asarray(log_var)
    residual = at_least_float32(x - mean)
    return -0.5 * (jnp.square(residual) * jnp.exp(-log_var) + log_var + math.log(2 * math.pi))
