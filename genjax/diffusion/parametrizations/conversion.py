"""Conversion of a network's output between parametrizations."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from genjax.core import Array
from genjax.diffusion.parametrizations.base import Parametrization
from genjax.diffusion.processes import NoiseProcess, level_at


def convert(
    process: NoiseProcess, t: Array, x: Array, value: Array, *, source: Parametrization, target: Parametrization
) -> Array:
    """Convert a network's output from one parametrization to another.

    Args:
      process: noise process.
      t: time, () or (B,).
      x: x_t, (B, ...).
      value: q in the ``source`` parametrization, (B, ...).
      source: parametrization of ``value``.
      target: parametrization of the result.

    Returns:
      q in the ``target`` parametrization, (B, ...). Where α or σ is 0 it is the exact limit if that exists;
      otherwise compiled functions return NaN or infinity.

    Raises:
      ValueError: if ``value`` does not determine the result, outside of compiled functions.
    """
    converted = target.target(process, t, source.predict(process, t, x, value))
    if not isinstance(converted, Tracer) and not np.all(np.isfinite(converted)) and np.all(np.isfinite(value)):
        level = level_at(process, jnp.asarray(t, jnp.float32))
        raise ValueError(
            f"{type(source).__name__} does not determine {type(target).__name__} where alpha is "
            f"{np.min(level.alpha):.3g} and sigma is {np.min(level.sigma):.3g}: keep times between {process.start} and "
            f"{process.end}, away from alpha = 0 and sigma = 0, or predict Velocity"
        )
    return converted
