"""The suites of the project: their files, and the size of the models of toy2d."""

import importlib.util
import sys
from pathlib import Path

import jax
import pytest

from genjax.comparison.suites import read_suite

FOLDER = Path(__file__).parents[2] / "experiments" / "suites"


@pytest.fixture(scope="module")
def toy2d():
    spec = importlib.util.spec_from_file_location("toy2d", FOLDER / "toy2d.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["toy2d"] = module  # where its dataclass looks up annotations
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.toml")), ids=lambda file: file.stem)
def test_suites_can_be_read(file):
    suite = read_suite(file)
    assert suite.seeds >= 5


def test_toy2d_has_every_recipe_once(toy2d):
    flags = [experiment.flags for experiment in read_suite(FOLDER / "toy2d.toml").experiments]
    assert flags == [("--method", name) for name in toy2d.RECIPES]
    assert len(flags) >= 28


def test_models_of_toy2d_have_10_000_parameters(toy2d):
    key = jax.random.key(0)
    examples = jax.random.normal(key, (8, 2))
    for name, recipe in toy2d.RECIPES.items():
        model = recipe.model()
        params = jax.eval_shape(lambda key, model=model: model.init(key, {"x": examples}).params, key)
        count = sum(leaf.size for leaf in jax.tree.leaves(params))
        assert count == pytest.approx(10_000, rel=0.2), name
