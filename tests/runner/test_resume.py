"""A run that is killed at any time and resumed ends with the same bits as an uninterrupted one."""

import dataclasses
import importlib.util
import json
import os
import random
import shutil
import signal
import sys
import threading
import time
import warnings

import jax
import numpy as np
import optax
import pytest

from genjax.runner import Interrupted, load_run, train
from genjax.runner.folder import ExperimentSource
from genjax.runner.loop import record_stop_signals
from genjax.runner.previews import Previews
from genjax.runner.weights import saved_step
from tests.running import TINY, finish, losses, start

spec = importlib.util.spec_from_file_location("tiny", TINY)
tiny = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tiny)

NUM_STEPS = 1200
STEPS = ("--steps", str(NUM_STEPS), "--log-every", "20")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """Return the folder of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("resume") / "run"
    process = start("train", TINY, "--workdir", folder, *STEPS)
    status, _, err = finish(process)
    assert status == 0, err
    return folder


def wait_for_step(folder, process, step):
    """Wait until training has logged a step, however long the machine takes for it."""
    while process.poll() is None:
        metrics = folder / "metrics.jsonl"
        rows = metrics.read_text().splitlines(keepends=True) if metrics.exists() else []
        if any(json.loads(row)["step"] >= step for row in rows if row.endswith("\n")):
            return
        time.sleep(0.01)


def assert_same_end(folder, expected):
    a, b = load_run(folder), load_run(expected)
    assert a.step == b.step
    jax.tree.map(np.testing.assert_array_equal, a.variables, b.variables)
    assert losses(folder) == losses(expected)


def kill_and_resume(folder, expected, part):
    process = start("train", TINY, "--workdir", folder, *STEPS)
    wait_for_step(folder, process, part * NUM_STEPS)
    process.send_signal(signal.SIGKILL)
    finish(process)
    status, _, err = finish(start("train", TINY, "--workdir", folder, "--resume"))
    assert status == 0, err
    assert_same_end(folder, expected)


@pytest.mark.parametrize("part", [0.05, 0.4, 0.8])
def test_killed_runs_resume_to_the_same_bits(tmp_path, uninterrupted, part):
    kill_and_resume(tmp_path / "run", uninterrupted, part)


@pytest.mark.slow
@pytest.mark.parametrize("trial", range(20))
def test_runs_killed_at_random_moments_resume_to_the_same_bits(tmp_path, uninterrupted, trial):
    kill_and_resume(tmp_path / "run", uninterrupted, random.Random(trial).random())


def test_sigterm_saves_and_says_how_to_resume(tmp_path, uninterrupted):
    folder = tmp_path / "run"
    process = start("train", TINY, "--workdir", folder, *STEPS)
    wait_for_step(folder, process, 0.3 * NUM_STEPS)
    process.send_signal(signal.SIGTERM)
    status, _, err = finish(process)
    assert status == 128 + signal.SIGTERM, err
    last = err.splitlines()[-1]
    assert "stopped by SIGTERM after step" in last
    command = last.partition("resume with: ")[2].partition("genjax ")[2].split()
    assert command[-1] == "--resume"
    assert load_run(folder).step == int(last.partition("after step ")[2].partition(";")[0])
    status, _, err = finish(start(*command))
    assert status == 0, err
    assert_same_end(folder, uninterrupted)


class Killed(BaseException):
    """Stands for the end of the process: nothing in the package catches it."""


@pytest.fixture(scope="module")
def forty(tmp_path_factory):
    """Return a finished run of 40 steps."""
    return train(tiny.experiment(), workdir=tmp_path_factory.mktemp("forty") / "run", progress=False)


@pytest.fixture
def folder(forty, tmp_path):
    return shutil.copytree(forty.folder, tmp_path / "run")


def resume(folder, *, source=None, **settings):
    return train(tiny.experiment(**settings), workdir=folder, resume=True, progress=False, source=source)


@pytest.mark.parametrize("place", ["write_report", "save_weights"])
def test_what_is_written_at_the_end_is_written_after_a_kill(tmp_path, forty, monkeypatch, place):
    def kill(*args, **kwargs):
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(sys.modules["genjax.runner.train"], place, kill)
        train(tiny.experiment(), workdir=tmp_path / "run", progress=False)
    run = resume(tmp_path / "run")
    assert saved_step(run.folder) == 40
    results, expected = (json.loads((path / "results.json").read_text()) for path in (run.folder, forty.folder))
    assert results | {"seconds": 0} == expected | {"seconds": 0}
    assert "validation/log_prob_lower_bound" in (run.folder / "report.md").read_text()
    report = (run.folder / "report.md").stat()
    resume(run.folder)
    assert (run.folder / "report.md").stat() == report  # a finished run is left as it is


def test_a_finished_run_is_lengthened_to_the_same_bits(folder):
    whole = train(tiny.experiment(steps=60), progress=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        longer = resume(folder, steps=60)
    jax.tree.map(np.testing.assert_array_equal, longer.variables, whole.variables)
    assert longer.step == saved_step(folder) == 60
    assert "60 steps" in (folder / "report.md").read_text()
    assert load_run(folder, experiment=tiny.experiment(steps=60)).step == 60
    with pytest.raises(ValueError, match=r"steps is 40, but the run to resume has 60 steps already; use at least 60"):
        resume(folder)


def test_the_command_line_lengthens_a_run_where_the_schedule_allows_it(genjax, tiny_run, tmp_path):
    folder = shutil.copytree(tiny_run, tmp_path / "run")
    status, _, err = genjax("train", TINY, "--workdir", folder, "--resume", "--steps", "60")
    assert status == 0, err
    assert "warning" not in err
    assert json.loads((folder / "arguments.json").read_text())["arguments"]["steps"] == 60
    assert load_run(folder).step == 60
    status, _, err = genjax("train", TINY, "--workdir", folder, "--resume", "--steps", "50")
    assert status == 2
    assert "holds a run with steps=60, not 50" in err


def test_a_run_whose_schedule_depends_on_its_length_is_not_lengthened(tmp_path):
    def experiment(steps):
        return dataclasses.replace(
            tiny.experiment(steps=steps), optimizer=optax.adam(optax.linear_schedule(1, 0, steps))
        )

    def go(steps, **settings):
        source = ExperimentSource(arguments={"steps": steps})
        return train(experiment(steps), workdir=tmp_path / "run", progress=False, source=source, **settings)

    go(20)
    with pytest.raises(ValueError, match=r"steps is 40, but the training step of this run depends on steps"):
        go(40, resume=True)
    assert go(20, resume=True).step == 20
    assert json.loads((tmp_path / "run" / "arguments.json").read_text())["arguments"]["steps"] == 20


def test_other_settings_of_a_resumed_run_are_told(folder):
    shutil.rmtree(folder / "checkpoints" / "40")
    with pytest.warns(UserWarning, match=r"stage 'model' is not the one that the run began with"):
        resume(folder, learning_rate=0.5)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1, signal.SIGINT])
def test_signals_of_schedulers_and_terminals_save(tmp_path, forty, monkeypatch, capfd, number):
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signals reach only the main thread")
    save, sent = Previews.__call__, []

    def signalled(self, step, variables):
        save(self, step, variables)
        if not sent:
            sent.append(os.kill(os.getpid(), number))

    monkeypatch.setattr("genjax.runner.previews.Previews.__call__", signalled)
    before = signal.getsignal(number)
    with pytest.raises(Interrupted, match=rf"stopped by {signal.Signals(number).name} after step 20; resume with"):
        train(tiny.experiment(), workdir=tmp_path / "run", progress=False)
    assert signal.getsignal(number) is before
    assert ("(Ctrl-C again: at once)" in capfd.readouterr().err) == (number == signal.SIGINT)
    jax.tree.map(np.testing.assert_array_equal, resume(tmp_path / "run").variables, forty.variables)


def test_signals_that_the_program_ignores_are_ignored(tmp_path):
    """nohup starts a program that ignores SIGHUP."""
    previous = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with record_stop_signals() as stop_signal:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop_signal() is None
    finally:
        signal.signal(signal.SIGHUP, previous)
