"""Parzen windows against SciPy's mixture, a closed form, and the integral of the density."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import norm
from sklearn.cluster import KMeans

from genjax.metrics import parzen

WIDTHS = np.logspace(-1.4, 0.4, 10).tolist()


def test_is_the_mixture_of_windows():
    rng = np.random.default_rng(0)
    samples, x = rng.normal(size=(23, 3)), rng.normal(size=(11, 3))
    expected = logsumexp(norm.logpdf(x[:, None], samples, 0.4).sum(axis=-1), axis=1) - np.log(23)
    np.testing.assert_allclose(parzen.parzen_log_prob(samples, x, bandwidth=0.4, chunk_size=4), expected, rtol=1e-5)
    values = parzen.parzen_log_likelihood(samples, x, bandwidth=0.4)
    np.testing.assert_allclose(values["parzen_log_likelihood"], expected.mean(), rtol=1e-5)
    np.testing.assert_allclose(
        values["parzen_log_likelihood_standard_error"], expected.std(ddof=1) / 11**0.5, rtol=1e-4
    )


def test_density_integrates_to_one():
    grid = np.linspace(-12, 12, 4001)[:, None]
    log_prob = parzen.parzen_log_prob(np.array([[-2.0], [0.1], [3.0]]), grid, bandwidth=0.7)
    np.testing.assert_allclose(np.trapezoid(np.exp(log_prob), grid[:, 0]), 1.0, atol=1e-5)


def test_many_samples_of_a_gaussian_give_it_smoothed():
    """Windows of width h around samples of N(0, 1) estimate N(0, 1 + h²)."""
    samples = np.random.default_rng(0).normal(size=(200_000, 1))
    x = np.linspace(-2, 2, 9)[:, None]
    log_prob = parzen.parzen_log_prob(samples, x, bandwidth=0.5)
    np.testing.assert_allclose(log_prob, norm.logpdf(x[:, 0], 0, 1.25**0.5), atol=0.02)


def test_far_away_and_in_many_dimensions_it_stays_finite():
    """In 784 dimensions, 20 standard deviations away in each, every exponential underflows."""
    value = parzen.parzen_log_prob(np.zeros((2, 784)), np.full((1, 784), 2.0), bandwidth=0.1)
    np.testing.assert_allclose(value, 784 * norm.logpdf(20.0, 0, 1) - 784 * np.log(0.1), rtol=1e-5)


def test_it_does_not_depend_on_where_the_data_lies():
    rng = np.random.default_rng(1)
    samples, x = (np.round(64 * rng.normal(size=(n, 4))) / 64 for n in (20, 5))  # exact in float32 even far away
    here, there = (parzen.parzen_log_prob(samples + c, x + c, bandwidth=0.5) for c in (0, 2**17))
    np.testing.assert_allclose(there, here, rtol=1e-4)


def test_bandwidth_is_the_likeliest_on_validation_data():
    rng = np.random.default_rng(0)
    samples, validation = rng.normal(size=(2, 500, 1))
    widths, done = (0.001, 0.1, 0.3, 1.0, 30.0), []
    best = parzen.parzen_bandwidth(samples, validation, widths, chunk_size=200, progress=done.append)
    means = [norm.logpdf(validation, samples[:, 0], h) for h in widths]
    assert best == widths[int(np.argmax([logsumexp(m, axis=1).mean() for m in means]))] == 0.3
    assert done == [200, 200, 100]


@pytest.mark.parametrize("scale", [1.0, 30.0, 1e-5])
def test_the_search_goes_on_until_a_bandwidth_between_others_is_the_best(scale):
    """The search follows the scale of the data, and is as good as a fine grid around the optimum."""
    samples, validation = scale * np.random.default_rng(0).normal(size=(2, 400, 2))
    best, within = parzen.parzen_bandwidth_search(samples, validation, WIDTHS)
    fine = parzen.parzen_bandwidth(samples, validation, (scale * np.logspace(-1.2, 0.2, 150)).tolist())
    assert within
    assert abs(np.log10(best / fine)) < 0.11  # neighbouring bandwidths have the ratio 10^0.2
    if scale == 1.0:
        assert best == parzen.parzen_bandwidth(samples, validation, WIDTHS)


@pytest.mark.parametrize("dim", [1, 2, 100])
def test_a_search_without_end_says_so(dim):
    """For copies of the validation data, the best bandwidth is zero, although their distances are rounded.

    A search that may not extend its grid, or whose next bandwidth exceeds float32, ends at the edge.
    """
    samples = np.random.default_rng(0).normal(size=(50, dim))
    best, within = parzen.parzen_bandwidth_search(samples, samples, WIDTHS)
    assert 1e-4 < best < 0.03 and not within
    assert parzen.parzen_bandwidth_search(1e3 * samples, samples, WIDTHS, max_extensions=0) == (WIDTHS[-1], False)
    far = 1e18 * samples[:2]
    assert parzen.parzen_bandwidth_search(far[:1], far[1:], (1.0, 1e30)) == (1e30, False)


def test_it_ranks_cluster_centres_above_the_truth():
    """As the module warns, 100 k-means centres of the data beat 100 samples of their distribution."""
    rng = np.random.default_rng(0)
    data, truth, validation, test = (rng.normal(size=(n, 30)) for n in (1000, 100, 300, 300))
    centres = KMeans(100, n_init=1, max_iter=10, random_state=0).fit(data).cluster_centers_
    scores = []
    for samples in (truth, centres):
        bandwidth = parzen.parzen_bandwidth(samples, validation, np.linspace(0.5, 1.5, 6))
        scores.append(parzen.parzen_log_likelihood(samples, test, bandwidth=bandwidth))
    values, errors = (
        [float(score[f"parzen_log_likelihood{suffix}"]) for score in scores] for suffix in ("", "_standard_error")
    )
    assert values[1] > values[0] + 10 * max(errors)
    assert values[1] < -15 * np.log(2 * np.pi * np.e)  # and both are below the true density


def test_what_makes_no_density_is_refused():
    with pytest.raises(ValueError, match=r"bandwidth is 0.0, but must be above 0"):
        parzen.parzen_log_likelihood(np.ones((2, 1)), np.ones((2, 1)), bandwidth=0.0)
    with pytest.raises(ValueError, match="bandwidths is empty"):
        parzen.parzen_bandwidth(np.ones((2, 1)), np.ones((2, 1)), ())
    for widths in ((0.5,), (0.5, 0.5)):
        with pytest.raises(ValueError, match=r"bandwidths are .0.5.*, but must be two or more in increasing order"):
            parzen.parzen_bandwidth_search(np.ones((2, 1)), np.ones((2, 1)), widths)
    with pytest.raises(ValueError, match="generated has 2 features, but reference has 1"):
        parzen.parzen_log_likelihood(np.ones((2, 2)), np.ones((2, 1)), bandwidth=1.0)
