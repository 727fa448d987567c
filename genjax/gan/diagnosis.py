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
from genjax.ops.distances import num_nearest


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
