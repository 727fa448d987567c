"""Of two processes that train together one is lost: the other names it within bounded time, and nothing is lost."""

import contextlib
import time
from random import Random

import jax
import numpy as np
import pytest

from genjax.cli.processes import HEARTBEAT_SECONDS, without_abort
from genjax.runner import load_run
from genjax.runner.claim import OWNER
from genjax.runner.log import read_rows
from tests.running import TINY, finish, losses, start_together

LIMIT = 60  # seconds in which the others end
NAMED = "genjax: error: process {} was lost; start all processes again with --resume to continue"
HASTY = """
import sys
from genjax.cli import processes
from genjax.cli.main import main
processes.HEARTBEAT_SECONDS = 8
main(sys.argv[1:])
"""
FAILING = """
import jax
from tiny import experiment as tiny

def experiment(steps: int = 1_000_000):
    if jax.process_index() == 1:
        raise ValueError("this host has no data; copy them")
    return tiny(steps=steps)
"""


@contextlib.contextmanager
def together(*arguments, **settings):
    """Start two processes, and kill those that are left in the end."""
    processes = start_together("train", *arguments, **settings)
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()


def wait_until(condition, processes):
    while not condition():
        assert all(process.poll() is None for process in processes), [process.communicate() for process in processes]
        time.sleep(0.05)


def test_messages_of_this_library_pass_the_filter():
    service = "E1129 16:24:39.4 1 coordination_service.cc:1549] The following tasks are unhealthy\n"
    error = "genjax: error: no file x; check the path\n"
    assert list(without_abort([service, error, "more\n"])) == [error, service + "more\n"]


@pytest.mark.parametrize("lost", [0, 1])
def test_a_lost_process_is_named_by_the_other(tmp_path, lost):
    folder = tmp_path / "run"
    with together(TINY, "--steps", 1_000_000, "--workdir", folder, program=HASTY) as processes:
        wait_until(lambda: (folder / "metrics.jsonl").exists() and len(losses(folder)) > 1, processes)
        processes[lost].kill()
        status, _, err = finish(processes[1 - lost], timeout=LIMIT)
    assert status != 0
    assert err.splitlines()[-1] == NAMED.format(lost)
    assert "stack trace" not in err


@pytest.mark.slow
def test_a_process_that_fails_alone_is_named_by_the_other(tmp_path):
    (tmp_path / "tiny.py").write_text(TINY.read_text())
    (tmp_path / "failing.py").write_text(FAILING)
    with together(tmp_path / "failing.py", "--workdir", tmp_path / "run", program=HASTY) as processes:
        failed, _, reason = finish(processes[1])
        status, _, err = finish(processes[0], timeout=LIMIT)
    assert failed == 2
    assert reason.splitlines()[-1] == "genjax: error: this host has no data; copy them"
    assert status != 0
    assert err.splitlines()[-1] == NAMED.format(1)


@pytest.mark.slow
def test_processes_that_fail_alike_all_say_why(tmp_path):
    with together(TINY, "--batch-size", 9, "--workdir", tmp_path / "run") as processes:
        ends = [finish(process) for process in processes]
    for status, _, err in ends:
        assert status == 2
        assert err.splitlines()[-1].startswith("genjax: error: batch_size is 9, but 2 devices must share it evenly")


BUSY = (TINY, "--steps", 60, "--widths", 300)
MOMENTS = ("compiling", "training", "writing")


def metrics(folder):
    return [{name: value for name, value in row.items() if name != "steps_per_second"} for row in read_rows(folder)]


def has_begun(folder, moment, step):
    """Return whether a run compiles, or has trained some steps and, for "writing", is writing a checkpoint."""
    if moment == "compiling":
        return (folder / OWNER).exists()
    rows = folder / "metrics.jsonl"
    if not rows.exists() or max(losses(folder), default=0) < step:
        return False
    return moment == "training" or any("tmp" in path.name for path in (folder / "checkpoints").iterdir())


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """Return the folder of an uninterrupted run."""
    folder = tmp_path_factory.mktemp("lost") / "run"
    with together(*BUSY, "--workdir", folder) as processes:
        for process in processes:
            status, _, err = finish(process, timeout=900)
            assert status == 0, err
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("trial", range(10))
def test_nothing_is_lost_with_a_process_that_is_killed_at_any_moment(tmp_path, uninterrupted, record_property, trial):
    """Either process is killed while they compile, train or write a checkpoint; both go on to the same curve."""
    random, folder = Random(f"lost {trial}"), tmp_path / "run"
    lost, moment, step = random.randrange(2), MOMENTS[trial % 3], random.randrange(10, 40)
    with together(*BUSY, "--workdir", folder) as processes:
        wait_until(lambda: has_begun(folder, moment, step), processes)
        time.sleep(random.uniform(0, {"compiling": 10, "training": 2, "writing": 0.05}[moment]))
        processes[lost].kill()
        killed = time.monotonic()
        status, _, err = finish(processes[1 - lost], timeout=LIMIT)
        took = time.monotonic() - killed
    record_property("seconds", took)
    print(f"process {lost} was killed while {moment}: the other ended after {took:.1f} s with status {status}")
    assert status != 0
    assert err.splitlines()[-1] == NAMED.format(lost), err
    again = ("--resume",) if (folder / "arguments.json").exists() else ()
    with together(*BUSY, "--workdir", folder, *again) as processes:
        for process in processes:
            status, _, err = finish(process, timeout=900)
            assert status == 0, err
    assert metrics(folder) == metrics(uninterrupted)
    ends = [load_run(path) for path in (folder, uninterrupted)]
    jax.tree.map(np.testing.assert_array_equal, ends[0].variables, ends[1].variables)


def test_the_bound_exceeds_the_heartbeats():
    assert 1.5 * HEARTBEAT_SECONDS < LIMIT
