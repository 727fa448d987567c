"""Losses, penalties and layouts of flows, computed again with numpy."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from genjax import flow, nets, ops
from genjax.core import Variables

RNG = np.random.default_rng(0)


class Stretch(nn.Module):
    """The velocity a x."""

    output_shape: tuple | None = None

    @nn.compact
    def __call__(self, x, condition):
        return self.param("rate", nn.initializers.constant(0.4), ()) * x


def test_the_penalties_of_a_linear_field():
    """x(t) = x e^{a t}: the trace is D a, ‖∂v/∂x‖²_F = D a², and ∫ ‖v‖² dt = a² |x|² (e^{2a} − 1) / (2a)."""
    rate, x = 0.4, RNG.normal(size=(5, 3)).astype(np.float32)
    model = flow.FFJORD(
        shape=(3,),
        net=Stretch(),
        trace="exact",
        kinetic_weight=0.3,
        jacobian_weight=2.0,
        solver=ops.Solver(rtol=1e-6, atol=1e-6),
    )
    variables = model.init(jax.random.key(0), {"x": x})
    loss, (_, metrics) = model.loss(*variables, jax.random.key(0), {"x": x}, jnp.int32(0))
    squares = (x.astype(np.float64) ** 2).sum(axis=1)
    log_prob = norm.logpdf(x * np.exp(rate)).sum(axis=1) + 3 * rate
    kinetic, jacobian = (rate * squares * (np.exp(2 * rate) - 1) / 2).mean(), 3 * rate**2
    np.testing.assert_allclose(metrics["kinetic"], kinetic, rtol=1e-3)
    np.testing.assert_allclose(metrics["jacobian"], jacobian, rtol=1e-4)
    np.testing.assert_allclose(loss, -log_prob.mean() + 0.3 * kinetic + 2 * jacobian, rtol=1e-3)


def a_net(value):
    """A network whose outputs are one value."""

    class Constant(nn.Module):
        output_shape: tuple | None = None

        @nn.compact
        def __call__(self, x, condition=None):
            return jnp.full((len(x), *self.output_shape), value) + 0 * self.param("unused", nn.initializers.zeros, ())

    return Constant()


@pytest.mark.parametrize("flip", [False, True])
def test_couplings_shift_the_second_half_or_with_flip_the_first(flip):
    layer = flow.Coupling(transform=flow.Additive(), net=a_net(2.0), flip=flip)
    x = jnp.arange(10.0).reshape(2, 5)
    y, log_det = layer.forward(layer.init(jax.random.key(0), x), x)
    shift = np.where((np.arange(5) < 2) == flip, -2.0, 0.0)  # the smaller half comes first
    np.testing.assert_allclose(y, np.asarray(x) + shift)
    np.testing.assert_allclose(log_det, 0)


@pytest.mark.parametrize("flip", [False, True])
def test_a_checkerboard_scales_every_second_pixel(flip):
    layer = flow.Coupling(transform=flow.Affine(), net=a_net(0.5), parts="checkerboard", flip=flip)
    x = jnp.asarray(RNG.normal(size=(1, 2, 3, 1)), jnp.float32)
    y, log_det = layer.forward(layer.init(jax.random.key(0), x), x)
    rows, columns = np.indices((2, 3))
    moved = ((rows + columns) % 2 == 1) != flip
    log_scale = 0.5 / (1 + 0.5 / 2)
    expected = np.where(moved[..., None], (x - 0.5) * np.exp(log_scale), x)
    np.testing.assert_allclose(y, expected, rtol=1e-5)
    np.testing.assert_allclose(log_det, 3 * log_scale, rtol=1e-5)


class Conditioned:
    """The identity, which records its condition."""

    def __init__(self):
        self.conditions = []

    def init(self, key, x, condition=None):
        return Variables({}, {})

    def forward(self, variables, x, condition=None):
        return x, jnp.zeros(len(x))

    def inverse(self, variables, y, condition=None):
        self.conditions.append(condition)
        return y, jnp.zeros(len(y))


def test_dequantization_scales_images_and_its_metrics_add_up():
    dequantizer = Conditioned()
    base = flow.Flow(shape=(3,), bijection=flow.Chain((flow.Logit(), flow.ActNorm())))
    model = flow.VariationalDequantization(flow=base, dequantizer=dequantizer, num_values=5)
    x = jnp.asarray(RNG.integers(0, 5, (6, 3)), jnp.uint8)
    variables = model.init(jax.random.key(0), {"x": x})
    loss, (_, metrics) = model.loss(*variables, jax.random.key(1), {"x": x}, jnp.int32(0))
    np.testing.assert_allclose(dequantizer.conditions[0], np.asarray(x) / 2.0 - 1, rtol=1e-6)
    assert float(metrics["entropy"]) == pytest.approx(0, abs=1e-5)  # q is uniform
    expected = float(metrics["log_density"]) - 3 * np.log(5)
    assert float(metrics["bound"]) == pytest.approx(expected, rel=1e-5)
    assert float(loss) == pytest.approx(-expected, rel=1e-5)


def test_entropy_is_that_of_the_dequantizer():
    """u = σ(y) with y = ε e^{−s}: H(u) = E[log u(1 − u)] − E[log ℓ(ε)] − s, smaller where y is near 0."""
    base = flow.Flow(shape=(1,), bijection=flow.Chain((flow.Logit(), flow.ActNorm())))
    dequantizer = flow.Elementwise(flow.Affine())
    model = flow.VariationalDequantization(flow=base, dequantizer=dequantizer, num_values=4)
    x = jnp.full((20_000, 1), 2, jnp.uint8)
    variables = model.init(jax.random.key(0), {"x": x})
    bias = jnp.array([[0.0], [2.0]])  # log-scale 2 / (1 + 2 / 2) = 1
    params = jax.tree.map(jnp.zeros_like, variables.params)
    params["dequantizer"]["bias"] = bias
    params["flow"] = variables.params["flow"]
    _, (_, metrics) = model.loss(params, variables.state, jax.random.key(1), {"x": x}, jnp.int32(0))
    grid = np.linspace(-40, 40, 200_001)
    density = np.exp(-np.abs(grid)) / (1 + np.exp(-np.abs(grid))) ** 2  # of the logistic distribution

    def log_logistic(z):
        return -np.abs(z) - 2 * np.log1p(np.exp(-np.abs(z)))

    integrand = density * (log_logistic(grid * np.exp(-1)) - log_logistic(grid) - 1)
    entropy = np.sum((integrand[1:] + integrand[:-1]) / 2) * (grid[1] - grid[0])
    assert float(metrics["entropy"]) == pytest.approx(entropy, abs=0.03)


def test_temperature_scales_the_noise():
    model = flow.Flow(shape=(2,), bijection=flow.ActNorm())
    variables = model.init(jax.random.key(0), {"x": jnp.array([[-1.0, 0.0], [1.0, 4.0]])})
    mean = np.array([0.0, 2.0])
    full, half = (np.asarray(model.sample(variables, jax.random.key(1), 4, temperature=t)) for t in (1.0, 0.5))
    np.testing.assert_allclose(half - mean, 0.5 * (full - mean), rtol=1e-5)


def test_recipes_start_as_the_identity_after_normalization():
    """Outputs of all networks are 0 at first, whatever their width."""
    assert nets.MLP((4,), output_scale=0.0).output_scale == 0
    x = RNG.normal(2.0, 3.0, (50, 2)).astype(np.float32)
    for make in (flow.real_nvp, flow.masked_autoregressive_flow, flow.neural_spline_flow):
        model = make(shape=(2,), num_layers=2, hidden=(4,))
        variables = model.init(jax.random.key(0), {"x": jnp.asarray(x)})
        z = np.sort(np.abs(np.asarray(model.encode(variables, jnp.asarray(x)))), axis=1)
        standardized = np.sort(np.abs((x - x.mean(axis=0)) / x.std(axis=0)), axis=1)
        np.testing.assert_allclose(z, standardized, rtol=1e-4, atol=1e-4)
