import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.ops import tempered_softmax


@pytest.mark.parametrize(
    ("temperature", "expected"), [(1.0, (0.628, 0.231, 0.140)), (0.5, (0.844, 0.114, 0.042)), (1e4, (1 / 3,) * 3)]
)
def test_known_values(temperature, expected):
    np.testing.assert_allclose(tempered_softmax(jnp.array([2.0, 1.0, 0.5]), temperature), expected, atol=1e-3)


def test_extreme_logits_and_temperatures_stay_finite():
    np.testing.assert_array_equal(tempered_softmax(jnp.array([1e4, -1e4, 0.0]), 1e-3), [1.0, 0.0, 0.0])
    np.testing.assert_array_equal(tempered_softmax(jnp.array([1e38, 0.0, 1e38]), 1e-3), [0.5, 0.0, 0.5])


def test_temperatures_may_differ_between_rows_and_be_traced():
    logits = jnp.tile(jnp.array([2.0, 1.0, 0.5]), (2, 1))
    p = jax.jit(tempered_softmax)(logits, jnp.array([[1.0], [0.5]]))
    np.testing.assert_allclose(p, [(0.628, 0.231, 0.140), (0.844, 0.114, 0.042)], atol=1e-3)


def test_gradient_is_that_of_the_probabilities():
    """∂p_i / ∂l_j = p_i (δ_ij − p_j) / T."""
    p = np.array([0.8437947, 0.1141952, 0.0420101])
    jacobian = jax.jacobian(tempered_softmax)(jnp.array([2.0, 1.0, 0.5]), 0.5)
    np.testing.assert_allclose(jacobian, (np.diag(p) - np.outer(p, p)) / 0.5, atol=1e-5)


@pytest.mark.parametrize("temperature", [0, -1.0, float("nan"), np.array(0.0), np.array([[1.0], [-1.0]])])
@pytest.mark.parametrize("kind", [lambda t: t, jnp.asarray])
def test_other_temperatures_are_refused(temperature, kind):
    with pytest.raises(ValueError, match=r"must be (above 0|a finite number).*; for the limit 0 take the argmax"):
        tempered_softmax(jnp.zeros((2, 3)), kind(temperature))
