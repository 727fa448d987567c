"""Evaluations of runs with known models: every number has its exact value, whatever the batch size."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.stats import norm

from genjax import autoregressive, data, metrics
from genjax.capabilities import label_condition
from genjax.core import Variables
from genjax.evaluation.context import Evaluation
from genjax.evaluation.parzen import BANDWIDTHS
from genjax.evaluation.registry import METRICS, Row
from genjax.learners import Learner, TrainState
from genjax.runner import Experiment, Run, train

DIM = 3


@dataclasses.dataclass(frozen=True)
class Gaussian:
    """N(m, I), optionally with class means 10 k apart; subclasses add a density."""

    num_classes: int | None = None

    @property
    def conditions(self):
        return label_condition(self.num_classes)

    def init(self, key, batch):
        del key, batch
        return Variables({"mean": jnp.zeros(DIM)}, {})

    def objectives(self):
        return ()

    def sample(self, variables, key, num_samples, *, scale: float = 1.0, label=None):
        noise = scale * jax.random.normal(key, (num_samples, DIM))
        shift = 0.0 if label is None else 10.0 * jnp.broadcast_to(label, num_samples)[:, None]
        return variables.params["mean"][None] + noise + shift


@dataclasses.dataclass(frozen=True)
class Density(Gaussian):
    discrete: bool = False

    def log_prob(self, variables, x):
        return jax.scipy.stats.norm.logpdf(x - variables.params["mean"][None]).sum(axis=1)


@dataclasses.dataclass(frozen=True)
class Annealed(Gaussian):
    """A model whose bound equals ``num_particles``, the number of particles of its normalizer."""

    def log_prob_lower_bound(self, variables, key, x, *, num_particles: int = 100):
        del variables, key
        return jnp.full(len(x), float(num_particles))


def run_of(model, means, *, labels=None):
    """Return a run on standard normal data whose replicas have these means."""
    rng = np.random.default_rng(0)
    sizes = {"train": 400, "validation": 50, "test": 130}
    splits = {name: {"x": rng.normal(size=(size, DIM)).astype(np.float32)} for name, size in sizes.items()}
    if labels is not None:
        for arrays in splits.values():
            arrays["label"] = (np.arange(len(arrays["x"])) < labels * len(arrays["x"])).astype(np.int32)
            arrays["x"] = arrays["x"] + 10 * arrays["label"][:, None].astype(np.float32)
    dataset = data.Dataset(
        name="normal",
        splits={name: data.ArraySource(arrays) for name, arrays in splits.items()},
        num_classes=None if labels is None else 2,
    )
    learner = Learner(init=lambda key, batch: TrainState(*[None] * 5), step=lambda state, key, batch: (state, {}))
    params = {"mean": jnp.stack([jnp.full(DIM, mean) for mean in means])}
    if len(means) == 1:
        params = {"mean": params["mean"][0]}
    experiment = Experiment(model=model, data=dataset, learner=learner, steps=1)
    seeds = tuple(range(len(means)))
    return Run(experiment=experiment, variables=Variables(params, {}), seeds=seeds, step=1, rows=(), folder=None)


def test_exact_likelihood_and_units_that_a_density_of_continuous_data_has():
    run = run_of(Density(), (0.5,))
    results = run.evaluate(jax.random.key(0), batch_size=32)
    x = run.experiment.data.splits["test"].take(np.arange(130))["x"]
    scores = norm.logpdf(x, 0.5).sum(axis=1)
    result = results["log_prob"]
    np.testing.assert_allclose(
        [result.value, result.standard_error], [scores.mean(), scores.std(ddof=1) / 130**0.5], rtol=1e-5
    )
    assert result.protocol == {"guarantee": "exact", "units": "nats per example", "examples": 130, "split": "test"}
    assert results["log_prob/bits_per_dim"].value is None
    assert "continuous" in results["log_prob/bits_per_dim"].reason


def test_what_a_model_lacks_is_not_available():
    results = run_of(Gaussian(), (0.0,)).evaluate(jax.random.key(0), metrics=["likelihood", "reconstruction"])
    assert results["log_prob"].reason == "Gaussian has no log_prob or log_prob_lower_bound or log_prob_estimate"
    assert results["mse"].reason == "Gaussian has no reconstruct"
    assert results["log_prob"].value is results["mse"].value is None


def test_a_likelihood_states_what_it_is_given():
    @dataclasses.dataclass(frozen=True)
    class Labelled(Density):
        def log_prob(self, variables, x, label):
            return super().log_prob(variables, x - 10.0 * label[:, None])

    run = run_of(Labelled(num_classes=2), (0.5,), labels=0.5)
    assert run.evaluate(jax.random.key(0), metrics=["log_prob"])["log_prob"].protocol["given"] == "label"


def test_one_likelihood_may_be_asked_for_alone():
    @dataclasses.dataclass(frozen=True)
    class Both(Density):
        def log_prob_lower_bound(self, variables, key, x):
            del key
            return self.log_prob(variables, x) - 1

    run = run_of(Both(), (0.5,))
    bound = run.evaluate(jax.random.key(0), metrics=["log_prob_lower_bound"])
    assert bound.keys() == {"log_prob_lower_bound", "log_prob_lower_bound/bits_per_dim"}
    both = run.evaluate(jax.random.key(0), metrics=["likelihood", "log_prob_lower_bound"])
    assert bound.keys() < both.keys() == {name for name in both if name.startswith("log_prob")}
    assert both["log_prob"].value == pytest.approx(both["log_prob_lower_bound"].value + 1, rel=1e-5)
    lacking = run.evaluate(jax.random.key(0), metrics=["log_prob_estimate"])["log_prob_estimate"]
    assert lacking.reason == "Both has no log_prob_estimate"


def test_an_exact_likelihood_that_takes_too_long_is_not_asked_for():
    @dataclasses.dataclass(frozen=True)
    class Large(Density):
        lacks: tuple[str, ...] = ("log_prob",)

    results = run_of(Large(), (0.5,)).evaluate(jax.random.key(0))
    assert results["log_prob"].reason == "Large has no log_prob or log_prob_lower_bound or log_prob_estimate"


def test_samples_are_compared_with_the_split():
    """The Fréchet distance of N(1, I) from N(0, I) is 3 in three dimensions, up to sampling noise."""
    results = run_of(Gaussian(), (1.0,)).evaluate(
        jax.random.key(0), metrics=["frechet_distance", "mmd2"], split="train", num_samples=700, batch_size=64
    )
    distance = results["frechet_distance"]
    assert 2.4 < distance.value < 3.6
    assert (distance.protocol["reference"], distance.protocol["generated"]) == ("400 of train", 700)
    assert results["mmd2"].value > 10 * results["mmd2"].standard_error


def test_replicas_are_scored_one_by_one():
    run = run_of(Gaussian(), (0.0, 2.0))
    both = run.evaluate(jax.random.key(0), metrics=["frechet_distance"])["frechet_distance"]
    single = [
        run_of(Gaussian(), (mean,)).evaluate(jax.random.key(0), metrics=["frechet_distance"])["frechet_distance"].value
        for mean in (0.0, 2.0)
    ]
    np.testing.assert_allclose(both.replicas, single, rtol=1e-5)
    np.testing.assert_allclose([both.value, both.sd], [np.mean(single), np.std(single, ddof=1)], rtol=1e-5)


def test_a_conditional_model_draws_the_classes_of_the_data():
    """A quarter of the data is of class 1, ten away; labels drawn uniformly would shift the mean of the samples."""
    run = run_of(Gaussian(num_classes=2), (0.0,), labels=0.25)
    settings = {"metrics": ["frechet_distance"], "num_samples": 600, "split": "train"}
    assert run.evaluate(jax.random.key(0), **settings)["frechet_distance"].value < 1
    one_class = run.evaluate(jax.random.key(0), **settings, label=1)["frechet_distance"]
    assert one_class.value > 100
    assert one_class.protocol["label"] == 1


def test_a_classifier_says_whether_samples_are_of_the_class_that_was_asked_for():
    """The best classifier of N(0, 100 I) and N(10, 100 I) has accuracy Φ(√3/2) = 0.807; of narrow classes, 1."""

    def says(variables, x):
        del variables
        return metrics.Outputs(x, jnp.stack([jnp.zeros(len(x)), x.sum(axis=1) - 15], axis=1))

    best = metrics.FeatureNetwork(name="best", hash=None, variables={}, apply=says, requires_images=False)
    run = run_of(Gaussian(num_classes=2), (0.0,), labels=0.25)
    settings = {"metrics": ["class_accuracy"], "network": best, "num_samples": 2_000}
    wide = run.evaluate(jax.random.key(0), **settings, scale=10.0)["class_accuracy"]
    np.testing.assert_allclose(wide.value, norm.cdf(0.75**0.5), atol=4 * wide.standard_error)
    np.testing.assert_allclose(wide.standard_error, (0.807 * 0.193 / 2_000) ** 0.5, rtol=0.05)
    assert wide.protocol["accuracy on test"] == 1.0
    one_class = run.evaluate(jax.random.key(0), **settings, label=1)["class_accuracy"]
    assert (one_class.value, one_class.protocol["label"]) == (1.0, 1)


def test_class_accuracy_wants_classes_on_both_sides():
    settings = {"metrics": ["class_accuracy"], "num_samples": 10}
    result = run_of(Gaussian(), (0.0,)).evaluate(jax.random.key(0), **settings)["class_accuracy"]
    assert result.reason == "Gaussian is not conditioned on classes"
    run = run_of(Gaussian(num_classes=2), (0.0,), labels=0.25)
    result = run.evaluate(jax.random.key(0), **settings)["class_accuracy"]
    assert result.reason == "pixels does not classify into the model's 2 classes; use classifier:DATASET"


def test_sample_arguments_reach_the_model_and_the_protocol():
    result = run_of(Gaussian(), (0.0,)).evaluate(jax.random.key(0), metrics=["frechet_distance"], scale=5.0)
    distance = result["frechet_distance"]
    np.testing.assert_allclose(distance.value, 3 * (5 - 1) ** 2, rtol=0.3)
    assert distance.protocol["scale"] == 5.0


def test_copies_of_the_training_data_are_told():
    """Compare a model that samples training data with one that samples their distribution."""

    @dataclasses.dataclass(frozen=True)
    class Copier(Gaussian):
        def sample(self, variables, key, num_samples):
            return jax.random.choice(key, train, (num_samples,))

    fresh = run_of(Gaussian(), (0.0,))
    train = jnp.asarray(fresh.experiment.data.splits["train"].take(np.arange(400))["x"])
    copied = run_of(Copier(), (0.0,)).evaluate(jax.random.key(0), metrics=["memorization"])["memorization"]
    assert copied.value == 1.0
    assert copied.protocol["share_copies"] == 1.0
    honest = fresh.evaluate(jax.random.key(0), metrics=["memorization"])["memorization"]
    assert abs(honest.value - 0.5) < 4 * honest.standard_error
    itself = fresh.evaluate(jax.random.key(0), metrics=["memorization"], split="train")["memorization"]
    assert "use another split" in itself.reason


def test_parzen_windows_of_the_right_model():
    """Windows of width h around samples of N(0, I) have about the log-likelihood of N(0, 1 + h²), below the model's."""
    result = run_of(Gaussian(), (0.0,)).evaluate(jax.random.key(0), metrics=["parzen"], num_samples=4000)["parzen"]
    truth = -1.5 * np.log(2 * np.pi * np.e)
    assert truth - 0.5 < result.value < truth + 0.2
    assert 0.1 < result.protocol["bandwidth"] < 0.7
    assert "ranks models wrongly" in result.protocol["guarantee"]
    assert "bandwidth search" not in result.protocol


