"""Metrics of generators that drop a mode, blur, or do neither.

The data are two isotropic clusters in the plane. Every generator is a Gaussian or a mixture of two, of known density.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import logsumexp

from genjax.metrics.frechet import frechet_distance
from genjax.metrics.neighbours import precision_recall_density_coverage

NUM_SAMPLES = 1500
LEFT, RIGHT = (-3.0, 0.0), (3.0, 0.0)
GENERATORS = {  # centres, and standard deviations along both axes
    "one mode": ((RIGHT,), (0.5, 0.5)),
    "both modes": ((LEFT, RIGHT), (0.5, 0.5)),
    "blurred": ((LEFT, RIGHT), (2.0, 2.0)),
    "one wide Gaussian": (((0.0, 0.0),), (np.sqrt(9.25), 0.5)),  # with mean and covariance of the data
}


def draw(rng, centres, scales):
    centres = np.asarray(centres)[rng.integers(len(centres), size=NUM_SAMPLES)]
    return centres + np.asarray(scales) * rng.normal(size=(NUM_SAMPLES, 2))


def log_density(x, centres, scales):
    z = (x[:, None] - np.asarray(centres)) / np.asarray(scales)
    return logsumexp(-0.5 * (z**2).sum(axis=-1), axis=1) - np.log(len(centres) * 2 * np.pi * np.prod(scales))


@pytest.fixture(scope="module")
def scores():
    rng = np.random.default_rng(0)
    data, held_out = (draw(rng, *GENERATORS["both modes"]) for _ in range(2))
    table = {}
    for name, generator in GENERATORS.items():
        samples = draw(rng, *generator)
        values = {**precision_recall_density_coverage(data, samples), **frechet_distance(data, samples)}
        table[name] = {key: float(value) for key, value in values.items()}
        table[name]["log_likelihood"] = log_density(held_out, *generator).mean()
    return table


@pytest.mark.parametrize(
    ("generator", "precision", "recall"),
    [
        ("one mode", (0.97, 1), (0.45, 0.55)),
        ("both modes", (0.97, 1), (0.97, 1)),
        ("blurred", (0, 0.4), (0.97, 1)),
        ("one wide Gaussian", (0, 0.65), (0.97, 1)),
    ],
)
def test_precision_and_recall_tell_dropping_from_blurring(scores, generator, precision, recall):
    row = scores[generator]
    assert precision[0] <= row["precision"] <= precision[1]
    assert recall[0] <= row["recall"] <= recall[1]


def test_density_and_coverage_say_the_same(scores):
    assert 0.9 < scores["both modes"]["density"] < 1.1
    assert 0.9 < scores["one mode"]["density"] < 1.1
    assert scores["blurred"]["density"] < 0.4
    assert scores["both modes"]["coverage"] > 0.93
    assert 0.45 < scores["one mode"]["coverage"] < 0.55


def test_likelihood_forgives_blurring_but_not_dropping(scores):
    """The exact values in nats are −2.14, −3.97 and, for a cluster ten standard deviations away, about −37."""
    likelihood = {name: row["log_likelihood"] for name, row in scores.items()}
    entropy_of_one = np.log(2 * np.pi * np.e * 0.25)
    np.testing.assert_allclose(likelihood["both modes"], -entropy_of_one - np.log(2), atol=0.1)
    # Half of the data is at distance 6 from the only centre, 6² / (2 · 0.5²) nats below the rest.
    np.testing.assert_allclose(likelihood["one mode"], -entropy_of_one - 36, atol=2)
    assert likelihood["one mode"] < likelihood["blurred"] < likelihood["one wide Gaussian"] < likelihood["both modes"]


def test_frechet_distance_sees_two_moments_and_no_more(scores):
    distance = {name: row["frechet_distance"] for name, row in scores.items()}
    # Closed form for one mode: the mean moves by 3, and a standard deviation of √9.25 becomes 0.5.
    np.testing.assert_allclose(distance["one mode"], 9 + (np.sqrt(9.25) - 0.5) ** 2, rtol=0.05)
    np.testing.assert_allclose(distance["blurred"], (np.sqrt(13) - np.sqrt(9.25)) ** 2 + 1.5**2, rtol=0.15)
    assert distance["both modes"] < 0.1
    assert distance["one wide Gaussian"] < 0.1  # two moments do not reveal this generator
