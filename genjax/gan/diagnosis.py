"""Cheap signs that a game has ended badly: collapse, a dead discriminator, a vanished gradient.

Of data x₁ … x_N and y₁ … y_N, samples x̃₁ … x̃_N, outputs D and the generator's loss L_G of a minibatch:

* the reach of samples is how many of x are nearest to some sample, over how many are nearest to some y: 1 where samples
  are distributed as data are, and 0 where all are the same;                                                     (1)
* a discriminator is dead where the standard deviation of D over y and x̃ together is zero;
* the slope of the generator's loss, between the units of data and those of D,

      √(E ‖N ∂L_G / ∂x̃‖² · E ‖y − ȳ‖²) / sd(D),                                                                (2)

  is how far the loss falls when a sample moves as far as data are wide. It vanishes where D is flat around samples, or
  L_G is flat where D is sure.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from genjax.core import Array, Metrics


def diagnosis(judge: Callable[[Array], tuple[Array, Array]], reference: Array, data: Array, samples: Array) -> Metrics:
    """Return ``reached`` (1), ``output_deviation`` and ``slope`` (2).

    Args:
      judge: from samples (N, ...) to the generator's loss, and the discriminator's outputs of data and samples, (M,).
      reference: x, (N, ...).
      data: y, (N, ...).
      samples: x̃, (N, ...).
    """
    (_, outputs), gradients = jax.value_and_grad(judge, has_aux=True)(samples)
    deviation = jnp.std(outputs)
    width = jnp.sum(jnp.var(data, axis=0))
    steepness = jnp.sqrt(jnp.mean(_squared_norm(len(samples) * gradients)) * width)
    alive = deviation > 0
    return {
        "reached": num_nearest(reference, samples) / num_nearest(reference, data),  # equation 1
        "output_deviation": deviation,
        "slope": jnp.where(alive, steepness / jnp.where(alive, deviation, 1.0), 0.0),  # equation 2
    }


def num_nearest(reference: Array, x: Array) -> Array:
    """Return how many of the points (N, ...) are the nearest one of some x (M, ...), float32.

    >>> num_nearest(jnp.array([[0.0], [1.0], [5.0]]), jnp.array([[0.9], [1.2], [9.0]])).item()
    2.0
    """
    reference, x = (points.reshape(len(points), -1).astype(jnp.float32) for points in (reference, x))
    # |x|² does not change which is the nearest.
    squared = jnp.sum(jnp.square(reference), axis=-1)[None] - 2 * x @ reference.T
    nearest = jnp.argmin(squared, axis=-1)
    return jnp.sum(jnp.zeros(len(reference)).at[nearest].set(1.0))


def _squared_norm(x: Array) -> Array:
    return jnp.sum(jnp.square(x), axis=range(1, x.ndim))