def test_windows_are_as_wide_as_the_data_wants():
    """For a standard deviation of 30, the best bandwidth is ten times the largest of the list."""
    samples = jnp.asarray(30 * np.random.default_rng(1).normal(size=(600, 2)), jnp.float32)

    @dataclasses.dataclass(frozen=True)
    class Wide(Gaussian):
        def sample(self, variables, key, num_samples):
            return samples[:num_samples]

    run = run_of(Wide(), (0.0,))
    rng = np.random.default_rng(2)
    draws = {name: 30 * rng.normal(size=(300, 2)) for name in ("train", "validation", "test")}
    splits = {name: data.ArraySource({"x": x.astype(np.float32)}) for name, x in draws.items()}
    dataset = data.Dataset(name="wide", splits=splits)
    run = dataclasses.replace(run, experiment=dataclasses.replace(run.experiment, data=dataset))
    result = run.evaluate(jax.random.key(0), metrics=["parzen"], num_samples=600)["parzen"]
    truth = -np.log(2 * np.pi * np.e * 30**2)
    assert 5 < result.protocol["bandwidth"] < 20
    assert truth - 0.3 < result.value < truth + 0.2
    assert "bandwidth search" not in result.protocol


def test_windows_around_the_validation_data_itself_have_no_best_width():
    """Of two replicas, only the second copies the validation data."""
    run = run_of(Gaussian(), (0.0, 1.0))
    validation = jnp.asarray(run.experiment.data.splits["validation"].take(np.arange(50))["x"])

    @dataclasses.dataclass(frozen=True)
    class Copier(Gaussian):
        def sample(self, variables, key, num_samples):
            return jnp.where(variables.params["mean"][0] > 0, validation, 0.5 * validation)

    run = dataclasses.replace(run, experiment=dataclasses.replace(run.experiment, model=Copier()))
    result = run.evaluate(jax.random.key(0), metrics=["parzen"], num_samples=50)["parzen"]
    assert result.protocol["bandwidth search of seed 1"] == "ended at an edge"


