"""Values on paper that symmetric examples do not show."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import ops
from genjax.ops.quantization import kmeans

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


def test_trace_and_norm_of_a_large_jacobian_matrix_in_chunks():
    matrix = RNG.normal(size=(35, 35)).astype(np.float32) / 6
    x = jnp.asarray(RNG.normal(size=(2, 5, 7)), jnp.float32)
    field = ops.divergence(lambda x: jnp.tanh(x.reshape(2, 35) @ matrix.T).reshape(2, 5, 7), x)
    slopes = 1 - np.tanh(np.asarray(x).reshape(2, 35) @ matrix.T) ** 2
    np.testing.assert_allclose(field.trace[:, 0], slopes @ np.diag(matrix), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(field.squares[:, 0], slopes**2 @ (matrix**2).sum(axis=1), rtol=1e-4)
    assert field.trace.shape == field.squares.shape == (2, 1)


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


def test_scales_are_clipped_only_where_float32_ends():
    outputs = jnp.array([[0.5, 10.0], [0.5, -10.0], [0.5, 30.0]])
    scale = np.exp([10.0, -10.0, 20.0])
    expected = -0.5 * np.log(2 * np.pi) - np.log(scale)
    np.testing.assert_allclose(ops.Gaussian().log_prob(outputs, jnp.full((3, 1), 0.5)), expected, rtol=1e-5)


@pytest.mark.parametrize(("log_scale", "clipped"), [(-5.0, -5.0), (-9.0, -7.0), (4.0, 4.0), (9.0, 7.0)])
def test_scales_of_a_logistic_mixture_are_clipped_at_seven(log_scale, clipped):
    """In units of half the range, the value 100 of 256 has the edges (99.5 and 100.5) / 127.5 − 1."""
    edges = np.array([99.5, 100.5]) / 127.5 - 1
    location = 100 / 127.5 - 1
    below, above = 1 / (1 + np.exp(-(edges - location) / np.exp(clipped)))
    outputs = jnp.array([[0.0, location, log_scale]])
    mixture = ops.LogisticMixture(num_values=256, num_components=1)
    log_mass = mixture.log_prob(outputs, jnp.array([[100]]))
    np.testing.assert_allclose(log_mass, [np.log(above - below)], rtol=1e-3)


def test_seeds_are_drawn_by_squared_distance():
    """Of 0, 1 and 3, the pairs have probabilities 1/3 of the sums over both orders."""
    vectors = jnp.array([[0.0], [1.0], [3.0]])
    draw = jax.jit(jax.vmap(lambda key: kmeans(key, vectors, 2, 0)))
    sums = np.asarray(draw(jax.random.split(jax.random.key(0), 6_000))).sum(axis=(1, 2))
    expected = {1: (1 / 10 + 1 / 5) / 3, 3: (9 / 10 + 9 / 13) / 3, 4: (4 / 5 + 4 / 13) / 3}
    for total, probability in expected.items():
        assert (sums == total).mean() == pytest.approx(probability, abs=0.025)


def test_squared_gradient_norms_and_their_gradients_are_those_of_the_gradient():
    """For f(x) = θᵀ x² + x₁ x₂, by hand; x may depend on θ, too."""
    x = jax.random.normal(jax.random.key(0), (5, 2))

    def norms(theta, x):
        def function(x):
            return jnp.square(x) @ theta + x[:, 0] * x[:, 1]

        return ops.squared_gradient_norms(function, x)

    def by_hand(theta, x):
        return jnp.sum(jnp.square(2 * theta[None] * x + x[:, ::-1]), axis=1)

    theta = jnp.array([0.3, -2.0])
    np.testing.assert_allclose(norms(theta, x), by_hand(theta, x), rtol=1e-4, atol=1e-5)
    ours = jax.grad(lambda t: jnp.mean(norms(t, t[None] * x) ** 1.5))(theta)
    expected = jax.grad(lambda t: jnp.mean(by_hand(t, t[None] * x) ** 1.5))(theta)
    np.testing.assert_allclose(ours, expected, rtol=1e-4)
