"""MMD² as a loss: against a double loop, its gradient against the naive formula, its mean under equality."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.ops.mmd import mean_kernel, mmd_loss

WIDTHS = (0.7, 2.0, 5.0)
X, Y = (np.random.default_rng(seed).normal(loc, 1.5, (num, 3)) for seed, loc, num in ((0, 10.0, 9), (1, 10.8, 13)))


def double_loop(x, y, *, unbiased):
    """Return both estimates by definition, in float64."""

    def mean(a, b, same):
        pairs = [(i, j) for i in range(len(a)) for j in range(len(b)) if not (same and unbiased and i == j)]
        kernel = [np.exp(-np.sum((a[i] - b[j]) ** 2) / (2 * s**2)) for i, j in pairs for s in WIDTHS]
        return np.mean(kernel)

    return mean(x, x, True) + mean(y, y, True) - 2 * mean(x, y, False)


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("chunk_size", [1, 4, 9, 100])
def test_equals_a_double_loop(unbiased, chunk_size):
    value = mmd_loss(jnp.float32(X), jnp.float32(Y), WIDTHS, unbiased=unbiased, chunk_size=chunk_size)
    np.testing.assert_allclose(value, double_loop(X, Y, unbiased=unbiased), rtol=1e-5)


@pytest.mark.parametrize("unbiased", [False, True])
def test_samples_far_from_each_other_keep_their_digits(unbiased):
    value = mmd_loss(jnp.float32(X), jnp.float32(Y + 1_000.0), WIDTHS, unbiased=unbiased)
    exact = double_loop(X, np.float64(np.float32(Y + 1_000.0)), unbiased=unbiased)
    np.testing.assert_allclose(value, exact, rtol=1e-5)


@pytest.mark.parametrize("chunk_size", [4, 100])
def test_the_mean_kernel_is_that_of_different_points(chunk_size):
    kernels = [np.exp(-np.sum((a - b) ** 2) / (2 * s**2)) for a in X for b in X for s in WIDTHS if (a != b).any()]
    value = mean_kernel(jnp.float32(X), WIDTHS, chunk_size=chunk_size)
    np.testing.assert_allclose(value, np.mean(kernels), rtol=1e-5)


def naive(x, y, *, unbiased):
    """Return the same from all distances at once, with JAX's gradient."""

    def total(a, b):
        squared = jnp.sum((a[:, None] - b[None]) ** 2, axis=-1)
        return sum(jnp.exp(-squared / (2 * s**2)) for s in WIDTHS).sum() / len(WIDTHS)

    def within(a):
        if unbiased:
            return (total(a, a) - len(a)) / (len(a) * (len(a) - 1))
        return total(a, a) / len(a) ** 2

    return within(x) + within(y) - 2 * total(x, y) / (len(x) * len(y))


@pytest.mark.parametrize("unbiased", [False, True])
@pytest.mark.parametrize("sides", [(0,), (1,), (0, 1)])
def test_gradients_are_those_of_the_formula(unbiased, sides):
    def ours(x, y):
        return mmd_loss(x, y, WIDTHS, unbiased=unbiased, chunk_size=4)

    gradient = jax.jit(jax.grad(ours, sides))(jnp.float32(X), jnp.float32(Y))
    with jax.enable_x64(True):
        expected = jax.grad(lambda x, y: naive(x, y, unbiased=unbiased), sides)(jnp.float64(X), jnp.float64(Y))
    for ours_side, side in zip(gradient, expected, strict=True):
        np.testing.assert_allclose(ours_side, side, rtol=1e-4, atol=1e-7)


def test_a_gradient_that_is_not_needed_is_not_computed():
    def products(sides):
        gradient = jax.grad(lambda x, y: mmd_loss(x, y, WIDTHS), sides)
        return str(jax.make_jaxpr(gradient)(jnp.float32(X), jnp.float32(Y))).count("dot_general")

    assert str(jax.make_jaxpr(lambda x: mmd_loss(x, x, WIDTHS))(jnp.float32(X))).count("dot_general") == 3
    assert products((1,)) == 5
    assert products((0, 1)) == 8


