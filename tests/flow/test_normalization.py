"""Densities integrate to one, and samples follow them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from genjax import flow
from genjax.core import Variables

TINY = {"num_layers": 2, "hidden": (6,)}
SPLINE = flow.RationalQuadraticSpline(num_bins=4, bound=3.0)
LOGIT_AND_SPLINE = flow.Chain((flow.Logit(), flow.Elementwise(SPLINE)))
MODELS = {
    "maf, 1-D": flow.masked_autoregressive_flow(shape=(1,), **TINY),
    "nsf autoregressive, 1-D": flow.neural_spline_flow(shape=(1,), kind="autoregressive", num_bins=4, **TINY),
    "elementwise spline, 1-D": flow.Flow(shape=(1,), bijection=flow.Elementwise(SPLINE)),
    "nice": flow.nice(shape=(2,), **TINY),
    "real_nvp": flow.real_nvp(shape=(2,), **TINY),
    "maf": flow.masked_autoregressive_flow(shape=(2,), inversion="jacobi", **TINY),
    "iaf": flow.inverse_autoregressive_flow(shape=(2,), **TINY),
    "nsf coupling": flow.neural_spline_flow(shape=(2,), num_bins=4, **TINY),
    "nsf autoregressive": flow.neural_spline_flow(shape=(2,), kind="autoregressive", num_bins=4, **TINY),
}
BINS = {1: 40, 2: 10}  # of the histogram, per dimension
SAMPLES = 20_000


@pytest.fixture(scope="module", params=MODELS)
def model(request):
    return MODELS[request.param]


@pytest.fixture(scope="module")
def variables(model):
    """Initial variables with every parameter perturbed."""
    batch = {"x": jnp.asarray(np.random.default_rng(0).normal(size=(50, *model.shape)), jnp.float32)}
    start = jax.jit(model.init)(jax.random.key(0), batch)
    rng = np.random.default_rng(1)
    return Variables(jax.tree.map(lambda p: p + np.float32(0.3 * rng.normal(size=p.shape)), start.params), start.state)


@pytest.fixture(scope="module")
def samples(model, variables):
    draw = jax.jit(model.sample_and_log_prob, static_argnums=2)
    return jax.device_get(draw(variables, jax.random.key(2), SAMPLES))


@pytest.fixture(scope="module")
def log_prob(model):
    return jax.jit(model.log_prob)


def cells(edges, per_cell):
    """Midpoints of a fine grid over the box between the outer edges, and the volume of a cell."""
    steps = [np.linspace(side[0], side[-1], per_cell * (len(side) - 1) + 1) for side in edges]
    middles = np.stack(np.meshgrid(*[(s[1:] + s[:-1]) / 2 for s in steps], indexing="ij"), axis=-1)
    return middles, np.prod([s[1] - s[0] for s in steps])


def test_the_density_integrates_to_one(variables, samples, log_prob):
    """Over a box several standard deviations wider than all samples."""
    x, _ = samples
    dim = x.shape[1]
    wide = x.std(0).max()
    edges = [np.linspace(side.min() - 4 * wide, side.max() + 4 * wide, 2) for side in x.T]
    middles, size = cells(edges, {1: 8000, 2: 800}[dim])
    total = np.sum(np.exp(np.float64(log_prob(variables, np.float32(middles.reshape(-1, dim)))))) * size
    assert total == pytest.approx(1, abs=1e-2)


def test_samples_have_the_density(variables, samples, log_prob):
    """A χ² test of counts on a grid of boxes against the integrals of the density over them."""
    x, _ = samples
    dim, bins = x.shape[1], BINS[x.shape[1]]
    low, high = np.quantile(x, [0.005, 0.995], axis=0)
    edges = [np.linspace(*side, bins + 1) for side in zip(low, high, strict=True)]
    fine = {1: 200, 2: 40}[dim]
    middles, size = cells(edges, fine)
    density = np.exp(np.float64(log_prob(variables, np.float32(middles.reshape(-1, dim)))))
    expected = SAMPLES * size * density.reshape([bins, fine] * dim).sum(axis=tuple(range(1, 2 * dim, 2))).ravel()
    counts = np.histogramdd(x, edges)[0].ravel()
    counts, expected = np.append(counts, SAMPLES - counts.sum()), np.append(expected, SAMPLES - expected.sum())
    many = expected > 5
    statistic = np.sum((counts[many] - expected[many]) ** 2 / expected[many])
    assert stats.chi2.sf(statistic, many.sum() - 1) > 1e-4


def test_samples_come_with_their_density(variables, samples, log_prob):
    x, log_p = samples
    np.testing.assert_allclose(log_p, log_prob(variables, x), atol=2e-3)
    np.testing.assert_allclose(np.median(np.abs(log_p - log_prob(variables, x))), 0.0, atol=1e-5)


@pytest.mark.parametrize("scale", [0.0, 0.5])
def test_a_density_on_an_interval_integrates_to_one_but_for_what_alpha_cuts_off(scale):
    """A flow to the whole line after the logit of (0, 1) with α leaves p_Z(|z| > logit(1 − α)) outside."""
    model = flow.Flow(shape=(1,), bijection=LOGIT_AND_SPLINE, base=flow.Logistic())
    variables = model.init(jax.random.key(0), {"x": jnp.full((4, 1), 0.5)})
    shape = variables.params["bijection"]["1"]["bias"].shape
    perturbed = Variables(
        {"bijection": {"0": {}, "1": {"bias": jnp.float32(scale * np.random.default_rng(0).normal(size=shape))}}},
        variables.state,
    )
    x = (np.arange(20_000) + 0.5)[:, None] / 20_000
    total = np.exp(np.float64(model.log_prob(perturbed, np.float32(x)))).mean()
    inside = model.encode(perturbed, jnp.array([[0.0], [1.0]]))[:, 0]
    assert total == pytest.approx(np.diff(stats.logistic.cdf(inside))[0], abs=1e-4)
    assert scale or total == pytest.approx(0.9, abs=1e-4)
