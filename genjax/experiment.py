"""An experiment: a model, data and how long to train, as one value.

An experiment file holds one function ``experiment(**hyper_parameters) -> Experiment`` whose typed keyword arguments are
its hyper-parameters; the command line, notebooks and sweeps all call that function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, final

import jax
import numpy as np

from genjax import capabilities
from genjax.core import Array, Batch, GenerativeModel, Learner, PyTree, Variables
from genjax.data import Dataset, unchanged
from genjax.evaluation.samples import SampleScore
from genjax.learners import Frozen, Optimizers, Stage, gradient_learner

Transform = Callable[[Array, Batch], Batch]
SINGLE_STAGE = "model"


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class Experiment:
    """What to train, on what, and for how long.

    Attributes:
      model: the generative model that evaluation, sampling and reports speak of.
      data: where batches come from.
      optimizer: an optax transformation, or one for each objective by name; needed unless ``learner`` or ``stages`` is
        given.
      steps: learner steps; a multi-stage method takes its stages' steps instead.
      batch_size: examples in a minibatch, over all devices together.
      preprocess: ``(key, batch) -> batch``, compiled into the step: binarization, dequantization, scaling.
      schedule: the turns of the objectives, see ``gradient_learner``.
      ema_decay: decay of the parameters' moving average, see ``gradient_learner``.
      learner: a hand-written learner, for what is not gradient descent.
      stages: the stages of a method that trains in several.
      variables: from the finished variables of all stages, by name ("model" where there is one), of one replica to the
        model's; the last stage's when None.
      log_every: steps in one compiled dispatch, and between two rows of metrics.
      evaluate_every: steps between evaluations on the validation split; None for about ten in a run.
      sample_every: steps between pictures of samples; None for about ten in a run.
      checkpoint_every: steps between checkpoints; None for about ten in a run.
      keep_checkpoints: how many of the newest checkpoints stay, beside the best one.
      preview_kwargs: keyword arguments of the model's ``sample`` for pictures, such as ``{"mean": True}``; also the
        defaults of ``genjax sample``.
      sample_score: numbers of samples, one of which decides which checkpoint is the best, before any likelihood.
      display: from samples to what pictures show (images in [0, 1]); None shows them as they are, and sounds drawn.
    """

    model: GenerativeModel
    data: Dataset
    optimizer: Optimizers | None = None
    steps: int | None = None
    batch_size: int = 128
    preprocess: Transform = unchanged
    schedule: tuple[str, ...] | None = None
    ema_decay: float | None = None
    learner: Learner | None = None
    stages: tuple[Stage, ...] = ()
    variables: Callable[[Frozen], Variables] | None = None
    log_every: int = 100
    evaluate_every: int | None = None
    sample_every: int | None = None
    checkpoint_every: int | None = None
    keep_checkpoints: int = 3
    preview_kwargs: Mapping[str, Any] = field(default_factory=dict)
    sample_score: SampleScore | None = None
    display: Callable[[PyTree], PyTree] | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot run, before anything compiles."""
        ways = [name for name in ("optimizer", "learner", "stages") if getattr(self, name)]
        if len(ways) != 1:
            given = " and ".join(ways) or "none of them"
            raise ValueError(f"an experiment takes one of optimizer, learner and stages, but {given} was given")
        if self.stages and self.steps is not None:
            raise ValueError(f"steps is {self.steps}, but the stages have steps of their own; leave steps out")
        if not self.stages and self.steps is None:
            raise ValueError("steps is missing; say how many learner steps to train for")
        for name in ("steps", "batch_size", "log_every", "evaluate_every", "sample_every", "checkpoint_every"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}, but it must be at least 1")
        for name in ("evaluate_every", "sample_every", "checkpoint_every"):
            value = getattr(self, name)
            if value is not None and value % self.log_every:
                raise ValueError(
                    f"{name} is {value}, but it must be a multiple of log_every={self.log_every}, "
                    f"the steps of one dispatch; use {-(-value // self.log_every) * self.log_every}"
                )
        size = len(self.data.splits["train"])
        if self.batch_size > size:
            raise ValueError(
                f"batch_size is {self.batch_size}, but the training split of {self.data.name!r} has {size} examples; "
                f"use a batch_size of at most {size}"
            )
        self._check_classes()
        self.plan()

    def _check_classes(self) -> None:
        """Refuse labels that the model does not have: compiled code would take them for none."""
        known = capabilities.num_classes(self.model)
        if known is not None and self.data.num_classes is not None and self.data.num_classes > known:
            raise ValueError(
                f"the model has num_classes={known}, but labels of {self.data.name!r} are 0 to "
                f"{self.data.num_classes - 1}; use num_classes={self.data.num_classes}"
            )

    def plan(self) -> tuple[Stage, ...]:
        """Return the stages that training runs through; one named "model" unless ``stages`` says otherwise."""
        if self.stages:
            return self.stages
        learner = self.learner
        if learner is None:
            assert self.optimizer is not None
            learner = gradient_learner(self.model, self.optimizer, schedule=self.schedule, ema_decay=self.ema_decay)
        assert self.steps is not None
        return (Stage(name=SINGLE_STAGE, learner=lambda _: learner, steps=self.steps),)

    def model_variables(self, finished: Frozen, num_seeds: int = 1) -> Variables:
        """Return the model's variables from those of the finished stages, all with replicas first for several seeds."""
        if self.variables is not None:
            return (self.variables if num_seeds == 1 else jax.vmap(self.variables))(finished)
        return finished[self.plan()[-1].name]

    def to_display(self, x: PyTree) -> Any:
        """Return samples as pictures show them."""
        if self.display is not None:
            return np.asarray(self.display(x))
        return np.asarray(x) if self.data.sound is None else self.data.sound.draw(np.asarray(x))

    def interval(self, name: str, steps: int) -> int:
        """Return the steps between two evaluations, pictures or checkpoints: as given, or a tenth of the stage."""
        given = getattr(self, name)
        return given or max(1, round(steps / 10 / self.log_every)) * self.log_every
