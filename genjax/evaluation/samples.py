"""Drawing and scoring samples of a model, shared by runs, previews and evaluations."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, final

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding

from genjax.arguments import PositiveInt, check_arguments
from genjax.capabilities import conditioning, conditions, num_values
from genjax.compilation import jit
from genjax.core import Array, GenerativeModel, Variables
from genjax.data import Dataset, Source, shuffle_indices, unchanged
from genjax.data.transforms import Preprocess
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
from genjax.metrics.progress import ProgressCallback, chunks
from genjax.sharding import Placement

CLASSIFIER_BATCH_SIZE = 1_000  # stacks
BATCH_SIZE = 512  # samples drawn at once by default
BLOCK_SIZE = 64  # samples that share a key


@check_arguments
def draw_samples(
    model: GenerativeModel,
    variables: Variables,
    key: Array,
    num_samples: PositiveInt,
    *,
    batch_size: PositiveInt = BATCH_SIZE,
    progress: ProgressCallback | None = None,
    **sample_kwargs: Any,
) -> Array:
    """Return samples (N, ...), drawn in batches by one compiled program.

    Each block of 64 samples has its own key, folded from ``key`` and the block's number, so that the batch size sets
    memory and leaves the samples as they are.

    Args:
      model: trained model.
      variables: its variables.
      key: a typed key.
      num_samples: number of samples, N.
      batch_size: number of samples drawn at once, rounded up to whole blocks.
      progress: function that is called with the number of samples in each finished batch.
      sample_kwargs: keyword arguments of the model's own ``sample``; conditions have one row for each sample, or one
        for all. A ``callback`` needs its calls in order, so that samples are drawn on the first device alone;
        otherwise a single process uses all its devices if they can share a batch evenly.

    Raises:
      FloatingPointError: if the model's logits are NaN or infinite.
    """
    block_size, blocks = min(BLOCK_SIZE, num_samples), _blocks_per_batch(num_samples, batch_size)
    rows, arrays, settings = _split_arguments(model, num_samples, sample_kwargs)
    variables, sharding = _place(variables, blocks * block_size, "callback" in sample_kwargs)
    draw = _compiled_sample(model, blocks, block_size, tuple(sorted(settings.items())), sharding)
    parts: list[Array] = []
    for part in chunks(num_samples, blocks * block_size, progress):
        # The last batch repeats the last row, so that one shape is compiled.
        numbers = np.minimum(np.arange(part.start, part.start + blocks * block_size), num_samples - 1)
        batch = {name: value[numbers].reshape(blocks, block_size, *value.shape[1:]) for name, value in rows.items()}
        block_numbers = np.arange(blocks, dtype=np.uint32) + part.start // block_size
        # The checker of keys mistakes a scan over keys under vmap for their reuse.
        with contextlib.nullcontext() if blocks == 1 else jax.debug_key_reuse(False):
            parts.append(draw(variables, key, block_numbers, arrays, batch)[: part.stop - part.start])
    x = parts[0] if len(parts) == 1 else jnp.concatenate(parts)
    check_drawn(model, x)
    return x


def check_drawn(model: GenerativeModel, x: Array | np.ndarray) -> None:
    """Raise FloatingPointError if samples hold tokens of −1, which mark logits that are NaN or infinite."""
    if num_values(model) is not None and jnp.issubdtype(x.dtype, jnp.integer) and bool(jnp.any(x < 0)):
        raise FloatingPointError(
            f"the logits of this {type(model).__name__} are NaN or infinite, because its training diverged; use an "
            "earlier checkpoint, or train again with a lower learning rate"
        )


def num_batches(num_samples: int, batch_size: int) -> int:
    """Return the number of batches in which ``draw_samples`` draws."""
    block_size = min(BLOCK_SIZE, num_samples)
    return -(-num_samples // (block_size * _blocks_per_batch(num_samples, batch_size)))


def _blocks_per_batch(num_samples: int, batch_size: int) -> int:
    return -(-min(num_samples, batch_size) // min(BLOCK_SIZE, num_samples))


def _split_arguments(
    model: GenerativeModel, num_samples: int, sample_kwargs: Mapping[str, Any]
) -> tuple[dict[str, np.ndarray], dict[str, Any], dict[str, Any]]:
    """Return conditions with one row for each sample, other arrays, and settings, which are static."""
    arrays = {name: value for name, value in sample_kwargs.items() if isinstance(value, jax.Array | np.ndarray)}
    ranks = {condition.name: len(condition.shape) for condition in conditions(model)}
    rows = {
        name: np.broadcast_to(value, (num_samples, *value.shape[1:]))
        for name, value in arrays.items()
        if name in ranks and value.ndim == ranks[name] + 1
    }
    shared = {name: value for name, value in arrays.items() if name not in rows}
    return rows, shared, {name: value for name, value in sample_kwargs.items() if name not in arrays}


def _place(variables: Variables, batch_size: int, in_order: bool) -> tuple[Variables, NamedSharding | None]:
    """Place variables on the devices that draw a batch, and return the sharding of its samples."""
    if in_order:
        return jax.device_put(variables, jax.local_devices()[0]), None
    if jax.process_count() == 1 < jax.device_count() and batch_size % jax.device_count() == 0:
        placement = Placement()
        return placement.replicate(variables), placement.split(axis=0)
    return variables, None


@functools.lru_cache(maxsize=32)
def _compiled_sample(
    model: GenerativeModel,
    blocks: int,
    block_size: int,
    settings: tuple[tuple[str, Any], ...],
    sharding: NamedSharding | None,
) -> Callable[..., Array]:
    """Return a function that draws blocks of samples, (blocks · block_size, ...)."""

    def sample(
        variables: Variables, key: Array, numbers: Array, arrays: Mapping[str, Any], rows: Mapping[str, Any]
    ) -> Array:
        def block(number: Array, rows: Mapping[str, Any]) -> Array:
            block_key = jax.random.fold_in(key, number)
            return model.sample(variables, block_key, block_size, **dict(settings), **arrays, **rows)

        if blocks == 1:
            return block(numbers[0], jax.tree.map(lambda a: a[0], rows))
        x = jax.vmap(block)(numbers, rows)
        return x.reshape(blocks * block_size, *x.shape[2:])

    return jit(sample, out_shardings=sharding)


def example_conditions(
    model: GenerativeModel, dataset: Dataset, count: int, preprocess: Preprocess = unchanged
) -> dict[str, np.ndarray]:
    """Return conditions of ``count`` samples drawn during training, for previews and scores.

    They are keyword arguments of ``sample``, arrays (N, ...): all classes in turn for a model that takes a label alone,
    else those of ``example_rows``, preprocessed.
    """
    batch_conditions = [condition for condition in conditions(model) if condition.in_batch]
    if not batch_conditions:
        return {}
    first, *others = batch_conditions
    if not others and first.kind == "label" and first.num_values is not None:
        return {first.name: np.arange(count, dtype=np.int32) % first.num_values}
    return source_conditions(model, *example_rows(dataset, count), preprocess, jax.random.key(0))


def example_rows(dataset: Dataset, count: int) -> tuple[Source, np.ndarray]:
    """Return the validation split, or else the training split, and the numbers (N,) of ``count`` random examples.

    They are the same every time, and repeat themselves if the split has fewer examples.
    """
    source = dataset.splits.get("validation", dataset.splits["train"])
    return source, shuffle_indices(jax.random.key(0), np.arange(count), len(source))


def source_conditions(
    model: GenerativeModel, source: Source, rows: np.ndarray, preprocess: Preprocess, key: Array
) -> dict[str, np.ndarray]:
    """Return the conditions of a source's examples (N,) as the model sees them, keyword arguments of ``sample``.

    Labels and tokens need no preprocessing, which would also transform the data.
    """
    batch: Mapping[str, Any] = source.take(rows)
    if any(condition.num_values is None for condition in conditions(model) if condition.in_batch):
        batch = jit(preprocess)(key, batch)
    return {name: np.asarray(values) for name, values in conditioning(model, batch).items()}


@final
@check_arguments
@dataclass(frozen=True, kw_only=True, eq=False)
class SampleScore:
    """Scores of samples, logged at every evaluation as ``samples/NAME``; one of them selects the best checkpoint.

    Attributes:
      name: name of the score that selects the best checkpoint.
      score: maps samples (num_samples, ...), as the model draws them, to scores by name.
      num_samples: number of samples drawn each time, at least 1, always with the same key, of all classes in turn.
      higher_is_better: False for distances.

    >>> SampleScore(name="mean", score=lambda x: {"mean": x.mean(), "deviation": x.std()}, num_samples=100).label
    'samples/mean'
    """

    name: str
    score: Callable[[Array], Mapping[str, Any]]
    num_samples: PositiveInt = 1_000
    higher_is_better: bool = True

    @property
    def label(self) -> str:
        """Name of the score in logs and checkpoints."""
        return f"samples/{self.name}"

    def evaluate(
        self,
        model: GenerativeModel,
        variables: Variables,
        key: Array,
        dataset: Dataset,
        preprocess: Preprocess = unchanged,
    ) -> dict[str, np.ndarray]:
        """Return the scores of a model's samples, scalars, by their names in logs."""
        condition: dict[str, Any] = example_conditions(model, dataset, self.num_samples, preprocess)
        values = self.score(draw_samples(model, variables, key, self.num_samples, **condition))
        if self.name not in values:
            raise ValueError(f"the score named {self.name!r} returns {sorted(values)}; name one of these")
        return {f"samples/{name}": np.asarray(value, np.float64) for name, value in values.items()}


