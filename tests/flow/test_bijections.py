"""Every bijection: inverses invert, log-determinants are those of Jacobian matrices, examples do not interact."""

import functools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import flow
from genjax.core import Variables
from genjax.nets import MLP, ResidualCNN

BATCH, DRAWS = 4, 3
MLP_NET, PIXEL_NET = MLP((6,)), ResidualCNN(features=4, num_blocks=0)
SPLINE = flow.RationalQuadraticSpline(num_bins=3, bound=2.5)
TINY = {"num_layers": 2, "hidden": (6,)}
TINY_IMAGE = {"features": 4, "num_blocks": 0}


@dataclass(frozen=True)
class Case:
    bijection: Any
    shape: tuple[int, ...] = (4,)
    condition: int | None = None  # length of the condition
    unit: bool = False  # whether data are in [0, 1] rather than on the real line
    reverse: bool = False  # whether only reverse-mode derivatives exist


def coupling(transform, net=MLP_NET, **options):
    return flow.Coupling(transform=transform, net=net, **options)


def autoregressive(transform, **options):
    return flow.MaskedAutoregressive(transform=transform, features=(6, 5), activation=jnp.tanh, **options)


ADDITIVE, AFFINE = flow.Additive(), flow.Affine()
IMAGE = (4, 4, 1)
SCALE = flow.Chain((flow.Squeeze(), coupling(AFFINE, PIXEL_NET)))
PYRAMID = flow.MultiScale(shape=IMAGE, scales=(SCALE, SCALE), net=PIXEL_NET)
PAIR = flow.Chain((flow.ActNorm(), coupling(SPLINE), coupling(SPLINE, flip=True)))
MIXED = flow.Chain((flow.ActNorm(), flow.InvertibleLinear(), coupling(AFFINE)))
REAL_NVP_IMAGE = flow.real_nvp_image(
    shape=IMAGE, num_scales=2, num_layers=2, preprocess_bijections=(flow.Logit(),), **TINY_IMAGE
)

