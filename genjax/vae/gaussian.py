"""Outputs of an autoencoder's networks: moments of Gaussian codes, and parameters of the likelihood.

A draw from N(m, diag v) is reparameterized as a function of noise,

    z = m + √v ε,        ε ~ N(0, I),                                                                            (1)

so that it has gradients in m and v (Diederik Kingma and Max Welling 2014, arXiv:1312.6114, section 2.4).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from genjax.core import Array
from genjax.nets import Net, NetSpec
from genjax.ops import Likelihood, at_least_float32, clip_straight_through

MAX_LOG_VAR = 20.0  # variances from 2e-9 to 5e8, whose products and quotients are well within float32

GaussianParams = tuple[Array, Array]  # means and log-variances


def split_moments(outputs: Array) -> GaussianParams:
    """Return means and log-variances, (..., D) each, from an encoder's outputs (..., 2 D).

    Log-variances are clipped to [-20, 20], with straight-through gradients.
    """
    mean, log_var = jnp.split(at_least_float32(outputs), 2, axis=-1)
    return mean, clip_straight_through(log_var, -MAX_LOG_VAR, MAX_LOG_VAR)


def reparameterize(mean: Array, log_var: Array, noise: Array) -> Array:
    """Return m + √v ε, equation 1, for standard normal noise ε."""
    return mean + jnp.exp(0.5 * log_var) * noise


def standardize(mean: Array, log_var: Array, z: Array) -> Array:
    """Return the noise of a draw, (z − m) / √v, the inverse of equation 1."""
    return (z - mean) * jnp.exp(-0.5 * log_var)


def sample_gaussian(key: Array, mean: Array, log_var: Array) -> Array:
    """Draw one reparameterized sample of N(m, diag v), the shape of the means."""
    return reparameterize(mean, log_var, jax.random.normal(key, mean.shape, mean.dtype))


def decoder_spec(net: Net, arguments: tuple[Array, ...], likelihood: Likelihood, x: Array) -> NetSpec:
    """Return the spec of a decoder of data x (B, ..., C): outputs are (B, ..., C * likelihood.num_outputs)."""
    shape = (*x.shape[:-1], x.shape[-1] * likelihood.num_outputs)
    return NetSpec(net, arguments, shape, f"{likelihood} for x of shape {x.shape}")
