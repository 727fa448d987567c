"""Comparison of samples with a split, in the features of a network."""

from __future__ import annotations

from collections.abc import Callable

from genjax import metrics
from genjax.core import stream_key
from genjax.evaluation.context import Evaluation
from genjax.metrics import Result
from genjax.metrics.features import NGRAMS
from genjax.metrics.result import results_of


def no_features(evaluation: Evaluation) -> str | None:
    """Return the reason why samples have no features, or None if they have."""
    if evaluation.dataset.tokenizer is None or evaluation.network.name == NGRAMS:
        return None
    return f"samples are texts, for which features={evaluation.network.name} mean nothing; use features={NGRAMS}"


def too_few(evaluation: Evaluation, min_samples: int) -> str | None:
    """Return the reason why data or samples are too few for a comparison to say anything, or None if they are not."""
    count = min(len(evaluation.source), evaluation.count)
    return f"there are {count} examples or samples, but it needs {min_samples} of both" if count < min_samples else None


def compare_by(name: str) -> Callable[[Evaluation, int], list[Result]]:
    """Return the evaluation for one comparison of ``metrics.COMPARISONS``, by name."""

    def compare(evaluation: Evaluation, index: int) -> list[Result]:
        return metrics.compare(
            evaluation.reference.features,
            evaluation.generated(index).features,
            [name],
            key=stream_key(evaluation.key, "comparisons"),
            num_neighbours=evaluation.num_neighbours,
            protocol=evaluation.protocol,
            progress=evaluation.progress,
        )

    return compare


def no_classifier(evaluation: Evaluation) -> str | None:
    """Return the reason why the feature network does not classify, or None if it does."""
    if evaluation.network.name in ("pixels", NGRAMS):
        return f"{evaluation.network.name} classify nothing; use features=classifier:DATASET or inception:WEIGHTS"
    return None


def inception_score(evaluation: Evaluation, index: int) -> list[Result]:
    """Score the samples alone, by the classifier that computes the features."""
    num_splits = min(10, evaluation.count)
    logits = evaluation.generated(index).logits
    assert logits is not None
    values = metrics.inception_score(stream_key(evaluation.key, "inception score"), logits, num_splits=num_splits)
    spread = round(float(values["inception_score_sd"]), 4)
    settings = {"splits": num_splits, "guarantee": "biased estimate", "sd_over_splits": spread}
    protocol = evaluation.protocol | settings
    del protocol["reference"]
    return results_of(values, {"inception_score": protocol})
