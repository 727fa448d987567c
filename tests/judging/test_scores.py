"""Scores of judgements: closed forms, published examples, and simulated raters with known preferences."""

import numpy as np
import pytest
from scipy import special, stats
from sklearn.linear_model import LogisticRegression

from genjax.judging import bradley_terry, krippendorff_alpha, share_interval

STRENGTHS = np.array([1.2, 0.4, 0.0, -0.5, -1.1])


def simulated(random, *, num_raters=12, num_answers=40, spread=0.0):
    """Return winners, losers and raters, whose own strengths differ from the common ones by ``spread``."""
    raters = np.repeat(np.arange(num_raters), num_answers)
    own = STRENGTHS + spread * random.normal(size=(num_raters, len(STRENGTHS)))
    pairs = np.array([random.choice(len(STRENGTHS), 2, replace=False) for _ in raters])
    first_wins = random.random(len(raters)) < special.expit(own[raters, pairs[:, 0]] - own[raters, pairs[:, 1]])
    return np.where(first_wins, *pairs.T), np.where(first_wins, *pairs.T[::-1]), raters


@pytest.mark.parametrize("successes", [0, 3, 20])
def test_the_interval_of_one_rater_is_that_of_wilson(successes):
    share, low, high = share_interval(np.arange(20) < successes, np.zeros(20, int), confidence=0.9)
    expected = stats.binomtest(successes, 20).proportion_ci(0.9, method="wilson")
    np.testing.assert_allclose((share, low, high), (successes / 20, *expected), atol=1e-12)


def test_raters_of_one_mind_are_worth_one_answer_each():
    share, low, high = share_interval(np.repeat([True, False, True, False], 50), np.repeat(np.arange(4), 50))
    deff = 4 / 3 * 4 * 25**2 / (0.25 * 200)
    z, worth = stats.t.ppf(0.975, 3), 200 / deff
    half = z / (1 + z**2 / worth) * np.sqrt(0.25 / worth + z**2 / (4 * worth**2))
    np.testing.assert_allclose((share, low, high), (0.5, 0.5 - half, 0.5 + half), rtol=1e-12)


@pytest.mark.parametrize("spread", [0.0, 1.5])
def test_intervals_of_a_share_cover_it_at_their_rate(spread):
    random, covered = np.random.default_rng(0), []
    draws = special.expit(-0.5 + spread * random.normal(size=200_000))
    for _ in range(400):
        rates = special.expit(-0.5 + spread * random.normal(size=10))
        raters = np.repeat(np.arange(10), 30)
        _, low, high = share_interval(random.random(300) < rates[raters], raters)
        covered.append(low <= draws.mean() <= high)
    assert 0.92 < np.mean(covered) < 0.995


def test_strengths_are_those_of_a_logistic_regression():
    winners, losers, raters = simulated(np.random.default_rng(0))
    differences, halves = np.eye(5)[winners] - np.eye(5)[losers], np.eye(5)
    # Each answer is seen from both sides, and so are half a win and half a loss against strength zero.
    x = np.concatenate([differences, -differences, halves, halves])
    y = np.repeat([1, 0, 1, 0], [len(winners), len(winners), 5, 5])
    fit = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10, max_iter=10_000).fit(x, y)
    expected = fit.coef_[0] - fit.coef_[0].mean()
    actual = [strength.value for strength in bradley_terry(winners, losers, raters, 5)]
    np.testing.assert_allclose(actual, expected, atol=1e-4)


def test_an_entry_that_never_lost_has_a_finite_strength():
    strengths = bradley_terry(np.zeros(10, int), np.ones(10, int), np.zeros(10, int), 2)
    assert 1 < strengths[0].value < 5
    assert strengths[0].low < strengths[0].value < strengths[0].high


@pytest.mark.parametrize(("spread", "min_ranked"), [(0.0, 0.9), (0.7, 0.6)])
def test_simulated_raters_are_ranked_and_intervals_cover_at_their_rate(spread, min_ranked):
    random, covered, ranked = np.random.default_rng(1), [], []
    for _ in range(200):
        estimates = bradley_terry(*simulated(random, spread=spread), 5)
        ranked.append(np.argsort([-e.value for e in estimates]).tolist() == [0, 1, 2, 3, 4])
        # Averaged over raters who differ, probabilities are those of strengths that are closer together: a logistic
        # distribution resembles a Gaussian of variance 1.7² = 2.89.
        common = STRENGTHS / np.sqrt(1 + 2 * spread**2 / 2.89)
        covered.append([e.low <= s <= e.high for e, s in zip(estimates, common, strict=True)])
    assert np.mean(ranked) > min_ranked
    assert 0.92 < np.mean(covered) < 0.995


def test_agreement_of_a_published_example():
    """Four observers and twelve units with missing answers (Krippendorff 2011, section C)."""
    answers = (
        "1 2 3 3 2 1 4 1 2 . . .",
        "1 2 3 3 2 2 4 1 2 5 . 3",
        ". 3 3 3 2 3 4 2 2 5 1 .",
        "1 2 3 3 2 4 4 1 2 5 1 .",
    )
    units = [[int(a) for a in unit if a != "."] for unit in zip(*map(str.split, answers), strict=True)]
    assert krippendorff_alpha(units) == pytest.approx(0.743, abs=5e-4)


def test_agreement_needs_two_answers_that_differ():
    assert krippendorff_alpha([[1], [0]]) is None
    assert krippendorff_alpha([[1, 1], [1, 1]]) is None
    assert krippendorff_alpha([[0, 1], [1, 0]]) < 0
