"""Values on paper that symmetric examples do not show."""

import jax.numpy as jnp
import numpy as np
import pytest

from genjax import ops

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("degrees", [20.0, 60.0, 150.0])
def test_the_arc_between_codes_of_unequal_length(degrees):
    """Its weights are sin((1 − t) Ω) / sin Ω and sin(t Ω) / sin Ω, with Ω the angle between the codes."""
    angle, times = np.radians(degrees), np.linspace(0, 1, 5)[:, None]
    start, end = np.array([2.0, 0.0]), 5 * np.array([np.cos(angle), np.sin(angle)])
    expected = (np.sin((1 - times) * angle) * start + np.sin(times * angle) * end) / np.sin(angle)
    path = ops.spherical_path(jnp.float32(start)[None], jnp.float32(end)[None], 5)
    np.testing.assert_allclose(path[0], expected, rtol=1e-4, atol=1e-5)


def test_accuracy_weighs_both_kinds_equally_and_zero_is_an_error():
    real, fake = jnp.array([1.0, 0.0, 2.0, -1.0]), jnp.array([-1.0, 0.0])
    assert float(ops.discriminator_accuracy(real, fake)) == 0.5 * (2 / 4 + 1 / 2)
    assert float(ops.logistic_real_loss(jnp.float32(0.7))) == pytest.approx(np.log1p(np.exp(-0.7)))
    assert float(ops.logistic_fake_loss(jnp.float32(0.7))) == pytest.approx(np.log1p(np.exp(0.7)))


def test_trace_and_norm_of_a_jacobian_matrix_that_is_not_diagonal():
    matrix = RNG.normal(size=(3, 3)).astype(np.float32)
    field = ops.divergence(lambda x: x @ matrix.T, jnp.ones((2, 3)))
    np.testing.assert_allclose(field.trace, np.full((2, 1), np.trace(matrix)), rtol=1e-5)
    np.testing.assert_allclose(field.squares, np.full((2, 1), (matrix**2).sum()), rtol=1e-5)
    directions = RNG.normal(size=(4, 2, 3)).astype(np.float32)
    field = ops.divergence(lambda x: x @ matrix.T, jnp.ones((2, 3)), jnp.asarray(directions))
    pushed = directions @ matrix.T
    np.testing.assert_allclose(field.trace, (directions * pushed).sum(axis=-1).T, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(field.squares, (pushed**2).sum(axis=-1).T, rtol=1e-4)
