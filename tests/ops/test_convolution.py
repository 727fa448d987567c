"""Convolutions: the same results as JAX's, in layouts with fast CPU kernels."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.ops import conv_general_dilated

SETTINGS = [
    {"window_strides": (1, 1), "padding": "SAME"},
    {"window_strides": (2, 1), "padding": ((1, 2), (0, 1)), "rhs_dilation": (1, 2)},
    {"window_strides": (1, 1), "padding": ((2, 2), (2, 1)), "lhs_dilation": (2, 2)},
    {"window_strides": (1, 2), "padding": "VALID", "feature_group_count": 2},
]
LAST = ("NHWC", "HWIO", "NHWC")


def inputs(groups):
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(3, 8, 7, 4)), rng.normal(size=(3, 4, 4 // groups, 6))
    return jnp.asarray(x, jnp.float32), jnp.asarray(w, jnp.float32)


@pytest.mark.parametrize("settings", SETTINGS, ids=["plain", "strided", "transposed", "groups"])
def test_equals_jax_in_value_gradients_and_tangents(settings):
    x, w = inputs(settings.get("feature_group_count", 1))

    @jax.jit
    def everything(x, w):
        results = []
        for function in (conv_general_dilated, jax.lax.conv_general_dilated):

            def cubes(x, w, function=function):
                return jnp.sum(function(x, w, dimension_numbers=LAST, **settings) ** 3)

            def second(x, w, cubes=cubes):
                return jnp.sum(jax.grad(cubes)(x, w) ** 2)

            gradients = jax.value_and_grad(cubes, (0, 1))(x, w)
            results.append((gradients, jax.jvp(cubes, (x, w), (x + 1, 2 * w))[1], jax.grad(second, 1)(x, w)))
        return results

    ours, theirs = everything(x, w)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * float(abs(b).max())), ours, theirs
    )


@pytest.mark.parametrize("side", [4, 7])
def test_no_window_of_a_transposed_convolution_is_reversed(side):
    """XLA:CPU has no fast kernels for those."""

    def squares(convolve, x, w):
        y = convolve(x, w, (1, 1), ((2, 2), (2, 1)), lhs_dilation=(2, 2), dimension_numbers=LAST)
        return jnp.sum(y**2)

    rng = np.random.default_rng(0)
    arguments = jnp.float32(rng.normal(size=(3, side, side, 4))), jnp.float32(rng.normal(size=(4, 4, 4, 6)))
    ours, theirs = (
        jax.jit(jax.value_and_grad(functools.partial(squares, convolve), (0, 1))).lower(*arguments).compile()
        for convolve in (conv_general_dilated, jax.lax.conv_general_dilated)
    )
    assert "rhs_reversal" not in ours.as_text()
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-3), ours(*arguments), theirs(*arguments)
    )


@pytest.mark.parametrize("window", [(1, 2), (2, 1), (2, 3)])
def test_gradients_with_more_padding_than_the_window_reaches(window):
    """In this case, JAX's gradients read beyond the array on CPUs."""
    rng = np.random.default_rng(0)
    x, w = jnp.float32(rng.normal(size=(3, 5, 6, 4))), jnp.float32(rng.normal(size=(*window, 4, 8)))
    padding = ((3, 0), (2, 3))

    def padded_by_hand(x, w):
        x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
        return jnp.sum(jnp.sin(jax.lax.conv_general_dilated(x, w, (1, 1), "VALID", dimension_numbers=LAST)))

    def padded(x, w):
        return jnp.sum(jnp.sin(conv_general_dilated(x, w, (1, 1), padding, dimension_numbers=LAST)))

    for ours, theirs in zip(jax.grad(padded, (0, 1))(x, w), jax.grad(padded_by_hand, (0, 1))(x, w), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_other_layouts_and_one_dimension():
    x, w = inputs(1)
    numbers = ("NCHW", "OIHW", "NCHW")
    turned = conv_general_dilated(
        x.transpose(0, 3, 1, 2), w.transpose(3, 2, 0, 1), (1, 1), "SAME", dimension_numbers=numbers
    )
    straight = conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=LAST)
    np.testing.assert_allclose(turned.transpose(0, 2, 3, 1), straight, rtol=1e-4, atol=1e-4)

    def line(function, w):
        numbers = ("NWC", "WIO", "NWC")
        return jnp.sum(function(x[:, 0], w, (1,), "SAME", rhs_dilation=(2,), dimension_numbers=numbers) ** 2)

    ours, theirs = (
        jax.grad(lambda w, f=f: line(f, w))(w[0]) for f in (conv_general_dilated, jax.lax.conv_general_dilated)
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)


