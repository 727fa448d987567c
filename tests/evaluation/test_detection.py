"""Anomaly detection with a run, on scores whose area under the ROC curve has a closed form."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from genjax import data
from genjax.capabilities import label_condition
from genjax.core import Variables
from genjax.evaluation.detection import midpoints
from genjax.learners import Learner, TrainState
from genjax.ops.importance import LogPartition
from genjax.runner import Experiment, Run

SHIFT = 2.0


@dataclasses.dataclass(frozen=True)
class Exponential:
    """The density exp(-x) of positive numbers, for which the score of an example is x itself."""

    def init(self, key, batch):
        return Variables({"rate": jnp.float32(1)}, {})

    def objectives(self):
        return ()

    def sample(self, variables, key, num_samples):
        return jax.random.exponential(key, (num_samples, 1))

    def log_prob(self, variables, x):
        return jnp.log(variables.params["rate"]) - variables.params["rate"] * x[:, 0]


class Diverged(Exponential):
    """A model with NaN log-likelihoods, as after a failed training."""

    def log_prob(self, variables, x):
        return jnp.where(x[:, 0] > 12, jnp.nan, 0.0)


class ByClass(Exponential):
    """A model conditioned on whether an example is anomalous."""

    conditions = label_condition(2)


@dataclasses.dataclass(frozen=True)
class Sampler:
    """A model without a likelihood."""

    init, objectives, sample = Exponential.init, Exponential.objectives, Exponential.sample


class Unnormalized(Sampler):
    """A model that knows its density up to a constant alone, and whose estimate would rank examples at random."""

    def log_density(self, variables, x):
        return 7.0 - variables.params["rate"] * x[:, 0]

    def log_prob_estimate(self, variables, key, x, num_samples):
        return jax.random.normal(key, (x.shape[0],))


def run_of(model, entries=("x", "label")):
    rng = np.random.default_rng(0)
    splits = {}
    for split, (normal, anomalous) in {"train": (50, 0), "test": (3_000, 530)}.items():
        x = 10 + np.concatenate([rng.normal(0, 1, normal), rng.normal(SHIFT, 1, anomalous)])
        arrays = {"x": x[:, None].astype(np.float32), "label": np.repeat([0, 1], [normal, anomalous]).astype(np.int32)}
        splits[split] = data.ArraySource({entry: arrays[entry] for entry in entries})
    dataset = data.Dataset(name="shifted", splits=splits, num_classes=2 if "label" in entries else None)
    nothing = Learner(init=lambda key, batch: TrainState(0, {}, {}, {}, None), step=lambda *_: (None, {}))
    experiment = Experiment(model=model, data=dataset, learner=nothing, steps=1, batch_size=8)
    variables = jax.tree.map(lambda a: jnp.stack([a, 2 * a]), model.init(None, None))  # the same ranking
    return Run(experiment=experiment, variables=variables, seeds=(0, 1), step=1, rows=(), folder=None)


def test_area_under_the_curve_of_two_gaussians():
    results = run_of(Exponential()).evaluate(jax.random.key(0), metrics=("detection",))
    area = results["auroc"]
    assert area.replicas[0] == area.replicas[1]
    assert abs(area.value - norm.cdf(SHIFT / 2**0.5)) < 4 * area.standard_error < 0.05
    assert area.protocol["score"] == "-log_prob"
    assert area.protocol["prevalence"] == round(530 / 3_530, 4)
    assert 0.5 < results["average_precision"].value < 1


def test_an_unnormalized_density_ranks_as_well():
    normalized, unnormalized = (
        run_of(model).evaluate(jax.random.key(0), metrics=("detection",))["auroc"]
        for model in (Exponential(), Unnormalized())
    )
    assert unnormalized.value == pytest.approx(normalized.value)
    assert unnormalized.protocol["score"] == "-log_density"


@pytest.mark.parametrize(
    ("run", "settings", "reason"),
    [
        (run_of(Sampler()), {}, "Sampler has no log-likelihood"),
        (run_of(ByClass()), {}, "the model is conditioned on the label, which detection must not know"),
        (run_of(Exponential(), entries=("x",)), {}, "the data has no labels; anomalies need label 1"),
        (run_of(Exponential()), {"split": "train"}, "split 'train' has labels [0], not 0 and 1"),
    ],
    ids=["no likelihood", "conditional", "no labels", "no anomalies"],
)
def test_what_is_not_there_is_not_available(run, settings, reason):
    result = run.evaluate(jax.random.key(0), metrics=("detection",), **settings)["auroc"]
    assert result.value is None
    assert result.reason == reason


def test_scores_that_are_not_numbers_are_counted():
    result = run_of(Diverged()).evaluate(jax.random.key(0), metrics=("detection",))["auroc"]
    assert result.value is None
    assert "of 3530 scores of seed 0 are NaN" in result.reason


def test_outliers_between_gaussian_examples_have_a_known_area():
    """Midpoints of N(0, 1) are N(0, ½): P(|u| > |v|) = 2/π atan √½ is below ½, since they are likelier than data."""

    class Normal(Sampler):
        def log_prob(self, variables, x):
            return jnp.where(variables.params["rate"] > 1.5, 1.0, -1.0) * x[:, 0] ** 2

    x = np.random.default_rng(0).normal(size=(4_100, 1)).astype(np.float32)
    run = run_of(Normal())
    experiment = dataclasses.replace(run.experiment, data=data.arrays(x, test=4_000))
    result = dataclasses.replace(run, experiment=experiment).evaluate(jax.random.key(0), metrics=("outliers",))
    area = 2 / np.pi * np.arctan(0.5**0.5)
    assert abs(result["outlier_auroc"].replicas[0] - area) < 4 * result["outlier_auroc"].standard_error < 0.05
    assert sum(result["outlier_auroc"].replicas) == pytest.approx(1, abs=1e-6)  # the second one ranks them in reverse


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (Sampler(), "Sampler has no log-likelihood"),
        (ByClass(), "the model is conditioned, but an outlier has no condition"),
        (Diverged(), "of 7060 scores of seed 0 are NaN"),
    ],
)
def test_outliers_that_cannot_be_scored(model, reason):
    result = run_of(model).evaluate(jax.random.key(0), metrics=("outliers",))["outlier_auroc"]
    assert result.value is None
    assert reason in result.reason


def test_elements_with_two_values_have_no_midpoints():
    x = np.random.default_rng(0).integers(0, 2, (40, 3), dtype=np.uint8)
    run = run_of(Exponential())
    experiment = dataclasses.replace(run.experiment, data=data.arrays(x, test=20, levels=2))
    result = dataclasses.replace(run, experiment=experiment).evaluate(jax.random.key(0), metrics=("outliers",))
    assert result["outlier_auroc"].reason == "elements have two values, which have no midpoint"


def test_every_example_is_paired_with_another_and_keeps_its_entries():
    x = 2 ** np.arange(1, 9, dtype=np.int32)[:, None]
    made = midpoints(jax.random.key(1), data.ArraySource({"x": x, "label": np.arange(8)}))
    others = 2 * made.arrays["x"] - x
    assert sorted(others.ravel()) == sorted(x.ravel())
    assert (others != x).all()
    np.testing.assert_array_equal(made.arrays["label"], np.arange(8))


def test_one_constant_normalizes_all_examples():
    """A Gaussian RBM-like density with a known log Z, estimated once for both replicas."""
    calls = []

    class Estimated(Unnormalized):
        def log_partition_estimate(self, variables, key, num_samples):
            calls.append(num_samples)
            value = 7.0 - jnp.log(variables.params["rate"])
            return LogPartition(value, value - 0.1, value + 0.1, jnp.float32(9), jnp.zeros(1))

    run = run_of(Estimated())
    result = run.evaluate(jax.random.key(0), metrics=("log_prob_estimate",), likelihood_samples=30)["log_prob_estimate"]
    exact = run_of(Exponential()).evaluate(jax.random.key(0), metrics=("log_prob",))["log_prob"]
    np.testing.assert_allclose(result.replicas, exact.replicas, rtol=1e-5)
    assert calls == [30, 30]
    assert result.protocol["log Z"] == "7.000, 99 % interval 6.900 to 7.100"


def test_an_exact_constant_is_computed_once():
    """log Z takes a sum over a grid, which no batch but the first needs."""
    sizes = []

    class Normalized(Unnormalized):
        def log_prob(self, variables, x):
            sizes.append(len(x))
            return Exponential.log_prob(self, variables, x)

    result, exact = (
        run_of(model).evaluate(jax.random.key(0), metrics=("log_prob",))["log_prob"]
        for model in (Normalized(), Exponential())
    )
    np.testing.assert_allclose(result.replicas, exact.replicas, rtol=1e-5)
    assert sizes == [4]
