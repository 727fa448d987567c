"""Comparisons of two samples, from their features.

``COMPARISONS`` maps the names of the command line to their rows; one comparison may return several results.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from genjax.arguments import PositiveInt, check_arguments
from genjax.core import Array, stream_key
from genjax.metrics.bins import MIN_SAMPLES, different_bins
from genjax.metrics.checks import checked_features
from genjax.metrics.classifier_test import classifier_two_sample_test
from genjax.metrics.frechet import frechet_distance
from genjax.metrics.kernels import kernel_distance, mmd_squared
from genjax.metrics.metric import Values
from genjax.metrics.neighbours import precision_recall_density_coverage
from genjax.metrics.progress import Progress, no_progress
from genjax.metrics.result import Result, results_of
from genjax.metrics.sliced import NUM_PROJECTIONS, sliced_wasserstein


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One way to compare two samples.

    Attributes:
      name: name on the command line.
      function: ``(reference, generated, ...) -> values``. Any value that is neither a result nor the standard error of
        one goes into the protocol.
      summary: one line of help.
      higher_is_better: direction of its results.
      results: names of the values that are results.
      guarantee: relation of the results to the distance between the distributions.
      requires: inputs that it needs, by name; for all of these the features of both samples.
      settings: names of the settings that the function takes.
      random: whether the function takes a key as its first argument.
      min_samples: number of data and of samples below which it says nothing, and an evaluation leaves it out.
      progress_total: total of the progress bar, for N reference and M generated samples; None if it reports none.
    """

    name: str
    function: Callable[..., Values]
    summary: str
    higher_is_better: bool
    results: tuple[str, ...]
    guarantee: str
    requires: tuple[str, ...] = ("features",)
    settings: tuple[str, ...] = ()
    random: bool = False
    min_samples: int = 1
    progress_total: Callable[[int, int], int] | None = None


_BIASED = "biased estimate"  # the bias grows as the number of samples falls
_UNBIASED = "unbiased estimate"


def _num_matrix_rows(n: int, m: int) -> int:
    """Return the number of rows of the three matrices of all pairs."""
    return 2 * n + m


_ROWS = (
    Comparison(
        name="frechet_distance",
        function=frechet_distance,
        summary="squared Fréchet distance between Gaussians fitted to the features; FID on Inception features",
        higher_is_better=False,
        results=("frechet_distance",),
        guarantee=_BIASED,
    ),
    Comparison(
        name="kernel_distance",
        function=kernel_distance,
        summary="MMD² with a cubic kernel; KID on Inception features",
        higher_is_better=False,
        results=("kernel_distance",),
        guarantee=_UNBIASED,
        progress_total=_num_matrix_rows,
    ),
    Comparison(
        name="precision_recall",
        function=precision_recall_density_coverage,
        summary="precision, recall, density and coverage by k-nearest-neighbour balls",
        higher_is_better=True,
        results=("precision", "recall", "density", "coverage"),
        guarantee=_BIASED,
        settings=("num_neighbours",),
        progress_total=_num_matrix_rows,
    ),
    Comparison(
        name="different_bins",
        function=different_bins,
        summary="share of bins with significantly too many or too few samples; about 0.05 for data",
        higher_is_better=False,
        results=("different_bins",),
        guarantee=_BIASED,
        min_samples=MIN_SAMPLES,
    ),
    Comparison(
        name="mmd2",
        function=mmd_squared,
        summary="MMD² with a mixture of Gaussian kernels",
        higher_is_better=False,
        results=("mmd2",),
        guarantee=_UNBIASED,
        progress_total=_num_matrix_rows,
    ),
    Comparison(
        name="sliced_wasserstein",
        function=sliced_wasserstein,
        summary="2-Wasserstein distance of one-dimensional projections, averaged over random directions",
        higher_is_better=False,
        results=("sliced_wasserstein",),
        guarantee=_BIASED,
        random=True,
        progress_total=lambda n, m: NUM_PROJECTIONS,
    ),
    Comparison(
        name="classifier_test",
        function=classifier_two_sample_test,
        summary="held-out accuracy of a classifier that distinguishes samples from data; 0.5 is best",
        higher_is_better=False,
        results=("classifier_accuracy",),
        guarantee="lower bound on the best classifier's accuracy",
        random=True,
        progress_total=lambda n, m: min(n, m) // 2 * 2,
    ),
)
COMPARISONS: Mapping[str, Comparison] = {row.name: row for row in _ROWS}
DEFAULT = ("frechet_distance", "kernel_distance", "precision_recall", "mmd2")


@check_arguments
def compare(
    reference: Array | np.ndarray,
    generated: Array | np.ndarray,
    names: Sequence[str] = DEFAULT,
    *,
    key: Array,
    num_neighbours: PositiveInt = 5,
    protocol: Mapping[str, Any] | None = None,
    progress: Progress = no_progress,
) -> list[Result]:
    """Compare two samples by the comparisons named, keys of ``COMPARISONS``; an unknown name raises ValueError.

    ``num_neighbours`` is k of precision, recall, density and coverage. ``protocol`` has the entries that all results
    share, such as where samples and features come from. ``progress`` starts a progress bar,
    ``(name, total) -> callback``.
    """
    reference, generated = checked_features(reference, generated)
    unknown = [name for name in names if name not in COMPARISONS]
    if unknown:
        raise ValueError(f"there is no comparison {unknown[0]!r}; use {', '.join(COMPARISONS)}")
    settings = {"num_neighbours": num_neighbours}
    results = []
    for name in names:
        comparison = COMPARISONS[name]
        arguments: dict[str, Any] = {setting: settings[setting] for setting in comparison.settings}
        entries = dict(protocol or {}) | {"guarantee": comparison.guarantee} | arguments
        if comparison.progress_total is not None:
            total = comparison.progress_total(len(reference), len(generated))
            arguments["progress"] = progress(name.replace("_", " "), total)
        keys = (stream_key(key, name),) if comparison.random else ()
        values = comparison.function(*keys, reference, generated, **arguments)
        others = values.keys() - {name + suffix for name in comparison.results for suffix in ("", "_standard_error")}
        entries |= {entry: np.asarray(value).tolist() for entry, value in values.items() if entry in others}
        results += results_of(values, dict.fromkeys(comparison.results, entries))
    return results
