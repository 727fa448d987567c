"""Monitoring of training: collapse of posteriors, codebooks and modes, saturated discriminators, stuck chains.

At every evaluation, the model encodes the same held-out examples, and diagnoses itself if it can
(``capabilities.Diagnoses``). Each failed check gives one warning, with the value and the cure
(``genjax.monitoring.checks``).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, final

import jax
import numpy as np

from genjax.capabilities import Diagnoses, Quantizes, supports
from genjax.core import Array, Batch, PyTree, Variables, stream_key
from genjax.data import Source
from genjax.metrics.metric import Values
from genjax.monitoring.checks import (
    KL_PER_DIMENSION,
    VARIANCE_OF_MEANS,
    Check,
    FallingLikelihood,
    chain_mixing,
    codebook_collapse,
    diverged_parameters,
    gan_failure,
    kernel_bandwidth,
    posterior_collapse,
)
from genjax.monitoring.latent_usage import autoencoder_of, autoencoder_variables, has_latents, latent_usage

NUM_EXAMPLES = 1_000
FIRST_STEP = 1_000  # earlier, a model may not use its latent variables yet
VECTORS = (KL_PER_DIMENSION, VARIANCE_OF_MEANS)  # names of vectors begin with these
REMEDIES = {
    "kl_warmup_steps": "raise the weight of the KL divergence slowly (kl_warmup_steps)",
    "beta": "lower the weight of the KL divergence (beta)",
    "num_importance_samples": "draw more importance samples (num_importance_samples)",
    "regularizer_loss": "lower the learning rate of 'regularizer'",
}


class TrainingWarning(UserWarning):
    """A model in training failed a check."""


def can_monitor(model: object) -> bool:
    """Return whether there is something to monitor: latent variables, or a model that diagnoses itself."""
    return has_latents(autoencoder_of(model)) or supports(model, Diagnoses)


@final
class TrainingMonitor:
    """Measures latent usage and diagnoses of a model in training, and warns once about each kind of failure.

    The model is one that ``can_monitor`` accepts. ``to_batch`` maps variables of earlier stages by name, a key and raw
    examples, the first 1,000 of the source, to what the stage trains on. ``prefix`` begins the metric names. With
    several seeds, variables and keys have a leading axis of replicas.
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
        self._prefix, self._num_replica_axes = prefix, 0 if num_seeds == 1 else 1
        self._batch = source.take(np.arange(min(NUM_EXAMPLES, len(source))))
        autoencoder = autoencoder_of(model)

        def measure(variables: Variables, finished: PyTree, key: Array, batch: Batch) -> Values:
            draws_key = stream_key(key, "draws")
            batch_key, diagnosis_key = jax.random.split(key)
            batch = to_batch(finished, batch_key, batch)
            values: dict[str, Array] = {}
            if has_latents(autoencoder):
                values |= latent_usage(autoencoder, autoencoder_variables(model, variables), draws_key, batch)
            if supports(model, Diagnoses):
                values |= model.diagnose(variables, diagnosis_key, batch)
            return values

        self._measure = jax.jit(measure if num_seeds == 1 else jax.vmap(measure, (0, 0, 0, None)))
        num_codes = autoencoder.num_codes if supports(autoencoder, Quantizes) else 0
        self._checks: list[Check] = [
            posterior_collapse(remedies(autoencoder)),
            codebook_collapse(num_codes, len(next(iter(self._batch.values())))),
            gan_failure,
            kernel_bandwidth,
            chain_mixing,
            diverged_parameters,
            FallingLikelihood(),
        ]

    def trace(self, variables: Variables, finished: PyTree, keys: Array) -> None:
        """Trace the measurement for the shapes of its arguments, so that examples that do not suit it raise early."""
        jax.eval_shape(self._measure, variables, finished, keys, self._batch)

    def __call__(
        self, step: int, variables: Variables, finished: PyTree, keys: Array
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Measure, and warn about failed checks; return scalars, () or (K,), and vectors, (D,) or (K, D), by name."""
        values = {name: np.asarray(v) for name, v in self._measure(variables, finished, keys, self._batch).items()}
        for check in tuple(self._checks):
            message = check({**values, "step": np.asarray(step)})
            if message is not None and step >= FIRST_STEP:
                self._checks.remove(check)
                warnings.warn(f"after step {step:,} {message}", TrainingWarning, stacklevel=2)
        vectors = {self._prefix + name: values.pop(name) for name in tuple(values) if name.startswith(VECTORS)}
        # Values of each example are logged as their mean.
        means = {name: v.mean(axis=tuple(range(self._num_replica_axes, v.ndim))) for name, v in values.items()}
        return {self._prefix + name: value for name, value in means.items()}, vectors


def remedies(model: object) -> list[str]:
    """Return the remedies for a collapsed posterior that the model's settings allow."""
    return [remedy for setting, remedy in REMEDIES.items() if setting in dir(model)]
