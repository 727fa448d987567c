"""The alarm for what dies while a model trains: latent variables, the game of two networks, Markov chains.

At every evaluation the same held-out examples are encoded. Gaussian posteriors tell the active units and the divergence
of each dimension, draws of others the active units, code indices the usage of the codebook (``genjax.metrics.latents``;
of several stochastic layers the top one's: it lives on what those below let through). Models that diagnose
themselves do (``capabilities.Diagnoses``): adversaries tell of their game, Boltzmann machines of their chains and of
their likelihood. When something is wrong, a warning says so, once for each kind, and what to do (``complaints``).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, final

import jax
import jax.numpy as jnp
import numpy as np

from genjax import capabilities
from genjax.core import Array, Batch, PyTree, Variables, stream_key
from genjax.data import Source
from genjax.metrics.latents import codebook_usage, gaussian_usage, implicit_usage
from genjax.metrics.metric import Values
from genjax.runner.complaints import (
    Complaint,
    FallingLikelihood,
    dead_codes,
    dead_units,
    exploded_machine,
    frozen_chains,
    lost_game,
)
from genjax.runner.scorer import is_conditional

NUM_EXAMPLES = 1_000
FIRST_STEP = 1_000  # a model that has just begun has not used its latent variables yet
NUM_DRAWS = 32  # of posteriors that tell nothing but draws; of 300 examples they err by a quarter of the limit
VECTORS = ("kl_per_dimension", "variance_of_means")  # told entry by entry


class CollapseWarning(UserWarning):
    """Latent variables died, a game ended, chains froze, or a likelihood fell."""


def watchable(model: object) -> bool:
    """Whether a model has what the alarm looks at: latent variables in use, or a diagnosis of its own."""
    return has_latents(model) or isinstance(model, capabilities.Diagnoses)


def has_latents(model: object) -> bool:
    """Whether a model has latent variables whose use can be told: by posteriors, or by codes of a codebook."""
    quantizes = isinstance(model, capabilities.Quantizes) and isinstance(model, capabilities.Encodes)
    return quantizes or isinstance(model, capabilities.Posterior | capabilities.LatentVariables)


@final
class CollapseAlarm:
    """Measures a model's latent variables, and what it diagnoses itself, and warns once of each kind of failure.

    Args:
      model: ``watchable``.
      to_batch: ``(finished, key, batch) -> batch``, what the stage trains on, from raw examples.
      source: of the examples that are looked at, the first 1,000.
      prefix: of the metrics' names.
      num_seeds: more than 1 when variables, finished and keys have a leading axis of replicas.
    """

    def __init__(
        self,
        model: Any,
        to_batch: Callable[[PyTree, Array, Batch], Batch],
        source: Source,
        *,
        prefix: str,
        num_seeds: int = 1,
    ) -> None:
        self._prefix, self._axes = prefix, 0 if num_seeds == 1 else 1
        self._batch = source.take(np.arange(min(NUM_EXAMPLES, len(source))))

        def measure(variables: Variables, finished: PyTree, key: Array, batch: Batch) -> Values:
            draws_key = stream_key(key, "draws")
            batch_key, diagnosis_key = jax.random.split(key)
            batch = to_batch(finished, batch_key, batch)
            values: dict[str, Array] = {}
            if has_latents(model):
                values |= usage(model, variables, draws_key, batch)
            if isinstance(model, capabilities.Diagnoses):
                values |= model.diagnose(variables, diagnosis_key, batch)
            return values

        self._measure = jax.jit(measure if num_seeds == 1 else jax.vmap(measure, (0, 0, 0, None)))
        num_codes = model.num_codes if isinstance(model, capabilities.Quantizes) else 0
        self._complaints: list[Complaint] = [
            dead_units,
            dead_codes(num_codes),
            lost_game,
            frozen_chains,
            exploded_machine,
            FallingLikelihood(),
        ]

    def __call__(
        self, step: int, variables: Variables, finished: PyTree, keys: Array
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Return numbers, () or (K,), and vectors, (D,) or (K, D), by name; warn where they tell of a failure."""
        values = {name: np.asarray(v) for name, v in self._measure(variables, finished, keys, self._batch).items()}
        for complaint in tuple(self._complaints):
            told = complaint(step, values)
            if told is not None and step >= FIRST_STEP:
                self._complaints.remove(complaint)
                warnings.warn(f"after step {step:,} {told}", CollapseWarning, stacklevel=2)
        vectors = {self._prefix + name: values.pop(name) for name in VECTORS if name in values}
        # What is told of each example is written as its mean.
        means = {name: v.mean(axis=tuple(range(self._axes, v.ndim))) for name, v in values.items()}
        return {self._prefix + name: value for name, value in means.items()}, vectors


def usage(model: Any, variables: Variables, key: Array, batch: Batch) -> Values:
    """Measure which latent variables of a model that has them are in use for a batch."""
    x, label = batch["x"], {"label": batch["label"]} if is_conditional(model) else {}
    if isinstance(model, capabilities.Posterior):
        return gaussian_usage(*model.posterior(variables, x, **label))
    if isinstance(model, capabilities.LatentVariables):
        return implicit_usage(posterior_draws(model, variables, key, x, **label))
    return codebook_usage(model.encode(variables, x, **label), model.num_codes)


def posterior_draws(model: Any, variables: Variables, key: Array, x: Array, **label: Array) -> Array:
    """Draw from the posterior of each example several times, (B, NUM_DRAWS, D)."""

    def draw(number: Array) -> Array:
        return model.sample_posterior(variables, jax.random.fold_in(key, number), x, **label)

    return jnp.swapaxes(jax.lax.map(draw, jnp.arange(NUM_DRAWS)), 0, 1)
