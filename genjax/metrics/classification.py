"""Classify with a generative model: by its own p(y | x), or by Bayes' rule.

A joint density of data and labels has a p(y | x) (``class_log_prob``). Given the exact log p(x | y) of each of C
classes instead,

    log p(y | x) = log p(x | y) + log p(y) − log Σ_y' p(x | y') p(y'),                                            (1)

where p(x | y) is a density or a mass. No classifier is trained, so that the accuracy measures how much of the class the
density captures.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from genjax.arguments import check_arguments
from genjax.capabilities import Classifies, HasLogProb, num_classes, supports
from genjax.core import Array, Variables


@check_arguments
def label_log_posterior(model: Any, variables: Variables, x: Array, log_prior: Array | None = None) -> Array:
    """Return log p(y | x) of every class: the model's own if it ``Classifies``, or else equation 1.

    Log-probabilities are in nats, shape (B, C), NaN where the density is zero under every class. Classes are evaluated
    one after the other, in the memory of one; compile with ``jit``. ``log_prior`` is log p(y) up to a constant, shape
    (C,), None for a uniform prior; a model that ``Classifies`` has its own.

    Raises:
      ValueError: if the model lacks an exact density for each of C classes, if the prior has another shape, or if there
        are two priors.

    >>> from genjax import flow
    >>> model = flow.Flow(shape=(2,), bijection=flow.Elementwise(flow.Affine()), num_classes=4)
    >>> batch = {"x": jnp.zeros((3, 2)), "label": jnp.array([0, 1, 3])}
    >>> variables = model.init(jax.random.key(0), batch)  # all classes are alike
    >>> jnp.exp(label_log_posterior(model, variables, batch["x"])[0]).tolist()
    [0.25, 0.25, 0.25, 0.25]
    """
    reason = label_posterior_unavailable_reason(model)
    if reason is not None:
        raise ValueError(f"{reason}; only exact densities of every class give a posterior of labels")
    classes = num_classes(model)
    assert classes is not None
    if supports(model, Classifies):
        if log_prior is not None:
            raise ValueError(f"log_prior is given, but {type(model).__name__} learns its own; leave it out")
        return model.class_log_prob(variables, x)
    if log_prior is not None and log_prior.shape != (classes,):
        raise ValueError(f"log_prior has shape {log_prior.shape}, but num_classes={classes} needs ({classes},)")

    def log_prob(label: Array) -> Array:
        return model.log_prob(variables, x, label=jnp.full(len(x), label))

    log_joint = jax.lax.map(log_prob, jnp.arange(classes, dtype=jnp.int32)).T
    if log_prior is not None:
        log_joint = log_joint + log_prior[None]
    return jax.nn.log_softmax(log_joint, axis=-1)


@check_arguments
def label_scores(log_posterior: Array, label: Array) -> tuple[Array, Array]:
    """Return accuracy and negative log-likelihood of the true label (B,), given log p(y | x), shape (B, C).

    The first is 0.0 or 1.0, whether the true label is the most probable, and the second −log p(label | x) in nats;
    shape (B,) each. A NaN posterior counts as a wrong prediction.

    >>> correct, nats = label_scores(jnp.log(jnp.array([[0.75, 0.25], [0.75, 0.25]])), jnp.array([0, 1]))
    >>> correct.tolist(), jnp.exp(-nats).tolist()
    ([1.0, 0.0], [0.75, 0.25])
    """
    truth = jnp.take_along_axis(log_posterior, label[:, None].astype(jnp.int32), axis=1)[:, 0]
    correct = (jnp.argmax(log_posterior, axis=1) == label) & ~jnp.isnan(truth)
    return correct.astype(jnp.float32), -truth


@check_arguments
def label_posterior_unavailable_reason(model: object) -> str | None:
    """Return why a model has no p(y | x), neither its own nor by Bayes' rule; None if it has one."""
    if supports(model, Classifies):
        return None
    if not supports(model, HasLogProb):
        return f"{type(model).__name__} has no exact log_prob"
    return f"{type(model).__name__} is unconditional" if num_classes(model) is None else None
