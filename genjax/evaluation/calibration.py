"""Calibration of a generative classifier: is a class that it finds 80 % probable right in 80 % of the cases?

Each example has the confidence c = max_y p(y | x), of the model itself or by Bayes' rule. Examples are sorted by
confidence into bins of equal counts, and

    ECE = Σ_b |B_b| / N · | accuracy(B_b) − mean confidence(B_b) |                                               (1)

Unlike bins of equal width, bins of equal counts leave none with too few examples for its accuracy to mean anything.
A finite sample of a perfectly calibrated classifier has an ECE above 0.

Chuan Guo, Geoff Pleiss, Yu Sun and Kilian Weinberger 2017, arXiv:1706.04599, equation 3; bins of equal counts: Khanh
Nguyen and Brendan O'Connor 2015, arXiv:1508.05154.
"""

from __future__ import annotations

import numpy as np

from genjax.arguments import PositiveInt, check_arguments
from genjax.evaluation.classification import label_posteriors
from genjax.evaluation.context import Evaluation
from genjax.metrics import Result

NUM_BINS = 15  # as in the paper


def calibration(evaluation: Evaluation, index: int) -> list[Result]:
    """Return the expected calibration error of the most probable class."""
    parts = [(np.exp(log_posterior), label) for log_posterior, label in label_posteriors(evaluation, index)]
    posterior, label = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    value = expected_calibration_error(posterior.max(axis=-1), posterior.argmax(axis=-1) == label)
    protocol = {"guarantee": "exact", "bins": NUM_BINS, "examples": len(label), "split": evaluation.split}
    return [Result(name="calibration_error", value=value, protocol=protocol)]


@check_arguments
def expected_calibration_error(confidence: np.ndarray, correct: np.ndarray, num_bins: PositiveInt = NUM_BINS) -> float:
    """Return equation 1, in [0, 1].

    Args:
      confidence: probability of the predicted class, shape (N,).
      correct: whether the prediction is right, bool (N,).
      num_bins: number of bins, at most N are used.

    >>> expected_calibration_error(np.array([0.75, 0.75, 0.75, 0.75]), np.array([True, True, True, False]), 1)
    0.0
    """
    order = np.argsort(confidence, kind="stable")
    gaps = (np.asarray(correct, np.float64) - confidence)[order]
    return float(sum(abs(part.sum()) for part in np.array_split(gaps, min(num_bins, len(gaps)))) / len(gaps))
