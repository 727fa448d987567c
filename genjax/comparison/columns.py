"""The columns of a comparison: what the registry of evaluations gives, and what is measured here.

Likelihoods have a column for each guarantee, since a bound is no likelihood, and further ones for models that are
conditioned on labels, whose p(x | y) is no p(x). For data of whole numbers they are in bits, so that masses and
densities of dequantized data can be compared; for real numbers in nats.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from genjax.comparison.table import Column, Group
from genjax.data import Dataset
from genjax.evaluation.registry import METRICS
from genjax.metrics import Result

SAMPLES = "samples"  # the measurement that draws a picture
OWN = ("training", "size", "speed", SAMPLES)
_FROM_REGISTRY: tuple[tuple[Group, str, str, str, str], ...] = (
    ("quality", "frechet_distance", "frechet_distance", "FD", "squared Fréchet distance of features"),
    ("quality", "kernel_distance", "kernel_distance", "KD", "squared kernel distance of features"),
    ("quality", "precision_recall", "precision", "precision", "share of samples near data"),
    ("quality", "precision_recall", "density", "density", "samples per neighbourhood of data, 1 for data"),
    ("diversity", "precision_recall", "recall", "recall", "share of data near samples"),
    ("diversity", "precision_recall", "coverage", "coverage", "share of data with a sample in its neighbourhood"),
    (
        "diversity",
        "different_bins",
        "different_bins",
        "different bins",
        "share of bins with significantly too many or too few samples; about 0.05 for data",
    ),
    (
        "memorization",
        "memorization",
        "memorization",
        "memorization",
        "share of pairs in which a sample is nearer to the training data than held-out data; 0.5 without memorization",
    ),
    ("latent", "reconstruction", "mse", "reconstruction", "squared error of reconstructed held-out data per dimension"),
    (
        "latent",
        "interpolation",
        "path_energy",
        "path energy",
        "energy of decoded paths; 1 if even and straight",
    ),
    ("latent", "linear_probe", "probe_accuracy", "probe accuracy", "accuracy of a linear classifier on codes"),
    (
        "detection",
        "outliers",
        "outlier_auroc",
        "outlier AUROC",
        "how well log-likelihood ranks held-out examples above midpoints of pairs of them",
    ),
    (
        "conditioning",
        "imputation",
        "imputation_score",
        "imputation",
        "energy score of draws of the second half of held-out examples given the first",
    ),
    ("conditioning", "class_accuracy", "class_accuracy", "class accuracy", "share of samples in the requested class"),
)
_MEASURED: tuple[Column, ...] = (
    Column(
        name="training_time",
        title="training",
        group="speed",
        source="training",
        unit="s per seed",
        higher_is_better=False,
        summary="wall-clock time of training with compilation, divided by the seeds that were trained in one program",
    ),
    Column(
        name="latency",
        title="latency",
        group="speed",
        source="speed",
        unit="ms",
        higher_is_better=False,
        summary="time to draw one sample after compilation, median of several",
    ),
    Column(
        name="throughput",
        title="throughput",
        group="speed",
        source="speed",
        unit="samples/s",
        higher_is_better=True,
        summary="samples a second in one batch after compilation, median of several",
    ),
    Column(
        name="compile_time",
        title="compilation",
        group="speed",
        source="speed",
        unit="s",
        higher_is_better=False,
        summary="time to trace and compile the sampler of one batch, without a cache of compiled programs",
    ),
    Column(
        name="memory",
        title="memory",
        group="size",
        source="speed",
        unit="MB",
        higher_is_better=False,
        summary="memory of the compiled sampler of one batch: model, temporary arrays and samples",
    ),
    Column(
        name="parameters",
        title="parameters",
        group="size",
        source="size",
        unit="parameters",
        higher_is_better=False,
        summary="numbers that training moves in all parts of the model, a discriminator included; of a floor, all that "
        "it stores",
    ),
)
_TITLES = {"nats per example": "nats", "bits per dim": "bits/dim", "bits per byte": "bits/byte"}


def columns(dataset: Dataset) -> tuple[Column, ...]:
    """Return the columns of a comparison of models of a data set."""
    return (*map(_registry_column, _FROM_REGISTRY), *_likelihood_columns(dataset), *_MEASURED)


def measurements(columns: tuple[Column, ...]) -> tuple[str, ...]:
    """Return the names of the measurements that columns come from, each once, and that of the picture of samples."""
    return (*dict.fromkeys(column.source for column in columns), SAMPLES)


def _registry_column(entry: tuple[Group, str, str, str, str]) -> Column:
    group, source, result, title, summary = entry
    return Column(
        name=result,
        title=title,
        group=group,
        source=source,
        higher_is_better=None if group == "memorization" else METRICS[source].results[result],
        summary=summary,
    )


def _likelihood_columns(dataset: Dataset) -> list[Column]:
    unit = "bits per byte" if dataset.tokenizer is not None else "bits per dim"
    unit = unit if dataset.levels is not None else "nats per example"
    bound = "lower bound" if unit == "nats per example" else "upper bound"
    return [
        _likelihood_column(unit, guarantee, given)
        for given in (False, True)
        for guarantee in ("exact", bound, "estimate")
    ]


def _likelihood_column(unit: str, guarantee: str, given: bool) -> Column:
    words = [unit, guarantee, *(["given"] if given else [])]
    subject = "negative log-likelihood" if unit.startswith("bits") else "log-likelihood"
    return Column(
        name=" ".join(words).replace(" ", "_"),
        title=f"{_TITLES[unit]} ({guarantee.rpartition(' ')[2]}{', given label' if given else ''})",
        group="likelihood",
        source="likelihood",
        unit=unit,
        higher_is_better=unit == "nats per example",
        guarantee=guarantee,
        given=given,
        summary=f"{subject} of held-out data{' given its labels' if given else ''}, {guarantee}",
    )


def find_result(column: Column, results: list[Result]) -> Result | None:
    """Return the result that a column shows, or None if a measurement did not give it."""
    if column.group != "likelihood":
        return next((result for result in results if result.name == column.name), None)
    return next((result for result in results if _fits(column, result.protocol)), None)


def _fits(column: Column, protocol: Mapping[str, Any]) -> bool:
    return (
        protocol.get("units") == column.unit
        and protocol.get("guarantee") == column.guarantee
        and ("given" in protocol) == column.given
    )