def test_everything_at_once_is_each_by_itself():
    run = run_of(Density(), (0.1,))
    everything = run.evaluate(jax.random.key(3), metrics=["all"])
    assert list(run.evaluate(jax.random.key(3), metrics=["all"])) == list(everything)
    for name in ("sliced_wasserstein", "classifier_test", "likelihood"):
        for key, result in run.evaluate(jax.random.key(3), metrics=[name]).items():
            assert result == everything[key]
    with pytest.raises(ValueError, match="there is no metric 'fid'; use all or likelihood"):
        run.evaluate(jax.random.key(3), metrics=["fid"])
    with pytest.raises(ValueError, match="metrics is empty, but must name at least one; use all or likelihood"):
        run.evaluate(jax.random.key(3), metrics=[])


def test_local_conditions_reach_pictures_scores_and_samples(tmp_path):
    rng = np.random.default_rng(0)
    local = rng.normal(size=(12, 2, 1)).astype(np.float32)
    source = data.ArraySource({"x": rng.integers(0, 4, (12, 8)), "local": local})
    model = autoregressive.wavenet(shape=(8,), num_values=4, num_layers=1, features=2, skip_features=2, local_dim=1)
    dataset = data.Dataset(name="frames", splits={"train": source, "test": source}, levels=4)
    experiment = Experiment(model=model, data=dataset, optimizer=optax.adam(1e-2), steps=1, batch_size=4)
    run = train(experiment, workdir=tmp_path / "run", progress=False)
    assert (tmp_path / "run" / "samples.png").exists()
    results = run.evaluate(jax.random.key(1), metrics=("likelihood", "mmd2"))
    exact = jnp.mean(model.log_prob(run.variables, source.arrays["x"], local=local))
    assert results["log_prob"].value == pytest.approx(float(exact), rel=1e-5)
    assert np.isfinite(results["mmd2"].value)


