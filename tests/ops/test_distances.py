"""Distances by one matrix product stay within their documented error, near the origin and far from it."""

import jax.numpy as jnp
import numpy as np
import pytest

from genjax.ops.distances import rounding, squared_distances
from genjax.ops.quantization import nearest_code


@pytest.mark.parametrize("offset", [0.0, 100.0])
@pytest.mark.parametrize("dim", [1, 3, 200])
def test_errors_are_below_the_documented_ones(offset, dim):
    rng = np.random.default_rng(dim)
    x, y = (np.float32(rng.normal(size=(num, dim)) + offset) for num in (40, 30))
    y[:10] = x[:10]  # distances of zero
    exact = np.sum((np.float64(x)[:, None] - np.float64(y)[None]) ** 2, axis=-1)
    norms = np.sum(np.float64(x) ** 2, axis=1)[:, None] + np.sum(np.float64(y) ** 2, axis=1)[None]
    distances = np.float64(squared_distances(jnp.asarray(x), jnp.asarray(y)))
    assert (np.abs(distances - exact) <= rounding(dim, "float32") * norms).all()
    assert (distances >= 0).all()


def test_leading_axes_stay():
    x, y = np.float32(np.random.default_rng(0).normal(size=(2, 5, 3))), np.eye(3, dtype=np.float32)
    expected = np.sum((x[..., None, :] - y) ** 2, axis=-1)
    np.testing.assert_allclose(squared_distances(jnp.asarray(x), jnp.asarray(y)), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(nearest_code(jnp.asarray(y), jnp.asarray(x)), expected.argmin(axis=-1))
