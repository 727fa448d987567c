"""On which points default settings are chosen."""

import jax.numpy as jnp
import numpy as np
from scipy.spatial.distance import pdist

from genjax.metrics.kernels import median_bandwidths


def test_default_bandwidths_of_sorted_data_are_those_of_all_of_it():
    """The first 1,000 rows are one mode; evenly spaced ones have the median distance of all rows."""
    rng = np.random.default_rng(0)
    modes = np.repeat([0.0, 10.0, 20.0], 1_000)[:, None] + rng.normal(size=(3_000, 2))
    median = np.median(pdist(modes))
    np.testing.assert_allclose(median_bandwidths(jnp.float32(modes)), median * np.array([0.5, 1, 2]), rtol=0.05)
