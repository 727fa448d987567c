"""Scores and pictures of latent spaces, for models with known codes."""

from __future__ import annotations

import dataclasses
from typing import final

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import data
from genjax.capabilities import label_condition
from genjax.core import Variables
from genjax.evaluation.registry import METRICS, higher_is_better
from genjax.learners import Learner, TrainState
from genjax.runner import Experiment, Run


class Nothing:
    """Base of models that learn nothing, with samples N(0, I)."""

    def init(self, key, batch):
        return Variables({}, {})

    def objectives(self):
        return ()

    def sample(self, variables, key, num_samples):
        return jax.random.normal(key, (num_samples, 2))


@final
@dataclasses.dataclass(frozen=True, kw_only=True)
class Shifted(Nothing):
    """An encoder that adds a shift: data N(0, I) have codes N(shift, I)."""

    num_classes: None = None

    def init(self, key, batch):
        return Variables({"shift": jnp.zeros(2)}, {})

    def encode(self, variables, x):
        return x + variables.params["shift"][None]

    def decode(self, variables, latent):
        return latent - variables.params["shift"][None]

    def posterior(self, variables, x):
        return self.encode(variables, x), jnp.zeros_like(x)

    def sample_prior(self, variables, key, num_samples):
        return jax.random.normal(key, (num_samples, 2))

    def sample_posterior(self, variables, key, x):
        return self.encode(variables, x)


@final
@dataclasses.dataclass(frozen=True, kw_only=True)
class Placed(Nothing):
    """Data of class k have mean 10 k, which their codes omit."""

    num_classes: int = 3

    @property
    def conditions(self):
        return label_condition(self.num_classes)

    def sample(self, variables, key, num_samples, *, label):
        return jax.random.normal(key, (num_samples, 2)) + 10.0 * jnp.broadcast_to(label, num_samples)[:, None]

    def encode(self, variables, x, *, label):
        return x - 10.0 * label

    def decode(self, variables, latent, *, label):
        return latent + 10.0 * label


