"""Numbers that samples get while a model trains, for models without a likelihood to choose the best checkpoint by."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

import jax
import jax.numpy as jnp
import numpy as np

from genjax import capabilities
from genjax.core import Array, GenerativeModel, Variables
from genjax.data import Source
from genjax.metrics import (
    FeatureNetwork,
    MomentsState,
    StackedModes,
    channel_classes,
    extract,
    feature_network,
    frechet_distance_from_moments,
    moments,
)

CLASSIFIED_AT_ONCE = 1_000  # stacks


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class SampleScore:
    """Numbers of samples, logged at every evaluation as ``samples/NAME``; the best checkpoint by one of them is kept.

    Attributes:
      name: of the number that decides.
      score: from samples (num_samples, ...), as the model draws them, to numbers by name.
      num_samples: drawn each time, with the same key, of all classes in turn.
      lower_is_better: as it is for distances.

    Raises:
      ValueError: for fewer samples than one.

    >>> SampleScore(name="mean", score=lambda x: {"mean": x.mean(), "deviation": x.std()}, num_samples=100).label
    'samples/mean'
    """

    name: str
    score: Callable[[Array], Mapping[str, Any]]
    num_samples: int = 1_000
    lower_is_better: bool = False

    def __post_init__(self) -> None:
        if self.num_samples < 1:
            raise ValueError(f"num_samples is {self.num_samples}, but a score needs samples; use 1000, for example")

    @property
    def label(self) -> str:
        """What logs and checkpoints call it."""
        return f"samples/{self.name}"

    def of(self, model: GenerativeModel, variables: Variables, key: Array) -> dict[str, np.ndarray]:
        """Return the numbers of samples of a model, each (), by their names in logs."""
        classes = capabilities.num_classes(model)
        label = None if classes is None else jnp.arange(self.num_samples) % classes
        values = self.score(_drawn(model, self.num_samples, variables, key, label))
        if self.name not in values:
            raise ValueError(f"the score named {self.name!r} has {sorted(values)}; name one of these")
        return {f"samples/{name}": np.asarray(value, np.float64) for name, value in values.items()}


@functools.partial(jax.jit, static_argnums=(0, 1))
def _drawn(model: Any, num_samples: int, variables: Variables, key: Array, label: Array | None) -> Array:
    return model.sample(variables, key, num_samples, **({} if label is None else {"label": label}))


def frechet_score(
    features: str,
    source: Source,
    *,
    num_samples: int = 1_000,
    display: Callable[[Any], Any] | None = None,
) -> SampleScore:
    """Return the Fréchet distance of samples from data, on the features of a network, as a score.

    Args:
      features: of which network, as ``metrics.feature_network`` has it: "classifier:digits", for example. It is made
        when it is needed.
      source: the data, all of it.
      num_samples: see ``SampleScore``.
      display: from samples to what the network takes, images in [0, 1]; None where they are so already.
    """

    @functools.cache
    def reference() -> tuple[FeatureNetwork, MomentsState]:
        network, x = feature_network(features), source.take(np.arange(len(source)))["x"]
        return network, moments(extract(network, [x], len(x)).features)

    def score(samples: Array) -> Mapping[str, Array]:
        network, of_data = reference()
        shown = samples if display is None else display(samples)
        return frechet_distance_from_moments(of_data, moments(extract(network, [shown], len(shown)).features))

    return SampleScore(name="frechet_distance", score=score, num_samples=num_samples, lower_is_better=True)


def modes_score(
    features: str,
    *,
    num_channels: int,
    num_classes: int = 10,
    num_samples: int = 26_000,
    display: Callable[[Any], Any] | None = None,
) -> SampleScore:
    """Return how many combinations of classes samples of stacked images have, as a score; see ``metrics.StackedModes``.

    Args:
      features: a network that classifies the single channels, as for ``frechet_score``.
      num_channels: images in a stack.
      num_classes: of each.
      num_samples: see ``SampleScore``; the literature's for the 1,000 modes of three digits is 26,000.
      display: as for ``frechet_score``.
    """
    metric = StackedModes(num_classes=num_classes, num_channels=num_channels)
    network = functools.cache(lambda: feature_network(features))

    def score(samples: Array) -> Mapping[str, Array]:
        state = metric.init()
        for start in range(0, len(samples), CLASSIFIED_AT_ONCE):
            part = samples[start : start + CLASSIFIED_AT_ONCE]
            state = metric.update(state, channel_classes(network(), part if display is None else display(part)))
        return metric.compute(state)

    return SampleScore(name="modes_captured", score=score, num_samples=num_samples)
