"""The alarm for what dies while a model trains: latent variables, the game of two networks, Markov chains.

At every evaluation the same held-out examples are encoded. Gaussian posteriors tell the active units and the divergence
of each dimension, draws of others, and of layers below the top, the active units, code indices the usage of the
codebook (``genjax.metrics.latents``). Models that diagnose themselves do (``capabilities.Diagnoses``): adversaries tell
of their game, Boltzmann machines of their chains and their likelihood, moment matching of its kernels. When something
is wrong, a warning says so, once for each kind, and what to do (``complaints``).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, TypeVar, final

import jax
import jax.numpy as jnp
import numpy as np

from genjax import capabilities
from genjax.capabilities import conditioning
from genjax.core import Array, Batch, PyTree, Variables, stream_key
from genjax.data import Source
from genjax.latent import LatentModel
from genjax.metrics.latents import codebook_usage, gaussian_usage, implicit_usage
from genjax.metrics.metric import Values
from genjax.monitoring.checks import (
    KL_PER_DIMENSION,
    VARIANCE_OF_MEANS,
    Complaint,
    FallingLikelihood,
    blind_kernels,
    dead_codes,
    dead_units,
    exploded_machine,
    frozen_chains,
    lost_game,
)

T = TypeVar("T")
NUM_EXAMPLES = 1_000
FIRST_STEP = 1_000  # a model that has just begun has not used its latent variables yet
NUM_DRAWS = 32  # of posteriors that tell nothing but draws; of 300 examples they err by a quarter of the limit
VECTORS = (KL_PER_DIMENSION, VARIANCE_OF_MEANS)  # begin the names of what is told entry by entry


class TrainingWarning(UserWarning):
    """Latent variables died, a game ended, chains froze, or a likelihood fell."""


def watchable(model: object) -> bool:
    """Whether a model has what the alarm looks at: latent variables in use, or a diagnosis of its own."""
    return has_latents(autoencoder_of(model)) or isinstance(model, capabilities.Diagnoses)


def has_latents(model: object) -> bool:
    """Whether a model has latent variables whose use can be told: by posteriors, or by codes of a codebook."""
    quantizes = isinstance(model, capabilities.Quantizes) and isinstance(model, capabilities.Encodes)
    return quantizes or isinstance(model, capabilities.HasPosterior | capabilities.HasLatentVariables)


@final
class TrainingMonitor:
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
            if has_latents(autoencoder_of(model)):
                values |= usage(autoencoder_of(model), autoencoder_variables(model, variables), draws_key, batch)
            if isinstance(model, capabilities.Diagnoses):
                values |= model.diagnose(variables, diagnosis_key, batch)
            return values

        self._measure = jax.jit(measure if num_seeds == 1 else jax.vmap(measure, (0, 0, 0, None)))
        autoencoder = autoencoder_of(model)
        num_codes = autoencoder.num_codes if isinstance(autoencoder, capabilities.Quantizes) else 0
        self._complaints: list[Complaint] = [
            dead_units(cures(autoencoder)),
            dead_codes(num_codes, len(next(iter(self._batch.values())))),
            lost_game,
            blind_kernels,
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
                warnings.warn(f"after step {step:,} {told}", TrainingWarning, stacklevel=2)
        vectors = {self._prefix + name: values.pop(name) for name in tuple(values) if name.startswith(VECTORS)}
        # What is told of each example is written as its mean.
        means = {name: v.mean(axis=tuple(range(self._axes, v.ndim))) for name, v in values.items()}
        return {self._prefix + name: value for name, value in means.items()}, vectors


def cures(model: object) -> list[str]:
    """What to do against a collapsed posterior, as far as the model's settings have to do with it."""
    told = {
        "kl_warmup_steps": "let the weight of the divergence grow slowly (kl_warmup_steps)",
        "beta": "lower it (beta)",
        "num_importance_samples": "draw more (num_importance_samples)",
        "regularizer_loss": "lower the learning rate of 'regularizer'",
    }
    return [cure for name, cure in told.items() if hasattr(model, name)]


def usage(model: Any, variables: Variables, key: Array, batch: Batch) -> Values:
    """Measure which latent variables of a model that has them are in use for a batch."""
    x, label = batch["x"], conditioning(model, batch)
    if isinstance(model, capabilities.HasPosterior):
        told = dict(gaussian_usage(*model.posterior(variables, x, **label)))
        for suffix, draws in lower_layers(model, variables, key, x).items():
            told |= {name + suffix: value for name, value in implicit_usage(draws).items()}
        return told
    if isinstance(model, capabilities.HasLatentVariables):
        return implicit_usage(posterior_draws(model.sample_posterior, variables, key, x, **label))
    return codebook_usage(model.encode(variables, x, **label), model.num_codes)


def has_lower_layers(model: object) -> bool:
    """Whether a model has stochastic layers below its top one."""
    return isinstance(model, capabilities.HasStochasticLayers) and model.num_layers > 1


def lower_layers(model: Any, variables: Variables, key: Array, x: Array) -> dict[str, Array]:
    """Draws (B, NUM_DRAWS, D_l) of the layers below the top one, by the suffix of their names; of most models none."""
    if not has_lower_layers(model):
        return {}
    *lower, _ = posterior_draws(model.sample_layers, variables, key, x)
    return {f"_{layer}": draws for layer, draws in enumerate(lower, start=1)}


def posterior_draws(draw: Callable[..., T], variables: Variables, key: Array, x: Array, **label: Array) -> T:
    """Call a model's ``draw``, which gives arrays (B, D), several times: (B, NUM_DRAWS, D)."""

    def numbered(number: Array) -> T:
        return draw(variables, jax.random.fold_in(key, number), x, **label)

    return jax.tree.map(lambda drawn: jnp.swapaxes(drawn, 0, 1), jax.lax.map(numbered, jnp.arange(NUM_DRAWS)))


def autoencoder_of(model: Any) -> Any:
    """The model whose latent variables these are: of a prior over codes its autoencoder."""
    return model.autoencoder if isinstance(model, LatentModel) else model


def autoencoder_variables(model: Any, variables: Variables) -> Variables:
    """Those of ``autoencoder_of(model)``."""
    return model.part(variables, "autoencoder") if isinstance(model, LatentModel) else variables
