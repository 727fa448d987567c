"""The context of every evaluation: a trained model, a split of its data, samples, and the features of both.

A feature network maps split and samples once, batch by batch into buffers on the device, and all comparisons read the
same features.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, final

import jax
import jax.numpy as jnp
import numpy as np

from genjax import core, data
from genjax.arguments import PositiveInt, check_arguments
from genjax.capabilities import conditions
from genjax.compilation import jit
from genjax.core import Array, Batch, GenerativeModel, PyTree, Variables, stream_key
from genjax.data.transforms import Preprocess
from genjax.evaluation.samples import draw_samples, source_conditions
from genjax.metrics import FeatureNetwork, LikelihoodUnits, Outputs, extract, likelihood_units, pixels
from genjax.metrics.progress import Progress, no_progress
from genjax.ops.importance import LogPartition
from genjax.sharding import Placement, replica

MAX_SAMPLES = 10_000


@final
@check_arguments
@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """A trained model, data to score it on, and the settings of all scores.

    Attributes:
      model: trained model.
      variables: its variables; with several seeds every array has a leading axis of replicas.
      dataset: data that the model was trained on.
      key: typed key of everything random: samples, bounds and estimates, preprocessing, projections.
      seeds: seed of each replica.
      preprocess: ``(key, batch) -> batch``, from raw examples to what the model is trained on.
      display: maps data to images in [0, 1], for feature networks; None if data are such images.
      split: name of the split to score on and to compare samples with.
      network: feature network for comparisons of samples.
      num_samples: number of samples to draw; None for as many as the split has examples, at most 10,000.
      likelihood_samples: number of draws per example if the likelihood is estimated, and of particles if log Z is.
      num_neighbours: k of precision, recall, density and coverage.
      batch_size: number of examples processed at once.
      sample_kwargs: keyword arguments of the model's ``sample``.
      progress: function that starts a progress bar, ``(name, total) -> callback``.

    Raises:
      ValueError: if the data set lacks the split.
    """

    model: GenerativeModel
    variables: Variables
    dataset: data.Dataset
    key: Array
    seeds: tuple[int, ...] = (0,)
    preprocess: Preprocess = data.unchanged
    display: Callable[[PyTree], PyTree] | None = None
    split: str = "test"
    network: FeatureNetwork = field(default_factory=pixels)
    num_samples: PositiveInt | None = None
    likelihood_samples: PositiveInt = 1000
    num_neighbours: PositiveInt = 5
    batch_size: PositiveInt = 500
    sample_kwargs: Mapping[str, Any] = field(default_factory=dict)
    progress: Progress = no_progress

    def __post_init__(self) -> None:
        splits = self.dataset.splits
        if self.split not in splits:
            raise ValueError(
                f"split is {self.split!r}, but {self.dataset.name!r} has {sorted(splits)}; use one of these"
            )

    @property
    def model_name(self) -> str:
        """Name of the model's class, for reasons why metrics are unavailable."""
        return type(self.model).__name__

    @property
    def source(self) -> data.Source:
        """Examples of the split."""
        return self.dataset.splits[self.split]

    @functools.cached_property
    def placement(self) -> Placement:
        """All devices."""
        return Placement()

    @functools.cached_property
    def log_likelihoods(self) -> dict[str, np.ndarray]:
        """Cache of ``likelihood.log_likelihoods``: nats by method, shape (K, N) for K replicas."""
        return {}

    @functools.cached_property
    def outlier_scores(self) -> dict[str, np.ndarray]:
        """Cache of ``detection.outliers``: log-likelihoods of the outliers in nats by method, shape (K, N)."""
        return {}

    @functools.cached_property
    def log_partitions(self) -> dict[int, LogPartition]:
        """Cache of ``likelihood.log_likelihoods``: estimate of log Z by replica."""
        return {}

    @functools.cached_property
    def units(self) -> LikelihoodUnits:
        """Units that a log-likelihood of the split can be expressed in."""
        return likelihood_units(self.model, self.dataset, self.preprocess, self.split)

    def replica(self, index: int) -> Variables:
        """Return the variables of one replica."""
        return self.variables if len(self.seeds) == 1 else replica(self.variables, index)

    @property
    def count(self) -> int:
        """Number of samples to draw."""
        return min(len(self.source), MAX_SAMPLES) if self.num_samples is None else self.num_samples

    def batches(self, split: str, name: str) -> Iterator[Batch]:
        """Yield the preprocessed batches of a split, with a progress bar."""
        source = self.dataset.splits[split]
        preprocess = jit(self.preprocess)
        advance = self.progress(name, len(source))
        for number, (batch, valid) in enumerate(data.batches(source, min(self.batch_size, len(source)))):
            prepared = preprocess(core.step_key(stream_key(self.key, split), number), batch)
            yield {entry: array[:valid] for entry, array in prepared.items()}
            advance(valid)

    def labels(self, split: str) -> np.ndarray:
        """Return the labels of a split, shape (N,)."""
        parts = data.batches(self.dataset.splits[split], self.batch_size)
        return np.concatenate([batch["label"][:valid] for batch, valid in parts])

    def samples(self, index: int) -> Iterator[Array]:
        """Yield batches of samples of one replica, with a progress bar. All replicas see the same keys."""
        size = min(self.batch_size, self.count)
        variables, condition = self.replica(index), self._sample_conditions | self._condition_rows
        advance = self.progress(f"samples of seed {self.seeds[index]}", self.count)
        for number, start in enumerate(range(0, self.count, size)):
            # The last batch repeats its last row, so that one shape is compiled.
            rows = np.minimum(np.arange(start, start + size), self.count - 1)
            arrays = {name: jnp.asarray(values[rows]) for name, values in condition.items()}
            options: dict[str, Any] = {**self.sample_kwargs, **arrays}
            key = core.step_key(stream_key(self.key, "samples"), number)
            valid = min(size, self.count - start)
            yield draw_samples(self.model, variables, key, size, batch_size=size, **options)[:valid]
            advance(valid)

    def to_display(self, x: Array) -> Array:
        """Return data, or samples of any type, as images in [0, 1]."""
        return self._scaled(x) if self.display is None else self.display(x)

    @functools.cached_property
    def _top(self) -> int:
        """Largest value of integer data, L − 1, as the model sees them; 1 for real numbers or unknown levels."""
        batch = self.dataset.batch_spec(1, split=self.split)
        x = jax.eval_shape(self.preprocess, self.key, batch)["x"]
        is_amount = jnp.issubdtype(x.dtype, jnp.integer) and self.dataset.tokenizer is None  # tokens are names
        levels = self.dataset.levels if is_amount else None
        return 1 if levels is None else max(1, levels - 1)

    def _scaled(self, x: Array) -> Array:
        """Return float32, with integer data on [0, 1]: data and samples on one scale, whatever their types."""
        return jnp.asarray(x, jnp.float32) / self._top

    @functools.cached_property
    def _outputs(self) -> dict[str | int, Outputs]:
        return {}

    def split_features(self, split: str) -> Outputs:
        """Return the features of a split; computed once, for all metrics."""
        examples = (batch["x"] for batch in self.batches(split, f"features of {split}"))
        return self._features(split, examples, len(self.dataset.splits[split]))

    @property
    def reference(self) -> Outputs:
        """Features of the evaluated split."""
        return self.split_features(self.split)

    def generated(self, index: int) -> Outputs:
        """Return the features of one replica's samples; computed once, for all metrics."""
        return self._features(index, self.samples(index), self.count)

    def network_input(self, x: Array) -> Array:
        """Return data, or samples, as the feature network takes them: images in [0, 1], or the model's own numbers."""
        return self.to_display(x) if self.network.requires_images else self._scaled(x)

    def _features(self, name: str | int, batches: Iterator[Array], count: int) -> Outputs:
        if name not in self._outputs:
            self._outputs[name] = extract(self.network, map(self.network_input, batches), count)
        return self._outputs[name]

    @property
    def requested_labels(self) -> np.ndarray:
        """Labels that samples are conditioned on, int32 (``count``,); only for models with classes."""
        label = self.sample_kwargs.get("label", self._sample_conditions.get("label"))
        return np.broadcast_to(np.asarray(label, np.int32), (self.count,))

    @functools.cached_property
    def _sample_conditions(self) -> dict[str, np.ndarray]:
        """Conditions of the samples: those of the split's examples in random order, hence as frequent."""
        names = [c.name for c in conditions(self.model) if c.in_batch and c.name not in self.sample_kwargs]
        if not names:
            return {}
        rows = data.shuffle_indices(stream_key(self.key, "labels"), np.arange(self.count), len(self.source))
        condition = source_conditions(self.model, self.source, rows, self.preprocess, self.key)
        return {name: condition[name] for name in names if name in condition}

    @functools.cached_property
    def _condition_rows(self) -> dict[str, np.ndarray]:
        """Conditions in ``sample_kwargs`` that have a row for each sample, or one row for all of them."""
        shapes = {c.name: c.shape for c in conditions(self.model)}
        rows = {name: np.asarray(value) for name, value in self.sample_kwargs.items() if name in shapes}
        return {
            name: np.broadcast_to(value, (self.count, *value.shape[1:]))
            for name, value in rows.items()
            if value.ndim == len(shapes[name]) + 1
        }

    @property
    def protocol(self) -> dict[str, Any]:
        """Protocol entries of every comparison of samples."""
        sides = {"reference": f"{len(self.source)} of {self.split}", "generated": self.count}
        settings = {name: value for name, value in self.sample_kwargs.items() if value is not None}
        if self.dataset.class_names is not None and isinstance(settings.get("label"), int):
            settings["label"] = self.dataset.class_name(settings["label"])
        settings |= dict.fromkeys(self._condition_rows, "given")
        if self._top > 1 and not self.network.requires_images:
            settings |= {"integers_divided_by": self._top}
        return self.network.protocol | sides | settings
