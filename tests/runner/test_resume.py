"""A run that is killed at any time and resumed ends with the same bits as an uninterrupted one."""

import json
import random
import signal
import time

import jax
import numpy as np
import pytest

from genjax.runner import load_run
from tests.running import TINY, finish, losses, start

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
