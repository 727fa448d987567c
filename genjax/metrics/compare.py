"""Two samples compared in every way, from their features.

The names in ``COMPARISONS`` are those of the command line; one comparison may give several numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, final

import numpy as np

from genjax.core import Array, stream_key
from genjax.metrics.checks import checked_features
from genjax.metrics.classifier_test import classifier_two_sample_test
from genjax.metrics.frechet import frechet_distance_of
from genjax.metrics.kernels import kernel_distance, mmd_squared
from genjax.metrics.metric import Values
from genjax.metrics.neighbours import precision_recall_density_coverage
from genjax.metrics.progress import Progress, silent
from genjax.metrics.result import Result
from genjax.metrics.sliced import NUM_PROJECTIONS, sliced_wasserstein


@final
@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One way to compare two samples.

    Attributes:
      function: ``(reference, generated, ...) -> values``. A value named as a result with ``_standard_error`` after it
        is that result's; any other that is no result belongs to the protocol.
      results: names of the values that are results.
      guarantee: what they are of the distance between the distributions.
      random: whether the function takes a key first.
      total: of the progress bar, for N reference and M generated samples; None for what tells of no progress.
      takes: settings that the function takes.
    """

    function: Callable[..., Values]
    results: tuple[str, ...]
    guarantee: str
    random: bool = False
    total: Callable[[int, int], int] | None = None
    takes: tuple[str, ...] = ()


_BIASED = "biased estimate"  # the more so the fewer samples there are
_UNBIASED = "unbiased estimate"


def _passes(n: int, m: int) -> int:
    """Return the rows of the three matrices of all pairs."""
    return 2 * n + m


COMPARISONS: Mapping[str, Comparison] = {
    "frechet_distance": Comparison(function=frechet_distance_of, results=("frechet_distance",), guarantee=_BIASED),
    "kernel_distance": Comparison(
        function=kernel_distance, results=("kernel_distance",), guarantee=_UNBIASED, total=_passes
    ),
    "precision_recall": Comparison(
        function=precision_recall_density_coverage,
        results=("precision", "recall", "density", "coverage"),
        guarantee=_BIASED,
        total=_passes,
        takes=("num_neighbours",),
    ),
    "mmd2": Comparison(function=mmd_squared, results=("mmd2",), guarantee=_UNBIASED, total=_passes),
    "sliced_wasserstein": Comparison(
        function=sliced_wasserstein,
        results=("sliced_wasserstein",),
        guarantee=_BIASED,
        random=True,
        total=lambda n, m: NUM_PROJECTIONS,
    ),
    "classifier_test": Comparison(
        function=classifier_two_sample_test,
        results=("classifier_accuracy",),
        guarantee="lower bound of the best classifier's",
        random=True,
        total=lambda n, m: min(n, m) // 2 * 2,
    ),
}
DEFAULT = ("frechet_distance", "kernel_distance", "precision_recall", "mmd2")


def compare(
    reference: Array | np.ndarray,
    generated: Array | np.ndarray,
    names: Sequence[str] = DEFAULT,
    *,
    key: Array,
    num_neighbours: int = 5,
    protocol: Mapping[str, Any] | None = None,
    progress: Progress = silent,
) -> list[Result]:
    """Compare two samples.

    Args:
      reference: features of real data, shape (N, D).
      generated: features of samples, shape (M, D).
      names: of ``COMPARISONS``.
      key: for those that are random.
      num_neighbours: k of precision, recall, density and coverage.
      protocol: what all results say of themselves: where both sides and their features are from.
      progress: starts a progress bar, from a name and a total.

    Raises:
      ValueError: for a name that there is not, and what the comparisons refuse.
    """
    reference, generated = checked_features(reference, generated)
    unknown = [name for name in names if name not in COMPARISONS]
    if unknown:
        raise ValueError(f"there is no comparison {unknown[0]!r}; use {', '.join(COMPARISONS)}")
    results = []
    for name in names:
        comparison = COMPARISONS[name]
        arguments: dict[str, Any] = {"num_neighbours": num_neighbours} if "num_neighbours" in comparison.takes else {}
        told = dict(protocol or {}) | {"guarantee": comparison.guarantee} | arguments
        if comparison.total is not None:
            arguments["progress"] = progress(name.replace("_", " "), comparison.total(len(reference), len(generated)))
        keys = (stream_key(key, name),) if comparison.random else ()
        results += _results(comparison, comparison.function(*keys, reference, generated, **arguments), told)
    return results


def _results(comparison: Comparison, values: Values, protocol: Mapping[str, Any]) -> list[Result]:
    errors = {name: f"{name}_standard_error" for name in comparison.results}
    others = {
        name: np.asarray(value).tolist()
        for name, value in values.items()
        if name not in errors and name not in errors.values()
    }
    return [
        Result(
            name=name,
            value=float(values[name]),
            standard_error=float(values[error]) if error in values else None,
            protocol={**protocol, **others},
        )
        for name, error in errors.items()
    ]
