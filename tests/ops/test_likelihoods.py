import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from genjax.ops import Bernoulli, DiscretizedLogistic, Gaussian, Likelihood

LIKELIHOODS = [Bernoulli(), Gaussian(), Gaussian(log_scale=-1.0), DiscretizedLogistic(levels=17)]
EXTREMES = [-1e30, -1e6, -100.0, -30.0, 0.0, 30.0, 100.0, 1e6]


def ids(likelihood):
    return repr(likelihood)


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=ids)
def test_is_a_likelihood_and_a_value(likelihood):
    assert isinstance(likelihood, Likelihood)
    assert hash(likelihood) == hash(eval(repr(likelihood)))
    assert likelihood == eval(repr(likelihood))


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=ids)
def test_masks_choose_the_values_that_count(likelihood):
    outputs = jax.random.normal(jax.random.key(0), (3, 4, likelihood.num_outputs))
    x, mask = jnp.ones((3, 4, 1)), jnp.array([True, False, True, False])[None, :, None]
    alone = likelihood.log_prob(outputs[:, ::2], x[:, ::2])
    unknown = jnp.where(mask, x, jnp.nan)
    np.testing.assert_allclose(likelihood.log_prob(outputs, unknown, jnp.broadcast_to(mask, x.shape)), alone, rtol=1e-5)


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=ids)
def test_a_mass_is_at_most_one_and_a_density_may_be_more(likelihood):
    """Use the sharpest distribution at x = 1: a location of 1 and the smallest scale."""
    outputs = jnp.array([[30.0 if isinstance(likelihood, Bernoulli) else 1.0, -20.0][: likelihood.num_outputs]])
    assert likelihood.discrete == (likelihood.log_prob(outputs, jnp.ones((1, 1)))[0] <= 0)


def test_bernoulli_masses_sum_to_one():
    logits = jnp.array([[-2.0, 0.3, 1.5, 4.0]])
    x = jnp.array(list(itertools.product([0.0, 1.0], repeat=4)))
    masses = jnp.exp(Bernoulli().log_prob(jnp.tile(logits, (16, 1)), x))
    np.testing.assert_allclose(masses.sum(), 1.0, rtol=1e-6)
    np.testing.assert_allclose(masses @ x, Bernoulli().mean(logits)[0], rtol=1e-5)


@pytest.mark.parametrize("logit", [-1e4, -100.0, 100.0, 1e4])
def test_bernoulli_at_extreme_logits(logit):
    wrong, right = jnp.float32(logit < 0), jnp.float32(logit > 0)
    value_and_grad = jax.value_and_grad(lambda l, x: Bernoulli().log_prob(l[None, None], x[None, None])[0])
    assert value_and_grad(jnp.float32(logit), wrong) == (-abs(logit), -np.sign(logit))
    value, gradient = value_and_grad(jnp.float32(logit), right)
    np.testing.assert_allclose([value, gradient], 0.0, atol=1e-30)


def test_gaussian_against_scipy():
    outputs = jnp.array([[0.3, -1.0, np.log(0.5), np.log(2.0)]])  # two means, then two log-scales
    x = jnp.array([[0.1, 3.0]])
    expected = stats.norm.logpdf(0.1, 0.3, 0.5) + stats.norm.logpdf(3.0, -1.0, 2.0)
    np.testing.assert_allclose(Gaussian().log_prob(outputs, x), [expected], rtol=1e-6)
    np.testing.assert_array_equal(Gaussian().mean(outputs), outputs[:, :2])
    fixed = stats.norm.logpdf([[0.1, 3.0]], [[0.3, -1.0]], np.exp(-0.7)).sum()
    np.testing.assert_allclose(Gaussian(log_scale=-0.7).log_prob(outputs[:, :2], x), [fixed], rtol=1e-6)


@pytest.mark.parametrize("levels", [2, 17, 256])
def test_discretized_logistic_masses_sum_to_one(levels):
    location = np.array([-1e4, -2.0, 0.0, 0.2501, 0.5, 1.0, 3.0, 1e4])
    log_scale = np.array([-100.0, -20.0, -9.0, -7.0, -5.0, -3.0, 0.0, 5.0, 100.0])
    outputs = jnp.array(list(itertools.product(location, log_scale)), jnp.float32)
    likelihood = DiscretizedLogistic(levels)
    x = jnp.arange(levels) / (levels - 1)
    log_mass = jax.jit(jax.vmap(lambda k: likelihood.log_prob(outputs, jnp.full((len(outputs), 1), k))))(x)
    total = jnp.sum(jnp.exp(log_mass), axis=0)
    np.testing.assert_allclose(total, 1.0, atol=1e-5)
    mean = x @ jnp.exp(log_mass)
    np.testing.assert_allclose(likelihood.mean(outputs)[:, 0], mean, atol=2e-5)


