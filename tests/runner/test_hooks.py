"""Callbacks, starts from another run, and what a run from Python remembers."""

import dataclasses
import json

import jax
import numpy as np
import optax
import pytest

from genjax import StopTraining, Variables
from genjax.runner import load_run, train
from tests.runner.test_train import assert_same_variables, tiny


def test_callbacks_see_metrics_and_variables_and_change_nothing():
    seen = []
    experiment = dataclasses.replace(tiny.experiment(), callbacks=(lambda *arguments: seen.append(arguments),))
    run = train(experiment, progress=False)
    assert [step for step, _, _ in seen] == [10, 20, 30, 40]
    assert isinstance(seen[0][1]["loss"], float)
    assert [("validation/log_prob_lower_bound" in metrics) for _, metrics, _ in seen] == [False, True, False, True]
    assert isinstance(seen[0][2], Variables)
    assert_same_variables(seen[-1][2], run.variables, rtol=0, atol=0)
    assert_same_variables(train(tiny.experiment(), progress=False).variables, run.variables, rtol=0, atol=0)
    assert {row["step"]: row["loss"] for row in run.rows if "loss" in row}.keys() == {10, 20, 30, 40}


def test_a_callback_ends_training_well(tmp_path):
    def stop(step, metrics, variables):
        if step == 30:
            raise StopTraining

    experiment = dataclasses.replace(tiny.experiment(), callbacks=(stop,))
    run = train(experiment, progress=False, workdir=tmp_path / "run", name="stopped", arguments={"patience": 1})
    assert run.step == 30
    assert (tmp_path / "run" / "report.md").exists()
    assert "validation/log_prob_lower_bound" in json.loads((tmp_path / "run" / "results.json").read_text())
    loaded = load_run(tmp_path / "run", experiment=experiment)
    assert loaded.step == 30
    assert_same_variables(loaded.variables, run.variables, rtol=0, atol=0)
    arguments = json.loads((tmp_path / "run" / "arguments.json").read_text())
    assert (arguments["experiment"], arguments["arguments"]) == ("stopped", {"patience": 1})
    environment = json.loads((tmp_path / "run" / "environment.json").read_text())
    assert {"commit", "genjax_commit"} <= set(environment)
    assert f"jax=={jax.__version__}" in environment["installed"]


def test_training_starts_from_another_run():
    first = train(tiny.experiment(), progress=False)
    still = dataclasses.replace(tiny.experiment(), optimizer=optax.sgd(0.0), init_from=first.replica())
    assert_same_variables(train(still, progress=False).variables, first.variables, rtol=0, atol=0)
    both = train(still, seeds=2, progress=False)
    assert_same_variables(both.replica(1), first.variables, rtol=0, atol=0)
    other = dataclasses.replace(tiny.experiment(latent_dim=3), init_from=first.replica())
    with pytest.raises(ValueError, match=r"init_from has 'params/.*' of shape .*, but the model needs shape"):
        train(other, progress=False)


def test_a_run_is_printed_in_a_few_lines():
    text = repr(train(tiny.experiment(), progress=False))
    assert text.startswith("Run of VAE on 'random', ")
    assert "seed 0, step 40" in text
    assert "loss " in text
    assert len(text.splitlines()) == 3
    assert np.all([len(line) < 240 for line in text.splitlines()])