def test_particles_of_a_bound_whose_normalizer_is_an_estimate_are_asked_for():
    run = run_of(Annealed(), np.zeros((1, DIM)))
    result = run.evaluate(jax.random.key(0), likelihood_samples=7)["log_prob_lower_bound"]
    assert result.value == 7
    assert result.protocol["num_particles"] == 7


def integer_run(rows, samples, *, levels, display=None):
    """Return a run on integers whose model samples these arrays in order."""

    @dataclasses.dataclass(frozen=True, eq=False)
    class Repeater(Gaussian):
        def sample(self, variables, key, num_samples):
            return jnp.asarray(samples[:num_samples])

    source = data.ArraySource({"x": rows})
    dataset = data.Dataset(name="integers", splits={"train": source, "test": source}, levels=levels)
    experiment = Experiment(
        model=Repeater(), data=dataset, learner=run_of(Gaussian(), (0.0,)).experiment.learner, steps=1, batch_size=2
    )
    experiment = dataclasses.replace(experiment, display=display)
    return Run(experiment=experiment, variables=Variables({}, {}), seeds=(0,), step=1, rows=(), folder=None)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32"])
@pytest.mark.parametrize("levels", [17, 256])
def test_integer_data_and_samples_of_any_type_have_one_scale(dtype, levels):
    """Samples that are 1 / 16 or 1 / 255 above the data, of constant covariance, are at the square of that times D."""
    rows = np.random.default_rng(0).integers(0, levels - 1, size=(40, 2, 2, 1)).astype(np.uint8)
    names = ["frechet_distance", "memorization"]
    same = integer_run(rows, rows.astype(dtype), levels=levels)
    results = same.evaluate(jax.random.key(0), metrics=[*names, "precision_recall"], num_samples=40, num_neighbours=1)
    assert results["frechet_distance"].value < 1e-10
    assert results["precision"].value == results["recall"].value == 1.0
    assert results["frechet_distance"].protocol["integers_divided_by"] == levels - 1
    above = integer_run(rows, (rows + 1).astype(dtype), levels=levels)
    distance = above.evaluate(jax.random.key(0), metrics=names, num_samples=40)["frechet_distance"].value
    assert distance == pytest.approx(4 / (levels - 1) ** 2, rel=1e-3)


