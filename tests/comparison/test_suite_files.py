"""The suites of the project: their files, and the size of their models."""

import importlib
from pathlib import Path

import jax
import numpy as np
import pytest

from genjax.comparison.suites import read_suite

FOLDER = Path(__file__).parents[2] / "experiments" / "suites"
SIZES = {"toy2d": 10_000, "digits": 100_000}
DENSITIES = ("checkerboard", "circles", "pinwheel", "ring_8", "two_moons")


@pytest.fixture(autouse=True)
def beside(monkeypatch):
    """Let the recipes of suites be imported, as ``genjax train`` does."""
    monkeypatch.syspath_prepend(FOLDER)


def test_every_suite_is_checked():
    assert sorted(file.stem for file in FOLDER.glob("*.toml")) == sorted([*SIZES, *DENSITIES])


@pytest.mark.parametrize("name", SIZES)
def test_suites_have_every_recipe_once_and_five_seeds(name):
    suite = read_suite(FOLDER / f"{name}.toml")
    flags = [experiment.flags for experiment in suite.experiments]
    assert flags == [("--method", method) for method in importlib.import_module(name).RECIPES]
    assert len(flags) >= 28
    assert suite.seeds >= 5


@pytest.mark.parametrize("name", SIZES)
def test_models_of_a_suite_have_one_size(name):
    module = importlib.import_module(name)
    for method in module.RECIPES:
        experiment = module.experiment(method)
        raw = experiment.data.splits["train"].take(np.arange(8))
        batch = experiment.preprocess(jax.random.key(0), jax.tree.map(jax.numpy.asarray, raw))
        model = experiment.model
        params = jax.eval_shape(lambda key, model=model, batch=batch: model.init(key, batch).params, jax.random.key(0))
        count = sum(leaf.size for leaf in jax.tree.leaves(params))
        assert count == pytest.approx(SIZES[name], rel=0.2), method


@pytest.mark.parametrize("name", DENSITIES)
def test_recipes_of_the_plane_are_trained_on_other_densities(name):
    plane, suite = (read_suite(FOLDER / f"{each}.toml") for each in ("toy2d", name))
    assert [each.name for each in suite.experiments] == [each.name for each in plane.experiments]
    assert {each.flags[:2] for each in suite.experiments} == {("--density", name)}
    assert {each.trials for each in suite.experiments} == {((),)}
    dataset = importlib.import_module("toy2d").points(name)
    every = [source.take(np.arange(len(source)))["x"] for source in dataset.splits.values()]
    assert dataset.name == name
    assert np.abs(every[0]).max() == pytest.approx(4.2, rel=1e-5)
    np.testing.assert_allclose(every[0].mean(axis=0), 0, atol=1e-4)
    assert max(np.abs(x).max() for x in every) < 5  # the box of the energy models