def test_gradients_pass_through_what_makes_the_samples():
    def loss(shift, measure):
        y = jnp.float32(Y) + shift
        return jnp.sqrt(measure(jnp.float32(X), y))

    ours = jax.grad(loss)(0.3, lambda x, y: mmd_loss(x, y, WIDTHS, chunk_size=5))
    np.testing.assert_allclose(ours, jax.grad(loss)(0.3, lambda x, y: naive(x, y, unbiased=False)), rtol=1e-4)


def test_gradients_have_the_types_of_their_samples():
    with jax.enable_x64(True):
        x, y = jnp.zeros((3, 2), jnp.float32), jnp.ones((2, 2), jnp.float64)
        gradients = jax.grad(lambda x, y: mmd_loss(x, y, WIDTHS), (0, 1))(x, y)
    assert [gradient.dtype for gradient in gradients] == [jnp.float32, jnp.float64]


def test_maps_over_replicas():
    batch = jnp.float32(np.stack([X, X + 1.0]))
    together = jax.vmap(jax.grad(lambda x: mmd_loss(x, jnp.float32(Y), WIDTHS, chunk_size=4)))(batch)
    alone = jax.grad(lambda x: mmd_loss(x, jnp.float32(Y), WIDTHS, chunk_size=4))(batch[1])
    np.testing.assert_allclose(together[1], alone, rtol=1e-5, atol=1e-8)


def test_the_unbiased_estimate_has_zero_mean_under_equality_and_the_biased_has_not():
    """1,000 pairs of samples of one distribution: the mean is zero within three of its own standard errors."""
    keys = jax.random.split(jax.random.key(0), 1_000)

    def draw(key, unbiased):
        x, y = jax.random.normal(key, (2, 12, 3))
        return mmd_loss(x, y, (0.5, 1.0, 2.0), unbiased=unbiased)

    with jax.debug_key_reuse(False):  # both estimates are to see the same draws
        unbiased, biased = (np.asarray(jax.jit(jax.vmap(lambda k, u=u: draw(k, u)))(keys)) for u in (True, False))
    error = unbiased.std(ddof=1) / np.sqrt(len(keys))
    assert abs(unbiased.mean()) < 3 * error
    assert error < 0.005 / 3
    assert biased.min() > 0.05 / 3


def test_equal_samples_are_at_no_distance_and_the_gradient_is_finite_there():
    x = jnp.float32(X)
    value, gradient = jax.value_and_grad(lambda y: mmd_loss(x, y, WIDTHS, chunk_size=4))(x)
    np.testing.assert_allclose(value, 0.0, atol=1e-6)
    np.testing.assert_allclose(gradient, 0.0, atol=1e-6)


@pytest.mark.parametrize("dims", [8])
def test_memory_grows_linearly_with_the_samples(dims):
    def memory(num):
        points = jax.ShapeDtypeStruct((num, dims), jnp.float32)
        compiled = jax.jit(jax.grad(lambda x, y: mmd_loss(x, y, WIDTHS, chunk_size=64), 1)).lower(points, points)
        return compiled.compile().memory_analysis().temp_size_in_bytes

    few, many = memory(2_048), memory(16_384)
    assert many < 10 * few  # a matrix of all pairs would take 64 times as much
    assert many < 16_384**2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"bandwidths": ()}, r"bandwidths are \(\), but must be at least one, and between 1e-18 and"),
        ({"bandwidths": (1.0, 0.0)}, r"bandwidths are \(1.0, 0.0\), but must be"),
        ({"bandwidths": (1e-30,)}, r"bandwidths are \(1e-30,\), but must be"),
        ({"bandwidths": (1.0,), "chunk_size": 0}, "chunk_size is 0, but must be at least 1"),
        ({"bandwidths": (1.0,), "unbiased": True}, "the number of points in y is 1, but must be at least 2"),
    ],
)
def test_what_cannot_work_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        mmd_loss(jnp.zeros((2, 1)), jnp.zeros((1, 1)), **arguments)
