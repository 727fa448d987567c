"""Monitoring of training: collapse of posteriors, codebooks and modes, saturated discriminators, stuck chains.

At every evaluation, the model encodes the same held-out examples, and diagnoses itself if it can
(``capabilities.Diagnoses``). Each failed check gives one warning, with the value and the cure
(``genjax.monitoring.checks``).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any, final

import jax
import numpy as np

from genjax.arguments import PositiveInt, check_arguments
from genjax.capabilities import Diagnoses, Quantizes, supports
from genjax.compilation import jit
from genjax.core import Array, Batch, PyTree, TrainState, Variables, stream_key
from genjax.data import Source, random_examples
from genjax.metrics.metric import Values
from genjax.monitoring.checks import (
    KL_PER_DIMENSION,
    VARIANCE_OF_MEANS,
    Check,
    FallingLikelihood,
    buffer_collapse,
    chain_mixing,
    codebook_collapse,
    diverged_parameters,
    gan_failure,
    kernel_bandwidth,
    not_finite,
    posterior_collapse,
    unstable_energy,
)
from genjax.monitoring.latent_usage import autoencoder_of, autoencoder_variables, has_latents, latent_usage
from genjax.nets.normalization import has_batch_statistics

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


@final
class ValueWarning:
    """Warns of measurements that are not finite, at whatever step, and once for each place."""

    def __init__(self) -> None:
        self._places: set[str] = set()

    def __call__(self, step: int, values: Mapping[str, np.ndarray], where: str) -> bool:
        """Return whether a value is not finite; ``where`` is that of ``checks.not_finite``."""
        message = not_finite(values, where)
        if message is not None and where not in self._places:
            self._places.add(where)
            warnings.warn(f"after step {step:,} {message}", TrainingWarning, stacklevel=3)
        return message is not None


def can_monitor(model: object) -> bool:
    """Return whether there is something to monitor: latent variables, or a model that diagnoses itself."""
    return has_latents(autoencoder_of(model)) or supports(model, Diagnoses)


@final
@check_arguments
class TrainingMonitor:
    """Measures latent usage and diagnoses of a model in training, and warns once about each kind of failure.

    The model is one that ``can_monitor`` accepts. ``to_batch`` maps variables of earlier stages by name, a key and raw
    examples, 1,000 random ones of the source, to what the stage trains on. ``prefix`` begins the metric names. With
    several seeds, variables and keys have a leading axis of replicas.
    """

    def __init__(
        self,
        model: Any,
        to_batch: Callable[[PyTree, Array, Batch], Batch],
        source: Source,
        *,
        prefix: str,
        num_seeds: PositiveInt = 1,
    ) -> None:
        self._prefix, self._num_replica_axes = prefix, 0 if num_seeds == 1 else 1
        self._batch = random_examples(jax.random.key(0), source, NUM_EXAMPLES)  # the same for every run
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

        self._warn_of_values = ValueWarning()
        self._traced = measure if num_seeds == 1 else jax.vmap(measure, (0, 0, 0, None))
        self._measure = jit(self._traced)
        num_codes = autoencoder.num_codes if supports(autoencoder, Quantizes) else 0
        self._checks: list[Check] = [
            posterior_collapse(remedies(autoencoder)),
            codebook_collapse(num_codes, len(next(iter(self._batch.values())))),
            gan_failure(penalty_interval(model)),
            kernel_bandwidth,
            chain_mixing,
            unstable_energy,
            buffer_collapse,
            diverged_parameters,
            FallingLikelihood(),
        ]

    def trace(self, variables: Variables, finished: PyTree, keys: Array) -> None:
        """Trace the measurement for the shapes of its arguments, so that examples that do not suit it raise early."""
        jax.eval_shape(self._traced, variables, finished, keys, self._batch)

    def __call__(
        self, step: int, variables: Variables, finished: PyTree, keys: Array
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Measure, and warn about failed checks; return scalars, () or (K,), and vectors, (D,) or (K, D), by name."""
        values = {name: np.asarray(v) for name, v in self._measure(variables, finished, keys, self._batch).items()}
        if not self._warn_of_values(step, values, f"split {self._prefix.rstrip('/')!r}"):
            self._check(step, values)
        vectors = {self._prefix + name: values.pop(name) for name in tuple(values) if name.startswith(VECTORS)}
        # Values of each example are logged as their mean.
        means = {name: v.mean(axis=tuple(range(self._num_replica_axes, v.ndim))) for name, v in values.items()}
        return {self._prefix + name: value for name, value in means.items()}, vectors

    def _check(self, step: int, values: dict[str, np.ndarray]) -> None:
        for check in tuple(self._checks):
            message = check({**values, "step": np.asarray(step)})
            if message is not None and step >= FIRST_STEP:
                self._checks.remove(check)
                warnings.warn(f"after step {step:,} {message}", TrainingWarning, stacklevel=3)


def warn_of_batch_statistics(state: TrainState) -> None:
    """Warn if parameters have moving averages and batch normalization uses the statistics of other parameters."""
    if (state.ema is not None or state.averages) and has_batch_statistics(state.state):
        warnings.warn(
            "the averaged parameters (ema_decay or ema_lengths) are evaluated with batch statistics of the parameters "
            "in training: compute them anew in Experiment.variables, as gan.GAN.standing_statistics does, or average "
            "nothing",
            TrainingWarning,
            stacklevel=2,
        )


def remedies(model: object) -> list[str]:
    """Return the remedies for a collapsed posterior that the model's settings allow."""
    return [remedy for setting, remedy in REMEDIES.items() if setting in dir(model)]


def penalty_interval(model: object) -> int:
    """Return the largest number of steps between two computations of a model's penalties; see ``gan.Penalty``.

    Penalties of other families are computed at every step.
    """
    return max((getattr(penalty, "every", 1) for penalty in getattr(model, "penalties", ())), default=1)
