"""Do samples have the probabilities that a model says?"""

import numpy as np
from scipy import stats


def p_value(count, mass):
    """Return the p-value of the chi-squared test; what is expected fewer than five times is pooled."""
    expected = mass * count.sum()
    group = np.where(expected > 5, 1 + np.arange(len(mass)), 0)
    observed, expected = (np.bincount(group, weights=a) for a in (count, expected))
    observed, expected = observed[expected > 0], expected[expected > 0]
    return stats.chisquare(observed, expected * (observed.sum() / expected.sum())).pvalue
