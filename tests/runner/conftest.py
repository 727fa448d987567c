"""Shared pieces of the runner's tests: a tiny experiment file, and one finished run of it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from genjax import cli

TINY = Path(__file__).parent / "experiments" / "tiny.py"
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session", autouse=True)
def cache_home(tmp_path_factory):
    """Keep compiled programs for this session only, shared by its workers: most tests train the same tiny model."""
    base = tmp_path_factory.getbasetemp()
    home = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(home))
        yield home


@pytest.fixture
def genjax(capfd):
    """Run the command line in this process: ``genjax(*arguments) -> (status, stdout, stderr)``."""

    def run(*arguments):
        capfd.readouterr()
        try:
            cli.main([str(a) for a in arguments])
        except SystemExit as stop:
            status = stop.code
        captured = capfd.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory):
    """Return the folder of a finished run of the tiny experiment."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    with pytest.raises(SystemExit) as stop:
        cli.main(["train", str(TINY), "--workdir", str(folder)])
    assert stop.value.code == 0
    return folder


def start(*arguments, devices=1, **environment):
    """Start the command line in a process of its own."""
    flags = f"--xla_force_host_platform_device_count={devices}"
    return subprocess.Popen(
        [sys.executable, "-m", "genjax", *map(str, arguments)],
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


def finish(process, timeout=300):
    """Wait for a process and return (status, stdout, stderr)."""
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


def losses(folder):
    """Return the training losses of a run folder, by step."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return {row["step"]: row["loss"] for row in rows if "loss" in row}