@final
@dataclasses.dataclass(frozen=True, kw_only=True)
class Signs(Nothing):
    """Codes 0 to 3 are the quadrants of the plane; the other codes are never used."""

    num_codes: int = 8

    def encode(self, variables, x):
        return ((x[:, 0] > 0) + 2 * (x[:, 1] > 0)).astype(jnp.int32)

    def decode(self, variables, latent):
        return jnp.stack([latent % 2, latent // 2], axis=-1) - 0.5


@final
@dataclasses.dataclass(frozen=True, kw_only=True)
class FirstEntry(Nothing):
    """A posterior that depends only on the first entry of the data."""

    def sample_prior(self, variables, key, num_samples):
        return jax.random.normal(key, (num_samples, 2))

    def sample_posterior(self, variables, key, x):
        return x.at[:, 1].set(0.0) + jax.random.normal(key, x.shape)


def run_of(model, shifts=(0.0,)):
    rng = np.random.default_rng(0)
    splits = {}
    for name, size in {"train": 100, "test": 700}.items():
        label = np.arange(size) % 3
        splits[name] = data.ArraySource(
            {"x": rng.normal(size=(size, 2)).astype(np.float32), "label": label.astype(np.int32)}
        )
    dataset = data.Dataset(name="normal", splits=splits, num_classes=3)
    nothing = Learner(init=lambda key, batch: TrainState(0, {}, {}, {}, None), step=lambda *_: (None, {}))
    experiment = Experiment(model=model, data=dataset, learner=nothing, steps=1, batch_size=8)
    params = {"shift": jnp.stack([jnp.full(2, s) for s in shifts])} if isinstance(model, Shifted) else {}
    variables = Variables(params if len(shifts) > 1 else jax.tree.map(lambda a: a[0], params), {})
    return Run(
        experiment=experiment, variables=variables, seeds=tuple(range(len(shifts))), step=1, rows=(), folder=None
    )


def sorted_by_class(run, counts):
    """Return the run with a test split sorted by class, ``counts[k]`` examples of mean 10 k, and its arrays."""
    label = np.repeat(np.arange(len(counts)), counts).astype(np.int32)
    noise = np.random.default_rng(1).normal(scale=0.1, size=(len(label), 2))
    source = data.ArraySource({"x": (10 * label[:, None] + noise).astype(np.float32), "label": label})
    dataset = dataclasses.replace(run.experiment.data, splits=dict(run.experiment.data.splits) | {"test": source})
    return dataclasses.replace(run, experiment=dataclasses.replace(run.experiment, data=dataset)), source.arrays


@pytest.fixture
def draw_pictures(monkeypatch):
    """Return a function that returns pictures as the numbers they show."""
    monkeypatch.setattr("genjax.figures.latents.sample_picture", lambda x, **options: np.asarray(x))

    def pictures(run, label=0):
        return run.latent_pictures(jax.random.key(0), split="test", rows=4, steps=3, label=label)

    return pictures


def test_gaussian_posteriors_tell_active_units_and_divergence():
    results = run_of(Shifted()).evaluate(jax.random.key(0), metrics=("latents",), batch_size=300)
    assert results["active_units"].value == 2
    x = run_of(Shifted()).experiment.data.splits["test"].take(np.arange(700))["x"]
    np.testing.assert_allclose(results["kl"].value, 0.5 * (np.float64(x) ** 2).sum(1).mean(), rtol=1e-4)
    assert results["kl"].protocol["examples"] == 700


def test_draws_of_posteriors_tell_active_units():
    (result,) = run_of(FirstEntry()).evaluate(jax.random.key(0), metrics=("latents",), batch_size=300).values()
    assert result.value == 1
    assert result.protocol["draws of each posterior"] == 32
    assert result.protocol["dimensions"] == 2


def test_codes_tell_usage_and_perplexity():
    results = run_of(Signs()).evaluate(jax.random.key(0), metrics=("latents", "aggregated_posterior"))
    assert results["codebook_usage"].value == 0.5
    assert 3.9 < results["code_perplexity"].value <= 4
    assert {"codebook_usage", "code_perplexity"} <= METRICS["latents"].results.keys()  # for their direction in reports
    assert higher_is_better("validation/code_perplexity")
    assert higher_is_better("log_prob/perplexity") is False  # that of a text, another number
    assert results["aggregated_posterior"].value is None
    assert results["aggregated_posterior"].reason == "Signs does not draw from both a prior and a posterior"


def test_the_aggregated_posterior_is_told_from_the_prior_when_it_differs():
    results = run_of(Shifted(), shifts=(0.0, 0.5)).evaluate(jax.random.key(0), metrics=("aggregated_posterior",))
    same, other = results["aggregated_posterior/p_value"].replicas
    assert same > 0.05
    assert other == pytest.approx(0.001)
    assert results["aggregated_posterior"].replicas[1] > 10 * abs(results["aggregated_posterior"].replicas[0])


def test_pictures_of_what_there_is():
    pictures = run_of(Shifted()).latent_pictures(jax.random.key(0), split="test", rows=4, steps=5, label=0)
    assert sorted(pictures) == [
        "attributes",
        "codes",
        "interpolations_linear",
        "interpolations_spherical",
        "traversals",
    ]
    assert all(p.dtype == np.uint8 and p.ndim == 3 for p in pictures.values())
    assert not run_of(Signs()).latent_pictures(jax.random.key(0), split="test", rows=4, steps=5, label=0)


def test_attributes_of_a_split_that_is_sorted_by_class(draw_pictures):
    """Row k is an example of another class, moved by 0, 1 and 2 times the attribute vector of class k."""
    run, arrays = sorted_by_class(run_of(Shifted()), [3_000] * 3)
    rows = draw_pictures(run)["attributes"].reshape(3, 3, 2)
    for label, row in enumerate(rows):
        assert (row[0] == arrays["x"]).all(axis=1).any()
        np.testing.assert_allclose(row[0], 10.0 * ((label + 1) % 3), atol=0.6)
        # The frequencies of classes vary a little.
        np.testing.assert_allclose(np.diff(row, axis=0), 15.0 * (label - 1), atol=0.6)


def test_attributes_want_a_second_class(draw_pictures):
    run, _ = sorted_by_class(run_of(Shifted()), [50])
    with pytest.warns(
        UserWarning, match="no picture of attributes, because all 50 examples drawn have label 0; use a split"
    ):
        pictures = draw_pictures(run)
    assert "attributes" not in pictures
    assert "interpolations_linear" in pictures


def test_a_conditional_model_is_drawn_in_the_class_asked_for(draw_pictures):
    run, arrays = sorted_by_class(run_of(Placed()), [3_000, 0, 3_000])
    pictures = draw_pictures(run, label=2)
    assert sorted(pictures) == ["codes", "interpolations_linear", "interpolations_spherical", "traversals"]
    np.testing.assert_allclose(pictures["codes"], 0.0, atol=0.6)
    paths = pictures["interpolations_linear"].reshape(4, 3, 2)
    # Both ends of a path are examples.
    assert (np.abs(paths[:, ::2, None] - arrays["x"]).max(axis=-1).min(axis=-1) < 1e-5).all()
    np.testing.assert_allclose(paths[:, 1], paths[:, ::2].mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose(paths, 20.0, atol=0.6)
    with pytest.raises(ValueError, match=r"label is 1, but none of 2000 examples drawn from split 'test' has it; "):
        draw_pictures(run, label=1)


def test_one_example_of_a_class_has_no_walk(draw_pictures):
    run, _ = sorted_by_class(run_of(Placed()), [1, 5])
    assert sorted(draw_pictures(run)) == ["codes", "traversals"]


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(ValueError, match=r"split is 'dev', but 'normal' has .'test', 'train'.; use one of these"):
        run_of(Shifted()).latent_pictures(jax.random.key(0), split="dev", rows=4, steps=5, label=0)


def test_the_command_writes_them(genjax, tiny_run, tmp_path):
    status, out, _ = genjax("latent", tiny_run, "--rows", 3, "--steps", 4, "--out", tmp_path / "pictures")
    assert status == 0
    names = sorted(path.stem for path in (tmp_path / "pictures").glob("*.png"))
    assert names == ["codes", "interpolations_linear", "interpolations_spherical", "reconstructions", "traversals"]
    assert all(f"{name}.png" in out for name in names)
    status, _, err = genjax("latent", tiny_run, "--steps", 1)
    assert status == 2
    assert err.strip() == "genjax: error: steps is 1, but must be in [2, 1000]"