@check_arguments
def frechet_score(
    features: str,
    source: Source,
    *,
    num_samples: PositiveInt = 1_000,
    display: Callable[[Any], Any] | None = None,
) -> SampleScore:
    """Return the Fréchet distance between samples and all examples of a source as a score.

    The feature network is built on first use; ``features`` is its name, such as "classifier:digits", see
    ``metrics.feature_network``. ``display`` maps samples to images in [0, 1], which the network takes; None if samples
    are such images, or for pixels, which take both as they are.

    Raises:
      ValueError: from ``score``, if pixels compare a source of integers with real numbers, which have another scale.
    """

    @functools.cache
    def reference() -> tuple[FeatureNetwork, MomentsState]:
        network, x = feature_network(features), source.take(np.arange(len(source)))["x"]
        return network, moments(extract(network, [x], len(x)).features)

    def score(samples: Array) -> Mapping[str, Array]:
        network, data_moments = reference()
        images = samples if display is None else display(samples)
        are_integers = {jnp.issubdtype(dtype, jnp.integer) for dtype in (images.dtype, source.spec["x"].dtype)}
        if network.levels is None and len(are_integers) > 1:
            raise ValueError(
                f"samples are {images.dtype} and the source is {source.spec['x'].dtype}, but {network.name} need one "
                "scale; use a classifier, or a source of scaled data"
            )
        return frechet_distance_from_moments(data_moments, moments(extract(network, [images], len(images)).features))

    return SampleScore(name="frechet_distance", score=score, num_samples=num_samples, higher_is_better=False)


@check_arguments
def modes_score(
    features: str,
    *,
    num_channels: PositiveInt,
    num_classes: PositiveInt = 10,
    num_samples: PositiveInt = 26_000,
    display: Callable[[Any], Any] | None = None,
) -> SampleScore:
    """Return a score that counts the class combinations among stacked images; see ``metrics.StackedModes``.

    The feature network classifies single channels; it and ``display`` are those of ``frechet_score``. The literature
    uses 26,000 samples for the 1,000 modes of three digits.
    """
    metric = StackedModes(num_classes=num_classes, num_channels=num_channels)
    network = functools.cache(lambda: feature_network(features))

    def score(samples: Array) -> Mapping[str, Array]:
        state = metric.init()
        for part in chunks(len(samples), CLASSIFIER_BATCH_SIZE):
            images = samples[part] if display is None else display(samples[part])
            state = metric.update(state, channel_classes(network(), images))
        return metric.compute(state)

    return SampleScore(name="modes_captured", score=score, num_samples=num_samples)
