"""Operators against their matrices, written down entry by entry."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.diffusion import operators

SHAPE = (4, 6, 3)
KNOWN = np.arange(24).reshape(4, 6, 1) % 3 > 0
MATRIX = np.random.default_rng(0).normal(size=(5, 72))
CASES = {
    "pool": operators.AveragePool(2),
    "mask": operators.Mask(jnp.asarray(KNOWN)),
    "grey": operators.Grayscale(),
    "blur": operators.GaussianBlur(0.7),
    "matrix": operators.Matrix(MATRIX),
}
NAMED = pytest.mark.parametrize("operator", CASES.values(), ids=CASES)


def expected_matrix(name):
    """Return A (M, D) for images of SHAPE."""
    height, width, channels = SHAPE
    rows = []
    if name == "matrix":
        return MATRIX
    if name == "pool":
        for i, j, c in np.ndindex(height // 2, width // 2, channels):
            row = np.zeros(SHAPE)
            row[2 * i : 2 * i + 2, 2 * j : 2 * j + 2, c] = 1 / 4
            rows.append(row)
    if name == "mask":
        for i, j, c in np.ndindex(SHAPE):
            row = np.zeros(SHAPE)
            row[i, j, c] = KNOWN[i, j, 0]
            rows.append(row)
    if name == "grey":
        for i, j in np.ndindex(height, width):
            row = np.zeros(SHAPE)
            row[i, j] = 0.299, 0.587, 0.114
            rows.append(row)
    if name == "blur":
        weights = np.exp(-0.5 * (np.arange(-3, 4) / 0.7) ** 2)
        weights /= weights.sum()

        def mirror(i, size):
            i = i % (2 * size)
            return i if i < size else 2 * size - 1 - i

        for i, j, c in np.ndindex(SHAPE):
            row = np.zeros(SHAPE)
            for a, b in np.ndindex(7, 7):
                row[mirror(i + a - 3, height), mirror(j + b - 3, width), c] += weights[a] * weights[b]
            rows.append(row)
    return np.stack(rows).reshape(len(rows), -1)


@pytest.mark.parametrize("name", CASES)
def test_operators_are_their_matrices(name):
    operator, matrix = CASES[name], expected_matrix(name)
    x = np.random.default_rng(1).normal(size=(2, *SHAPE)).astype(np.float32)
    y = np.asarray(operator(jnp.asarray(x)))
    np.testing.assert_allclose(y.reshape(2, -1), x.reshape(2, -1) @ matrix.T, atol=1e-5)
    back = operators.transpose(operator, jnp.asarray(y), SHAPE)
    assert back.shape == x.shape
    np.testing.assert_allclose(back.reshape(2, -1), y.reshape(2, -1) @ matrix, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(("a", "b"), [(1.0, 0.3), (0.2, 1e-3)])
def test_systems_are_solved(name, a, b):
    operator, matrix = CASES[name], expected_matrix(name)
    v = np.random.default_rng(2).normal(size=(2, len(matrix)))
    v *= np.abs(matrix).sum(axis=1) > 0  # unknown entries have no residual
    shape = jax.eval_shape(operator, jnp.zeros((2, *SHAPE))).shape
    u = operator.solve(jnp.asarray(v.reshape(shape), jnp.float32), a, b)
    expected = np.linalg.solve(a * matrix @ matrix.T + b * np.eye(len(matrix)), v.T).T
    np.testing.assert_allclose(u.reshape(2, -1), expected, rtol=2e-3, atol=2e-3)


@NAMED
def test_without_noise_solutions_have_least_norm(operator):
    """The pseudo-inverse of a measurement measures the same, also where the blur has removed almost everything."""
    x = jnp.asarray(np.random.default_rng(3).normal(size=(2, *SHAPE)), jnp.float32)
    y = operator(x)
    least = operators.transpose(operator, operator.solve(y, 1.0, 0.0), SHAPE)
    np.testing.assert_allclose(operator(least), y, atol=2e-3)
    blur = operators.GaussianBlur(3.0)
    assert float(jnp.abs(blur.solve(blur(x), 1.0, 0.0)).max()) < 1e6


@pytest.mark.parametrize("name", ["pool", "grey", "blur"])
def test_constant_images_keep_their_value(name):
    np.testing.assert_allclose(CASES[name](jnp.full((1, *SHAPE), 0.7)), 0.7, rtol=1e-5)


@pytest.mark.parametrize(
    ("operator", "shape", "message"),
    [
        (operators.AveragePool(3), (8, 8, 1), "images have 8 x 8 pixels, but factor=3 must divide both; use 8 or one"),
        (operators.AveragePool(2), (8,), r"examples have shape \(8,\), but AveragePool needs images \(H, W, C\)"),
        (operators.Grayscale(), (4, 4, 1), "images have channels=1, but Grayscale needs 3"),
        (operators.GaussianBlur(1.0), (4,), r"GaussianBlur needs images \(H, W, C\); use Matrix"),
        (operators.Mask(jnp.ones((3, 1), bool)), (4, 4), r"mask has shape \(3, 1\), but must broadcast to that of x"),
        (
            operators.Matrix(np.ones((2, 5))),
            (2, 3),
            r"matrix has shape \(2, 5\), but examples of shape \(2, 3\) have 6",
        ),
    ],
)
def test_operators_that_do_not_fit_are_refused(operator, shape, message):
    with pytest.raises(ValueError, match=message):
        operators.check_measurement(operator, jnp.zeros((1, 2)), shape)


@pytest.mark.parametrize(
    ("y", "message"),
    [
        (np.zeros((1, 4, 4, 1), np.float32), r"y has shape \(1, 4, 4, 1\), but AveragePool maps .* to \(B, 2, 2, 1\)"),
        (np.float32(0.0), r"y has shape \(\), but AveragePool maps"),
        (np.zeros((1, 2, 2, 1), np.int32), "y has dtype int32, but must be real numbers"),
        (np.full((1, 2, 2, 1), np.nan, np.float32), r"y is nan at \(0, 0, 0, 0\), but measurements must be finite"),
    ],
)
def test_measurements_that_do_not_fit_are_refused(y, message):
    with pytest.raises(ValueError, match=message):
        operators.check_measurement(operators.AveragePool(2), jnp.asarray(y), (4, 4, 1))


def test_entries_that_were_not_measured_may_be_anything():
    mask = operators.Mask(jnp.array([[True, False], [True, True]]))
    y = jnp.array([[1.0, jnp.nan], [2.0, 3.0]])
    np.testing.assert_array_equal(operators.check_measurement(mask, y, (2,)), [[1.0, 0.0], [2.0, 3.0]])
    with pytest.raises(ValueError, match=r"y is nan at \(1, 1\), but measurements must be finite; use Mask"):
        operators.check_measurement(mask, y.at[1, 1].set(jnp.nan), (2,))


def test_matrices_are_checked():
    with pytest.raises(ValueError, match=r"matrix has shape \(3,\), but must have two axes"):
        operators.Matrix(np.ones(3))
    with pytest.raises(ValueError, match=r"matrix is nan at \(0, 1\), but must be finite"):
        operators.Matrix(np.array([[1.0, np.nan]]))
    with pytest.raises(ValueError, match="mask has dtype float32, but must be bool"):
        operators.Mask(jnp.ones(3))
