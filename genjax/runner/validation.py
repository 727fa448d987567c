"""Measurements during training: the likelihood of the validation split, scores of samples, and monitoring."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, final

import jax
import numpy as np

from genjax.capabilities import likelihoods
from genjax.core import Batch, TrainState, Variables
from genjax.evaluation.likelihood import Scorer
from genjax.experiment import Experiment
from genjax.monitoring.monitor import TrainingMonitor, ValueWarning, can_monitor
from genjax.runner.log import MetricLog
from genjax.runner.loop import StageLoop, root_keys
from genjax.sharding import Placement, replica

Monitor = Callable[[MetricLog, int, TrainState, Variables], None]


class BestMetric(NamedTuple):
    """Metric that selects the best checkpoint, and its direction."""

    name: str
    higher_is_better: bool


@final
class Validation:
    """Scores a model in training, always with the same random draws, so that steps can be compared."""

    def __init__(self, experiment: Experiment, seeds: tuple[int, ...], placement: Placement) -> None:
        self._experiment, self._seeds, self._placement = experiment, seeds, placement
        cheap = [method for method in likelihoods(experiment.model) if method != "log_prob_estimate"]
        self._method = cheap[0] if cheap and "validation" in experiment.data.splits else None
        self._warn_of_values = ValueWarning()
        self.results: dict[str, np.ndarray] = {}

    @property
    def likelihood(self) -> str | None:
        """Name of the validation likelihood in logs, or None if the model or the data have none."""
        return None if self._method is None else f"validation/{self._method}"

    @property
    def best_metric(self) -> BestMetric | None:
        """Metric that selects the best checkpoint: the experiment's sample score if it has one, else the likelihood."""
        score = self._experiment.sample_score
        if score is not None:
            return BestMetric(score.label, score.higher_is_better)
        return None if self.likelihood is None else BestMetric(self.likelihood, True)

    def __call__(self, variables: Variables, step: int) -> dict[str, np.ndarray]:
        """Return scores by name, each of shape () or (K,); warn once of those that are not finite."""
        results: dict[str, np.ndarray] = {}
        if self.likelihood is not None:
            keys = root_keys(self._seeds, "validation")
            scores = self._scorer(variables, keys, self._experiment.data.splits["validation"])
            results[self.likelihood] = scores.mean(axis=-1)
            self._warn_of_values(step, {str(self._method): scores}, "split 'validation'")
        sample_scores = self._score_samples(variables)
        self._warn_of_values(step, sample_scores, "samples")
        results |= sample_scores
        self.results |= results
        return results

    @functools.cached_property
    def _scorer(self) -> Scorer:
        assert self._method is not None
        return Scorer(
            self._experiment.model,
            self._method,
            preprocess=self._experiment.preprocess,
            placement=self._placement,
            num_seeds=len(self._seeds),
        )

    def _score_samples(self, variables: Variables) -> dict[str, np.ndarray]:
        score, model, dataset = self._experiment.sample_score, self._experiment.model, self._experiment.data
        if score is None:
            return {}
        keys, preprocess = root_keys(self._seeds, "sample score"), self._experiment.preprocess
        if len(self._seeds) == 1:
            return score.evaluate(model, variables, keys, dataset, preprocess)
        scores = [score.evaluate(model, replica(variables, i), key, dataset, preprocess) for i, key in enumerate(keys)]
        return jax.tree.map(lambda *values: np.stack(values), *scores)


def monitor_stage(
    experiment: Experiment, loop: StageLoop, seeds: tuple[int, ...], validation: Validation
) -> Monitor | None:
    """Return a function that monitors the model that a stage trains, or None if there is nothing to monitor.

    It logs its measurements, but for the metric that validation logs for all examples. ``variables`` are those of the
    experiment's model, which may not be the stage's model.

    Raises:
      ValueError: if the held-out examples cannot be measured, for example because they are too few.
    """
    stage = loop.stage
    model = stage.model or (experiment.model if loop.is_last else None)
    if not can_monitor(model):
        return None

    def to_batch(finished: Any, key: jax.Array, batch: Batch) -> Batch:
        preprocess_key, stage_key = jax.random.split(key)
        return stage.examples(finished)(stage_key, experiment.preprocess(preprocess_key, batch))

    splits = experiment.data.splits
    split = "validation" if "validation" in splits else "train"
    measure = TrainingMonitor(model, to_batch, splits[split], prefix=f"{split}/", num_seeds=len(seeds))

    def variables_of(state: TrainState) -> Variables:
        if stage.model:
            return state.variables
        return experiment.model_variables({**loop.finished, stage.name: state.variables}, len(seeds))

    measure.trace(jax.eval_shape(variables_of, loop.abstract()), loop.finished, root_keys(seeds, "collapse"))

    def monitor(log: MetricLog, step: int, state: TrainState, variables: Variables) -> None:
        stage_variables = state.variables if stage.model else variables
        scalars, vectors = measure(step, stage_variables, loop.finished, root_keys(seeds, "collapse"))
        scalars = {name: value for name, value in scalars.items() if name != validation.likelihood}
        if scalars:
            log.write(loop.steps_before + step, scalars)
        if vectors:
            log.write_vectors(loop.steps_before + step, vectors)

    return monitor
