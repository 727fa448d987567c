"""Every committed experiment still runs, and says what it reached."""

import dataclasses
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from genjax import data
from genjax.runner import load_experiment_fn, train

ROOT = Path(__file__).parents[1]
EXPERIMENTS = sorted((ROOT / "experiments").glob("*.py"))


@pytest.mark.usefixtures("quick_compilation")
@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_experiment_trains_two_steps_and_samples(path):
    function = load_experiment_fn(path)
    takes = inspect.signature(function).parameters
    small = {"width": 4, "length": 64, "bfloat16": False, "pretraining_steps": 2, "tuning_steps": 2}
    small = {name: value for name, value in small.items() if name in takes}
    if "num_hidden" in takes:
        small["num_hidden"] = (8, 4) if isinstance(takes["num_hidden"].default, tuple) else 8
    try:
        experiment = function(steps=2, batch_size=8, **small)
    except FileNotFoundError as missing:
        pytest.skip(f"data are not here: {missing}")
    # A score may want a trained classifier and thousands of samples, and a likelihood takes its time for each example.
    splits = dict(experiment.data.splits)
    for name in set(splits) - {"train"}:
        splits[name] = data.ArraySource(splits[name].take(np.arange(min(32, len(splits[name])))))
    short = dataclasses.replace(experiment.data, splits=splits)
    run = train(dataclasses.replace(experiment, data=short, sample_score=None), progress=False)
    assert run.step == sum(stage.steps for stage in experiment.plan()) == 2 * len(experiment.plan())
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
    folder = ROOT / "experiments" / "benchmarks"
    paths = [str(path) for path in sorted(folder.glob("*.py")) if "def main" in path.read_text()]
    # A process of their own, as they may choose its cores, and one for all, as each would import jax anew.
    code = """
import runpy, sys
for path in sys.argv[1:]:
    sys.argv = [path, "--help"]
    print("BENCHMARK", flush=True)
    try:
        runpy.run_path(path, run_name="__main__")
    except SystemExit as end:
        assert not end.code, path
"""
    told = subprocess.run(
        [sys.executable, "-c", code, *paths],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join((str(folder), str(ROOT)))},
    ).stdout
    help_texts = told.split("BENCHMARK\n")[1:]
    assert len(help_texts) == len(paths)
    for path, help_text in zip(paths, help_texts, strict=True):
        assert "--json" in help_text, path
