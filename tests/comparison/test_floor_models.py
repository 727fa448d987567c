"""Floors have the densities and the samples that formulas, SciPy and scikit-learn give."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import multivariate_normal, norm
from sklearn.covariance import LedoitWolf
from sklearn.neighbors import KernelDensity

from genjax.comparison import floor_models as floors
from genjax.core import Variables

X = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32) @ np.array([[1.0, 0.0], [0.8, 0.3]], np.float32)
POINTS = jnp.asarray(X[:5] + 0.3)


def fit(model, x):
    return model.init(jax.random.key(0), {"x": jnp.asarray(x)})


def test_factorized_masses_are_smoothed_frequencies_of_each_dimension():
    model = floors.Factorized(num_values=3, low=-1.0, high=1.0)
    variables = fit(model, [[-1.0, 0.0], [-1.0, 1.0], [0.0, 1.0]])
    grid = jnp.array([[a, b] for a in (-1.0, 0.0, 1.0) for b in (-1.0, 0.0, 1.0)])
    first, second = np.array([2.5, 1.5, 0.5]) / 4.5, np.array([0.5, 1.5, 2.5]) / 4.5
    np.testing.assert_allclose(np.exp(model.log_prob(variables, grid)), np.outer(first, second).ravel(), rtol=1e-5)
    x = np.asarray(model.sample(variables, jax.random.key(0), 20_000))
    for dimension, masses in enumerate((first, second)):
        shares = [(x[:, dimension] == value).mean() for value in (-1.0, 0.0, 1.0)]
        np.testing.assert_allclose(shares, masses, atol=0.015)
    assert model.discrete


def test_factorized_kernels_have_the_width_of_scotts_rule():
    model = floors.FactorizedKernels()
    variables = fit(model, X)
    width = X.std(axis=0) * len(X) ** -0.2
    each = [norm.pdf(np.asarray(POINTS)[:, None, d], X[None, :, d], width[d]).mean(axis=1) for d in range(2)]
    np.testing.assert_allclose(model.log_prob(variables, POINTS), np.log(each[0] * each[1]), rtol=1e-4)
    x = np.asarray(model.sample(variables, jax.random.key(0), 20_000))
    np.testing.assert_allclose(x.mean(axis=0), X.mean(axis=0), atol=0.03)
    np.testing.assert_allclose(np.cov(x.T), np.diag(X.var(axis=0) + width**2), atol=0.05)


def test_the_full_gaussian_is_that_of_ledoit_and_wolf():
    model, expected = floors.FullGaussian(), LedoitWolf().fit(X)
    variables = fit(model, X)
    exact = multivariate_normal(expected.location_, expected.covariance_)
    np.testing.assert_allclose(model.log_prob(variables, POINTS), exact.logpdf(POINTS), rtol=1e-4)
    x = np.asarray(model.sample(variables, jax.random.key(0), 20_000))
    np.testing.assert_allclose(np.cov(x.T), expected.covariance_, atol=0.05)


@pytest.mark.parametrize("is_full", [True, False])
def test_mixtures_weigh_their_components(is_full):
    weights, means, sds = (
        np.array([0.25, 0.75]),
        np.array([[0.0, 0.0], [4.0, -4.0]]),
        np.array([[0.5, 1.0], [2.0, 0.3]]),
    )
    scale = np.stack([np.diag(sd) for sd in sds]) if is_full else sds
    arrays = {"log_weights": np.log(weights), "means": means, "scale": scale}
    variables = Variables({"fit": {name: jnp.asarray(array, jnp.float32) for name, array in arrays.items()}}, {})
    model = floors.MixtureOfGaussians()
    density = sum(w * norm.pdf(POINTS, m, s).prod(axis=1) for w, m, s in zip(weights, means, sds, strict=True))
    np.testing.assert_allclose(model.log_prob(variables, POINTS), np.log(density), rtol=1e-4)
    x = np.asarray(model.sample(variables, jax.random.key(0), 20_000))
    np.testing.assert_allclose(x.mean(axis=0), weights @ means, atol=0.06)
    second = x[x[:, 1] < -2.5]
    assert len(second) / len(x) == pytest.approx(0.75, abs=0.015)
    np.testing.assert_allclose(second.std(axis=0), sds[1], rtol=0.03)


def test_kernels_are_the_kernel_density_of_scikit_learn():
    model = floors.Kernels()
    variables = fit(model, X)
    width = float(variables.params["fit"]["width"])
    assert 0.05 < width < 1.0
    exact = KernelDensity(bandwidth=width).fit(X).score_samples(np.asarray(POINTS))
    np.testing.assert_allclose(model.log_prob(variables, POINTS), exact, rtol=1e-4)
    x = np.asarray(model.sample(variables, jax.random.key(0), 20_000))
    np.testing.assert_allclose(np.cov(x.T, ddof=0), np.cov(X.T, ddof=0) + width**2 * np.eye(2), atol=0.06)


@pytest.mark.parametrize(
    "model",
    [floors.FactorizedKernels(), floors.FullGaussian(), floors.MixtureOfGaussians(candidates=(3,)), floors.Kernels()],
    ids=lambda model: type(model).__name__,
)
def test_floors_draw_unknown_values_from_their_conditional(model):
    """Compare with sums over a line."""
    variables, line = fit(model, X), np.linspace(-6, 6, 2_001, dtype=np.float32)
    points = jnp.stack([jnp.full_like(line, 0.7), line], axis=1)
    p = np.exp(np.asarray(model.log_prob(variables, points), np.float64))
    p /= p.sum()
    mean = p @ line
    std = np.sqrt(p @ (line - mean) ** 2)
    x = jnp.tile(jnp.array([[0.7, jnp.nan]]), (20_000, 1))
    drawn = np.asarray(model.impute(variables, jax.random.key(0), x, jnp.array([True, False])))
    assert (drawn[:, 0] == np.float32(0.7)).all()
    assert abs(drawn[:, 1].mean() - mean) < 4 * std / np.sqrt(20_000)
    assert drawn[:, 1].std() == pytest.approx(std, rel=0.03)


def test_mixtures_without_covariances_choose_the_component_of_the_known_values():
    arrays = {"log_weights": np.log([0.5, 0.5]), "means": np.array([[0.0, 1.0], [10.0, 3.0]]), "scale": np.ones((2, 2))}
    variables = Variables({"fit": {name: jnp.asarray(array, jnp.float32) for name, array in arrays.items()}}, {})
    x = jnp.tile(jnp.array([[9.0, jnp.nan]]), (20_000, 1))
    drawn = floors.MixtureOfGaussians().impute(variables, jax.random.key(0), x, jnp.array([True, False]))
    np.testing.assert_allclose([drawn[:, 1].mean(), drawn[:, 1].std()], [3.0, 1.0], atol=0.03)


def test_markov_chains_have_the_frequencies_of_pairs():
    x = np.array([[0, 1, 2, 0], [0, 1, 1, 0], [2, 2, 2, 2]])
    model = floors.MarkovChain(num_values=3, length=4)
    variables = fit(model, x)
    first = (np.array([2, 0, 1]) + 1 / 3) / 4
    pairs = np.array([[0, 2, 0], [1, 1, 1], [1, 0, 3]]) + 1 / 3
    rows = pairs / pairs.sum(axis=1, keepdims=True)
    states = np.array(list(itertools.product(range(3), repeat=4)))
    masses = np.exp(np.asarray(model.log_prob(variables, jnp.asarray(states)), np.float64))
    expected = first[states[:, 0]] * np.prod([rows[states[:, i], states[:, i + 1]] for i in range(3)], axis=0)
    np.testing.assert_allclose(masses, expected, rtol=1e-5)
    assert masses.sum() == pytest.approx(1)
    drawn = np.asarray(model.sample(variables, jax.random.key(0), 20_000)) @ 3 ** np.arange(4)[::-1]
    np.testing.assert_allclose(np.bincount(drawn, minlength=81) / 20_000, expected, atol=4 * 0.5 / 20_000**0.5)


@pytest.mark.parametrize("model", [floors.FactorizedKernels(), floors.FullGaussian(), floors.Kernels()])
def test_floors_impute_examples_of_their_shape_alone(model):
    with pytest.raises(ValueError, match=r"x has shape \(3, 1\), but this model has shape=\(2,\)"):
        model.impute(fit(model, X), jax.random.key(0), jnp.zeros((3, 1)), jnp.array([True]))


@pytest.mark.parametrize("model", [floors.FullGaussian(), floors.Kernels()])
def test_each_example_may_have_its_own_mask(model):
    variables, mask = fit(model, X), jnp.array([[True, False], [False, True]])
    x = jnp.tile(jnp.array([[0.7, jnp.nan], [jnp.nan, 0.5]]), (5_000, 1))
    mixed = np.asarray(model.impute(variables, jax.random.key(0), x, jnp.tile(mask, (5_000, 1))))
    for i in range(2):
        alone = np.asarray(model.impute(variables, jax.random.key(1), x[i::2], mask[i]))
        np.testing.assert_array_equal(mixed[i::2, i], alone[:, i])
        unknown, other = mixed[i::2, 1 - i], alone[:, 1 - i]
        assert abs(unknown.mean() - other.mean()) < 6 * other.std() / np.sqrt(5_000)
        assert unknown.std() == pytest.approx(other.std(), rel=0.06)


def test_nearest_neighbours_fill_the_lines_between_neighbours():
    model = floors.NearestNeighbours(num_neighbours=1)
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [10.0, 0.0], [10.0, 2.0]])
    x = np.asarray(model.sample(fit(model, corners), jax.random.key(0), 4_000))
    left, right = x[x[:, 0] <= 1], x[x[:, 0] > 1]
    assert (left[:, 1] == 0).all() and (right[:, 0] == 10).all()
    assert len(left) / len(x) == pytest.approx(0.5, abs=0.04)
    for values in (left[:, 0], right[:, 1] / 2):  # uniform on [0, 1]
        assert np.ptp(values) > 0.99
        assert values.var() == pytest.approx(1 / 12, rel=0.05)


def test_the_bootstrap_draws_every_example_equally_often():
    model = floors.Bootstrap()
    x = np.asarray(model.sample(fit(model, [[1.0], [2.0], [3.0]]), jax.random.key(0), 9_000))
    np.testing.assert_allclose([(x == value).mean() for value in (1, 2, 3)], 1 / 3, atol=0.02)
    assert not hasattr(model, "log_prob")
    assert model.objectives() == ()
