"""Calibration of a classifier between N(-1, 1) and N(1, 1), whose log-odds are 2 x, against quadrature."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import norm

from genjax import data
from genjax.capabilities import label_condition
from genjax.core import Variables
from genjax.evaluation.calibration import expected_calibration_error
from genjax.learners import Learner, TrainState
from genjax.runner import Experiment, Run

NUM_EXAMPLES = 20_000


@dataclasses.dataclass(frozen=True)
class TwoGaussians:
    """Densities of both classes up to a factor that is the same for both, with log-odds ``sharpness`` times 2 x."""

    sharpness: float
    num_classes = 2
    conditions = label_condition(2)

    def init(self, key, batch):
        return Variables({"sharpness": jnp.float32(self.sharpness)}, {})

    def objectives(self):
        return ()

    def sample(self, variables, key, num_samples, *, label=None):
        return jax.random.normal(key, (num_samples, 1))

    def log_prob(self, variables, x, *, label=None):
        return variables.params["sharpness"] * x[:, 0] * (2 * label - 1)


def evaluate(sharpness, metric="calibration"):
    rng = np.random.default_rng(0)
    label = rng.integers(0, 2, NUM_EXAMPLES).astype(np.int32)
    x = (rng.normal(size=NUM_EXAMPLES) + 2 * label - 1)[:, None].astype(np.float32)
    source = data.ArraySource({"x": x, "label": label})
    dataset = data.Dataset(name="two Gaussians", splits={"train": source, "test": source}, num_classes=2)
    nothing = Learner(init=lambda key, batch: TrainState(0, {}, {}, {}, None), step=lambda *_: (None, {}))
    model = TwoGaussians(sharpness)
    experiment = Experiment(model=model, data=dataset, learner=nothing, steps=1, batch_size=8)
    run = Run(experiment=experiment, variables=model.init(None, None), seeds=(0,), step=1, rows=(), folder=None)
    return run.evaluate(jax.random.key(0), metrics=(metric,))


def test_true_densities_are_calibrated():
    assert evaluate(1.0)["calibration_error"].value < 0.015


@pytest.mark.parametrize("sharpness", [0.25, 3.0])
def test_the_error_of_wrong_confidence_is_its_integral(sharpness):
    """Confidence is everywhere above accuracy, or everywhere below it, so the bins do not matter."""
    x = np.linspace(-10, 10, 20_001)
    density = 0.5 * (norm.pdf(x, 1) + norm.pdf(x, -1))
    gap = expit(2 * sharpness * np.abs(x)) - expit(2 * np.abs(x))
    expected = abs(np.trapezoid(density * gap, x))
    assert evaluate(sharpness)["calibration_error"].value == pytest.approx(expected, abs=5 * 0.4 / NUM_EXAMPLES**0.5)


def test_bins_hold_equal_counts():
    confidence = np.array([0.6, 0.9, 0.5, 1.0])
    correct = np.array([False, True, True, True])
    # Sorted: (0.5, right), (0.6, wrong) | (0.9, right), (1.0, right): gaps of |0.5 - 0.6| and |0.1 + 0|, over 4.
    assert expected_calibration_error(confidence, correct, 2) == pytest.approx(0.05)
    assert expected_calibration_error(confidence, correct, 100) == pytest.approx((0.5 + 0.6 + 0.1 + 0.0) / 4)
