"""Univariate transformations in float32, for any parameters: increasing, invertible, with finite gradients."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from genjax import flow
from genjax.flow.univariate import LOG_SCALE_BOUND

ROWS, ELEMENTS = 16, 3
PROPERTY = settings(deadline=None, max_examples=50, derandomize=True, database=None)
EPS = float(np.finfo(np.float32).eps)


def spline(num_bins, bound):
    return flow.RationalQuadraticSpline(num_bins=num_bins, bound=bound)


SPLINES = [spline(*sizes) for sizes in [(1, 3.0), (2, 0.01), (3, 1.0), (8, 4.0), (12, 1000.0)]]
TRANSFORMS = [flow.Additive(), flow.Affine(), *SPLINES]
scales = st.floats(-2, 4).map(lambda power: 10.0**power)
seeds = st.integers(0, 2**32 - 1)


def bound_of(transform):
    return getattr(transform, "bound", 3.0)


@functools.cache
def program(transform):
    """Return values, derivatives and round trips of both directions, from one program."""

    def run(params, x):
        def total(params, x):
            y, log_derivative = transform.forward(params, x)
            recovered, log_derivative_inverse = transform.inverse(params, x)
            return jnp.sum(y + log_derivative) + jnp.sum(recovered + log_derivative_inverse)

        y, slope = jax.jvp(lambda x: transform.forward(params, x)[0], (x,), (jnp.ones_like(x),))
        log_derivative = transform.forward(params, x)[1]
        recovered, log_derivative_inverse = transform.inverse(params, y)
        inverse, log_slope_inverse = transform.inverse(params, x)
        forward_of_inverse = transform.forward(params, inverse)[0]
        gradients = jax.grad(total, (0, 1))(params, x)
        return {
            "y": y, "slope": slope, "log": log_derivative, "gradients": gradients,
            "recovered": recovered, "log_recovered": log_derivative_inverse,
            "inverse": inverse, "log_inverse": log_slope_inverse, "forward_of_inverse": forward_of_inverse,
        }  # fmt: skip

    return jax.jit(run)


def run(transform, scale, seed, values=None):
    """Parameters of a given scale, and sorted data that mostly lie within the bound."""
    rng = np.random.default_rng(seed)
    shape = (transform.num_params, ELEMENTS)
    params = np.broadcast_to(np.float32(scale * rng.normal(size=shape)), (ROWS, *shape))
    if values is None:
        values = bound_of(transform) * rng.uniform(-1.2, 1.2, size=(ROWS, ELEMENTS))
    x = np.sort(np.float32(values), axis=0)
    result = jax.device_get(program(transform)(params, x))
    return params, np.float64(x), jax.tree.map(np.float64, result)


@PROPERTY
@given(st.sampled_from(TRANSFORMS), scales, seeds)
def test_round_trips(transform, scale, seed):
    """Rounding errors are amplified: in y by 1 / slope in x, and in x by the slope in y."""
    _, x, result = run(transform, scale, seed)
    y, slope = result["y"], np.exp(np.minimum(result["log"], -result["log_recovered"]))
    rounding = 1e-6 * np.maximum(np.abs(y), bound_of(transform)) / slope
    error = np.abs(result["recovered"] - x)
    assert (error <= 1e-5 * (1 + np.abs(x)) + rounding).all()
    slope = np.exp(np.maximum(-result["log_inverse"], 0.0))
    rounding = 1e-6 * np.maximum(np.abs(result["inverse"]), bound_of(transform)) * slope
    assert (np.abs(result["forward_of_inverse"] - x) <= 1e-5 * (1 + np.abs(x)) + rounding).all()


@PROPERTY
@given(st.sampled_from(TRANSFORMS), scales, seeds)
def test_increasing(transform, scale, seed):
    _, _, result = run(transform, scale, seed)
    for name in ("y", "inverse"):
        size = np.abs(result[name]).max() + bound_of(transform)
        assert (np.diff(result[name], axis=0) >= -4 * EPS * size).all()
    assert (result["slope"] >= -1e-3).all()


@PROPERTY
@given(st.sampled_from(TRANSFORMS), scales, seeds)
def test_log_derivatives_are_those_of_the_map(transform, scale, seed):
    """Tiny slopes are excluded, because automatic differentiation subtracts large terms there."""
    _, x, result = run(transform, scale, seed)
    steep = (result["slope"] > 1e-2) & (np.abs(np.abs(x) - bound_of(transform)) > 1e-6 * bound_of(transform))
    np.testing.assert_allclose(result["log"][steep], np.log(result["slope"][steep]), atol=1e-2)
    gentle = steep & (np.abs(result["log"]) < 3)  # elsewhere x cannot be recovered from a float32 y
    apart = np.abs(result["log_recovered"] + result["log"])[gentle]
    assert apart.size == 0 or np.median(apart) < 1e-3


@PROPERTY
@given(st.sampled_from(TRANSFORMS), scales, seeds, st.booleans())
def test_gradients_are_finite_everywhere(transform, scale, seed, zero):
    bound = np.float32(bound_of(transform))
    special = [0.0, -0.0, 1e-30, bound, np.nextafter(bound, np.float32(0)), np.nextafter(bound, np.inf), bound / 2, 1e6]
    values = np.repeat(np.array([*special, *np.negative(special)])[:, None], ELEMENTS, axis=1)
    _, _, result = run(transform, 0.0 if zero else scale, seed, values)
    for leaf in jax.tree.leaves(result):
        assert np.isfinite(leaf).all()


@PROPERTY
@given(st.sampled_from(SPLINES), scales, seeds, st.floats(1.0, 1e6))
def test_beyond_the_bound_a_spline_is_exactly_the_identity(transform, scale, seed, factor):
    values = transform.bound * factor * np.tile([-1.0, 1.0], ROWS // 2)[:, None] * np.ones((1, ELEMENTS))
    outside = np.float32(np.abs(values)) >= np.float32(transform.bound)
    _, x, result = run(transform, scale, seed, np.where(outside, values, 2 * values))
    for name in ("y", "recovered", "inverse", "forward_of_inverse"):
        np.testing.assert_array_equal(result[name], x)
    for name in ("log", "log_recovered", "log_inverse"):
        np.testing.assert_array_equal(result[name], 0.0)
    np.testing.assert_array_equal(result["gradients"][1], 2.0)
    np.testing.assert_array_equal(result["gradients"][0], 0.0)


@pytest.mark.parametrize("transform", SPLINES, ids=str)
def test_at_the_bound_value_and_derivative_are_continuous(transform):
    with jax.enable_x64(True):
        params = 3 * np.random.default_rng(0).normal(size=(200, transform.num_params, 1))
        for sign in (-1, 1):
            x = np.full((200, 1), sign * transform.bound * (1 - 1e-10))
            for direction in (transform.forward, transform.inverse):
                y, log_derivative = jax.jit(direction)(params, x)
                np.testing.assert_allclose(y, x, rtol=1e-8)
                np.testing.assert_allclose(log_derivative, 0.0, atol=1e-3)


def knots(transform, params):
    """Knots and derivatives by the formulas, computed independently of the code."""
    k, params = transform.num_bins, np.float64(params)

    def places(logits):
        powers = np.exp(logits - logits.max(0))
        shares = 1e-3 + (1 - 1e-3 * k) * powers / powers.sum(0)
        return (
            2 * transform.bound * np.concatenate([np.zeros((1, ELEMENTS)), np.cumsum(shares, axis=0)]) - transform.bound
        )

    inner = 1e-3 + np.logaddexp(0, params[2 * k :] + np.log(np.expm1(1 - 1e-3)))
    ones = np.ones((1, ELEMENTS))
    return places(params[:k]), places(params[k : 2 * k]), np.concatenate([ones, inner, ones])


@PROPERTY
@given(st.sampled_from(SPLINES), st.floats(0.01, 3.0), seeds)
def test_knots_go_to_knots(transform, scale, seed):
    rng = np.random.default_rng(seed)
    params = np.float32(scale * rng.normal(size=(transform.num_params, ELEMENTS)))
    x, y, derivative = knots(transform, params)
    values = np.concatenate([x, np.zeros((ROWS - len(x), ELEMENTS))])  # one shape for all numbers of bins
    many = np.broadcast_to(params, (ROWS, *params.shape))
    result = jax.tree.map(np.float64, jax.device_get(program(transform)(many, np.float32(values))))
    steepest = derivative.max() + ((np.diff(y, axis=0) / np.diff(x, axis=0)).max())
    places = slice(0, len(x))
    np.testing.assert_allclose(result["y"][places], y, atol=1e-5 * transform.bound * (1 + 0.1 * steepest))
    round_trip = np.abs(result["recovered"][places] - x) * derivative
    assert (round_trip <= 1e-5 * transform.bound * (1 + derivative)).all()


@pytest.mark.parametrize("transform", SPLINES, ids=str)
def test_derivatives_at_knots(transform):
    with jax.enable_x64(True):
        params = np.random.default_rng(0).normal(size=(transform.num_params, ELEMENTS))
        x, y, derivative = knots(transform, params)
        many = np.broadcast_to(params, (len(x), *params.shape))
        for side in (-1e-9, 1e-9):
            value, log_derivative = jax.jit(transform.forward)(many, x + side * transform.bound)
            np.testing.assert_allclose(np.exp(log_derivative), derivative, rtol=1e-4)
            np.testing.assert_allclose(value, y, atol=1e-6 * transform.bound)


@settings(PROPERTY, max_examples=5)
@given(st.sampled_from(TRANSFORMS[:4]), st.lists(st.integers(1, 4), max_size=2), seeds)
def test_any_shape(transform, shape, seed):
    """The map of an element does not depend on the shape of its array."""
    rng = np.random.default_rng(seed)
    params = np.float32(rng.normal(size=(*shape, transform.num_params, 2)))
    x = np.float32(rng.normal(size=(*shape, 2)))
    y, log_derivative = jax.jit(transform.forward)(params, x)
    assert y.shape == log_derivative.shape == x.shape
    flat = np.moveaxis(params, -2, 0).reshape(transform.num_params, -1)
    rows = np.resize(x.ravel(), (ROWS * ELEMENTS,)).reshape(ROWS, ELEMENTS)
    flat = np.resize(flat.T, (ROWS * ELEMENTS, transform.num_params)).reshape(ROWS, ELEMENTS, -1).swapaxes(1, 2)
    result = program(transform)(flat, rows)
    np.testing.assert_allclose(y.ravel(), result["y"].ravel()[: y.size], atol=1e-5)
    np.testing.assert_allclose(log_derivative.ravel(), result["log"].ravel()[: y.size], atol=1e-5)


@pytest.mark.parametrize("transform", TRANSFORMS, ids=str)
def test_zero_parameters_give_the_identity(transform):
    _, x, result = run(transform, 0.0, 0)
    np.testing.assert_allclose(result["y"], x, atol=1e-6 * bound_of(transform))
    np.testing.assert_allclose(result["log"], 0.0, atol=1e-5)


def test_affine_scales_are_bounded():
    """Log-scales are bounded however large the network's outputs, and small ones hardly change."""
    params = jnp.array([[0.0] * 4, [1e30, -1e30, 1e-3, -1e-3]])
    _, log_scale = flow.Affine().forward(params, jnp.ones(4))
    np.testing.assert_allclose(log_scale, [LOG_SCALE_BOUND, -LOG_SCALE_BOUND, 1e-3, -1e-3], rtol=1e-3)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"num_bins": 0}, "num_bins is 0, but must be at least 1"),
        ({"num_bins": 1000}, "num_bins is 1000, but must be below 1000, or bins have no width"),
        ({"bound": 0.0}, "bound is 0.0, but must be above 0; 3 is usual for standardized data"),
        ({"bound": float("nan")}, "bound is nan, but must be a finite number"),
        ({"bound": float("inf")}, "bound is inf, but must be a finite number"),
    ],
)
def test_invalid_splines(fields, message):
    with pytest.raises(ValueError, match=message):
        flow.RationalQuadraticSpline(**fields)
