"""The suites of the project: their files, and the size of their models."""

import importlib
from pathlib import Path

import jax
import numpy as np
import pytest

from genjax import data
from genjax.capabilities import conditioning
from genjax.comparison.suites import read_suite

FOLDER = Path(__file__).parents[2] / "experiments" / "suites"
SIZES = {"toy2d": 10_000, "digits": 100_000, "stdlib": 100_000, "fashion_mnist": 1_000_000}
NUM_MODELS = {"stdlib": 5}  # the others have one of each family
DENSITIES = ("checkerboard", "circles", "pinwheel", "ring_8", "two_moons")


@pytest.fixture(autouse=True)
def beside(monkeypatch):
    """Let the recipes of suites be imported, as ``genjax train`` does, and need no prepared data."""
    monkeypatch.syspath_prepend(FOLDER)
    images, labels = np.zeros((600, 28, 28, 1), np.uint8), np.arange(600) % 10
    monkeypatch.setattr(data, "tfds", lambda name, **_: data.arrays(images, label=labels, test=10))


def test_every_suite_is_checked():
    assert sorted(file.stem for file in FOLDER.glob("*.toml")) == sorted([*SIZES, *DENSITIES])


@pytest.mark.parametrize("name", SIZES)
def test_suites_have_every_recipe_once_and_five_seeds(name):
    suite = read_suite(FOLDER / f"{name}.toml")
    flags = [experiment.flags for experiment in suite.experiments]
    assert flags == [("--method", method) for method in importlib.import_module(name).RECIPES]
    assert len(flags) >= NUM_MODELS.get(name, 28)
    assert suite.seeds >= 5


@pytest.mark.parametrize("name", ["toy2d", "digits", pytest.param("fashion_mnist", marks=pytest.mark.slow)])
def test_models_of_a_suite_have_one_size(name):
    module = importlib.import_module(name)
    for method in module.RECIPES:
        experiment = module.experiment(method)
        params = shapes_of_variables(experiment, first_batch(experiment)).params
        count = sum(leaf.size for leaf in jax.tree.leaves(params))
        assert count == pytest.approx(SIZES[name], rel=0.2), method


def first_batch(experiment):
    """Return eight examples as the model sees them."""
    raw = experiment.data.splits["train"].take(np.arange(8))
    return experiment.preprocess(jax.random.key(0), jax.tree.map(jax.numpy.asarray, raw))


def shapes_of_variables(experiment, batch):
    return jax.eval_shape(lambda key: experiment.model.init(key, batch), jax.random.key(0))


@pytest.mark.slow
def test_models_that_wait_for_an_accelerator_have_losses_and_samples():
    module = importlib.import_module("fashion_mnist")
    for method in module.RECIPES:
        experiment = module.experiment(method)
        model, batch, key = experiment.model, first_batch(experiment), jax.random.key(0)
        variables, step = shapes_of_variables(experiment, batch), jax.ShapeDtypeStruct((), np.int32)
        assert set(experiment.schedule or ()) <= {objective.name for objective in model.objectives()}, method
        for objective in model.objectives():
            loss, _ = jax.eval_shape(objective.loss, *variables, key, batch, step)
            assert loss.shape == ()
        conditions = conditioning(model, {name: value[:2] for name, value in batch.items()})
        x = jax.eval_shape(lambda v, model=model, c=conditions: model.sample(v, jax.random.key(1), 2, **c), variables)
        assert x.shape == (2, 28, 28, 1), method


@pytest.mark.parametrize("name", DENSITIES)
def test_recipes_of_the_plane_are_trained_on_other_densities(name):
    plane, suite = (read_suite(FOLDER / f"{each}.toml") for each in ("toy2d", name))
    assert [each.name for each in suite.experiments] == [each.name for each in plane.experiments]
    assert {each.flags[:2] for each in suite.experiments} == {("--density", name)}
    chosen = {each.name: each.trials for each in suite.experiments}
    assert chosen["vae"] == ((),) and chosen["gan"] == (("--learning-rate-factor", "10"),)  # of the table
    assert all(len(trials) == 1 for trials in chosen.values())
    dataset = importlib.import_module("toy2d").points(name)
    every = [source.take(np.arange(len(source)))["x"] for source in dataset.splits.values()]
    assert dataset.name == name
    assert np.abs(every[0]).max() == pytest.approx(4.2, rel=1e-5)
    np.testing.assert_allclose(every[0].mean(axis=0), 0, atol=1e-4)
    assert max(np.abs(x).max() for x in every) < 5  # the box of the energy models
