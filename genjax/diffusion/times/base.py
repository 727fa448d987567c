"""Time distributions of training.

A distribution is given by its quantile function, so that the times of a minibatch can be stratified. A non-uniform
distribution weights times as a weighting does, with less variance of the gradient.
"""

from __future__ import annotations

from typing import Protocol

import jax
import jax.numpy as jnp

from genjax.core import Array
from genjax.diffusion.processes import NoiseProcess


class TimeDistribution(Protocol):
    """Distribution of the times at which the denoiser is trained."""

    def quantile(self, process: NoiseProcess, u: Array) -> Array:
        """Return times between the process's start and end for u in [0, 1), monotone in u."""
        ...


def stratified(key: Array, num: int) -> Array:
    """Draw evenly spaced numbers in [0, 1) with one random offset, (num,), each uniform.

    Kingma et al. 2021, arXiv:2107.00630, appendix I.1.

    >>> u = stratified(jax.random.key(0), 4)
    >>> jnp.sort(jnp.floor(4 * u)).tolist()
    [0.0, 1.0, 2.0, 3.0]
    """
    return jnp.mod(jax.random.uniform(key) + jnp.arange(num) / num, 1.0)


def clip_to_process(process: NoiseProcess, t: Array) -> Array:
    """Clip times to the process's start and end."""
    return jnp.clip(t, process.start, process.end)
