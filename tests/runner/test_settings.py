"""A resumed or compiled run takes the minibatches and the mesh that it began with, and other devices are no error."""

import json
import shutil

import pytest

from genjax.cli.main import main
from genjax.runner import ahead
from genjax.runner.checkpoints import Checkpoints
from genjax.runner.folder import stored_settings
from genjax.runner.load import load_experiment
from genjax.runner.settings import TrainSettings
from tests.cli.test_commands import refused
from tests.running import TINY

LAYOUT = ("--mesh", "fsdp=2", "--accumulate", "2")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Return the folder of a run of ten steps that was laid out by flags."""
    folder = tmp_path_factory.mktemp("settings") / "run"
    with pytest.raises(SystemExit) as stop:
        main(["train", str(TINY), "--workdir", str(folder), "--steps", "10", *LAYOUT])
    assert stop.value.code == 0
    return folder


@pytest.fixture
def run(finished, tmp_path):
    return shutil.copytree(finished, tmp_path / "run")


def meshes(folder):
    """Return the description of the devices of each training program, by step of the checkpoint."""
    checkpoints = Checkpoints(folder / "checkpoints", read_only=True)
    return {step: list(checkpoints.programs(step)) for step in checkpoints.steps()}


def change_stored(folder, **settings):
    stored = json.loads((folder / "arguments.json").read_text())
    (folder / "arguments.json").write_text(json.dumps(stored | settings))


def test_a_resumed_run_takes_the_layout_that_it_began_with(genjax, run):
    status, _, err = genjax("train", TINY, "--workdir", run, "--resume", "--steps", 20)
    assert status == 0, err
    assert "warning" not in err
    assert all("(fsdp=2)" in name for names in meshes(run).values() for name in names)
    assert stored_settings(run) == TrainSettings(
        accumulate=2, dtype="float32", remat=False, offload_optimizer=False, mesh={"fsdp": 2}
    )
    assert load_experiment(run).accumulate == 2


def test_another_number_of_minibatches_is_refused(genjax, run):
    line = refused(genjax, "train", TINY, "--workdir", run, "--resume", "--accumulate", 4)
    assert "holds a run with accumulate 2, not 4; resume it with --accumulate 2" in line


@pytest.mark.filterwarnings("default:the mesh that")
def test_a_stored_mesh_that_the_devices_do_not_fit_is_left_out_in_one_line(genjax, run):
    change_stored(run, mesh={"data": 2, "fsdp": 4})
    status, _, err = genjax("train", TINY, "--workdir", run, "--resume", "--steps", 20)
    assert status == 0, err
    (line,) = [line for line in err.splitlines() if "genjax: warning" in line]
    assert line.startswith(
        "genjax: warning: the mesh that the run began with does not fit: mesh is data=2,fsdp=4, which takes 8 devices, "
        "but there are 2; batches are split over all devices instead"
    )
    assert not all("(fsdp=2)" in name for name in meshes(run)[20])
    assert stored_settings(run).mesh == {"data": 2, "fsdp": 4}  # for a time when eight devices are there again
    line = refused(genjax, "train", TINY, "--resume", "--workdir", run, "--mesh", "data=8")
    assert "mesh is data=8, which takes 8 devices, but there are 2" in line
    status, _, err = genjax(
        "train", TINY, "--workdir", run, "--resume", "--mesh", "data=2"
    )  # which fits, and is stored
    assert status == 0, err
    assert stored_settings(run).mesh == {"data": 2}


def test_runs_of_older_versions_go_on(run):
    stored = json.loads((run / "arguments.json").read_text())
    for name in ("mesh", "accumulate", "dtype", "remat", "offload_optimizer"):
        del stored[name]
    (run / "arguments.json").write_text(json.dumps(stored))
    assert stored_settings(run) == TrainSettings()
    assert load_experiment(run).accumulate == 1


def test_a_run_is_compiled_as_it_was_trained(genjax, run, monkeypatch):
    compiled = []

    def compile_ahead(experiment, target, *, mesh, announce):
        compiled.append((experiment.accumulate, mesh))
        return iter(())

    monkeypatch.setattr(ahead, "compile_ahead", compile_ahead)
    for path, flags in ((run, ()), (run, ("--mesh", "data=2", "--accumulate", 3)), (TINY, LAYOUT), (TINY, ())):
        status, _, err = genjax("compile", path, "--platform", "cpu", *flags)
        assert status == 0, err
    assert compiled == [(2, {"fsdp": 2}), (3, {"data": 2}), (2, {"fsdp": 2}), (1, None)]
