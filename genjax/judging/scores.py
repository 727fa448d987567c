"""Statistics of human judgements, with intervals that are clustered by rater.

Answers of one rater depend on each other, so that variances are computed from sums over raters (Kung-Yee Liang and
Scott L. Zeger 1986, "Longitudinal data analysis using generalized linear models"), and quantiles are those of
Student's t with one degree of freedom less than raters. A single rater's answers count as independent.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, NamedTuple

import numpy as np
from annotated_types import Interval

from genjax.arguments import check_arguments

Confidence = Annotated[float, Interval(gt=0, lt=1)]
NEWTON_STEPS = 50


class Estimate(NamedTuple):
    """A value with an interval."""

    value: float
    low: float
    high: float


@check_arguments
def share_interval(successes: np.ndarray, raters: np.ndarray, *, confidence: Confidence = 0.95) -> Estimate:
    """Return the share of successes with Wilson's interval at the effective number of independent answers.

    Edwin B. Wilson 1927, "Probable inference, the law of succession, and statistical inference".

    Args:
      successes: whether each answer is a success, Boolean (N,) with N ≥ 1.
      raters: number of the rater of each answer, integers (N,).
      confidence: probability that the interval holds the true share.

    >>> share, low, high = share_interval(np.arange(100) < 30, np.zeros(100, int))
    >>> print(f"{share:.2f}, from {low:.3f} to {high:.3f}")
    0.30, from 0.219 to 0.396
    """
    n, share = len(successes), float(np.mean(successes))
    totals = _sums(np.asarray(successes, float) - share, raters)
    binomial = share * (1 - share) / n
    clustered = _correction(len(totals)) * float(totals @ totals) / n**2  # 0 for a single rater
    worth = n / max(1.0, clustered / binomial) if binomial else float(n)  # effective number of answers
    z = _quantile(confidence, len(totals))
    middle = (share + z**2 / (2 * worth)) / (1 + z**2 / worth)
    half = z / (1 + z**2 / worth) * math.sqrt(share * (1 - share) / worth + z**2 / (4 * worth**2))
    return Estimate(share, max(0.0, middle - half), min(1.0, middle + half))


@check_arguments
def bradley_terry(
    winners: np.ndarray, losers: np.ndarray, raters: np.ndarray, num_entries: int, *, confidence: Confidence = 0.95
) -> list[Estimate]:
    """Return strengths s of entries with intervals, where i wins against j with probability σ(s_i − s_j).

    Ralph A. Bradley and Milton E. Terry 1952, "Rank analysis of incomplete block designs: I". Strengths have mean zero.
    Each entry also has half a win and half a loss against an opponent of strength zero, so that they stay finite.

    Args:
      winners: index of the entry that was chosen in each answer, integers (N,).
      losers: index of the other one, (N,).
      raters: number of the rater of each answer, integers (N,).
      num_entries: number of entries.
      confidence: probability that an interval holds the true strength.

    >>> winners, losers = np.array([0] * 75 + [1] * 25), np.array([1] * 75 + [0] * 25)
    >>> [round(strength.value, 2) for strength in bradley_terry(winners, losers, np.zeros(100, int), 2)]
    [0.55, -0.55]
    """
    from scipy.special import expit

    x = np.zeros((len(winners), num_entries))
    x[np.arange(len(winners)), winners] += 1
    x[np.arange(len(winners)), losers] -= 1

    def derivatives(strengths: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the scores of all answers (N, K), the gradient (K,), and the information (K, K)."""
        won, even = expit(x @ strengths), expit(strengths)
        gradient = x.T @ (1 - won) + 0.5 - even
        return (1 - won)[:, None] * x, gradient, (x.T * (won * (1 - won))) @ x + np.diag(even * (1 - even))

    strengths = np.zeros(num_entries)
    for _ in range(NEWTON_STEPS):  # the log-likelihood is concave
        _, gradient, information = derivatives(strengths)
        strengths = strengths + np.linalg.solve(information, gradient)
    scores, _, information = derivatives(strengths)
    inverse, scores = np.linalg.inv(information), _sums(scores, raters)
    clustered = inverse @ (_correction(len(scores)) * scores.T @ scores) @ inverse if len(scores) > 1 else inverse
    centre = np.eye(num_entries) - 1 / num_entries
    variances = [np.diag(centre @ covariance @ centre) for covariance in (inverse, clustered)]
    # The clustered variance of few raters is sometimes too small by chance.
    half = _quantile(confidence, len(scores)) * np.sqrt(np.maximum(*variances))
    strengths = centre @ strengths
    return [Estimate(float(s), float(s - h), float(s + h)) for s, h in zip(strengths, half, strict=True)]


def krippendorff_alpha(units: Sequence[Sequence[int]]) -> float | None:
    """Return the agreement of raters: 1 if it is complete, 0 if it is what chance gives.

    Klaus Krippendorff 2011, "Computing Krippendorff's alpha-reliability", for nominal data with missing answers.

    Args:
      units: answers of all raters to each question; those to which fewer than two answered do not count.

    Returns:
      Alpha, or None if there are no two different answers to compare.

    >>> krippendorff_alpha([[0, 0], [1, 1], [0, 0, 0]])
    1.0
    """
    units = [unit for unit in units if len(unit) > 1]
    values = sorted({value for unit in units for value in unit})
    counts = np.array([[unit.count(value) for value in values] for unit in map(list, units)], float)
    if len(values) < 2:
        return None
    sizes, totals = counts.sum(axis=1), counts.sum(axis=0)
    n = totals.sum()
    observed = np.sum((sizes**2 - np.sum(counts**2, axis=1)) / (sizes - 1)) / n
    expected = (n**2 - np.sum(totals**2)) / (n * (n - 1))
    return float(1 - observed / expected)


def _sums(values: np.ndarray, raters: np.ndarray) -> np.ndarray:
    """Return the sums of values (N, …) over each rater, (R, …)."""
    names, index = np.unique(raters, return_inverse=True)
    sums = np.zeros((len(names), *values.shape[1:]))
    np.add.at(sums, index, values)
    return sums


def _correction(num_raters: int) -> float:
    return num_raters / (num_raters - 1) if num_raters > 1 else 1.0


def _quantile(confidence: float, num_raters: int) -> float:
    from scipy import stats

    tail = (1 + confidence) / 2
    return float(stats.norm.ppf(tail) if num_raters == 1 else stats.t.ppf(tail, num_raters - 1))
