"""Power-function averages, against their definition as weighted sums over all steps."""

import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

from genjax.averages import MAX_LENGTH, average_decay, combination, exponent

STEPS = 400
RNG = np.random.default_rng(0)
# A random walk of unit length, a decay with noise, and a constant, of which averages must take nothing away.
PATH = np.stack(
    [
        np.cumsum(RNG.normal(size=STEPS)) / np.sqrt(STEPS),
        np.exp(-np.arange(STEPS) / 30) + 0.05 * RNG.normal(size=STEPS),
        np.full(STEPS, 100.0),
    ]
)


def profile(step, length):
    """Return the weights of all steps in an average: equation 1, integrated over each step."""
    edges = np.minimum(np.arange(STEPS + 1) / step, 1.0)
    return np.diff(edges ** (exponent(length) + 1))


@pytest.mark.parametrize("length", [0.01, 0.05, 0.1, 0.2, MAX_LENGTH])
def test_a_profile_has_the_standard_deviation_of_its_length(length):
    gamma = exponent(length)
    tau = (np.arange(100_000) + 0.5) / 100_000
    p = (gamma + 1) * tau**gamma
    mean = np.mean(p * tau)
    assert_allclose(np.sqrt(np.mean(p * (tau - mean) ** 2)), length, rtol=1e-6)


def test_updates_are_weighted_sums_over_all_steps():
    average = 0.0
    for step in range(1, 51):
        decay = float(average_decay(0.1, jnp.int32(step)))
        average = decay * average + (1 - decay) * PATH[:, step - 1]
        assert_allclose(average, PATH @ profile(step, 0.1), rtol=1e-5, atol=1e-6)
    assert float(average_decay(0.1, jnp.int32(1))) == 0  # the initial parameters have no weight


@pytest.mark.parametrize(("length", "bound"), [(0.05, 1e-9), (0.07, 1e-4), (0.15, 1e-4)])
def test_snapshots_give_the_average_of_another_length(length, bound):
    steps = np.repeat(np.arange(10, STEPS + 1, 10), 2)
    lengths = np.tile([0.05, 0.1], len(steps) // 2)
    snapshots = np.stack([PATH @ profile(*of) for of in zip(steps, lengths, strict=True)])
    weights = combination(steps.tolist(), lengths.tolist(), STEPS, length)
    assert_allclose(weights @ snapshots, PATH @ profile(STEPS, length), rtol=1e-9, atol=bound)


def test_more_snapshots_are_closer():
    errors = []
    for interval in (40, 20, 10, 5):
        steps = np.repeat(np.arange(interval, STEPS + 1, interval), 2)
        lengths = np.tile([0.05, 0.1], len(steps) // 2)
        x = combination(steps.tolist(), lengths.tolist(), STEPS, 0.07)
        profiles = np.stack([profile(*of) for of in zip(steps, lengths, strict=True)])
        errors.append(np.linalg.norm(x @ profiles - profile(STEPS, 0.07)))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.02 * errors[0]


def test_averages_up_to_an_earlier_step():
    steps, lengths = [50, 50, 100, 100, 200, 200], [0.05, 0.1] * 3
    assert_allclose(combination(steps, lengths, 100, 0.1), [0, 0, 0, 1, 0, 0], atol=1e-8)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([10], [0.05, 0.1], 10, 0.05), "there are 1 steps and 2 lengths"),
        (([10], [0.05], 10, 0.3), r"length is 0.3, but must be in \(0, 0.288\]; 0.05 and 0.1 are usual"),
        (([10], [0.0], 10, 0.1), r"lengths is \[0.0\], but must be"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        combination(*arguments)