LAYERS = {
    "coupling, additive": Case(coupling(ADDITIVE)),
    "coupling, affine": Case(coupling(AFFINE)),
    "coupling, affine, condition": Case(coupling(AFFINE), condition=3),
    "coupling, spline, flip, condition": Case(coupling(SPLINE, flip=True), condition=3),
    "coupling, spline, two dimensions": Case(coupling(SPLINE), (2,)),
    "coupling, spline, channels": Case(coupling(SPLINE, PIXEL_NET, flip=True), (2, 2, 3)),
    "coupling, additive, checkerboard": Case(coupling(ADDITIVE, PIXEL_NET, parts="checkerboard"), (2, 2, 1)),
    "coupling, affine, checkerboard, condition": Case(
        coupling(AFFINE, PIXEL_NET, parts="checkerboard"), (3, 4, 1), condition=3
    ),
    "coupling, spline, checkerboard, flip": Case(
        coupling(SPLINE, PIXEL_NET, parts="checkerboard", flip=True), (2, 3, 2)
    ),
    "autoregressive, additive": Case(autoregressive(ADDITIVE)),
    "autoregressive, affine": Case(autoregressive(AFFINE)),
    "autoregressive, affine, condition": Case(autoregressive(AFFINE), condition=3),
    "autoregressive, affine, jacobi": Case(autoregressive(AFFINE, inversion="jacobi")),
    "autoregressive, spline": Case(autoregressive(SPLINE)),
    "autoregressive, spline, jacobi, condition": Case(autoregressive(SPLINE, inversion="jacobi"), condition=3),
    "autoregressive, spline, one dimension": Case(autoregressive(SPLINE), (1,)),
    "inverse autoregressive, affine, condition": Case(flow.Inverse(autoregressive(AFFINE)), condition=3),
    "inverse autoregressive, jacobi": Case(flow.Inverse(autoregressive(SPLINE, inversion="jacobi"))),
    "elementwise, additive": Case(flow.Elementwise(ADDITIVE)),
    "elementwise, affine, condition": Case(flow.Elementwise(AFFINE), condition=3),
    "elementwise, spline, images": Case(flow.Elementwise(SPLINE), (2, 2, 2)),
    "elementwise, spline, images, condition": Case(flow.Elementwise(SPLINE), (2, 2, 2), condition=3),
    "actnorm": Case(flow.ActNorm()),
    "actnorm, images": Case(flow.ActNorm(), IMAGE),
    "linear, rotation": Case(flow.InvertibleLinear()),
    "linear, identity, images": Case(flow.InvertibleLinear(start="identity"), (2, 3, 3)),
    "permutation": Case(flow.Permutation()),
    "permutation, images": Case(flow.Permutation(), (2, 2, 3)),
    "reverse": Case(flow.Reverse()),
    "squeeze": Case(flow.Squeeze(), (4, 2, 3)),
    "reshape": Case(flow.Reshape((2, 3), (3, 2, 1)), (2, 3)),
    "logit": Case(flow.Logit(), (2, 2), unit=True),
    "logit, another interval": Case(flow.Logit(low=-1.0, high=2.0, alpha=0.01), unit=True),
}
STACKS = {
    "multiscale": Case(flow.MultiScale(shape=(4, 8, 1), scales=(SCALE, SCALE)), (4, 8, 1)),
    "multiscale, net, condition": Case(PYRAMID, IMAGE, condition=3),
    "chain of nothing": Case(flow.Chain(())),
    "chain": Case(flow.Chain((flow.Logit(), flow.Reshape((2, 2), (4,)), flow.ActNorm(), PAIR)), (2, 2), unit=True),
    "inverse of a chain": Case(flow.Inverse(MIXED)),
    "scan, condition": Case(flow.Scan(PAIR, 2), condition=3),
    "scan, inverted on the way back": Case(flow.Scan(MIXED, 3, "invert", unroll=2), reverse=True),
    "nice": Case(flow.nice(shape=(4,), **TINY).bijection, condition=3),
    "real_nvp": Case(flow.real_nvp(shape=(4,), **TINY).bijection, condition=3),
    "real_nvp_image": Case(REAL_NVP_IMAGE.bijection, IMAGE, unit=True),
    "glow": Case(flow.glow(shape=IMAGE, num_steps=2, **TINY_IMAGE).bijection, IMAGE, condition=3),
    "maf": Case(flow.masked_autoregressive_flow(shape=(4,), **TINY).bijection, condition=3),
    "iaf": Case(flow.inverse_autoregressive_flow(shape=(4,), **TINY).bijection, condition=3),
    "nsf, coupling": Case(flow.neural_spline_flow(shape=(4,), **TINY).bijection, condition=3),
    "nsf, autoregressive, images": Case(
        flow.neural_spline_flow(shape=(2, 2, 1), kind="autoregressive", **TINY).bijection, (2, 2, 1), condition=3
    ),
}
CASES = LAYERS | STACKS
TOLERANCE = 1e-5  # of fixed-point iterations, whatever the precision
# With large parameters the Jacobian matrices of stacks of layers are nearly singular.
LARGE = [
    "coupling, additive",
    "coupling, affine",
    "coupling, spline, two dimensions",
    "coupling, spline, checkerboard, flip",
    "autoregressive, affine",
    "autoregressive, affine, jacobi",
    "autoregressive, spline",
    "inverse autoregressive, jacobi",
    "elementwise, spline, images",
    "actnorm",
    "linear, rotation",
    "linear, identity, images",
    "logit, another interval",
]


class Results:
    """Outputs of a bijection for data and for noise, for several draws of random parameters."""

    def __init__(self, case, dtype, scale):
        rng = np.random.default_rng(0)

        def normal(*shape):
            return jnp.asarray(rng.normal(size=shape), dtype)

        def data():
            shape = (BATCH, *case.shape)
            return jnp.asarray(rng.uniform(size=shape), dtype) if case.unit else 1.5 * normal(*shape)

        self.x, mixed = data(), data()
        mixed = mixed.at[0].set(self.x[0])
        condition = None if case.condition is None else normal(BATCH, case.condition)
        # Constants come from ``init``; parameters are random, because those of ``init`` are too simple.
        example = (jax.random.key(0), *jax.tree.map(jnp.float32, (self.x, condition)))
        shapes = jax.eval_shape(case.bijection.init, *example).params
        params = jax.tree.map(lambda p: scale * normal(DRAWS, *p.shape), shapes)
        state = jax.jit(lambda *example: case.bijection.init(*example).state)(*example)
        state = jax.tree.map(lambda s: s.astype(dtype) if jnp.issubdtype(s.dtype, jnp.floating) else s, state)
        own = Variables(params, state)

        draws = Variables(0, None)
        forward = functools.partial(forward_and_jacobian, case)
        forward = jax.jit(jax.vmap(forward, (draws, None, None), axis_size=DRAWS))
        inverse = jax.jit(jax.vmap(case.bijection.inverse, (draws, 0, None), axis_size=DRAWS))
        self.y, self.log_det, self.jacobian = forward(own, self.x, condition)
        self.back, self.log_det_back = inverse(own, self.y, condition)
        mixed_y, mixed_log_det, _ = forward(own, mixed, condition)
        self.mixed = mixed_y[:, 0], mixed_log_det[:, 0]
        self.mixed_back = inverse(own, mixed_y, condition)[0][:, 0]
        # From noise to data and back, one draw at a time, because the forward program takes one batch for all draws.
        self.noise = self.y if case.unit else jnp.broadcast_to(normal(*self.y.shape[1:])[None], self.y.shape)
        decoded = inverse(own, self.noise, condition)[0]
        self.noise_back = np.stack([forward(own, x, condition)[0][i] for i, x in enumerate(decoded)])


