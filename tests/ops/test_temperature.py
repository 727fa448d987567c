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


@pytest.mark.parametrize("temperature", [0, -1.0, float("nan")])
def test_other_temperatures_are_refused(temperature):
    with pytest.raises(ValueError, match="must be positive; for the limit 0 take the argmax"):
        tempered_softmax(jnp.zeros(3), temperature)
