"""Parzen-window log-likelihood of a split around samples, for comparison with older papers only."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from genjax import metrics
from genjax.core import stream_key
from genjax.data import shuffle_indices
from genjax.evaluation.comparison import no_features
from genjax.evaluation.context import Evaluation
from genjax.metrics import Result
from genjax.metrics.result import results_of

# For data in [0, 1]; for other scales, the search continues beyond either end.
BANDWIDTHS = tuple(float(width) for width in np.round(np.logspace(-1.5, 0.5, 21), 4))
MAX_VALIDATION = 1000  # random examples that the bandwidth is chosen on


def no_parzen(evaluation: Evaluation) -> str | None:
    """Return the reason why the bandwidth cannot be chosen, or None if it can."""
    if "validation" not in evaluation.dataset.splits or evaluation.split == "validation":
        return "the bandwidth needs a validation split that is not the evaluated one"
    return no_features(evaluation)


def parzen(evaluation: Evaluation, index: int) -> list[Result]:
    """Score the split under Gaussian windows around samples, with the bandwidth chosen on the validation split."""
    validation, test = evaluation.split_features("validation").features, evaluation.reference.features
    generated = evaluation.generated(index).features
    some = np.arange(min(MAX_VALIDATION, len(validation)))
    some = shuffle_indices(stream_key(evaluation.key, "parzen"), some, len(validation))
    bandwidth, is_inside = metrics.parzen_bandwidth_search(generated, validation[some], BANDWIDTHS)
    advance = evaluation.progress("parzen", len(test))
    values = metrics.parzen_log_likelihood(generated, test, bandwidth=bandwidth, progress=advance)
    guarantee = "estimate that ranks models wrongly (arXiv:1511.01844)"
    protocol = evaluation.protocol | {"units": "nats per example", "bandwidth": bandwidth, "guarantee": guarantee}
    if not is_inside:
        protocol |= {f"bandwidth search of seed {evaluation.seeds[index]}": "ended at an edge"}
    (result,) = results_of(values, {"parzen_log_likelihood": protocol})
    return [replace(result, name="parzen")]
