"""Experiments: a model, data and a training schedule in one object.

An experiment file defines a function ``experiment(**hyper_parameters) -> Experiment``, whose typed keyword arguments
are the hyper-parameters; the command line, notebooks and sweeps call it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, final

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from genjax import capabilities
from genjax.arguments import NonNegativeInt, PositiveInt, check_arguments
from genjax.averages import AverageLength
from genjax.core import Array, Batch, GenerativeModel, Learner, PyTree, Variables
from genjax.data import Dataset, unchanged
from genjax.data.transforms import Preprocess, bin_width, map_values
from genjax.data.values import Values
from genjax.evaluation.samples import SampleScore
from genjax.learners import Decay, Frozen, Optimizers, Stage, gradient_learner
from genjax.nets.computation import NetDtype
from genjax.ops import HasLevels, HasSupport, check_leaf_shapes

SINGLE_STAGE = "model"
MAX_CLIPPED = 0.25  # share of pixels that pictures clip without a warning


class StopTraining(Exception):  # noqa: N818 - not an error, because training ends well
    """Raised by a callback to end training after this step, with a checkpoint and a report."""


@final
@check_arguments
@dataclass(frozen=True, kw_only=True, eq=False)
class Experiment:
    """A model, its data, and settings of training.

    Attributes:
      model: generative model, which evaluation, sampling and reports use.
      data: data set.
      optimizer: optax transformation, or one for each objective by name; required unless ``learner`` or ``stages`` is
        given.
      steps: number of learner steps; None if ``stages`` are given, which have their own.
      batch_size: number of examples in a minibatch over all devices.
      preprocess: function ``(key, batch) -> batch`` compiled into the step: binarization, dequantization, scaling.
      schedule: order of the objectives, see ``gradient_learner``.
      ema_decay: decay of the moving average of parameters, see ``gradient_learner``.
      ema_lengths: lengths of power-function averages instead, see ``gradient_learner``. Snapshots of them are stored,
        so that another length can be chosen after training, as in ``genjax evaluate RUN --ema 0.07``.
      learner: custom learner, for methods other than gradient descent.
      stages: stages, for methods that train in several.
      variables: function from the final variables of all stages by name ("model" if there is one), for one replica, to
        the variables of the model; None for those of the last stage.
      log_every: number of steps in a compiled dispatch, and between two rows of metrics.
      evaluate_every: number of steps between evaluations on the validation split; None for about ten in a run.
      sample_every: number of steps between pictures of samples; None for about ten in a run.
      checkpoint_every: number of steps between checkpoints; None for about ten in a run.
      snapshot_every: number of steps between snapshots of power-function averages; None for about forty in a run. More
        of them meet other lengths more closely.
      keep_checkpoints: number of newest checkpoints to keep, beside the best one.
      preview_kwargs: keyword arguments of the model's ``sample`` for pictures, such as ``{"mean": True}``; also the
        defaults of ``genjax sample``.
      sample_score: score of samples, which selects the best checkpoint instead of a likelihood.
      callbacks: functions ``(step, metrics, variables)`` that are called when metrics are logged, on every process.
        Metrics are floats by name, or arrays (K,) for K seeds, with the held-out ones where they were evaluated;
        variables are those of the model, or of its stage before the last. ``StopTraining`` ends the stage well.
      init_from: variables that training starts from instead of ``model.init``, such as ``load_run(folder).replica()``;
        only with ``optimizer``.
      accumulate: number of minibatches whose gradients are averaged for each update, see ``gradient_learner``.
      dtype: dtype of the products of networks in training, "float32" or "bfloat16", see ``genjax.nets.computing``;
        evaluation, pictures and samples are computed in float32. A network keeps a ``dtype`` of its own.
      remat: whether training computes all but the products of networks again for the gradient, see
        ``genjax.nets.computing``.
      offload_optimizer: whether the state of the optimizer is kept in the memory of the host, and moved to the devices
        for each step. It changes no number.
      partition: function from the path of a parameter, such as "net/up/kernel", to its ``PartitionSpec`` over the mesh
        axes data, fsdp and model, or to None, which leaves it to the rules of ``genjax.sharding``.
      display: function from samples to images in [0, 1] for pictures; None scales images from the values that
        ``preprocess`` returns, and draws sounds.
    """

    model: GenerativeModel
    data: Dataset
    optimizer: Optimizers | None = None
    steps: PositiveInt | None = None
    batch_size: PositiveInt = 128
    preprocess: Preprocess = unchanged
    schedule: tuple[str, ...] | None = None
    ema_decay: Decay | None = None
    ema_lengths: tuple[AverageLength, ...] = ()
    learner: Learner | None = None
    stages: tuple[Stage, ...] = ()
    variables: Callable[[Frozen], Variables] | None = None
    log_every: PositiveInt = 100
    evaluate_every: PositiveInt | None = None
    sample_every: PositiveInt | None = None
    checkpoint_every: PositiveInt | None = None
    snapshot_every: PositiveInt | None = None
    keep_checkpoints: NonNegativeInt = 3
    preview_kwargs: Mapping[str, Any] = field(default_factory=dict)
    sample_score: SampleScore | None = None
    callbacks: tuple[Callable[[int, Mapping[str, Any], Variables], None], ...] = ()
    init_from: Variables | None = None
    accumulate: PositiveInt = 1
    dtype: NetDtype = "float32"
    remat: bool = False
    offload_optimizer: bool = False
    partition: Callable[[str], PartitionSpec | None] | None = None
    display: Callable[[PyTree], PyTree] | None = None

    def __post_init__(self) -> None:
        """Raise for settings that cannot run, before anything compiles."""
        names = [name for name in ("optimizer", "learner", "stages") if getattr(self, name)]
        if len(names) != 1:
            raise ValueError(
                "an experiment needs exactly one of optimizer, learner and stages, "
                f"but has {' and '.join(names) or 'none'}"
            )
        if self.init_from is not None and not self.optimizer:
            raise ValueError("init_from is set, but only works with optimizer; give the learner its own init")
        if self.accumulate > 1 and not self.optimizer:
            raise ValueError(
                f"accumulate is {self.accumulate}, but only works with optimizer; pass accumulate to gradient_learner"
            )
        if self.stages and self.steps is not None:
            raise ValueError(f"steps is {self.steps}, but the stages have their own steps; leave steps out")
        if not self.stages and self.steps is None:
            raise ValueError("steps is missing; set the number of learner steps")
        for name in ("evaluate_every", "sample_every", "checkpoint_every", "snapshot_every"):
            value = getattr(self, name)
            if value is not None and value % self.log_every:
                raise ValueError(
                    f"{name} is {value}, but must be a multiple of log_every={self.log_every}, "
                    f"the steps of one dispatch; use {-(-value // self.log_every) * self.log_every}"
                )
        size = len(self.data.splits["train"])
        if self.batch_size > size:
            raise ValueError(
                f"batch_size is {self.batch_size}, but the training split of {self.data.name!r} has {size} examples; "
                f"use a batch_size of at most {size}"
            )
        self._check_classes()
        self._check_texts()
        self._check_pairs()
        self._check_images()
        if self.values is not None:
            self._check_integers(self.values)
            self._check_likelihood(self.values)
        self.plan()

    def _check_classes(self) -> None:
        """Raise if data labels exceed the model's classes: compiled code would silently treat them as unlabelled."""
        num_classes = capabilities.num_classes(self.model)
        if num_classes is not None and self.data.num_classes is not None and self.data.num_classes > num_classes:
            raise ValueError(
                f"the model has num_classes={num_classes}, but labels of {self.data.name!r} are 0 to "
                f"{self.data.num_classes - 1}; use num_classes={self.data.num_classes}"
            )

    def _check_texts(self) -> None:
        """Raise if texts have tokens that the model does not know, or another length, in compiled code unseen too."""
        for condition in capabilities.conditions(self.model):
            tokenizer = self.data.condition_tokenizers.get(condition.name)
            if condition.kind != "tokens" or tokenizer is None:
                continue
            shape, name = self.data.spec()[condition.name].shape, type(self.model).__name__
            if condition.num_values is not None and tokenizer.num_tokens > condition.num_values:
                raise ValueError(
                    f"{name} knows {condition.num_values} tokens of {condition.name!r}, but those of "
                    f"{self.data.name!r} are 0 to {tokenizer.num_tokens - 1}; use num_tokens={tokenizer.num_tokens}"
                )
            if not condition.fits(shape):
                raise ValueError(
                    f"{name} takes {condition.name!r} of shape {condition.shape}, but that of {self.data.name!r} has "
                    f"shape {shape}; make the two equal"
                )

    def _check_pairs(self) -> None:
        """Raise if a model that learns from pairs would see the examples of two sets in random pairs."""
        needed = [c.name for c in capabilities.conditions(self.model) if c.in_batch and c.paired]
        if needed and not self.data.paired:
            raise ValueError(
                f"{type(self.model).__name__} learns x given {needed[0]!r}, but examples of {self.data.name!r} are "
                "unpaired; use data.paired, or a model for unpaired data such as CycleGAN"
            )

    def _check_images(self) -> None:
        """Raise if images that the model is conditioned on are not in [0, 1], or have another shape."""
        images = [c for c in capabilities.conditions(self.model) if c.in_batch and c.kind == "image"]
        if not images or self.stages:  # whose batches are their own
            return
        spec = self.batch_spec()
        for condition in images:
            if condition.name not in spec:
                continue
            shape, dtype = spec[condition.name].shape, spec[condition.name].dtype
            if not jnp.issubdtype(dtype, jnp.floating):
                raise ValueError(
                    f"{type(self.model).__name__} takes {condition.name!r} in [0, 1], but it is {dtype}; "
                    f"use preprocess=data.chain(data.scale(), data.scale(entry={condition.name!r}))"
                )
            if not condition.fits(shape):
                raise ValueError(
                    f"{type(self.model).__name__} takes {condition.name!r} of shape {condition.shape}, but it has "
                    f"shape {shape}; None is any length"
                )

    def batch_spec(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Return the shape and type of one example after preprocessing, without the batch axis."""
        batch = jax.eval_shape(self.preprocess, jax.random.key(0), self.data.batch_spec(1))
        return {name: jax.ShapeDtypeStruct(array.shape[1:], array.dtype) for name, array in batch.items()}

    @property
    def values(self) -> Values | None:
        """Values of ``x`` after preprocessing; None if they are unknown."""
        return map_values(self.preprocess, self.data.values)

    def _check_integers(self, values: Values) -> None:
        """Raise if the data are not the integers that the model takes, which compiled code cannot see."""
        num_values = capabilities.num_values(self.model)
        if num_values is None:
            return
        if not values.are_whole() or bin_width(self.preprocess) is not None:
            raise ValueError(
                f"the model takes integers 0 … {num_values - 1}, but {self.preprocess!r} makes real numbers; "
                "leave it out"
            )
        if not values.within(0, num_values - 1):
            raise ValueError(
                f"the model has num_values={num_values}, but x has {values}; use num_values={int(values.high) + 1}"
            )

    def _check_likelihood(self, values: Values) -> None:
        """Raise if the data are not those of the model's likelihood."""
        likelihood = capabilities.likelihood(self.model)
        if isinstance(likelihood, HasSupport) and not values.within(*likelihood.support):
            low, high = likelihood.support
            cure = f"preprocess=data.scale(levels={self.data.levels})" if self.data.levels else "scaled data"
            raise ValueError(f"{likelihood!r} is for x in [{low:g}, {high:g}], but x has {values}; use {cure}")
        if isinstance(likelihood, HasLevels) and values.levels not in (None, likelihood.levels):
            raise ValueError(
                f"{likelihood!r} is for data with its levels, but x has {values}; use levels={values.levels}"
            )

    def plan(self) -> tuple[Stage, ...]:
        """Return the stages of training; without ``stages`` a single one, named "model"."""
        if self.stages:
            return self.stages
        learner = self.learner
        if learner is None:
            assert self.optimizer is not None
            learner = gradient_learner(
                self.model,
                self.optimizer,
                schedule=self.schedule,
                ema_decay=self.ema_decay,
                ema_lengths=self.ema_lengths,
                accumulate=self.accumulate,
                init=None if self.init_from is None else self._init_from,
            )
        assert self.steps is not None
        return (Stage(name=SINGLE_STAGE, learner=lambda _: learner, steps=self.steps),)

    def _init_from(self, key: Array, batch: Batch) -> Variables:
        """Return ``init_from``; raise ValueError if they are not variables of this model."""
        needed = jax.eval_shape(self.model.init, key, batch)
        check_leaf_shapes("init_from", self.init_from, needed, "use variables of an equal model")
        assert self.init_from is not None
        return self.init_from

    def model_variables(self, finished: Frozen, num_seeds: int = 1) -> Variables:
        """Return the model's variables from those of the finished stages; with several seeds, replicas come first."""
        if self.variables is not None:
            return (self.variables if num_seeds == 1 else jax.vmap(self.variables))(finished)
        return finished[self.plan()[-1].name]

    def to_display(self, x: PyTree) -> Any:
        """Convert samples to what pictures show."""
        if self.display is not None:
            return np.asarray(self.display(x))
        if self.data.sound is not None:
            return self.data.sound.draw(np.asarray(x))
        x, values = np.asarray(x), self.values
        if x.ndim != 4:
            return x
        if values is None:
            if x.dtype != np.uint8 and np.mean((x < 0) | (x > 1)) > MAX_CLIPPED:
                warnings.warn(
                    f"more than {MAX_CLIPPED:.0%} of the pixels are outside [0, 1] and clipped in pictures; "
                    "set display of the experiment to a function that maps them to [0, 1]",
                    stacklevel=2,
                )
            return x
        low, high = _limits(values)
        return (x - low) / ((high - low) or 1.0)

    def image_range(self) -> tuple[float, float]:
        """Return the values of black and of white in the model's images; dequantized, the centers of their bins.

        Raises:
          ValueError: if the values of the data are unknown.
        """
        values, width = self.values, bin_width(self.preprocess) or 0.0
        if values is None:
            raise ValueError(
                f"values of {self.data.name!r} after {self.preprocess!r} are unknown, so that images cannot be put on "
                "their scale; use data.scale or data.dequantize"
            )
        low, high = _limits(values)
        return low + 0.5 * width, high - 0.5 * width

    def interval(self, name: str, steps: int) -> int:
        """Return the number of steps between evaluations, pictures, checkpoints or snapshots of a stage."""
        count = 40 if name == "snapshot_every" else 10
        return getattr(self, name) or max(1, round(steps / count / self.log_every)) * self.log_every


def _limits(values: Values) -> tuple[float, float]:
    """Return the values that pictures show as black and white."""
    return (0.0, 1.0) if values.within(0, 1) else (values.low, values.high)
