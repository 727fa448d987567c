"""Averages of importance weights, compared with NumPy, for any division of samples into chunks."""

import jax
import numpy as np
import pytest
from scipy.special import logsumexp

from genjax import ops

KEY, NUM_ROWS = jax.random.key(3), 4


def log_weights(keys):
    return jax.vmap(lambda key: 3.0 * jax.random.normal(key, (NUM_ROWS,)))(keys)


def all_of(num_samples):
    return np.float64(log_weights(jax.vmap(lambda i: jax.random.fold_in(KEY, i))(np.arange(num_samples))))


@pytest.mark.parametrize("chunk_size", [1, 4, 10, 99])
def test_averages_over_ten_draws(chunk_size):
    expected = all_of(10)
    estimate = ops.log_mean_weight(log_weights, KEY, 10, chunk_size)
    np.testing.assert_allclose(estimate, logsumexp(expected, axis=0) - np.log(10), rtol=1e-5)
    bound = ops.mean_log_weight(log_weights, KEY, 10, chunk_size)
    np.testing.assert_allclose(bound, expected.mean(axis=0), rtol=1e-5)
    assert np.all(bound < estimate)
