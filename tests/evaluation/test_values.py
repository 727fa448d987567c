"""The calibration error of the paper's fifteen bins, of equal counts."""

import numpy as np

from genjax.evaluation.calibration import expected_calibration_error


def test_bins_are_fifteen():
    rng = np.random.default_rng(0)
    confidence = rng.random(60)
    correct = rng.random(60) < confidence**2
    order = np.argsort(confidence)
    gaps = [abs(correct[i].mean() - confidence[i].mean()) * len(i) / 60 for i in np.split(order, 15)]
    np.testing.assert_allclose(expected_calibration_error(confidence, correct), sum(gaps), rtol=1e-6)
