"""A finished run: what was trained, ready to sample and to be scored."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import jax
import numpy as np
from jax.sharding import NamedSharding

from genjax.core import Array, GenerativeModel, Variables
from genjax.evaluation.context import Evaluation
from genjax.evaluation.likelihood import replica
from genjax.evaluation.registry import check_names, evaluate
from genjax.experiment import Experiment
from genjax.metrics import FeatureNetwork, Result, pixels
from genjax.metrics.progress import Progress, no_progress
from genjax.sharding import Placement


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """What training hands back.

    Attributes:
      experiment: what was trained.
      variables: the model's, averaged where the experiment averages; a leading axis of replicas for several seeds.
      seeds: seed of each replica.
      step: learner steps taken, over all stages.
      rows: the metrics as logged.
      folder: the run folder, or None.
    """

    experiment: Experiment
    variables: Variables
    seeds: tuple[int, ...]
    step: int
    rows: tuple[dict[str, Any], ...]
    folder: Path | None

    @property
    def model(self) -> GenerativeModel:
        """The trained model."""
        return self.experiment.model

    def replica(self, index: int = 0) -> Variables:
        """Return the variables of one replica."""
        if not 0 <= index < len(self.seeds):
            raise ValueError(f"replica is {index}, but the run has {len(self.seeds)}; use 0 to {len(self.seeds) - 1}")
        return self.variables if len(self.seeds) == 1 else replica(self.variables, index)

    def sample(self, key: Array, num_samples: int, *, replica: int = 0, **arguments: Any) -> Array:
        """Draw samples.

        Args:
          key: typed key.
          num_samples: how many.
          replica: of which replica.
          **arguments: keyword arguments of the model's own ``sample``. A callback has its calls in order, which takes
            one device: it draws on the first. All else is drawn on all devices of one process, where they can share
            the samples evenly.
        """
        variables, sharding = self.replica(replica), None
        arrays = {name: value for name, value in arguments.items() if isinstance(value, jax.Array | np.ndarray)}
        settings = tuple(sorted((name, value) for name, value in arguments.items() if name not in arrays))
        if "callback" in arguments:
            variables = jax.device_put(variables, jax.local_devices()[0])
        elif jax.process_count() == 1 < jax.device_count() and num_samples % jax.device_count() == 0:
            placement = Placement()
            variables, key, arrays = placement.replicate((variables, key, arrays))
            sharding = placement.split(axis=0)
        return _compiled_sample(self.model, num_samples, settings, sharding)(variables, key, arrays)

    def evaluate(
        self,
        key: Array,
        *,
        metrics: Sequence[str] = ("likelihood",),
        split: str = "test",
        num_samples: int | None = None,
        network: FeatureNetwork | None = None,
        num_neighbours: int = 5,
        likelihood_samples: int = 1000,
        batch_size: int = 500,
        progress: Progress = no_progress,
        **arguments: Any,
    ) -> dict[str, Result]:
        """Score a split of the data, and samples against it.

        Args:
          key: for what is random: samples, bounds and estimates, preprocessing (binarization).
          metrics: names, of ``genjax.evaluation.registry.METRICS``; ``"all"`` is all of them.
          split: of the experiment's data.
          num_samples: how many samples to draw; None for as many as the split has examples, at most 10,000.
          network: whose features samples are compared on; raw values when None.
          num_neighbours: k of precision, recall, density and coverage.
          likelihood_samples: draws for each example of a likelihood that is an estimate; particles, where log Z is one.
          batch_size: examples scored at once.
          progress: starts a progress bar, from a name and a total.
          **arguments: keyword arguments of the model's own ``sample``.

        Returns:
          Results by name, with their standard errors and protocols. What the model or the data cannot have is there
          too, with a value of None and the reason. Over several replicas a value is their mean.

        Raises:
          ValueError: for a metric that there is not, or a split that the data has not.
        """
        evaluation = Evaluation(
            run=self,
            key=key,
            split=split,
            network=pixels() if network is None else network,
            num_samples=num_samples,
            num_neighbours=num_neighbours,
            likelihood_samples=likelihood_samples,
            batch_size=batch_size,
            arguments=arguments,
            progress=progress,
        )
        return evaluate(evaluation, check_names(metrics))


@functools.lru_cache(maxsize=32)
def _compiled_sample(
    model: GenerativeModel, num_samples: int, settings: tuple[tuple[str, Any], ...], sharding: NamedSharding | None
) -> Callable[[Variables, Array, Mapping[str, Any]], Array]:
    """Return ``sample`` compiled once for each number of samples, each setting and each place of the samples."""

    def sample(variables: Variables, key: Array, arrays: Mapping[str, Any]) -> Array:
        return model.sample(variables, key, num_samples, **dict(settings), **arrays)

    return jax.jit(sample, out_shardings=sharding)
