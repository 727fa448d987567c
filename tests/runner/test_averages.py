"""Averages whose length is chosen after training, from the snapshots of a run."""

import dataclasses
import signal

import jax
import numpy as np
import pytest

from genjax.runner import Interrupted, load_run, train
from tests.runner.test_train import assert_same_variables, tiny


def experiment(*lengths, steps=200):
    return tiny.experiment(ema_lengths=lengths, steps=steps, log_every=5, learning_rate=1e-2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return the folder of a run that keeps averages of two lengths, and one that keeps a third."""
    folder = tmp_path_factory.mktemp("averages")
    train(experiment(0.05, 0.1), seeds=2, workdir=folder / "two", progress=False)
    train(experiment(0.07), seeds=2, workdir=folder / "third", progress=False)
    return folder


def test_a_length_that_was_kept_is_read_as_it_was(folder):
    read = load_run(folder / "two", ema=0.05, experiment=experiment(0.05, 0.1))
    kept = load_run(folder / "two", experiment=experiment(0.05, 0.1))
    assert_same_variables(read.variables, kept.variables, rtol=0, atol=1e-6)


@pytest.mark.parametrize("checkpoint", ["last", 190])
def test_another_length_equals_the_average_that_training_keeps(folder, checkpoint):
    chosen = load_run(folder / "two", checkpoint=checkpoint, ema=0.07, experiment=experiment(0.05, 0.1)).variables
    kept = load_run(folder / "third", checkpoint=checkpoint, experiment=experiment(0.07)).variables
    assert_same_variables(chosen, kept, rtol=0, atol=1e-5)
    other = load_run(folder / "two", checkpoint=checkpoint, experiment=experiment(0.05, 0.1)).variables
    differences = jax.tree.map(lambda a, b: float(np.abs(np.asarray(a) - np.asarray(b)).max()), chosen, other)
    assert max(jax.tree.leaves(differences)) > 1e-3  # 100 times the tolerance


def test_a_resumed_run_has_the_same_snapshots(tmp_path):
    def stop(step, metrics, variables):
        if step == 10:
            signal.raise_signal(signal.SIGTERM)

    whole = experiment(0.05, steps=20)
    train(whole, workdir=tmp_path / "whole", progress=False)
    with pytest.raises(Interrupted):
        train(dataclasses.replace(whole, callbacks=(stop,)), workdir=tmp_path / "stopped", progress=False)
    train(whole, workdir=tmp_path / "stopped", resume=True, progress=False)
    for name in ("whole", "stopped"):
        steps = [int(path.name) for path in (tmp_path / name / "averages").iterdir()]
        assert sorted(steps) == [5, 10, 15, 20]
    variables = [load_run(tmp_path / name, ema=0.08, experiment=whole).variables for name in ("whole", "stopped")]
    assert_same_variables(*variables, rtol=0, atol=0)


def test_a_run_without_snapshots_says_how_to_have_them(tmp_path):
    plain = experiment(steps=10)
    train(plain, workdir=tmp_path / "plain", progress=False)
    with pytest.raises(ValueError, match=r"ema is 0.07, but .* has no snapshots of averages; train with ema_lengths"):
        load_run(tmp_path / "plain", ema=0.07, experiment=plain)
