"""The alarm for what dies while a model trains: latent variables, and the game of two networks.

At every evaluation the same held-out examples are encoded. Their posteriors tell the active units and the divergence of
each dimension, their code indices the usage of the codebook (``genjax.metrics.latents``). Of adversaries the samples'
reach, the discriminator's outputs and the generator's slope are told (``genjax.gan.diagnosis``). When all but little
has died, a warning says so, once, and what to do.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any, final

import jax
import numpy as np

from genjax import capabilities
from genjax.core import Array, Batch, PyTree, Variables
from genjax.data import Source
from genjax.metrics.latents import codebook_usage, gaussian_usage
from genjax.metrics.metric import Values
from genjax.runner.scorer import is_conditional

NUM_EXAMPLES = 1_000
ALIVE = 0.1  # of the units, or codes: fewer alive is a collapse
REACHED = 0.25  # of the data that data reach; three of 25 modes reach a fifth
DEVIATION = 1e-6  # of a discriminator's outputs
SLOPE = 1e-4  # of the generator's loss
FIRST_STEP = 1_000  # a model that has just begun has not used its latent variables yet


class CollapseWarning(UserWarning):
    """Latent variables died, or a game ended."""


def watchable(model: object) -> bool:
    """Whether a model has what the alarm looks at: latent variables in use, or adversaries."""
    return has_latents(model) or isinstance(model, capabilities.Diagnoses)


def has_latents(model: object) -> bool:
    """Whether a model has latent variables whose use can be told: Gaussian posteriors, or codes of a codebook."""
    quantizes = isinstance(model, capabilities.Quantizes) and isinstance(model, capabilities.Encodes)
    return quantizes or isinstance(model, capabilities.Posterior)


@final
class CollapseAlarm:
    """Measures a model's latent variables or its game, and warns once when they have died.

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
        self._prefix, self._warned = prefix, False
        self._batch = source.take(np.arange(min(NUM_EXAMPLES, len(source))))

        def measure(variables: Variables, finished: PyTree, key: Array, batch: Batch) -> Values:
            batch_key, diagnosis_key = jax.random.split(key)
            batch = to_batch(finished, batch_key, batch)
            values: dict[str, Array] = {}
            if has_latents(model):
                values |= usage(model, variables, batch)
            if isinstance(model, capabilities.Diagnoses):
                values |= model.diagnose(variables, diagnosis_key, batch)
            return values

        self._measure = jax.jit(measure if num_seeds == 1 else jax.vmap(measure, (0, 0, 0, None)))
        self._num_codes = model.num_codes if isinstance(model, capabilities.Quantizes) else 0

    def __call__(
        self, step: int, variables: Variables, finished: PyTree, keys: Array
    ) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
        """Return numbers, () or (K,), and vectors, (D,) or (K, D), by name; warn where they are of the dead."""
        values = {name: np.asarray(v) for name, v in self._measure(variables, finished, keys, self._batch).items()}
        told = None if self._warned or step < FIRST_STEP else self._complaint(values)
        if told is not None:
            self._warned = True
            warnings.warn(f"after step {step:,} {told}", CollapseWarning, stacklevel=2)
        vectors = {self._prefix + name: values.pop(name) for name in ("kl_per_dimension",) if name in values}
        return {self._prefix + name: value for name, value in values.items()}, vectors

    def _complaint(self, values: dict[str, np.ndarray]) -> str | None:
        """Say what has died, in the worst replica."""
        if "active_units" in values:
            active, total = int(values["active_units"].min()), values["kl_per_dimension"].shape[-1]
            if active < ALIVE * total:
                return (
                    f"{active} of {total} latent dimensions vary with the data (posterior collapse): let the weight of "
                    "the divergence grow slowly (kl_warmup_steps), lower it (beta), or weaken the decoder"
                )
        if "codebook_usage" in values:
            used = round(float(values["codebook_usage"].min()) * self._num_codes)
            if used < ALIVE * self._num_codes:
                return (
                    f"{used} of {self._num_codes} codes are used (codebook collapse): start the codebook by k-means "
                    "(kmeans_steps), restart dead codes (restart_below), or have fewer (num_codes)"
                )
        if "slope" in values:
            reached, deviation, slope = (values[name].min() for name in ("reached", "output_deviation", "slope"))
            if reached < REACHED:
                return (
                    f"samples reach {reached:.0%} of the data that data reach (mode collapse): add a penalty "
                    "(gan.R1, gan.GradientPenalty), let the discriminator see several at once (pack), or slow the "
                    "generator down"
                )
            if deviation < DEVIATION:
                return (
                    f"the discriminator's outputs deviate by {deviation:.1g} (it is dead): lower its learning rate or "
                    "its penalties' weights, or use leaky activations"
                )
            if slope < SLOPE:
                return (
                    f"the generator's loss has a slope of {slope:.1g} (its gradient has vanished): use "
                    "gan.NonSaturating or gan.Hinge, add a penalty (gan.R1), or give the discriminator fewer turns"
                )
        return None


def usage(model: Any, variables: Variables, batch: Batch) -> Values:
    """Measure which latent variables of a model that has them are in use for a batch."""
    label = {"label": batch["label"]} if is_conditional(model) else {}
    if isinstance(model, capabilities.Posterior):
        return gaussian_usage(*model.posterior(variables, batch["x"], **label))
    return codebook_usage(model.encode(variables, batch["x"], **label), model.num_codes)
