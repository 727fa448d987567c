"""What a comparison measures: entries with their members, which are loaded when a cell of theirs is missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

import jax
import jax.numpy as jnp
import numpy as np

from genjax.comparison.settings import ComparisonSettings
from genjax.comparison.table import Entry
from genjax.core import PyTree, stream_key
from genjax.data import Dataset
from genjax.evaluation.context import Evaluation
from genjax.metrics import FeatureNetwork, Result
from genjax.metrics.progress import Progress, no_progress
from genjax.ops.keys import seed_key


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """A model with variables, ready to be measured.

    Attributes:
      evaluation: model, variables, data, and the settings of all scores.
      to_display: function from samples to what pictures show.
      training: time of training or fitting, or why it is unknown.
    """

    evaluation: Evaluation
    to_display: Callable[[PyTree], np.ndarray]
    training: Result


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Member:
    """A run of an entry, or a floor.

    Attributes:
      name: name of its folder of cells.
      identity: what a stored cell must agree with to be of this member: seeds, step, time of training.
      load: function from a progress function to the subject.
      command: function from a measurement to the command that prints it; None where none but the comparison does.
    """

    name: str
    identity: Mapping[str, Any]
    load: Callable[[Progress], Subject]
    command: Callable[[str], str] | None = None


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Contestant:
    """An entry with its members."""

    entry: Entry
    members: tuple[Member, ...]


def evaluation_settings(
    settings: ComparisonSettings, network: FeatureNetwork, progress: Progress = no_progress
) -> dict[str, Any]:
    """Return the fields of an ``Evaluation`` that a comparison fixes."""
    names = ("split", "num_samples", "num_neighbours", "likelihood_samples", "batch_size")
    shared = {name: getattr(settings, name) for name in names}
    return {"key": seed_key(settings.seed), "network": network, "progress": progress, **shared}


NUM_SHOWN = 64  # examples on which displays are compared


def shown_examples(evaluation: Evaluation) -> np.ndarray:
    """Return the first examples of the split as the feature network receives them, float32 (N, ...)."""
    rows = np.arange(min(NUM_SHOWN, len(evaluation.source)))
    batch = jax.tree.map(jnp.asarray, evaluation.source.take(rows))
    x = evaluation.preprocess(stream_key(evaluation.key, "display"), batch)["x"]
    return np.asarray(evaluation.network_input(jnp.asarray(x)), np.float32)


def largest_difference(dataset: Dataset, one: np.ndarray, other: np.ndarray) -> float:
    """Return the largest difference of examples on two displays, 0 if it is no more than dequantization makes.

    >>> from genjax.data import digits
    >>> [largest_difference(digits(), np.zeros(3), np.full(3, value)) for value in (0.05, 1.0)]
    [0.0, 1.0]
    """
    if one.shape != other.shape:
        return float("inf")
    tolerance = 1e-4 + (1 / dataset.levels if dataset.levels else 0.0)
    difference = float(np.max(np.abs(one - other)))
    return difference if difference > tolerance else 0.0
