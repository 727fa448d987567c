"""Every committed experiment runs, and its docstring states its result."""

import dataclasses
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import Experiment, data
from genjax.capabilities import conditioning, likelihoods
from genjax.data import tfds_sets
from genjax.evaluation.samples import example_conditions
from genjax.runner import load_experiment_fn, train

ROOT = Path(__file__).parents[1]
EXPERIMENTS = sorted((ROOT / "experiments").glob("*.py"))


BATCH_SIZE = 8
# One model of gradient descent and one with a state; all the others train only with -m slow.
REPRESENTATIVES = {"vae_digits", "rbm_bars_and_stripes"}
NAMED = [pytest.param(path, id=path.stem) for path in EXPERIMENTS]
TRAINED = [
    pytest.param(path, id=path.stem, marks=() if path.stem in REPRESENTATIVES else pytest.mark.slow)
    for path in EXPERIMENTS
]


def two_steps(path) -> Experiment:
    """Return the experiment with a small network, a small batch and two steps; skip if its data are missing."""
    function = load_experiment_fn(path)
    takes = inspect.signature(function).parameters
    small = {"width": 4, "length": 64, "bfloat16": False, "pretraining_steps": 2, "tuning_steps": 2}
    small = {name: value for name, value in small.items() if name in takes}
    if "num_hidden" in takes:
        small["num_hidden"] = (8, 4) if isinstance(takes["num_hidden"].default, tuple) else 8
    try:
        return function(steps=2, batch_size=BATCH_SIZE, **small)
    except FileNotFoundError as missing:
        pytest.skip(f"data are not here: {missing}")


def conditions_of(experiment: Experiment, count: int) -> dict:
    """Return a label, or other conditions of training examples, if the model needs any."""
    if getattr(experiment.model, "num_classes", None):
        return {"label": 0}
    return example_conditions(experiment.model, experiment.data, count, experiment.preprocess)


def with_axis(tree, length: int):
    """Return the shapes of a tree with a leading axis."""
    return jax.tree.map(lambda a: jax.ShapeDtypeStruct((length, *a.shape), a.dtype), tree)


def traced_stage(stage, finished, key, batch):
    """Return the shapes of a stage's state before and after a step, and of its metrics."""

    def step(finished, key, batch):
        learner, batch = stage.learner(finished), stage.examples(finished)(key, batch)
        train, count = learner.init(key, batch), learner.minibatches
        batches = batch if count == 1 else jax.tree.map(lambda a: jnp.stack([a] * count), batch)
        return train, *learner.step(train, key, batches)

    # One key for all, because nothing is sampled.
    with jax.debug_key_reuse(False):
        return jax.eval_shape(step, finished, key, batch)


@pytest.fixture
def one_record(monkeypatch):
    """Decode one record of a prepared data set and repeat it, because tracing needs only the number of examples."""

    def repeat(builder, split, size, source):
        del builder, split, size
        one = source.take(np.arange(1))
        return data.ArraySource({name: np.broadcast_to(a, (len(source), *a.shape[1:])) for name, a in one.items()})

    monkeypatch.setattr(tfds_sets, "_materialize_cached", repeat)


@pytest.mark.parametrize("path", NAMED)
def test_experiment_traces(path, one_record):
    experiment = two_steps(path)
    model, spec, key = experiment.model, experiment.data.spec(), jax.random.key(0)
    batch = jax.eval_shape(experiment.preprocess, key, with_axis(spec, BATCH_SIZE))
    finished = {}
    for stage in experiment.plan():
        assert stage.steps == 2
        train, after, metrics = traced_stage(stage, finished, key, batch)
        shapes = [jax.tree.map(lambda a: (a.shape, a.dtype), each) for each in (train, after)]
        assert shapes[0] == shapes[1], "a step changes shapes or dtypes of the state"
        assert any(name.rpartition("/")[2] == "loss" for name in metrics)
        finished[stage.name] = train.variables
    variables = jax.eval_shape(experiment.model_variables, finished)
    for method in set(likelihoods(model)) - {"log_prob_estimate"}:
        keys = () if method == "log_prob" else (key,)
        log_prob = jax.eval_shape(
            lambda variables, keys, batch, method=method: getattr(model, method)(
                variables, *keys, batch["x"], **conditioning(model, batch)
            ),
            variables,
            keys,
            batch,
        )
        assert (log_prob.shape, log_prob.dtype) == ((BATCH_SIZE,), np.float32), method
    condition = conditions_of(experiment, 3)
    x = jax.eval_shape(lambda variables, key: model.sample(variables, key, 3, **condition), variables, key)
    assert x.shape == (3, *spec["x"].shape)


@pytest.mark.parametrize("path", TRAINED)
def test_experiment_trains_two_steps_and_samples(path):
    experiment = two_steps(path)
    # A score may need a trained classifier and thousands of samples, and a likelihood takes long per example.
    splits = dict(experiment.data.splits)
    for name in set(splits) - {"train"}:
        splits[name] = data.ArraySource(splits[name].take(np.arange(min(32, len(splits[name])))))
    short = dataclasses.replace(experiment.data, splits=splits)
    run = train(dataclasses.replace(experiment, data=short, sample_score=None), progress=False)
    assert run.step == sum(stage.steps for stage in experiment.plan()) == 2 * len(experiment.plan())
    x = np.asarray(run.sample(jax.random.key(0), 3, **conditions_of(experiment, 3)))
    assert x.shape == (3, *experiment.data.spec()["x"].shape)
    assert np.isfinite(x).all()


@pytest.mark.parametrize("path", NAMED)
def test_docstring_states_command_hardware_time_and_number(path):
    claim = path.read_text().split('"""')[1]
    assert f"Command: genjax train experiments/{path.name}" in claim
    if "Not yet run on an accelerator" in claim:
        assert "Reached" not in claim  # an unmeasured result must not be claimed
        return
    assert re.search(r"Reached: [^.]*\d+\.\d+", claim)
    assert re.search(r"\d (s|min) ", claim)
    assert re.search(r"CPU cores|GPU|TPU", claim)
    assert "seed" in claim


def test_benchmarks_explain_themselves():
    folder = ROOT / "experiments" / "benchmarks"
    paths = [str(path) for path in sorted(folder.glob("*.py")) if "def main" in path.read_text()]
    # A separate process, because they may choose its cores; one for all, because each would import jax again.
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
    output = subprocess.run(
        [sys.executable, "-c", code, *paths],
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join((str(folder), str(ROOT)))},
    ).stdout
    help_texts = output.split("BENCHMARK\n")[1:]
    assert len(help_texts) == len(paths)
    for path, help_text in zip(paths, help_texts, strict=True):
        assert "--json" in help_text, path