def test_every_convolution_of_a_scanned_gradient_has_the_quick_layout():
    """XLA converts layouts only outside loops; inside a loop, JAX's gradients are 10 to 30 times slower."""
    x, w = jnp.ones((2, 6, 6, 3)), jnp.ones((4, 3, 3, 3, 3))

    def layouts(function):
        def loss(w, x):
            def layer(x, w):
                return function(x, w, (1, 1), "SAME", dimension_numbers=LAST), None

            return jnp.sum(jax.lax.scan(layer, x, w)[0] ** 2)

        program = jax.jit(jax.grad(loss)).lower(w, x).compile().as_text()
        return re.findall(r" convolution\(.*dim_labels=(\w+->\w+)", program)

    assert len(layouts(conv_general_dilated)) == 3
    assert set(layouts(conv_general_dilated)) == {"b01f_01io->b01f"}
    # If XLA converts these layouts too, the module can be dropped.
    assert set(layouts(jax.lax.conv_general_dilated)) != {"b01f_01io->b01f"}


STRIDED = {"window_strides": (2, 2), "padding": ((1, 1), (1, 1))}


@pytest.mark.parametrize("settings", [SETTINGS[0], STRIDED, SETTINGS[2]], ids=["plain", "strided", "transposed"])
def test_so_has_every_convolution_of_a_scanned_gradient_penalty(settings):
    """Its derivative is of second order, as in the training steps of GANs with R1."""
    x, w = jnp.ones((3, 12, 12, 4)), jnp.ones((3, 4, 4, 6))

    def penalty(w):
        def loss(x):
            return jnp.sum(conv_general_dilated(x, w, dimension_numbers=LAST, **settings) ** 3)

        return jnp.sum(jnp.square(jax.grad(loss)(x)))

    def train(w):
        return jax.lax.scan(lambda w, _: (w - 1e-3 * jax.grad(penalty)(w), None), w, length=2)[0]

    program = jax.jit(train).lower(w).compile().as_text()
    layouts = re.findall(r" convolution\(.*dim_labels=(\w+->\w+)", program)
    assert len(layouts) >= 5
    assert set(layouts) == {"b01f_01io->b01f"}


@pytest.mark.parametrize("axes", [(0, None), (None, 0), (1, 2)], ids=["images", "kernels", "both"])
def test_batches_of_convolutions_equal_lone_ones(axes):
    x, w = inputs(1)
    stacked = [
        array if axis is None else jnp.stack([array, 2 * array, array + 1], axis)
        for array, axis in zip((x, w), axes, strict=True)
    ]

    def squares(x, w):
        return jnp.sum(conv_general_dilated(x, w, (2, 1), ((1, 2), (0, 1)), dimension_numbers=LAST) ** 2)

    gradient = jax.grad(squares, (0, 1))
    together = jax.jit(jax.vmap(gradient, axes))(*stacked)
    for i in range(3):
        each = [a if axis is None else jnp.take(a, i, axis) for a, axis in zip(stacked, axes, strict=True)]
        jax.tree.map(
            lambda a, b, i=i: np.testing.assert_allclose(a[i], b, rtol=1e-4, atol=1e-3), together, gradient(*each)
        )


def test_half_precision_stays_half_precision():
    x, w = (array.astype(jnp.bfloat16) for array in inputs(1))

    def total(x, w):
        return jnp.sum(conv_general_dilated(x, w, (1, 1), "SAME", dimension_numbers=LAST).astype(jnp.float32))

    assert [gradient.dtype for gradient in jax.grad(total, (0, 1))(x, w)] == [jnp.bfloat16] * 2
