"""All evaluations of a trained model by name: each has a row here, and a file of this package computes it.

A row states what the evaluation needs, what it returns for one replica, and whether higher is better. The command line
and reports read the rows. The rows of comparisons follow from ``metrics.COMPARISONS``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, final

from genjax import metrics
from genjax.arguments import check_arguments
from genjax.evaluation.calibration import calibration
from genjax.evaluation.classification import class_accuracy, classification, no_class_accuracy, no_classification
from genjax.evaluation.comparison import compare_by, inception_score, no_classifier, no_features, too_few
from genjax.evaluation.context import Evaluation
from genjax.evaluation.detection import detection, no_detection, no_outliers, outliers
from genjax.evaluation.imputation import imputation, no_imputation
from genjax.evaluation.interpolation import interpolation, no_interpolation
from genjax.evaluation.latents import aggregated_posterior, latents, no_aggregated_posterior, no_latents
from genjax.evaluation.likelihood import likelihood, no_likelihood, score_by
from genjax.evaluation.memorization import memorization, no_memorization
from genjax.evaluation.molecules import molecules, no_molecules
from genjax.evaluation.parzen import no_parzen, parzen
from genjax.evaluation.probing import linear_probe, no_linear_probe
from genjax.evaluation.reconstruction import no_reconstruction, reconstruction
from genjax.metrics import Result, mean_over_replicas, unavailable
from genjax.metrics.result import results_of

Function = Callable[[Evaluation, int], Mapping[str, Any]]


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class Row:
    """One evaluation.

    Attributes:
      name: name on the command line.
      function: ``(evaluation, replica) -> results`` of one replica.
      summary: one line for ``--help``.
      results: whether higher is better, by name of the result; None if it has no direction. The first name stands for
        the evaluation if it is unavailable.
      obstacle: function from an evaluation to the reason why the row is unavailable, or to None if it is available.
      part_of: name of the row that includes this one; "all" leaves it out.
    """

    name: str
    function: Callable[[Evaluation, int], list[Result]]
    summary: str
    results: Mapping[str, bool | None]
    obstacle: Callable[[Evaluation], str | None] = lambda _: None
    part_of: str | None = None

    def evaluate(self, evaluation: Evaluation) -> list[Result]:
        """Return the results over all replicas, or "n/a" with the reason."""
        reason = self.obstacle(evaluation)
        if reason is not None:
            return [unavailable(next(iter(self.results)), reason)]
        replicas = [self.function(evaluation, index) for index in range(len(evaluation.seeds))]
        unavailable_replicas = [results for results in replicas if results[0].value is None]
        if unavailable_replicas:
            return unavailable_replicas[0]
        return [_join(results) for results in zip(*replicas, strict=True)]


def _join(results: Sequence[Result]) -> Result:
    """Return the mean over replicas, with the protocol entries of all of them."""
    protocol: dict[str, Any] = {}
    for result in reversed(results):
        protocol |= result.protocol
    return replace(mean_over_replicas(results), protocol=protocol)


def _likelihood_row(method: str, summary: str) -> Row:
    return Row(
        name=method,
        function=score_by(method),
        summary=summary,
        results={method: True},
        obstacle=lambda evaluation: no_likelihood(evaluation, method),
        part_of="likelihood",
    )


def _comparison_row(comparison: metrics.Comparison) -> Row:
    return Row(
        name=comparison.name,
        function=compare_by(comparison.name),
        summary=comparison.summary,
        results=dict.fromkeys(comparison.results, comparison.higher_is_better),
        obstacle=lambda evaluation: no_features(evaluation) or too_few(evaluation, comparison.min_samples),
    )


ROWS: tuple[Row, ...] = (
    Row(
        name="likelihood",
        function=likelihood,
        summary="every log-likelihood of the model: nats, bits per dimension, perplexity",
        results={"log_prob": True, "elbo": True, "bits_per_dim": False, "perplexity": False},
        obstacle=no_likelihood,
    ),
    _likelihood_row("log_prob", "exact log-likelihood alone"),
    _likelihood_row("log_prob_lower_bound", "lower bound of the log-likelihood alone"),
    _likelihood_row("log_prob_estimate", "Monte-Carlo or ODE estimate of the log-likelihood alone"),
    Row(
        name="reconstruction",
        function=reconstruction,
        summary="squared error, and PSNR and SSIM of images",
        results={"mse": False, "psnr": True, "ssim": True},
        obstacle=no_reconstruction,
    ),
    Row(
        name="latents",
        function=latents,
        summary="active units and KL divergence of a posterior, usage and perplexity of a codebook",
        results={"active_units": True, "kl": None, "codebook_usage": True, "code_perplexity": True},
        obstacle=no_latents,
    ),
    Row(
        name="aggregated_posterior",
        function=aggregated_posterior,
        summary="two-sample test of codes of data against the prior",
        results={"aggregated_posterior": False},
        obstacle=no_aggregated_posterior,
    ),
    Row(
        name="interpolation",
        function=interpolation,
        summary="energy of decoded paths between codes: 1 if even and straight, 16 for one jump, more for turns",
        results={"path_energy": False},
        obstacle=no_interpolation,
    ),
    Row(
        name="linear_probe",
        function=linear_probe,
        summary="accuracy of a linear classifier on the codes of data",
        results={"probe_accuracy": True},
        obstacle=no_linear_probe,
    ),
    Row(
        name="imputation",
        function=imputation,
        summary="energy score of draws of the second half of an example given the first",
        results={"imputation_score": False},
        obstacle=no_imputation,
    ),
    Row(
        name="classification",
        function=classification,
        summary="labels by the model's p(y | x), or by Bayes' rule from exact densities: accuracy and cross-entropy",
        results={"label_accuracy": True, "label_cross_entropy": False},
        obstacle=no_classification,
    ),
    Row(
        name="calibration",
        function=calibration,
        summary="whether a class found 80 % probable is right in 80 % of the cases",
        results={"calibration_error": False},
        obstacle=no_classification,
    ),
    Row(
        name="detection",
        function=detection,
        summary="anomalies by their log-likelihood, or by their energy: AUROC and average precision",
        results={"auroc": True, "average_precision": True},
        obstacle=no_detection,
    ),
    Row(
        name="outliers",
        function=outliers,
        summary="AUROC of examples against midpoints of pairs of them, by log-likelihood",
        results={"outlier_auroc": True},
        obstacle=no_outliers,
    ),
    *map(_comparison_row, metrics.COMPARISONS.values()),
    Row(
        name="inception_score",
        function=inception_score,
        summary="Inception score, by the classifier of the features",
        results={"inception_score": True},
        obstacle=no_classifier,
    ),
    Row(
        name="class_accuracy",
        function=class_accuracy,
        summary="share of samples in the class that they are conditioned on",
        results={"class_accuracy": True},
        obstacle=no_class_accuracy,
    ),
    Row(
        name="memorization",
        function=memorization,
        summary="whether samples lie nearer to training data than held-out data does",
        results={"memorization": False},
        obstacle=no_memorization,
    ),
    Row(
        name="parzen",
        function=parzen,
        summary="Parzen-window log-likelihood, for comparison with older papers",
        results={"parzen": True},
        obstacle=no_parzen,
    ),
    Row(
        name="molecules",
        function=molecules,
        summary="validity, uniqueness and novelty of SMILES (needs RDKit)",
        results={"molecules": None, "validity": True, "uniqueness": True, "novelty": True},
        obstacle=no_molecules,
    ),
)
METRICS: Mapping[str, Row] = {row.name: row for row in ROWS}


@check_arguments
def check_names(names: Sequence[str]) -> tuple[str, ...]:
    """Return metric names in the order of ``ROWS``; "all" stands for every metric that is not part of another.

    Raises:
      ValueError: if a metric is unknown, or there are no names.
    """
    choices = f"use all or {', '.join(METRICS)}"
    unknown = [name for name in names if name not in METRICS and name != "all"]
    if unknown:
        raise ValueError(f"there is no metric {unknown[0]!r}; {choices}")
    if not names:
        raise ValueError(f"metrics is empty, but must name at least one; {choices}")
    return tuple(row.name for row in ROWS if row.name in names or ("all" in names and row.part_of is None))


@check_arguments
def evaluate(evaluation: Evaluation, metrics: Sequence[str | Row | Function]) -> dict[str, Result]:
    """Return the results of metrics by name; one metric may give several.

    A metric is a name, a row, or a function ``(evaluation, replica) -> values by name``, where ``NAME_standard_error``
    is the standard error of ``NAME``, as in ``genjax.metrics``. Those of one's own come last.
    """
    own = [metric for metric in metrics if not isinstance(metric, str)]
    names = [metric for metric in metrics if isinstance(metric, str)]
    rows = [METRICS[name] for name in check_names(names)] if names or not own else []
    rows += [metric if isinstance(metric, Row) else _row_of(metric) for metric in own]
    results = [result for row in rows for result in row.evaluate(evaluation)]
    return {result.name: result for result in results}


def _row_of(function: Function) -> Row:
    def compute(evaluation: Evaluation, index: int) -> list[Result]:
        values = function(evaluation, index)
        names = [name for name in values if not name.endswith("_standard_error")]
        return results_of(values, {name: {"split": evaluation.split} for name in names})

    name = getattr(function, "__name__", type(function).__name__)
    return Row(name=name, function=compute, summary=f"own metric {name}", results={name: None})


@check_arguments
def available(evaluation: Evaluation) -> tuple[str, ...]:
    """Return the names of the metrics that the model and the data support, without those that are part of another."""
    return tuple(row.name for row in ROWS if row.part_of is None and row.obstacle(evaluation) is None)


# Directions of metrics that are logged during training, and that no evaluation computes.
TRAINING_METRICS: Mapping[str, bool | None] = {"accuracy": True, "modes_captured": True, "high_quality_share": True}


@check_arguments
def higher_is_better(name: str) -> bool | None:
    """Return the direction of a result, or of a logged metric such as "validation/log_prob"; None if it has none.

    >>> higher_is_better("validation/log_prob_lower_bound"), higher_is_better("samples/frechet_distance")
    (True, False)
    >>> higher_is_better("log_prob/bits_per_dim"), higher_is_better("active_units_1"), higher_is_better("loss")
    (False, True, None)
    """
    name = name.rpartition("/")[2]
    directions = {**TRAINING_METRICS, **{result: higher for row in ROWS for result, higher in row.results.items()}}
    matches = [result for result in directions if name == result or name.startswith(f"{result}_")]
    return directions[max(matches, key=len)] if matches else None


def summary() -> str:
    """Return one paragraph per metric, for ``--help``."""
    return "\n\n".join(f"{row.name}: {row.summary}" for row in ROWS)
