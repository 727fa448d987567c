"""A run that is killed at any time and resumed ends with the same bits as an uninterrupted one."""

import random
import signal
import time

import jax
import numpy as np
import pytest

from genjax.runner import load_run
from tests.running import TINY, finish, losses, start

STEPS = ("--steps", "1200", "--log-every", "20")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """Return the folder of an uninterrupted run, and the seconds that it ran after its first row."""
    folder = tmp_path_factory.mktemp("resume") / "run"
    process = start("train", TINY, "--workdir", folder, *STEPS)
    wait_for_rows(folder, process)
    began = time.monotonic()
    status, _, err = finish(process)
    assert status == 0, err
    return folder, time.monotonic() - began


def wait_for_rows(folder, process):
    """Wait until training has logged a row."""
    while process.poll() is None:
        metrics = folder / "metrics.jsonl"
        if metrics.exists() and metrics.stat().st_size:
            return
        time.sleep(0.01)


def assert_same_end(folder, expected):
    a, b = load_run(folder), load_run(expected)
    assert a.step == b.step
    jax.tree.map(np.testing.assert_array_equal, a.variables, b.variables)
    assert losses(folder) == losses(expected)


def kill_and_resume(folder, uninterrupted, delay):
    expected, _ = uninterrupted
    process = start("train", TINY, "--workdir", folder, *STEPS)
    wait_for_rows(folder, process)
    time.sleep(delay)
    process.send_signal(signal.SIGKILL)
    finish(process)
    status, _, err = finish(start("train", TINY, "--workdir", folder, "--resume"))
    assert status == 0, err
    assert_same_end(folder, expected)


@pytest.mark.parametrize("part", [0.05, 0.4, 0.8])
def test_killed_runs_resume_to_the_same_bits(tmp_path, uninterrupted, part):
    kill_and_resume(tmp_path / "run", uninterrupted, part * uninterrupted[1])


@pytest.mark.slow
@pytest.mark.parametrize("trial", range(20))
def test_runs_killed_at_random_moments_resume_to_the_same_bits(tmp_path, uninterrupted, trial):
    kill_and_resume(tmp_path / "run", uninterrupted, random.Random(trial).random() * uninterrupted[1])


def test_sigterm_saves_and_says_how_to_resume(tmp_path, uninterrupted):
    expected, seconds = uninterrupted
    folder = tmp_path / "run"
    process = start("train", TINY, "--workdir", folder, *STEPS)
    wait_for_rows(folder, process)
    time.sleep(0.3 * seconds)
    process.send_signal(signal.SIGTERM)
    status, _, err = finish(process)
    assert status == 128 + signal.SIGTERM, err
    last = err.splitlines()[-1]
    assert "stopped by SIGTERM after step" in last
    command = last.partition("resume with: genjax ")[2].split()
    assert command[-1] == "--resume"
    assert load_run(folder).step == int(last.partition("after step ")[2].partition(";")[0])
    status, _, err = finish(start(*command))
    assert status == 0, err
    assert_same_end(folder, expected)
