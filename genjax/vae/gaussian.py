"""What the networks of autoencoders end in: the moments of Gaussian codes, and what a likelihood takes."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from genjax.core import Array
from genjax.nets import Net, NetSpec
from genjax.ops import Likelihood, at_least_float32, clip_straight_through

LOG_VAR_BOUND = 20.0  # variances from 2e-9 to 5e8, whose products and quotients are far inside float32


def moments(outputs: Array) -> tuple[Array, Array]:
    """Means and log-variances, bounded to [-20, 20], from outputs (..., 2 D) of an encoder; (..., D) each."""
    mean, log_var = jnp.split(at_least_float32(outputs), 2, axis=-1)
    return mean, clip_straight_through(log_var, -LOG_VAR_BOUND, LOG_VAR_BOUND)


def reparameterized(mean: Array, log_var: Array, noise: Array) -> Array:
    """The draw m + √v ε of N(m, v) that standard normal noise ε makes."""
    return mean + jnp.exp(0.5 * log_var) * noise


def gaussian_draw(key: Array, mean: Array, log_var: Array) -> Array:
    """One draw of N(m, v) for each of the means."""
    return reparameterized(mean, log_var, jax.random.normal(key, mean.shape, mean.dtype))


def decoder_part(net: Net, arguments: tuple[Array, ...], likelihood: Likelihood, x: Array) -> NetSpec:
    """A network that gives what the likelihood of x (B, ..., C) takes: (B, ..., C * likelihood.num_outputs)."""
    shape = (*x.shape[:-1], x.shape[-1] * likelihood.num_outputs)
    return NetSpec(net, arguments, shape, f"{likelihood} for x of shape {x.shape}")
