"""Classification by Bayes' rule: class-conditional Gaussians have a closed-form posterior and an exact accuracy."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import softmax
from scipy.stats import multivariate_normal

from genjax import data, metrics
from genjax.capabilities import label_condition
from genjax.core import Variables
from genjax.learners import Learner, TrainState
from genjax.runner import Experiment, Run

MEANS = np.array([[0.0, 0.0], [2.0, 0.0], [0.5, 1.5]])
DEVIATIONS = np.array([1.0, 0.5, 2.0])
PRIOR = np.array([0.7, 0.2, 0.1])


@dataclasses.dataclass(frozen=True)
class ByClass:
    """N(m_y, s_y² I) for label y."""

    num_classes: int | None = 3

    @property
    def conditions(self):
        return label_condition(self.num_classes)

    def init(self, key, batch):
        return Variables({"means": jnp.float32(MEANS), "log_scale": jnp.log(jnp.float32(DEVIATIONS))}, {})

    def objectives(self):
        return ()

    def sample(self, variables, key, num_samples, *, label=None):
        return jax.random.normal(key, (num_samples, 2))

    def log_prob(self, variables, x, *, label=None):
        assert label is not None
        assert label.shape == (len(x),)
        log_scale = variables.params["log_scale"][label][:, None]
        noise = (x - variables.params["means"][label]) / jnp.exp(log_scale)
        return (jax.scipy.stats.norm.logpdf(noise) - log_scale).sum(axis=1)


class Bounded:
    """A model with a lower bound only."""

    num_classes = 3
    conditions = label_condition(3)

    def init(self, key, batch):
        return Variables({}, {})

    def objectives(self):
        return ()

    def sample(self, variables, key, num_samples):
        return jax.random.normal(key, (num_samples, 2))

    def log_prob_lower_bound(self, variables, key, x):
        return jnp.zeros(len(x))


def exact_posterior(x, prior):
    densities = [multivariate_normal(m, s**2).pdf(x) for m, s in zip(MEANS, DEVIATIONS, strict=True)]
    joint = np.stack(densities, axis=-1) * prior
    return joint / joint.sum(axis=-1, keepdims=True)


def sample_data(size, seed=0):
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 3, size)
    x = MEANS[label] + DEVIATIONS[label][:, None] * rng.normal(size=(size, 2))
    return {"x": x.astype(np.float32), "label": label.astype(np.int32)}


VARIABLES = ByClass().init(None, None)


@pytest.mark.parametrize("prior", [None, PRIOR])
def test_the_posterior_of_gaussians_is_exact(prior):
    x = sample_data(200)["x"]
    # Class priors need not be normalized.
    log_prior = None if prior is None else jnp.float32(np.log(prior) + 3)
    posterior = jax.jit(metrics.label_log_posterior, static_argnums=0)(ByClass(), VARIABLES, jnp.asarray(x), log_prior)
    expected = exact_posterior(x, np.full(3, 1 / 3) if prior is None else prior)
    np.testing.assert_allclose(np.exp(posterior), expected, atol=2e-6)


def test_densities_that_underflow_still_have_a_posterior():
    x = jnp.array([[500.0, 0.0], [1000.0, 0.0]])
    posterior = metrics.label_log_posterior(ByClass(), VARIABLES, x)
    log_density = [multivariate_normal(m, s**2).logpdf(x) for m, s in zip(MEANS, DEVIATIONS, strict=True)]
    assert max(np.max(row) for row in log_density) < -1e4
    np.testing.assert_allclose(np.exp(posterior), softmax(np.stack(log_density, -1), axis=-1), atol=1e-6)


def test_a_model_that_classifies_is_asked_itself():
    class Own(ByClass):
        def class_log_prob(self, variables, x):
            return jax.nn.log_softmax(x @ jnp.array([[1.0, 2.0, 3.0], [0.0, 1.0, 0.0]]))

    x = jnp.array([[1.0, 0.0], [0.0, 2.0]])
    posterior = metrics.label_log_posterior(Own(), VARIABLES, x)
    np.testing.assert_allclose(np.exp(posterior), softmax([[1.0, 2.0, 3.0], [0.0, 2.0, 0.0]], axis=-1), rtol=1e-5)
    with pytest.raises(ValueError, match="log_prior is given, but Own learns its own; leave it out"):
        metrics.label_log_posterior(Own(), VARIABLES, x, jnp.zeros(3))


def test_where_no_class_has_density_the_label_is_missed():
    correct, nats = metrics.label_scores(jnp.full((2, 3), jnp.nan), jnp.array([0, 1]))
    assert correct.tolist() == [0, 0]
    assert np.isnan(nats).all()


def test_what_has_no_posterior_is_refused():
    x = jnp.zeros((4, 2))
    with pytest.raises(ValueError, match="Bounded has no exact log_prob; only exact densities of every class"):
        metrics.label_log_posterior(Bounded(), VARIABLES, x)
    with pytest.raises(ValueError, match="ByClass is unconditional"):
        metrics.label_log_posterior(ByClass(num_classes=None), VARIABLES, x)
    with pytest.raises(ValueError, match=r"log_prior has shape \(2,\), but num_classes=3 needs \(3,\)"):
        metrics.label_log_posterior(ByClass(), VARIABLES, x, jnp.zeros(2))


def run_of(model, num_replicas=1):
    """A run with the true parameters, and a second replica with two classes exchanged."""
    splits = {name: data.ArraySource(sample_data(size, size)) for name, size in {"train": 50, "test": 530}.items()}
    dataset = data.Dataset(name="gaussians", splits=splits, num_classes=3)
    nothing = Learner(init=lambda key, batch: TrainState(0, {}, {}, {}, None), step=lambda *_: (None, {}))
    experiment = Experiment(model=model, data=dataset, learner=nothing, steps=1, batch_size=8)
    variables = VARIABLES
    if num_replicas == 2:
        variables = jax.tree.map(lambda a: jnp.stack([a, a[jnp.array([1, 0, 2])]]), variables)
    seeds = tuple(range(num_replicas))
    return Run(experiment=experiment, variables=variables, seeds=seeds, step=1, rows=(), folder=None)


def test_runs_are_scored_on_a_split():
    run = run_of(ByClass(), num_replicas=2)
    started = []

    def progress(name, total):
        started.append((name, total))
        return lambda _: None

    results = run.evaluate(jax.random.key(0), metrics=("classification",), batch_size=200, progress=progress)
    test = run.experiment.data.splits["test"].take(np.arange(530))
    posterior, rows = exact_posterior(test["x"], np.ones(3)), np.arange(530)
    swapped = posterior[:, [1, 0, 2]]
    accuracy, entropy = results["label_accuracy"], results["label_cross_entropy"]
    hits = [np.argmax(p, axis=1) == test["label"] for p in (posterior, swapped)]
    nats = [-np.log(p[rows, test["label"]]) for p in (posterior, swapped)]
    assert accuracy.replicas == pytest.approx([h.mean() for h in hits])
    assert accuracy.replicas[0] > 0.6 > 0.4 > accuracy.replicas[1]
    assert entropy.replicas == pytest.approx([n.mean() for n in nats], rel=1e-5)
    assert accuracy.standard_error == pytest.approx(np.mean([h.std(ddof=1) for h in hits]) / 530**0.5)
    assert entropy.standard_error == pytest.approx(np.mean([n.std(ddof=1) for n in nats]) / 530**0.5, rel=1e-4)
    assert accuracy.protocol == {
        "guarantee": "exact",
        "prior": "3 equally likely classes",
        "draws of preprocessing": 1,
        "examples": 530,
        "split": "test",
    }
    assert entropy.protocol["units"] == "nats per example"
    assert started == [("classification by seed 0", 530), ("classification by seed 1", 530)]


@pytest.mark.parametrize(
    ("model", "reason"),
    [(ByClass(num_classes=None), "ByClass is unconditional"), (Bounded(), "Bounded has no exact log_prob")],
)
def test_what_a_model_lacks_is_not_available(model, reason):
    result = run_of(model).evaluate(jax.random.key(0), metrics=("classification",))["label_accuracy"]
    assert (result.value, result.reason) == (None, reason)
