"""Test whether samples have a model's probabilities."""

import numpy as np
from scipy import stats


def p_value(count, mass):
    """Return the p-value of the chi-squared test; cells with an expected count below five are pooled."""
    expected = mass * count.sum()
    group = np.where(expected > 5, 1 + np.arange(len(mass)), 0)
    observed, expected = (np.bincount(group, weights=a) for a in (count, expected))
    observed, expected = observed[expected > 0], expected[expected > 0]
    return stats.chisquare(observed, expected * (observed.sum() / expected.sum())).pvalue
