"""Memorization: do samples lie nearer to the training data than held-out data does?"""

from __future__ import annotations

from genjax import metrics
from genjax.evaluation.comparison import no_features
from genjax.evaluation.context import Evaluation
from genjax.metrics import Result


def no_memorization(evaluation: Evaluation) -> str | None:
    """Return the reason why memorization cannot be measured, or None if it can."""
    if evaluation.split == "train":
        return "split is 'train', but memorization needs held-out data; use another split"
    return no_features(evaluation)


def memorization(evaluation: Evaluation, index: int) -> list[Result]:
    """Compare the distances of samples and of held-out data to their nearest training examples."""
    train, held_out = evaluation.split_features("train").features, evaluation.reference.features
    generated = evaluation.generated(index).features
    advance = evaluation.progress("memorization", len(held_out) + evaluation.count)
    values = metrics.data_copying(train, held_out, generated, progress=advance)
    details = {name: round(float(values[name]), 4) for name in ("z_score", "share_copies", "held_out_share_copies")}
    guarantee = {"guarantee": "estimate", "units": "0.5 without memorization, 1 for copies"}
    value, error = float(values["share_closer"]), float(values["standard_error"])
    protocol = evaluation.protocol | guarantee | details
    return [Result(name="memorization", value=value, standard_error=error, protocol=protocol)]
