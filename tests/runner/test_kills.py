"""Runs that are killed at random moments, also while they start, write or overwrite, end as if nothing had happened."""

import json
import random
import signal
import time

import jax
import numpy as np
import pytest

from genjax.runner import load_run
from genjax.runner.log import read_rows
from genjax.runner.weights import saved_step
from tests.running import TINY, finish, start

STAGED = TINY.with_name("staged.py")
COMMANDS = {
    "tiny": (TINY, "--steps", "1000"),
    "replicas": (TINY, "--steps", "400", "--seeds", "3"),
    "large": (TINY, "--steps", "200", "--widths", "700", "700"),  # it writes checkpoints most of the time
    "stages": (STAGED,),
    "overwrite": (TINY, "--steps", "600", "--latent-dim", "3"),
}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """Return the folder of an uninterrupted run and the seconds that it took, by command."""
    runs = {}

    def run(name):
        if name not in runs:
            folder, started = tmp_path_factory.mktemp("kills") / name, time.monotonic()
            status, _, err = finish(start("train", *COMMANDS[name], "--workdir", folder))
            assert status == 0, err
            runs[name] = folder, time.monotonic() - started
        return runs[name]

    return run


def metrics(folder):
    return [{name: value for name, value in row.items() if name != "steps_per_second"} for row in read_rows(folder)]


def arguments(folder):
    file = folder / "arguments.json"
    return json.loads(file.read_text()) if file.exists() else None


@pytest.mark.slow
@pytest.mark.parametrize("trial", range(8))
@pytest.mark.parametrize("name", COMMANDS)
def test_a_killed_run_ends_with_the_same_bits_a_report_and_results(tmp_path, uninterrupted, name, trial):
    expected, seconds = uninterrupted(name)
    folder, command = tmp_path / "run", ("train", *COMMANDS[name])
    if name == "overwrite":
        status, _, err = finish(start("train", TINY, "--workdir", folder))
        assert status == 0, err
        command += ("--overwrite",)
    process = start(*command, "--workdir", folder)
    time.sleep(random.Random(f"{name} {trial}").uniform(0.4, 1.05) * seconds)
    process.send_signal(signal.SIGKILL)
    finish(process)
    began = arguments(folder) == arguments(expected)
    again = ("train", COMMANDS[name][0], "--resume") if began else (*command, "--overwrite")
    status, _, err = finish(start(*again, "--workdir", folder))
    assert status == 0, err
    ends = [load_run(path) for path in (folder, expected)]
    jax.tree.map(np.testing.assert_array_equal, ends[0].variables, ends[1].variables)
    assert ends[0].step == saved_step(folder) == ends[1].step
    assert metrics(folder) == metrics(expected)
    results = [json.loads((path / "results.json").read_text()) | {"seconds": 0} for path in (folder, expected)]
    assert results[0] == results[1]
    assert (folder / "report.md").stat().st_size > 0
