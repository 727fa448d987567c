"""Anomaly detection by log-likelihood: label 1 marks the anomalies of a split, and training data have none.

Scores need no normalization: a model without an exact likelihood is scored by its unnormalized ``log_density`` if it
has one, and by a bound or an estimate otherwise.
"""

from __future__ import annotations

import numpy as np

from genjax import metrics
from genjax.capabilities import HasLogDensity, HasLogProb, likelihoods, num_classes, supports
from genjax.evaluation.context import Evaluation
from genjax.evaluation.likelihood import log_likelihoods
from genjax.metrics import Result, unavailable
from genjax.metrics.result import results_of


def no_detection(evaluation: Evaluation) -> str | None:
    """Return the reason why anomalies cannot be detected, or None if they can."""
    if _score_method(evaluation.model) is None:
        return f"{evaluation.model_name} has no log-likelihood"
    if num_classes(evaluation.model) is not None:
        return "the model is conditioned on the label, which detection must not know"
    if "label" not in evaluation.dataset.spec():
        return "the data has no labels; anomalies need label 1"
    if evaluation.labels("train").any():
        return "the training split has labels other than 0, the normal examples; see data.anomalies"
    present = np.unique(evaluation.labels(evaluation.split)).tolist()
    return None if present == [0, 1] else f"split {evaluation.split!r} has labels {present}, not 0 and 1"


def detection(evaluation: Evaluation, index: int) -> list[Result]:
    """Separate the split's anomalies from its normal examples by their log-likelihood."""
    method = _score_method(evaluation.model)
    assert method is not None  # because of ``no_detection``
    scores, labels = log_likelihoods(evaluation, method)[index], evaluation.labels(evaluation.split)
    num_nan = np.isnan(scores).sum()
    if num_nan:
        reason = f"{num_nan} of {len(scores)} scores of seed {evaluation.seeds[index]} are NaN"
        return [unavailable("auroc", reason)]
    values = metrics.detection_metrics(metrics.likelihood_score(scores), labels)
    protocol = {
        "score": f"-{method}",
        "draws of preprocessing": 1,
        "examples": len(labels),
        "prevalence": round(values["prevalence"], 4),
        "split": evaluation.split,
    }
    return results_of(values, {"auroc": protocol | {"standard error": "DeLong"}, "average_precision": protocol})


def _score_method(model: object) -> str | None:
    """Return the name of the method that ranks examples, or None if the model has none."""
    if supports(model, HasLogDensity) and not supports(model, HasLogProb):
        return "log_density"
    return next(iter(likelihoods(model)), None)
