"""Detection of labelled anomalies (label 1), and of outliers made from any data, by log-likelihood.

Outliers are the midpoints of pairs of held-out examples, which lie between modes and show two objects in one image.
Midpoints are no rougher than data, so densities that rank smooth examples above data miss them, as Eric Nalisnick et
al. 2019, arXiv:1810.09136, found for other outliers.

Scores need no normalization: a model without an exact likelihood is scored by its unnormalized ``log_density`` if it
has one, and by a bound or an estimate otherwise.
"""

from __future__ import annotations

import jax
import numpy as np

from genjax import metrics
from genjax.capabilities import HasLogDensity, HasLogProb, conditions, likelihoods, num_classes, supports
from genjax.core import Array, stream_key
from genjax.data import ArraySource, Source
from genjax.evaluation.context import Evaluation
from genjax.evaluation.likelihood import log_likelihoods, score_source
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


def no_outliers(evaluation: Evaluation) -> str | None:
    """Return the reason why outliers cannot be made or scored, or None if they can."""
    if _score_method(evaluation.model) is None:
        return f"{evaluation.model_name} has no log-likelihood"
    if conditions(evaluation.model):
        return "the model is conditioned, but an outlier has no condition"
    if evaluation.dataset.tokenizer is not None:
        return "examples are texts, which have no midpoints"
    dtype = evaluation.source.spec["x"].dtype
    if dtype == np.bool_ or (evaluation.dataset.levels == 2 and np.issubdtype(dtype, np.integer)):
        return "elements have two values, which have no midpoint"
    return "the split has a single example, but a midpoint needs two" if len(evaluation.source) < 2 else None


def outliers(evaluation: Evaluation, index: int) -> list[Result]:
    """Return the AUROC of held-out examples against midpoints of pairs of them, by log-likelihood."""
    method = _score_method(evaluation.model)
    assert method is not None  # because of ``no_outliers``
    if method not in evaluation.outlier_scores:
        made = midpoints(stream_key(evaluation.key, "outliers"), evaluation.source)
        evaluation.outlier_scores[method] = score_source(evaluation, method, made)
    scores = np.stack([log_likelihoods(evaluation, method)[index], evaluation.outlier_scores[method][index]])
    num_nan = np.isnan(scores).sum()
    if num_nan:
        reason = f"{num_nan} of {scores.size} scores of seed {evaluation.seeds[index]} are NaN"
        return [unavailable("outlier_auroc", reason)]
    area, error = metrics.auroc(-scores[1], -scores[0])
    protocol = {"score": f"-{method}", "outliers": "midpoints of pairs", "examples": scores.shape[1]}
    protocol |= {"split": evaluation.split, "standard error": "DeLong, as if pairs were independent of examples"}
    return [Result(name="outlier_auroc", value=area, standard_error=error, protocol=protocol)]


def midpoints(key: Array, source: Source) -> ArraySource:
    """Return the midpoint of each example and another one, drawn at random; integers are rounded.

    >>> midpoints(jax.random.key(0), ArraySource({"x": np.array([[1], [4]], np.uint8)})).arrays["x"].ravel().tolist()
    [2, 2]
    """
    rows = source.take(np.arange(len(source)))
    x = rows["x"]
    order = np.asarray(jax.random.permutation(key, len(x)))
    other = np.empty_like(x)
    other[order] = x[np.roll(order, 1)]  # no example is paired with itself
    middle = (x.astype(np.float64) + other) / 2
    middle = np.round(middle) if np.issubdtype(x.dtype, np.integer) else middle
    return ArraySource(rows | {"x": middle.astype(x.dtype)})


def _score_method(model: object) -> str | None:
    """Return the name of the method that ranks examples, or None if the model has none."""
    if supports(model, HasLogDensity) and not supports(model, HasLogProb):
        return "log_density"
    return next(iter(likelihoods(model)), None)
