"""Classification by a generative model, and of its samples.

A model's own p(y | x), or Bayes' rule with exact class densities, classifies data (``label_accuracy``); a classifier
trained on data decides whether samples belong to the class that they are conditioned on (``class_accuracy``).
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np

from genjax import metrics
from genjax.capabilities import Classifies, num_classes, supports
from genjax.compilation import jit
from genjax.core import Array
from genjax.evaluation.comparison import no_classifier
from genjax.evaluation.context import Evaluation
from genjax.metrics import Outputs, Result
from genjax.metrics.likelihood import mean_per


def no_classification(evaluation: Evaluation) -> str | None:
    """Return the reason why a model does not classify, or None if it does."""
    return metrics.label_posterior_unavailable_reason(evaluation.model)


def classification(evaluation: Evaluation, index: int) -> list[Result]:
    """Classify the split by p(y | x): accuracy of the most probable class, and cross-entropy of the labels."""
    scores = [metrics.label_scores(posterior, label) for posterior, label in label_posteriors(evaluation, index)]
    correct, nats = (np.concatenate(parts) for parts in zip(*scores, strict=True))
    classes = num_classes(evaluation.model)
    protocol = {
        "guarantee": "exact",
        "prior": "learned" if supports(evaluation.model, Classifies) else f"{classes} equally likely classes",
        "draws of preprocessing": 1,
        "examples": len(nats),
        "split": evaluation.split,
    }
    return [
        _result("label_accuracy", correct, protocol),
        _result("label_cross_entropy", nats, {"units": "nats per example"} | protocol),
    ]


def label_posteriors(evaluation: Evaluation, index: int) -> Iterator[tuple[Array, Array]]:
    """Yield log p(y | x) of every class, (B, C), and the true labels, int32 (B,), of each batch of the split."""
    variables, name = evaluation.replica(index), f"classification by seed {evaluation.seeds[index]}"
    posterior = jit(functools.partial(metrics.label_log_posterior, evaluation.model))
    for batch in evaluation.batches(evaluation.split, name):
        yield posterior(variables, batch["x"]), batch["label"]


def no_class_accuracy(evaluation: Evaluation) -> str | None:
    """Return the reason why samples cannot be classified, or None if they can."""
    classes = num_classes(evaluation.model)
    if classes is None:
        return f"{evaluation.model_name} is not conditioned on classes"
    logits = None if no_classifier(evaluation) else evaluation.reference.logits
    if logits is None or logits.shape[-1] != classes:
        return f"{evaluation.network.name} does not classify into the model's {classes} classes; use classifier:DATASET"
    return None


def class_accuracy(evaluation: Evaluation, index: int) -> list[Result]:
    """Classify samples by the feature network: share in the class that they are conditioned on."""
    data_accuracy = _is_correct(evaluation.reference, evaluation.labels(evaluation.split)).mean()
    protocol = evaluation.protocol | {"guarantee": "estimate by a classifier"}
    protocol |= {f"accuracy on {evaluation.split}": round(data_accuracy, 4)}
    return [_result("class_accuracy", _is_correct(evaluation.generated(index), evaluation.requested_labels), protocol)]


def _is_correct(outputs: Outputs, labels: np.ndarray) -> np.ndarray:
    assert outputs.logits is not None
    return np.argmax(np.asarray(outputs.logits), axis=-1) == labels


def _result(name: str, scores: np.ndarray, protocol: dict[str, Any]) -> Result:
    value, error = mean_per(scores)
    return Result(name=name, value=value, standard_error=error, protocol=protocol)
