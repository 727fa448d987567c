"""Two tiny runs that differ in their seed alone, and a comparison of them with floors."""

import json
import shutil

import pytest

from genjax.cli.main import main

FLAGS = ("-n", 24, "--likelihood-samples", 3, "--speed-samples", 8, "--speed-repeats", 2)
FLOORS = ("factorized", "gaussian", "bootstrap")


def copy_run(run, folder, **changes):
    """Copy a run folder, with other entries in its arguments."""
    shutil.copytree(run, folder)
    stored = json.loads((folder / "arguments.json").read_text())
    (folder / "arguments.json").write_text(json.dumps(stored | changes))
    return folder


@pytest.fixture(scope="session")
def runs(tiny_run, tmp_path_factory):
    """Return the folders of two runs of one experiment."""
    return [tiny_run, copy_run(tiny_run, tmp_path_factory.mktemp("runs") / "seed_1", seed=1)]


@pytest.fixture(scope="session")
def compared(runs, tmp_path_factory):
    """Return the folder of a finished comparison."""
    out = tmp_path_factory.mktemp("comparison") / "out"
    with pytest.raises(SystemExit) as stop:
        main(list(map(str, ("compare", *runs, "--out", out, "--floors", *FLOORS, *FLAGS))))
    assert stop.value.code == 0
    return out
