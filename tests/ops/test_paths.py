"""Paths have the right ends and stay on the line, or on the sphere."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import ops

A, B = jax.random.normal(jax.random.key(0), (2, 4, 3))


@pytest.mark.parametrize("path", [ops.linear_path, ops.spherical_path])
def test_paths_start_and_end_at_their_codes(path):
    walk = path(A, B, 5)
    assert walk.shape == (4, 5, 3)
    np.testing.assert_allclose(walk[:, 0], A, atol=1e-6)
    np.testing.assert_allclose(walk[:, -1], B, atol=1e-6)


def test_the_spherical_path_turns_at_constant_speed_and_keeps_the_norm():
    a, b = jnp.array([[2.0, 0.0, 0.0]]), jnp.array([[0.0, 2.0, 0.0]])
    angles = np.linspace(0, np.pi / 2, 7)
    expected = 2 * np.stack([np.cos(angles), np.sin(angles), 0 * angles], axis=-1)
    np.testing.assert_allclose(ops.spherical_path(a, b, 7)[0], expected, atol=1e-6)


def test_codes_without_an_arc_take_the_straight_path():
    for end in (A, 3.0 * A, -A, 0.0 * A):
        np.testing.assert_allclose(ops.spherical_path(A, end, 4), ops.linear_path(A, end, 4), atol=1e-5)


def test_codes_of_any_shape():
    images = jnp.ones((2, 4, 4, 3))
    assert ops.spherical_path(images, -2.0 * images, 6).shape == (2, 6, 4, 4, 3)


def test_a_path_has_two_ends():
    with pytest.raises(ValueError, match="num_steps is 1, but must be at least 2"):
        ops.linear_path(A, B, 1)
