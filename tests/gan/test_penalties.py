"""Penalties on discriminators with known gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import gan

SHAPE = (6, 3, 2)
X = jax.random.normal(jax.random.key(0), SHAPE)
FAKE = jax.random.normal(jax.random.key(1), SHAPE)
STEP = jnp.int32(0)
WEIGHTS = jax.random.normal(jax.random.key(2), SHAPE[1:])
SHIFT = jax.random.normal(jax.random.key(9), SHAPE[1:])


def linear(x):
    """A linear discriminator with gradient WEIGHTS."""
    return jnp.sum(x * WEIGHTS[None], axis=(1, 2))


def quadratic(x):
    """A quadratic discriminator with gradient x."""
    return 0.5 * jnp.sum(jnp.square(x), axis=(1, 2))


def test_a_linear_critic_has_one_gradient_for_all_examples():
    norm = np.linalg.norm(WEIGHTS)
    np.testing.assert_allclose(gan.gradient_norms(linear, X), np.full(6, norm), rtol=1e-6)
    for target in (0.0, 1.0, 5.0):
        penalty = gan.GradientPenalty(weight=10.0, target=target)(linear, X, FAKE, jax.random.key(3), STEP)
        assert float(penalty) == pytest.approx(10 * (norm - target) ** 2, rel=1e-5)
        one_sided = gan.GradientPenalty(target=target, one_sided=True)(linear, X, FAKE, jax.random.key(3), STEP)
        assert float(one_sided) == pytest.approx(10 * max(norm - target, 0) ** 2, rel=1e-5)
    assert float(gan.R1(weight=3.0)(linear, X, FAKE, jax.random.key(3), STEP)) == pytest.approx(1.5 * norm**2, rel=1e-5)


def test_each_pair_has_its_own_point_between_them():
    """Between ±e the gradient of the quadratic is (2u − 1) e, whose norm gives u."""
    ends = jnp.zeros(SHAPE).at[:, 0, 0].set(1.0)
    penalty = gan.GradientPenalty(weight=1.0, target=0.0)(quadratic, ends, -ends, jax.random.key(4), STEP)
    points = jax.random.uniform(jax.random.key(4), (6, 1, 1))[:, 0, 0] * 2 - 1
    assert float(penalty) == pytest.approx(float(jnp.mean(points**2)), rel=1e-5)
    assert len(np.unique(np.round(points, 6))) == 6


def test_r2_is_the_same_penalty_at_samples():
    squares = [np.sum(np.square(x), axis=(1, 2)).mean() for x in (X, FAKE)]
    both = gan.R1(weight=2.0, fake_weight=3.0)(quadratic, X, FAKE, jax.random.key(5), STEP)
    assert float(both) == pytest.approx(squares[0] + 1.5 * squares[1], rel=1e-6)


def test_r1_depends_on_data_only():
    squares = np.sum(np.square(X), axis=(1, 2))
    for fake in (FAKE, jnp.full(SHAPE, jnp.nan)):
        assert float(gan.R1()(quadratic, X, fake, jax.random.key(5), STEP)) == pytest.approx(
            squares.mean() / 2, rel=1e-6
        )


def test_consistency_of_a_linear_critic_is_its_squared_change():
    def shift(key, x):
        return x + SHIFT[None]

    square = float(jnp.sum(WEIGHTS * SHIFT)) ** 2
    without = gan.ConsistencyPenalty(augment=shift, weight=3.0)
    assert hash(without) == hash(gan.ConsistencyPenalty(augment=shift, weight=3.0))
    assert float(without(linear, X, jnp.full(SHAPE, jnp.nan), jax.random.key(7), STEP)) == pytest.approx(
        3 * square, rel=1e-4
    )
    balanced = gan.ConsistencyPenalty(augment=shift, weight=3.0, fake_weight=0.5)
    assert float(balanced(linear, X, FAKE[:4], jax.random.key(7), STEP)) == pytest.approx(3.5 * square, rel=1e-4)
    # The gradient passes through both outputs, so the penalty is quadratic in the scale.
    slope = jax.grad(lambda scale: without(lambda x: scale * linear(x), X, FAKE, jax.random.key(7), STEP))(2.0)
    assert float(slope) == pytest.approx(2 * 2 * 3 * square, rel=1e-4)


def test_consistency_draws_separately_for_data_and_samples():
    """With D(x) = x the change in output is the shift."""
    draws = []

    def shift(key, x):
        draws.append(jax.random.normal(key, x.shape))
        return x + draws[-1]

    penalty = gan.ConsistencyPenalty(augment=shift, weight=1.0, fake_weight=100.0)
    value = penalty(lambda x: x, jnp.zeros(3), jnp.ones(3), jax.random.key(8), STEP)
    data, samples = draws
    assert float(value) == pytest.approx(float(jnp.mean(data**2) + 100 * jnp.mean(samples**2)), rel=1e-4)
    assert not np.any(np.isclose(data, samples))


@pytest.mark.parametrize("penalty", [gan.GradientPenalty(), gan.R1()], ids=lambda p: type(p).__name__)
def test_gradients_are_finite_where_a_discriminator_is_flat(penalty):
    def value(scale):
        return penalty(lambda x: scale * linear(x), X, FAKE, jax.random.key(6), STEP)

    assert jnp.isfinite(jax.grad(value)(0.0))
    norm = np.linalg.norm(WEIGHTS)
    expected = {"GradientPenalty": 2 * 10 * (2 * norm - 1) * norm, "R1": 2 * norm**2}[type(penalty).__name__]
    assert float(jax.grad(value)(2.0)) == pytest.approx(expected, rel=1e-5)


def test_bad_input():
    with pytest.raises(ValueError, match="weight is -1"):
        gan.R1(weight=-1)
    with pytest.raises(ValueError, match="every is 0"):
        gan.GradientPenalty(every=0)
    with pytest.raises(ValueError, match="fake_weight is -1"):
        gan.ConsistencyPenalty(augment=gan.DifferentiableAugmentation(), fake_weight=-1)
    with pytest.raises(ValueError, match=r"real has shape \(6, 3, 2\), but fake \(5, 3, 2\)"):
        gan.GradientPenalty()(linear, X, FAKE[:5], jax.random.key(7), STEP)
