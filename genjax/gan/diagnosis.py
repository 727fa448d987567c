"""Cheap indicators of failed GAN training: mode collapse, a constant discriminator, a vanished gradient.

For data x₁ … x_N and y₁ … y_N, samples x̃₁ … x̃_N, discriminator outputs D and the generator's loss L_G on a minibatch:

* the coverage is the number of x that are the nearest neighbor of some sample, over the number that are the nearest
  neighbor of some y: 1 if samples are distributed as data, and near 0 if all samples are equal;                (1)
* the standard deviation of D over y and x̃ together is zero if the discriminator is constant;
* the gradient norm of the generator's loss, in units of the spread of data and of D,

      √(E ‖N ∂L_G / ∂x̃‖² · E ‖y − ȳ‖²) / sd(D),                                                                (2)

  is how far the loss falls when a sample moves by the width of the data. It vanishes where D is flat around the
  samples, or where L_G saturates because D is certain.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from genjax.core import Array, Metrics
from genjax.ops import sum_except_batch


def gan_diagnosis(
    objective: Callable[[Array], tuple[Array, Array]], reference: Array, data: Array, samples: Array
) -> Metrics:
    """Return ``coverage`` (1), ``discriminator_std`` and ``generator_gradient`` (2), scalars.

    Args:
      objective: function from samples (N, ...) to the generator's loss, and D (M,) for data and samples.
      reference: x, (N, ...).
      data: y, (N, ...).
      samples: x̃, (N, ...).
    """
    (_, outputs), gradients = jax.value_and_grad(objective, has_aux=True)(samples)
    std = jnp.std(outputs)
    variance = jnp.sum(jnp.var(data, axis=0))
    gradient_norm = jnp.sqrt(jnp.mean(sum_except_batch(jnp.square(samples.shape[0] * gradients))) * variance)
    varies = std > 0
    return {
        "coverage": num_nearest(reference, samples) / num_nearest(reference, data),  # equation 1
        "discriminator_std": std,
        "generator_gradient": jnp.where(varies, gradient_norm / jnp.where(varies, std, 1.0), 0.0),  # equation 2
    }


def num_nearest(reference: Array, x: Array) -> Array:
    """Return how many of the reference points (N, ...) are the nearest neighbor of some x (M, ...), float32.

    >>> num_nearest(jnp.array([[0.0], [1.0], [5.0]]), jnp.array([[0.9], [1.2], [9.0]])).item()
    2.0
    """
    reference, x = (points.reshape(points.shape[0], -1).astype(jnp.float32) for points in (reference, x))
    # |x|² does not change which point is nearest.
    distances = jnp.sum(jnp.square(reference), axis=-1)[None] - 2 * x @ reference.T
    nearest = jnp.argmin(distances, axis=-1)
    return jnp.sum(jnp.zeros(reference.shape[0]).at[nearest].set(1.0))