def forward_and_jacobian(case, variables, x, condition):
    """Return y, its log-determinant and the Jacobian matrix (B, D, D) of every example."""
    rows = x.reshape(len(x), -1)
    basis = jnp.eye(rows.shape[1], dtype=x.dtype)

    def run(rows):
        return case.bijection.forward(variables, rows.reshape(x.shape), condition)

    def push(unit):
        (y, log_det), (change, _) = jax.jvp(run, (rows,), (jnp.broadcast_to(unit[None], rows.shape),))
        return y, log_det, change.reshape(rows.shape)

    if not case.reverse:
        return jax.vmap(push, out_axes=(None, None, 2))(basis)
    (y, log_det), pull = jax.vjp(run, rows)
    zero = jnp.zeros_like(log_det)
    every = jnp.broadcast_to(basis[:, None], (len(basis), *rows.shape)).reshape(-1, *y.shape)
    return y, log_det, jax.vmap(lambda weight: pull((weight, zero))[0], out_axes=1)(every)


@pytest.fixture(scope="module", params=CASES)
def single(request):
    return Results(CASES[request.param], jnp.float32, 0.3 if request.param in LAYERS else 0.15)


def relative(value, right):
    return np.abs(value - right) / (1 + np.abs(right))


def test_the_inverse_inverts(single):
    assert relative(single.back, single.x[None]).max() < 1e-5
    assert relative(single.noise_back, single.noise).max() < 1e-5


def test_log_determinants_are_those_of_the_jacobian_matrix(single):
    np.testing.assert_allclose(single.log_det, np.linalg.slogdet(single.jacobian)[1], atol=1e-4)
    np.testing.assert_allclose(single.log_det_back, -single.log_det, atol=1e-4)


def test_examples_of_a_batch_do_not_interact(single):
    y, log_det = single.mixed
    np.testing.assert_allclose(y, single.y[:, 0], atol=1e-5)
    np.testing.assert_allclose(log_det, single.log_det[:, 0], atol=1e-5)
    np.testing.assert_allclose(single.mixed_back, single.back[:, 0], atol=1e-5)


@pytest.mark.parametrize("name", LARGE)
def test_large_parameters_in_double_precision(name):
    """Rounding errors grow no more than the map itself amplifies them."""
    with jax.enable_x64(True):
        double = jax.device_get(vars(Results(CASES[name], jnp.float64, 3.0)))
    jacobian, y = double["jacobian"], double["y"]
    stretched = np.linalg.norm(np.linalg.inv(jacobian), ord=2, axis=(-2, -1))
    condition = np.maximum(np.linalg.cond(jacobian), stretched)
    allowed = 1e-13 * (1 + np.abs(y).reshape(*condition.shape, -1).max(-1)) * condition + TOLERANCE * ("jacobi" in name)
    error = relative(double["back"], double["x"][None]).reshape(*condition.shape, -1).max(-1)
    assert (error <= allowed).all()
    assert (np.abs(double["log_det"] + double["log_det_back"]) <= 100 * allowed).all()
    np.testing.assert_allclose(double["log_det"], np.linalg.slogdet(jacobian)[1], atol=1e-9)


def test_initial_linear_bijections():
    """A rotation, a permutation, and data of mean 0 and variance 1."""
    x = 3 * jax.random.normal(jax.random.key(0), (50, 2, 4)) + 1

    def initial(bijection, data):
        return bijection.forward(bijection.init(jax.random.key(1), x), data)[0]

    initial = jax.jit(initial, static_argnums=0)
    rotation = initial(flow.InvertibleLinear(), jnp.eye(4))
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(4), atol=1e-6)
    permutation = np.asarray(initial(flow.InvertibleLinear(start="identity"), jnp.eye(4)))
    assert set(permutation.ravel()) == {0.0, 1.0}
    np.testing.assert_array_equal(permutation @ permutation.T, np.eye(4))
    y = np.asarray(initial(flow.ActNorm(), x))
    np.testing.assert_allclose(y.mean((0, 1)), np.zeros(4), atol=1e-5)
    np.testing.assert_allclose(y.std((0, 1)), np.ones(4), atol=1e-5)
