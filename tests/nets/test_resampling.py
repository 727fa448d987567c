"""Smooth resampling against convolutions with the filter [1, 3, 3, 1]."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import nets

FILTER = np.array([1.0, 3.0, 3.0, 1.0]) / 8


def image(height=4, width=6):
    return np.asarray(jax.random.normal(jax.random.key(0), (height, width)))


def apply(function, x):
    return np.asarray(function(jnp.asarray(x)[None, ..., None])[0, ..., 0])


def filtered(x):
    """Convolve rows and columns completely, (H + 3, W + 3)."""
    for axis in (0, 1):
        x = np.apply_along_axis(lambda row: np.convolve(row, FILTER), axis, x)
    return x


def test_upsampling_filters_the_image_with_zeros_between_its_pixels():
    x = image()
    spread = np.zeros((8, 12))
    spread[::2, ::2] = x
    np.testing.assert_allclose(apply(nets.smooth_upsample, x), 4 * filtered(spread)[1:9, 1:13], rtol=1e-4, atol=1e-6)


def test_blur_is_the_filter_without_its_ends():
    x = image()
    np.testing.assert_allclose(apply(nets.blur, x), filtered(x)[1:6, 1:8], rtol=1e-4, atol=1e-6)


def test_downsampling_takes_every_second_value_of_the_blurred_image():
    x = image()
    np.testing.assert_allclose(apply(nets.smooth_downsample, x), apply(nets.blur, x)[1::2, 1::2], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("function", "scale"), [(nets.smooth_upsample, 1.0), (nets.smooth_downsample, 1.0)])
def test_constants_stay_constant_inside(function, scale):
    outputs = apply(function, np.ones((12, 12)))
    np.testing.assert_allclose(outputs[1:-1, 1:-1], scale, rtol=1e-6)
