"""Every committed experiment still runs, and says what it reached."""

import dataclasses
import inspect
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from genjax.runner import load_experiment_fn, train

ROOT = Path(__file__).parents[1]
EXPERIMENTS = sorted((ROOT / "experiments").glob("*.py"))


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_experiment_trains_two_steps_and_samples(path):
    function = load_experiment_fn(path)
    narrow = {"width": 4} if "width" in inspect.signature(function).parameters else {}
    try:
        experiment = function(steps=2, batch_size=8, **narrow)
    except FileNotFoundError as missing:
        pytest.skip(f"data are not here: {missing}")
    # A score may want a trained classifier and thousands of samples.
    run = train(dataclasses.replace(experiment, sample_score=None), progress=False)
    assert run.step == 2 * len(experiment.plan())
    label = {"label": 0} if getattr(experiment.model, "num_classes", None) else {}
    x = np.asarray(run.sample(jax.random.key(0), 3, **label))
    assert x.shape == (3, *experiment.data.spec()["x"].shape)
    assert np.isfinite(x).all()


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_docstring_states_command_hardware_time_and_number(path):
    claim = path.read_text().split('"""')[1]
    assert f"Command: genjax train experiments/{path.name}" in claim
    if "Not yet run on an accelerator" in claim:
        assert "Reached" not in claim  # what was not measured is not told
        return
    assert re.search(r"Reached: [^.]*\d+\.\d+", claim)
    assert re.search(r"\d (s|min) ", claim)
    assert re.search(r"CPU cores|GPU|TPU", claim)
    assert "seed" in claim


def test_benchmarks_explain_themselves():
    for path in sorted((ROOT / "experiments" / "benchmarks").glob("*.py")):
        if "def main" in path.read_text():
            help_text = subprocess.run(
                [sys.executable, str(path), "--help"], capture_output=True, text=True, check=True, cwd=ROOT
            ).stdout
            assert "--json" in help_text
