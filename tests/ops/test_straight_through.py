import jax
import jax.numpy as jnp
import numpy as np

from genjax.ops import at_least_float32, clip_straight_through


def test_bounded_is_exact_inside_and_at_the_bounds():
    value = jnp.array([-jnp.inf, -3.0, 0.1234567, 3.0, 1e30, jnp.inf])
    np.testing.assert_array_equal(
        clip_straight_through(value, -2.0, 2.0), np.float32([-2.0, -2.0, 0.1234567, 2.0, 2.0, 2.0])
    )


def test_gradient_passes_beyond_the_bounds():
    gradient = jax.vmap(jax.grad(lambda v: 3.0 * clip_straight_through(v, -2.0, 2.0)))(jnp.array([-50.0, 0.0, jnp.inf]))
    np.testing.assert_array_equal(gradient, [3.0, 3.0, 3.0])


def test_half_precision_is_widened_and_single_is_kept():
    assert at_least_float32(jnp.zeros(2, jnp.bfloat16)).dtype == jnp.float32
    assert at_least_float32(jnp.zeros(2)).dtype == jnp.float32