def test_discretized_logistic_against_scipy():
    levels, location, scale = 17, 0.4, 0.11
    edges = (np.arange(levels + 1) - 0.5) / (levels - 1)
    edges[[0, -1]] = -np.inf, np.inf
    expected = np.log(np.diff(stats.logistic.cdf(edges, location, scale)))
    outputs = jnp.tile(jnp.array([[location, np.log(scale)]], jnp.float32), (levels, 1))
    x = (jnp.arange(levels) / (levels - 1))[:, None]
    np.testing.assert_allclose(DiscretizedLogistic(levels).log_prob(outputs, x), expected, rtol=1e-5)


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=ids)
def test_value_and_gradient_are_finite_at_extreme_outputs(likelihood):
    grid = list(itertools.product(EXTREMES, repeat=2)) if likelihood.num_outputs == 2 else [[e] for e in EXTREMES]
    # A location of 1e30 has a squared error beyond float32, so only the scale is that extreme.
    grid = [row for row in grid if isinstance(likelihood, Bernoulli) or abs(row[0]) <= 1e6]
    for x in (0.0, 0.5, 1.0):
        value_and_grad = jax.value_and_grad(lambda o, x=x: likelihood.log_prob(o[None], jnp.full((1, 1), x))[0])
        values, gradients = jax.jit(jax.vmap(value_and_grad))(jnp.array(grid, jnp.float32))
        assert jnp.isfinite(values).all(), grid[int(jnp.argmin(jnp.isfinite(values)))]
        assert jnp.isfinite(gradients).all()


@pytest.mark.parametrize("likelihood", [Gaussian(), DiscretizedLogistic(levels=17)], ids=ids)
def test_a_scale_beyond_its_bound_can_come_back(likelihood):
    too_narrow = jnp.array([0.2, -60.0])
    gradient = jax.grad(lambda o: likelihood.log_prob(o[None], jnp.ones((1, 1)))[0])(too_narrow)
    assert gradient[1] > 0


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=ids)
def test_log_prob_sums_independent_dimensions_of_blocks(likelihood):
    """Images: outputs in blocks along the last axis, the sum over all axes but the first."""
    channels = 3
    random = np.random.default_rng(0)
    parameters = random.normal(size=(2, 4, 5, likelihood.num_outputs, channels)).astype(np.float32)
    x = random.integers(0, 2, (2, 4, 5, channels)).astype(np.float32)
    outputs = parameters.reshape(2, 4, 5, -1)

    def scalar(p, x):
        return likelihood.log_prob(p[None], x[None, None])[0]

    singles = jax.jit(jax.vmap(scalar))(
        np.moveaxis(parameters, 3, -1).reshape(-1, likelihood.num_outputs), x.reshape(-1)
    )
    log_prob = jax.jit(likelihood.log_prob)(outputs, x)
    np.testing.assert_allclose(log_prob, singles.reshape(2, -1).sum(1), rtol=1e-5)
    assert likelihood.mean(outputs).shape == x.shape


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=ids)
def test_bfloat16_outputs_are_computed_in_float32(likelihood):
    outputs = jax.random.normal(jax.random.key(0), (3, 100 * likelihood.num_outputs), jnp.bfloat16)
    x = jnp.round(jax.random.uniform(jax.random.key(1), (3, 100)))
    half, single = (likelihood.log_prob(o, x) for o in (outputs, outputs.astype(jnp.float32)))
    assert half.dtype == likelihood.mean(outputs).dtype == jnp.float32
    np.testing.assert_array_equal(half, single)


@pytest.mark.parametrize("likelihood", LIKELIHOODS, ids=ids)
def test_samples_have_the_mean_and_distribution_they_claim(likelihood):
    row = jnp.array([0.4, -1.5])[: likelihood.num_outputs]
    outputs = jnp.tile(row, (40_000, 1))
    x = likelihood.sample(jax.random.key(0), outputs)
    standard_error = x.std() / 200
    assert abs(x.mean() - likelihood.mean(row[None])[0, 0]) < 5 * standard_error
    values, counts = np.unique(np.asarray(x), return_counts=True)
    if len(values) <= 17:  # frequencies against masses
        masses = np.exp(likelihood.log_prob(jnp.tile(row, (len(values), 1)), jnp.asarray(values)[:, None]))
        np.testing.assert_allclose(masses.sum(), 1.0, atol=1e-3)
        assert stats.chisquare(counts, 40_000 * masses / masses.sum()).pvalue > 1e-3
    else:
        log_scale = likelihood.log_scale if likelihood.log_scale is not None else -1.5
        assert stats.kstest(np.asarray(x)[:, 0], stats.norm(0.4, np.exp(log_scale)).cdf).pvalue > 1e-3


def test_errors_name_value_limit_and_cure():
    with pytest.raises(ValueError, match=r"log_scale is 30.0, but must be in \[-20, 20\]; rescale"):
        Gaussian(log_scale=30.0)
    with pytest.raises(ValueError, match="levels is 1, but must be at least 2; use 256"):
        DiscretizedLogistic(levels=1)
