"""Imputation scores of models whose draws have a known distribution, and of models that cannot be scored."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from genjax import data
from genjax.capabilities import label_condition
from genjax.core import Variables
from genjax.evaluation.context import Evaluation
from genjax.evaluation.registry import evaluate
from genjax.metrics import pixels
from tests.evaluation.stubs import Sampler

NUM = 20_000
GAIN, WIDTH = 0.8, 0.6  # x₂ = GAIN x₁ + WIDTH ε


@dataclasses.dataclass(frozen=True)
class Regression(Sampler):
    """Draws of the second value, from a Gaussian around a multiple of the first."""

    gain: float = GAIN
    width: float = WIDTH

    def impute(self, variables, key, x, mask):
        drawn = self.gain * x[:, :1] + self.width * jax.random.normal(key, (len(x), 1))
        return jnp.where(mask, x, jnp.concatenate([x[:, :1], drawn], axis=1))


class Forgetful(Regression):
    """Its draws are NaN where it should know the answer."""

    def impute(self, variables, key, x, mask):
        return jnp.where(mask, x, jnp.nan)


class Conditional(Regression):
    conditions = label_condition(2)


def result_of(model, x=None, **settings):
    if x is None:
        first, noise = np.random.default_rng(0).normal(size=(2, NUM))
        x = np.stack([first, GAIN * first + WIDTH * noise], axis=1).astype(np.float32)
    dataset = data.arrays(x, test=len(x) - 10)
    evaluation = Evaluation(
        model=model, variables=Variables({}, {}), dataset=dataset, key=jax.random.key(0), **settings
    )
    return evaluate(evaluation, ["imputation"])["imputation_score"]


def energy_score(gain: float, width: float) -> float:
    """Equation 1 in expectation: E|X − x| − ½ E|X − X'|, of Gaussians whose mean absolute values are known."""
    error = np.sqrt(width**2 + WIDTH**2 + (gain - GAIN) ** 2)
    return np.sqrt(2 / np.pi) * (error - width / np.sqrt(2))


@pytest.mark.parametrize(("gain", "width"), [(GAIN, WIDTH), (0.0, 1.0), (GAIN, 0.0), (GAIN, 2 * WIDTH)])
def test_the_score_is_that_of_gaussians_and_least_for_the_truth(gain, width):
    result = result_of(Regression(gain, width))
    assert result.value == pytest.approx(energy_score(gain, width), abs=4 * result.standard_error)
    assert result.standard_error < 0.006
    assert result.protocol == {"known": "first half in raster order", "draws": 2, "examples": NUM - 10, "split": "test"}
    assert energy_score(gain, width) >= energy_score(GAIN, WIDTH)


def test_distances_are_root_mean_squares_over_missing_values():
    """Two values are missing; both draws are 0, so that the score is the length of x over the root of 2."""

    @dataclasses.dataclass(frozen=True)
    class Zeros(Sampler):
        def impute(self, variables, key, x, mask):
            return jnp.where(mask, x, 0)

    result = result_of(Zeros(), np.random.default_rng(0).normal(size=(NUM, 2, 2)).astype(np.float32))
    assert result.value == pytest.approx(stats.chi(2).mean() / np.sqrt(2), rel=0.02)


@pytest.mark.parametrize(
    ("model", "x", "reason"),
    [
        (Sampler(), None, "Sampler has no impute"),
        (Conditional(), None, "the model is conditioned, but the known values"),
        (Regression(), np.zeros((30, 1), np.float32), "examples have a single value"),
        (Forgetful(), np.zeros((30, 2), np.float32), "20 of 20 scores are not finite"),
    ],
)
def test_why_there_is_no_score(model, x, reason):
    result = result_of(model, x)
    assert result.value is None
    assert reason in result.reason


def test_displays_of_another_shape_leave_no_score():
    """Only a network of images sees what is displayed."""
    images = np.random.default_rng(0).integers(0, 5, (40, 4, 4, 1))
    dataset = data.arrays(images.astype(np.uint8), test=20)
    evaluation = Evaluation(
        model=Regression(),
        variables=Variables({}, {}),
        dataset=dataset,
        key=jax.random.key(0),
        network=dataclasses.replace(pixels(), requires_images=True),
        display=lambda x: jnp.repeat(x / 4, 2, axis=1),
    )
    reason = evaluate(evaluation, ["imputation"])["imputation_score"].reason
    assert reason is not None
    assert "display changes the shape of examples from (4, 4, 1) to (8, 4, 1)" in reason


@dataclasses.dataclass(frozen=True)
class Chain(Sampler):
    """Draws that are as wide as their chain is long."""

    def impute(self, variables, key, x, mask, *, num_steps=3, label=None, guidance=None):
        assert label is None and guidance is None
        return jnp.where(mask, x, num_steps * jax.random.normal(key, x.shape))


def test_settings_of_samples_that_impute_takes_are_used_and_named():
    first = result_of(Chain())
    longer = result_of(Chain(), sample_kwargs={"num_steps": 30, "label": 1, "guidance": 2.0})
    assert (first.protocol["num_steps"], longer.protocol["num_steps"]) == (3, 30)
    assert not {"label", "guidance"} & set(longer.protocol)
    assert longer.value > 2 * first.value


def test_the_scale_is_that_of_the_features_and_not_of_figures():
    plain, shown = result_of(Regression()), result_of(Regression(), display=lambda x: jnp.clip(x, 0, 1))
    assert plain == shown
