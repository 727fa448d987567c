"""A density of data for every class is a classifier.

Of a model with exact log p(x | y) for each of C classes, Bayes' rule makes

    log p(y | x) = log p(x | y) + log p(y) − log Σ_y' p(x | y') p(y'),                                            (1)

and of a model of masses P(x | y) alike. Nothing is trained for it: the accuracy tells how much of the class the density
sees.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from genjax.capabilities import HasLogProb, num_classes, supports
from genjax.core import Array, Variables


def label_log_posterior(model: Any, variables: Variables, x: Array, log_prior: Array | None = None) -> Array:
    """Return log p(y | x) of every class: equation 1.

    Classes are taken one after the other, in memory for one of them; compile it with ``jit``.

    Args:
      model: has an exact ``log_prob`` that takes ``label``, and ``num_classes``, C.
      variables: the model's.
      x: data, (B, ...).
      log_prior: log p(y), up to a constant, (C,); None for classes that are equally likely.

    Returns:
      Nats, (B, C); rows of exp sum to 1. NaN where the density is zero under every class.

    Raises:
      ValueError: for a model that has no exact density for every class, or a prior of another shape.

    >>> from genjax import flow
    >>> model = flow.Flow(shape=(2,), bijection=flow.Elementwise(flow.Affine()), num_classes=4)
    >>> batch = {"x": jnp.zeros((3, 2)), "label": jnp.array([0, 1, 3])}
    >>> variables = model.init(jax.random.key(0), batch)  # all classes are alike
    >>> jnp.exp(label_log_posterior(model, variables, batch["x"])[0]).tolist()
    [0.25, 0.25, 0.25, 0.25]
    """
    obstacle = no_label_posterior(model)
    if obstacle is not None:
        raise ValueError(f"{obstacle}; only exact densities of every class give a posterior of labels")
    classes = num_classes(model)
    assert classes is not None
    if log_prior is not None and log_prior.shape != (classes,):
        raise ValueError(f"log_prior has shape {log_prior.shape}, but num_classes={classes} needs ({classes},)")

    def log_prob(label: Array) -> Array:
        return model.log_prob(variables, x, label=jnp.full(len(x), label))

    log_joint = jax.lax.map(log_prob, jnp.arange(classes, dtype=jnp.int32)).T
    if log_prior is not None:
        log_joint = log_joint + log_prior[None]
    return jax.nn.log_softmax(log_joint, axis=-1)


def label_scores(log_posterior: Array, label: Array) -> tuple[Array, Array]:
    """Compare posteriors of labels with the true ones.

    Args:
      log_posterior: log p(y | x), (B, C).
      label: integers (B,).

    Returns:
      Whether the true label is the most probable one, 0.0 or 1.0, and −log p(label | x), nats; (B,) each. Where the
      posterior is NaN the label is missed.

    >>> correct, nats = label_scores(jnp.log(jnp.array([[0.75, 0.25], [0.75, 0.25]])), jnp.array([0, 1]))
    >>> correct.tolist(), jnp.exp(-nats).tolist()
    ([1.0, 0.0], [0.75, 0.25])
    """
    truth = jnp.take_along_axis(log_posterior, label[:, None].astype(jnp.int32), axis=1)[:, 0]
    correct = (jnp.argmax(log_posterior, axis=1) == label) & ~jnp.isnan(truth)
    return correct.astype(jnp.float32), -truth


def no_label_posterior(model: object) -> str | None:
    """Return why a model has no p(y | x) by Bayes' rule; None where it has."""
    name = type(model).__name__
    if not supports(model, HasLogProb):
        return f"{name} has no exact log_prob"
    if num_classes(model) is None:
        return f"{name} is unconditional"
    return None
