"""Logistic losses of adversarial training, from the logits a of a discriminator D(x) = σ(a(x)).

    real:  −log σ(a) = softplus(−a)        fake:  −log(1 − σ(a)) = softplus(a)                                    (1)

A discriminator minimizes the mean of the first over real examples plus that of the second over fake ones, a
cross-entropy with the minimum 2 log 2 − 2 JS, JS being the Jensen–Shannon divergence of the two distributions. A
generator maximizes the fake loss of its samples (minimax), or minimizes their real loss (non-saturating), whose
gradient does not vanish where the discriminator is certain.

Ian Goodfellow et al. 2014, arXiv:1406.2661, equation 1 and section 3.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from genjax.core import Array


def logistic_real_loss(logits: Array) -> Array:
    """Return −log σ(a), the loss of classifying each example as real; nats, the shape of ``logits``.

    >>> [round(loss, 4) for loss in logistic_real_loss(jnp.array([0.0, 2.0])).tolist()]  # log 2, log(1 + e⁻²)
    [0.6931, 0.1269]
    """
    return jax.nn.softplus(-logits)


def logistic_fake_loss(logits: Array) -> Array:
    """Return −log(1 − σ(a)), the loss of classifying each example as fake; nats, the shape of ``logits``.

    >>> [round(loss, 4) for loss in logistic_fake_loss(jnp.array([0.0, 2.0])).tolist()]  # log 2, log(1 + e²)
    [0.6931, 2.1269]
    """
    return jax.nn.softplus(logits)


def discriminator_accuracy(real_logits: Array, fake_logits: Array) -> Array:
    """Return the share of examples that a discriminator classifies correctly, real and fake weighted equally; ().

    A logit of zero counts as an error.

    >>> discriminator_accuracy(jnp.array([1.0, 2.0]), jnp.array([-1.0, 3.0])).item()
    0.75
    """
    return 0.5 * (jnp.mean(real_logits > 0) + jnp.mean(fake_logits < 0))