def test_images_of_integers_reach_a_network_on_the_same_scale():
    """With and without a display, a network sees [0, 1] on both sides."""
    rows = np.array([0, 16], np.uint8).reshape(2, 1, 1, 1)
    network = metrics.FeatureNetwork(
        name="values", hash=None, variables={}, apply=lambda _, x: metrics.Outputs(x.reshape(len(x), -1), None)
    )
    for display in (None, lambda x: x / 16):
        run = integer_run(rows, rows.astype(np.int32), levels=17, display=display)
        evaluation = Evaluation(
            model=run.model,
            variables=run.variables,
            dataset=run.experiment.data,
            key=jax.random.key(0),
            network=network,
            display=display,
        )
        for features in (evaluation.reference.features, evaluation.generated(0).features):
            np.testing.assert_allclose(features, [[0.0], [1.0]])


def test_own_functions_and_rows_are_metrics_too():
    """The mean norm of samples, with its error, beside a built-in metric and a row with a protocol of its own."""

    def mean_norm(evaluation, index):
        norms = np.linalg.norm(np.concatenate(list(evaluation.samples(index))), axis=1)
        return {"mean_norm": norms.mean(), "mean_norm_standard_error": norms.std(ddof=1) / len(norms) ** 0.5}

    def count(evaluation, index):
        return [metrics.Result(name="count", value=float(evaluation.count), protocol={"replica": index})]

    run = run_of(Gaussian(), (0.0, 3.0))
    row = Row(name="count", function=count, summary="number of samples", results={"count": None})
    results = run.evaluate(jax.random.key(0), metrics=[mean_norm, "mmd2", row], num_samples=50)
    assert list(results) == ["mmd2", "mean_norm", "count"]
    norm_of_gaussian = 2 * (2 / np.pi) ** 0.5  # of N(0, I) in three dimensions
    first, second = results["mean_norm"].replicas
    assert abs(first - norm_of_gaussian) < 4 * results["mean_norm"].standard_error
    assert second > 4
    assert results["count"].value == 50
    assert run.evaluate(jax.random.key(0), metrics=[mean_norm], num_samples=50)["mean_norm"] == results["mean_norm"]


def test_available_metrics_are_those_with_a_value():
    for run in (run_of(Gaussian(), (0.0,)), run_of(Density(), (0.0,)), run_of(Gaussian(2), (0.0,), labels=0.5)):
        names = run.available_metrics()
        rows = {name: run.evaluate(jax.random.key(0), metrics=[name], num_samples=40) for name in METRICS}
        with_value = [name for name, results in rows.items() if any(r.value is not None for r in results.values())]
        assert list(names) == [name for name in with_value if METRICS[name].part_of is None]


def test_a_likelihood_that_is_nan_says_so():
    @dataclasses.dataclass(frozen=True)
    class Broken(Density):
        def log_prob(self, variables, x):
            return jnp.where(x[:, 0] > 1, jnp.nan, 0.0)

    run = run_of(Broken(), (0.0,))
    count = int((run.experiment.data.splits["test"].take(np.arange(130))["x"][:, 0] > 1).sum())
    result = run.evaluate(jax.random.key(0))["log_prob"]
    assert result.value is None
    assert result.reason == f"{count} of 130 log-likelihoods of seed 0 are NaN"


def test_the_bandwidth_is_chosen_on_examples_of_the_whole_split():
    """The first thousand validation examples are alike, and would choose a window as narrow as they are."""
    rng = np.random.default_rng(0)
    scale = np.repeat([0.01, 1.0], [1_000, 3_000])[:, None]
    x, samples = (np.float32(scale * rng.normal(size=(4_000, 1))) for _ in range(2))
    source = data.ArraySource({"x": x})
    samples = jnp.asarray(rng.permutation(samples))

    @dataclasses.dataclass(frozen=True)
    class Resampler(Gaussian):
        def sample(self, variables, key, num_samples):
            return jax.random.choice(key, samples, (num_samples,))

    run = run_of(Resampler(), (0.0,))
    dataset = data.Dataset(name="sorted", splits={"train": source, "validation": source, "test": source})
    run = dataclasses.replace(run, experiment=dataclasses.replace(run.experiment, data=dataset))
    chosen = run.evaluate(jax.random.key(0), metrics=["parzen"], num_samples=1_000)["parzen"].protocol["bandwidth"]
    whole, _ = metrics.parzen_bandwidth_search(samples[:1_000], x, BANDWIDTHS)
    first, _ = metrics.parzen_bandwidth_search(samples[:1_000], x[:1_000], BANDWIDTHS)
    assert whole / 1.6 < chosen < whole * 1.6
    assert first < whole / 2
