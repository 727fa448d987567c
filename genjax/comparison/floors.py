"""Floors as contestants: simple models, fitted to the training split of the data that all runs share.

Where the runs show the data's own levels, densities are fitted to levels that are dequantized, so that they bound bits
per dimension, and the others to levels on [0, 1]. Otherwise, as with binarized data, all are fitted to what the model
of the first run sees. There is no distance between tokens, so the only floors of texts are token frequencies and
training examples drawn again.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import jax
import jax.numpy as jnp
import numpy as np

from genjax.capabilities import stop_token
from genjax.comparison.contestants import (
    Contestant,
    Member,
    Subject,
    evaluation_settings,
    largest_difference,
    shown_examples,
)
from genjax.comparison.floor_models import (
    Bootstrap,
    Factorized,
    FactorizedKernels,
    FullGaussian,
    Kernels,
    MarkovChain,
    MixtureOfGaussians,
    NearestNeighbours,
)
from genjax.comparison.settings import ComparisonSettings, FloorName
from genjax.comparison.table import Entry
from genjax.core import Array, GenerativeModel, PyTree, stream_key
from genjax.data import Dataset, dequantize, quantize, scale
from genjax.data.shuffling import random_examples
from genjax.data.transforms import Preprocess
from genjax.data.values import Values
from genjax.evaluation.context import Evaluation
from genjax.experiment import Experiment
from genjax.metrics import FeatureNetwork, Result
from genjax.metrics.progress import Progress
from genjax.ops.keys import seed_key

MAX_TOKENS = 4_096  # vocabulary size up to which a Markov chain stores all pairs of tokens
MAX_EXAMPLES = 10_000  # training examples that a floor is fitted to


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class _Space:
    """How a floor sees the data: fields of ``Evaluation``, the values after preprocessing, and a display."""

    dataset: Dataset
    preprocess: Preprocess
    display: Callable[[PyTree], PyTree] | None
    values: Values | None
    to_display: Callable[[PyTree], np.ndarray]


@final
@dataclass(frozen=True, kw_only=True)
class Floor:
    """A simple model.

    Attributes:
      name: name in tables, after "floor: ".
      summary: one sentence for a reader.
      model: function from the space of the data to the model.
      is_density: whether it has a density, which needs dequantized data.
      of_texts: whether it suits texts.
      of_numbers: whether it suits other data.
    """

    name: FloorName
    summary: str
    model: Callable[[_Space], GenerativeModel]
    is_density: bool = False
    of_texts: bool = False
    of_numbers: bool = True


def _factorized(space: _Space) -> GenerativeModel:
    values = space.values
    if values is None or values.levels is None:
        return FactorizedKernels()
    return Factorized(num_values=values.levels, low=values.low, high=values.high)


def _markov_chain(space: _Space) -> GenerativeModel:
    assert space.dataset.levels is not None
    return MarkovChain(num_values=space.dataset.levels, length=space.dataset.spec()["x"].shape[0])


FLOORS: Mapping[FloorName, Floor] = {
    floor.name: floor
    for floor in (
        Floor(name="factorized", summary="Independent dimensions", model=_factorized, of_texts=True),
        Floor(
            name="gaussian",
            summary="One Gaussian with a full covariance, shrunk by Ledoit and Wolf's rule",
            model=lambda _: FullGaussian(),
            is_density=True,
        ),
        Floor(
            name="gaussian_mixture",
            summary="A mixture of 2 to 40 Gaussians, chosen on held-out training data",
            model=lambda _: MixtureOfGaussians(),
            is_density=True,
        ),
        Floor(
            name="kernel_density",
            summary="Training examples with Gaussian noise, whose width is chosen on held-out training data",
            model=lambda _: Kernels(),
            is_density=True,
        ),
        Floor(
            name="nearest_neighbour",
            summary="Points between a training example and one of its 5 nearest neighbours",
            model=lambda _: NearestNeighbours(),
        ),
        Floor(
            name="markov_chain",
            summary="Sequences in which each token depends only on the one before it",
            model=_markov_chain,
            of_texts=True,
            of_numbers=False,
        ),
        Floor(name="bootstrap", summary="Training examples drawn again", model=lambda _: Bootstrap(), of_texts=True),
    )
}


def suitable_floors(names: Sequence[FloorName] | None, experiment: Experiment) -> tuple[FloorName, ...]:
    """Return these floors, or all that suit the data of an experiment.

    Raises:
      ValueError: if one of them does not suit the data.
    """
    is_text = experiment.data.tokenizer is not None
    suitable: tuple[FloorName, ...] = tuple(
        floor.name for floor in FLOORS.values() if (floor.of_texts if is_text else floor.of_numbers)
    )
    reason = f"does not suit {'texts' if is_text else 'data other than texts'}"
    if is_text and stop_token(experiment.model) is not None:
        suitable = ("bootstrap",)
        reason = "cannot tell where texts end, but the model has a stop token"
    elif is_text and (experiment.data.levels or 0) > MAX_TOKENS:
        suitable = tuple(name for name in suitable if name != "markov_chain")
        reason = f"does not suit the vocabulary, whose limit is {MAX_TOKENS:,} for a Markov chain"
    if names is None:
        return suitable
    wrong = next((name for name in names if name not in suitable), None)
    if wrong is not None:
        raise ValueError(f"floors has {wrong!r}, which {reason}; use {', '.join(suitable)}")
    return tuple(names)


def floor_contestants(
    names: Sequence[FloorName],
    first: Experiment,
    reference: Evaluation,
    settings: ComparisonSettings,
    network: FeatureNetwork,
) -> list[Contestant]:
    """Return the floors of these names; ``reference`` is the evaluation of the first run's experiment."""
    return [_contestant(FLOORS[name], _space(FLOORS[name], first, reference), settings, network) for name in names]


