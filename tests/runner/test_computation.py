"""How networks are computed is a setting of training alone, which its run stores."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import optax
import pytest

from genjax import boltzmann
from genjax.monitoring.monitor import TrainingWarning
from genjax.roofline import count_flops
from genjax.runner import load_run, train
from genjax.runner.load import load_experiment, load_experiment_fn
from genjax.runner.settings import TrainSettings
from genjax.runner.stages import StageWalk
from genjax.sharding import Placement
from tests.running import TINY

tiny = load_experiment_fn(TINY)


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    """Return a run in bfloat16."""
    experiment = dataclasses.replace(tiny(steps=20), dtype="bfloat16", remat=True)
    return train(experiment, workdir=tmp_path_factory.mktemp("half") / "run", progress=False)


@pytest.fixture(scope="module")
def wide():
    """Return the same run in float32."""
    return train(tiny(steps=20), progress=False)


def test_a_run_in_bfloat16_is_close_to_one_in_float32_and_keeps_float32(half, wide):
    assert {leaf.dtype.name for leaf in jax.tree.leaves(half.variables)} == {"float32"}
    losses = [np.array([row["loss"] for row in run.rows if "loss" in row]) for run in (half, wide)]
    np.testing.assert_allclose(*losses, rtol=2e-3)
    assert (losses[0] != losses[1]).all()


def test_validation_is_computed_in_float32(half):
    """The last held-out number is that of ``evaluate``, which knows of no dtype."""
    x = half.experiment.data.splits["validation"].take(np.arange(16))["x"]
    assert half.experiment.dtype == "bfloat16"
    program = jax.make_jaxpr(lambda key, x: half.model.log_prob_lower_bound(half.variables, key, x))
    assert count_flops(program(jax.random.key(0), x / np.float32(255)), "bfloat16") == 0


@pytest.mark.parametrize(("dtype", "share"), [("float32", 0), ("bfloat16", 1)])
def test_every_product_of_a_step_has_the_dtype(dtype, share):
    experiment = dataclasses.replace(tiny(), dtype=dtype)
    (loop,) = StageWalk(experiment, (0,), Placement())
    program = loop.trace(Placement()).jaxpr
    assert count_flops(program, "bfloat16") == share * count_flops(program)


def test_an_experiment_takes_what_is_set_and_keeps_the_rest():
    experiment = dataclasses.replace(tiny(), dtype="bfloat16", remat=True)
    assert TrainSettings().apply(experiment) is experiment
    assert TrainSettings(dtype="float32").apply(experiment).dtype == "float32"
    assert TrainSettings(dtype="float32").apply(experiment).remat
    assert TrainSettings(remat=True).apply(tiny()).remat


def test_a_model_without_networks_is_told_to_stay_in_float32():
    experiment = dataclasses.replace(
        tiny(steps=2, log_every=1), model=boltzmann.RBM(num_hidden=3, shape=(4, 4, 1)), optimizer=optax.sgd(0.1)
    )
    message = "dtype is 'bfloat16', but stage 'model' has no network that it applies to"
    with pytest.warns(TrainingWarning, match=message):
        train(dataclasses.replace(experiment, dtype="bfloat16"), progress=False)


def test_the_command_line_stores_how_networks_are_computed_and_resumes_alike(genjax, tmp_path):
    folder = tmp_path / "run"
    status, _, err = genjax("train", TINY, "--workdir", folder, "--dtype", "bfloat16", "--remat", "--steps", 20)
    assert status == 0, err
    stored = json.loads((folder / "arguments.json").read_text())
    assert (stored["dtype"], stored["remat"]) == ("bfloat16", True)
    loaded = load_experiment(folder)
    assert (loaded.dtype, loaded.remat) == ("bfloat16", True)
    variables = load_run(folder).variables
    shutil.rmtree(folder / "checkpoints" / "20")
    status, _, err = genjax("train", TINY, "--workdir", folder, "--resume", "--dtype", "float32")
    assert status == 2
    assert "holds a run with dtype bfloat16, not float32; resume it with --dtype bfloat16" in err
    status, _, err = genjax("train", TINY, "--workdir", folder, "--resume")
    assert status == 0, err
    jax.tree.map(np.testing.assert_array_equal, load_run(folder).variables, variables)


def test_runs_that_stored_nothing_are_in_float32(tiny_run, tmp_path):
    folder = shutil.copytree(tiny_run, tmp_path / "run")
    stored = json.loads((folder / "arguments.json").read_text())
    assert (stored.pop("dtype"), stored.pop("remat")) == ("float32", False)
    (folder / "arguments.json").write_text(json.dumps(stored))
    assert load_experiment(folder).dtype == "float32"
