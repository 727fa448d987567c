"""The spline agrees with those of nflows and zuko on the same knots.

Conventions differ. nflows uses the paper's softmax and minimum sizes, as we do, but a softplus without offset for the
inner derivatives: a parameter of 0 means log 2 there and 1 here. zuko squashes all parameters softly, which implies its
minimum sizes, and exponentiates the derivatives; the test therefore sets its knots directly. Both run in double
precision, because their inverses lose digits in single precision.
"""

import jax
import numpy as np
import pytest

from genjax import flow

pytestmark = pytest.mark.peers
torch = pytest.importorskip("torch")

ROWS, ELEMENTS = 200, 2
SHAPES = [(1, 2.0), (2, 1.0), (8, 3.0), (16, 5.0)]
UNIT_DERIVATIVE = np.log(np.expm1(1 - 1e-3))  # softplus of it is 1 minus the minimum derivative


@pytest.fixture(scope="module", params=SHAPES, ids=str)
def ours(request):
    """Our spline in both directions, in single and double precision, at points inside and beyond the bound."""
    num_bins, bound = request.param
    spline = flow.RationalQuadraticSpline(num_bins=num_bins, bound=bound)
    rng = np.random.default_rng(num_bins)
    params = np.float32(rng.normal(size=(ROWS, spline.num_params, ELEMENTS)))
    x = np.float32(1.3 * bound * rng.uniform(-1, 1, size=(ROWS, ELEMENTS)))
    ways = [jax.jit(way) for way in (spline.forward, spline.inverse)]
    single = [jax.device_get(way(params, x)) for way in ways]
    with jax.enable_x64(True):
        double = [jax.device_get(way(np.float64(params), np.float64(x))) for way in ways]
    return spline, params, x, list(zip(single, double, strict=True))


def split(spline, params):
    """Logits of widths and heights and raw derivatives, last axis last, in double precision."""
    last = np.float64(np.moveaxis(params, 1, 2))
    return (
        last[..., : spline.num_bins],
        last[..., spline.num_bins : 2 * spline.num_bins],
        last[..., 2 * spline.num_bins :],
    )


def agree(own, other):
    """The formulas agree in double precision; in single precision to 1e-5, log-derivatives to 1e-4."""
    for value, exact, right, rounding in zip(*own, (values.numpy() for values in other), (1e-5, 1e-4), strict=True):
        assert (np.abs(exact - right) <= 1e-9 * (1 + np.abs(right))).all()
        assert (np.abs(value - right) <= rounding * (1 + np.abs(right))).all()


def test_nflows(ours):
    splines = pytest.importorskip("nflows.transforms.splines.rational_quadratic")
    spline, params, x, results = ours
    widths, heights, derivatives = map(torch.from_numpy, split(spline, params))
    for own, inverse in zip(results, (False, True), strict=True):
        other = splines.unconstrained_rational_quadratic_spline(
            torch.from_numpy(np.float64(x)),
            widths,
            heights,
            derivatives + UNIT_DERIVATIVE,
            inverse=inverse,
            tail_bound=spline.bound,
        )
        agree(own, other)


def test_nflows_on_an_interval(ours):
    """The spline of nflows without tails takes the outer derivatives too."""
    splines = pytest.importorskip("nflows.transforms.splines.rational_quadratic")
    spline, params, x, results = ours
    widths, heights, derivatives = split(spline, params)
    derivatives = np.pad(derivatives, [(0, 0), (0, 0), (1, 1)]) + UNIT_DERIVATIVE
    inside = np.abs(x) < spline.bound
    for own, inverse in zip(results, (False, True), strict=True):
        other = splines.rational_quadratic_spline(
            torch.from_numpy(np.float64(x[inside])),
            *(torch.from_numpy(values[inside]) for values in (widths, heights, derivatives)),
            inverse=inverse,
            left=-spline.bound,
            right=spline.bound,
            bottom=-spline.bound,
            top=spline.bound,
        )
        agree([[values[inside] for values in precision] for precision in own], other)


def test_zuko(ours):
    transforms = pytest.importorskip("zuko.transforms")
    spline, params, x, (forward, inverse) = ours
    widths, heights, derivatives = split(spline, params)

    def places(logits):
        powers = np.exp(logits - logits.max(-1, keepdims=True))
        shares = 1e-3 + (1 - 1e-3 * spline.num_bins) * powers / powers.sum(-1, keepdims=True)
        return torch.from_numpy(
            spline.bound * np.pad(2 * np.cumsum(shares, -1) - 1, [(0, 0), (0, 0), (1, 0)], constant_values=-1)
        )

    other = transforms.MonotonicRQSTransform(*map(torch.from_numpy, (widths, heights, derivatives)), bound=spline.bound)
    other.horizontal, other.vertical = places(widths), places(heights)
    inner = 1e-3 + np.logaddexp(0, derivatives + UNIT_DERIVATIVE)
    other.derivatives = torch.from_numpy(np.pad(inner, [(0, 0), (0, 0), (1, 1)], constant_values=1.0))
    points = torch.from_numpy(np.float64(x))
    agree(forward, other.call_and_ladj(points))
    inverted = other.inv(points)
    agree(inverse, (inverted, -other.log_abs_det_jacobian(inverted, points)))