def _contestant(floor: Floor, space: _Space, settings: ComparisonSettings, network: FeatureNetwork) -> Contestant:
    model = floor.model(space)
    count = len(space.dataset.splits["train"])
    of_all = f"{min(count, MAX_EXAMPLES):,} of {count:,} training examples"
    entry = Entry(
        name=f"floor: {floor.name}",
        kind="floor",
        model=type(model).__name__,
        seeds=(settings.seed,),
        summary=f"{floor.summary}; fitted to {of_all}",
    )
    load = functools.partial(_load, model, space, settings, network)
    identity = {"seeds": [settings.seed], "fitted to": of_all, "values": str(space.values)}
    return Contestant(entry=entry, members=(Member(name=f"seed_{settings.seed}", identity=identity, load=load),))


def _load(
    model: GenerativeModel, space: _Space, settings: ComparisonSettings, network: FeatureNetwork, progress: Progress
) -> Subject:
    root = seed_key(settings.seed)
    examples = random_examples(stream_key(root, "floor examples"), space.dataset.splits["train"], MAX_EXAMPLES)
    batch = space.preprocess(stream_key(root, "floor preprocessing"), jax.tree.map(jnp.asarray, examples))
    started = time.perf_counter()
    variables = jax.block_until_ready(model.init(stream_key(root, "floor"), batch))
    seconds = time.perf_counter() - started
    evaluation = Evaluation(
        model=model,
        variables=variables,
        dataset=space.dataset,
        seeds=(settings.seed,),
        preprocess=space.preprocess,
        display=space.display,
        **evaluation_settings(settings, network, progress),
    )
    training = Result(name="training_time", value=seconds, protocol={"examples": len(batch["x"])})
    return Subject(evaluation=evaluation, to_display=space.to_display, training=training)


def _space(floor: Floor, first: Experiment, reference: Evaluation) -> _Space:
    """Return the space of a floor: levels, dequantized levels, or what the first model sees."""
    levels = first.data.levels
    if levels is None or first.data.tokenizer is not None or not _shows_levels(reference, levels):
        return _Space(
            dataset=first.data,
            preprocess=first.preprocess,
            display=functools.partial(_clipped, reference),
            values=first.values,
            to_display=first.to_display,
        )
    on_grid = functools.partial(quantize, levels=levels)
    return _Space(
        dataset=first.data,
        preprocess=dequantize(levels=levels) if floor.is_density else scale(levels=levels),
        display=on_grid if floor.is_density else functools.partial(jnp.clip, min=0.0, max=1.0),
        values=Values(0.0, 1.0) if floor.is_density else Values(0.0, 1.0, levels),
        to_display=lambda x: np.asarray(on_grid(jnp.asarray(x)) if floor.is_density else x),
    )


def _shows_levels(reference: Evaluation, levels: int) -> bool:
    """Return whether the feature network receives the levels of the data on [0, 1], but for dequantization."""
    raw: Any = reference.source.take(np.arange(len(shown := shown_examples(reference))))["x"]
    return largest_difference(reference.dataset, shown, raw.astype(np.float32) / (levels - 1)) == 0.0


def _clipped(reference: Evaluation, x: Array) -> Array:
    """Return samples as images in [0, 1], which a density may leave."""
    return jnp.clip(reference.to_display(x), 0.0, 1.0)
