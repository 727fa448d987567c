"""What the metrics of a finished run look at: a split of its data, and samples, seen through one feature network.

Both sides pass through the network once, batch by batch into buffers on the device, and all metrics that compare
samples read the same features.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, final

import jax
import jax.numpy as jnp
import numpy as np

from genjax import core, data
from genjax.capabilities import conditioning, conditions
from genjax.core import Array, Batch, stream_key
from genjax.evaluation.likelihood import batches
from genjax.metrics import FeatureNetwork, Outputs, extract, pixels
from genjax.metrics.progress import Progress, no_progress
from genjax.sharding import Placement

if TYPE_CHECKING:
    from genjax.runner.run import Run

MOST_SAMPLES = 10_000


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """A finished run, and how to score it.

    Attributes:
      run: what was trained.
      key: of all that is random: samples, draws of bounds and estimates, binarization, projections.
      split: of the experiment's data, to score on and to compare with.
      network: whose features samples are compared on.
      num_samples: how many samples to draw; None for as many as the split has examples, at most 10,000.
      likelihood_samples: draws for each example of a likelihood that is an estimate; particles, where log Z is one.
      num_neighbours: k of precision, recall, density and coverage.
      batch_size: examples at once.
      arguments: keyword arguments of the model's ``sample``.
      progress: starts a progress bar, from a name and a total.

    Raises:
      ValueError: for a split that the data has not, or a count below 1.
    """

    run: Run
    key: Array
    split: str = "test"
    network: FeatureNetwork = field(default_factory=pixels)
    num_samples: int | None = None
    likelihood_samples: int = 1000
    num_neighbours: int = 5
    batch_size: int = 500
    arguments: Mapping[str, Any] = field(default_factory=dict)
    progress: Progress = no_progress

    def __post_init__(self) -> None:
        """Refuse what cannot be scored, before anything runs."""
        dataset = self.run.experiment.data
        if self.split not in dataset.splits:
            raise ValueError(
                f"split is {self.split!r}, but {dataset.name!r} has {sorted(dataset.splits)}; use one of these"
            )
        for name in ("num_samples", "likelihood_samples", "num_neighbours", "batch_size"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}, but it must be at least 1")

    @property
    def source(self) -> data.Source:
        """The split."""
        return self.run.experiment.data.splits[self.split]

    @functools.cached_property
    def placement(self) -> Placement:
        """All devices."""
        return Placement()

    @functools.cached_property
    def log_likelihoods(self) -> dict[str, np.ndarray]:
        """Nats of every example by the name of the method, (K, N) for K replicas, as far as metrics have asked."""
        return {}

    @property
    def replicas(self) -> range:
        """Indices of the replicas."""
        return range(len(self.run.seeds))

    @property
    def count(self) -> int:
        """How many samples are drawn."""
        return min(len(self.source), MOST_SAMPLES) if self.num_samples is None else self.num_samples

    # The sides of a comparison.

    def batches(self, split: str, name: str) -> Iterator[Batch]:
        """Yield the batches of a split as the model is trained on them, with a progress bar."""
        source = self.run.experiment.data.splits[split]
        preprocess = jax.jit(self.run.experiment.preprocess)
        done = self.progress(name, len(source))
        for number, (batch, valid) in enumerate(batches(source, min(self.batch_size, len(source)))):
            seen = preprocess(core.step_key(stream_key(self.key, split), number), batch)
            yield {entry: array[:valid] for entry, array in seen.items()}
            done(valid)

    def samples(self, replica: int) -> Iterator[Array]:
        """Yield batches of samples of one replica, with a progress bar. All replicas see the same keys."""
        size = min(self.batch_size, self.count)
        told = self._conditions
        done = self.progress(f"samples of seed {self.run.seeds[replica]}", self.count)
        for number, start in enumerate(range(0, self.count, size)):
            rows = np.minimum(np.arange(start, start + size), self.count - 1)  # one shape is compiled
            given = {name: jnp.asarray(values[rows]) for name, values in told.items()}
            key = core.step_key(stream_key(self.key, "samples"), number)
            valid = min(size, self.count - start)
            yield self.run.sample(key, size, replica=replica, **(given | dict(self.arguments)))[:valid]
            done(valid)

    def shown(self, x: Array) -> Array:
        """Return data as pictures show it, for images in [0, 1]."""
        display = self.run.experiment.display
        return x if display is None else display(x)

    def split_features(self, split: str) -> Outputs:
        """Return features of a split."""
        source = self.run.experiment.data.splits[split]
        return self._features((batch["x"] for batch in self.batches(split, f"features of {split}")), len(source))

    @functools.cached_property
    def reference(self) -> Outputs:
        """Features of the split that is scored."""
        return self.split_features(self.split)

    @functools.cached_property
    def generated(self) -> tuple[Outputs, ...]:
        """Features of the samples of each replica."""
        return tuple(self._features(self.samples(replica), self.count) for replica in self.replicas)

    def _features(self, side: Iterator[Array], count: int) -> Outputs:
        return extract(self.network, map(self.shown, side) if self.network.requires_images else side, count)

    @property
    def labels(self) -> np.ndarray:
        """Labels that samples are asked to have, int32 (``count``,); of models with classes alone."""
        asked = self.arguments.get("label", self._conditions.get("label"))
        return np.broadcast_to(np.asarray(asked, np.int32), (self.count,))

    @functools.cached_property
    def _conditions(self) -> dict[str, np.ndarray]:
        """Labels and the like, as common as in the split: those of its examples, in random order."""
        wanted = [c for c in conditions(self.run.model) if c.in_batch and c.name not in self.arguments]
        if not wanted:
            return {}
        rows = data.order(stream_key(self.key, "labels"), np.arange(self.count), len(self.source))
        found = conditioning(self.run.model, self.source.take(rows))
        return {c.name: np.asarray(found[c.name]) for c in wanted if c.name in found}

    @property
    def protocol(self) -> dict[str, Any]:
        """What every comparison of samples says of itself."""
        sides = {"reference": f"{len(self.source)} of {self.split}", "generated": self.count}
        arguments = {name: value for name, value in self.arguments.items() if value is not None}
        return self.network.protocol | sides | arguments
