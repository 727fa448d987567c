"""A run folder belongs to one process at a time; a killed one's folder is taken over with a word."""

import importlib.util
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from genjax.runner import train
from genjax.runner.claim import claim
from genjax.runner.folder import default_folder
from tests.running import ROOT

spec = importlib.util.spec_from_file_location("tiny", Path(__file__).parent / "experiments" / "tiny.py")
tiny = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tiny)

HOLD = """
import sys, time
from pathlib import Path
from genjax.runner.claim import claim
with claim(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(100)
"""


def hold(folder):
    """Start a process that holds a folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, cwd=ROOT)
    assert process.stdout.readline() == b"held\n"
    return process


def test_runs_that_start_in_the_same_second_have_their_own_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(time, "strftime", lambda _: "now")
    with default_folder("vae") as first, default_folder("vae") as second, default_folder("vae") as third:
        assert [first.name, second.name, third.name] == ["now", "now-2", "now-3"]
        (second / "kept").touch()
    assert [str(path) for path in Path("runs").rglob("*")] == ["runs/vae", "runs/vae/now-2", "runs/vae/now-2/kept"]


@pytest.mark.parametrize("setting", ["resume", "overwrite"])
def test_the_folder_of_a_live_run_is_left_alone(tmp_path, setting):
    process = hold(tmp_path / "run")
    with pytest.raises(ValueError, match=rf"in use by process {process.pid} on .* started at .*; wait"):
        train(tiny.experiment(), workdir=tmp_path / "run", progress=False, **{setting: True})
    process.kill()
    process.communicate()


def test_the_folder_of_a_killed_run_is_taken_over_with_a_word(tmp_path):
    process = hold(tmp_path / "run")
    process.send_signal(signal.SIGKILL)
    process.communicate()
    with (
        pytest.warns(UserWarning, match=rf"taking .*run over from process {process.pid} .* which was killed"),
        claim(tmp_path / "run"),
    ):
        pass
    assert not (tmp_path / "run").exists()


def test_a_claim_leaves_nothing_but_what_was_written(tmp_path):
    with claim(tmp_path / "a" / "b"):
        pass
    assert not list(tmp_path.iterdir())
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes").touch()
    with claim(tmp_path / "mine"):
        (tmp_path / "mine" / "more").touch()
    assert {file.name for file in (tmp_path / "mine").iterdir()} == {"notes", "more"}


def test_a_folder_that_was_moved_or_deleted_is_released(tmp_path):
    with claim(tmp_path / "a"):
        (tmp_path / "a").rename(tmp_path / "b")
    with claim(tmp_path / "a"):
        pass
