"""``--overwrite`` deletes what a run wrote and nothing else, and any legal path is a run folder."""

import importlib.util
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from genjax.runner import load_run, train
from genjax.runner.folder import ExperimentSource
from tests.running import TINY

spec = importlib.util.spec_from_file_location("tiny", Path(__file__).parent / "experiments" / "tiny.py")
tiny = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tiny)

SOURCE = ExperimentSource(name="tiny", file=TINY, arguments={"steps": 10})


def run(folder, *, steps=10, **settings):
    return train(tiny.experiment(steps=steps), workdir=folder, progress=False, source=SOURCE, **settings)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return run(tmp_path_factory.mktemp("folder") / "run")


@pytest.fixture
def folder(finished, tmp_path):
    return shutil.copytree(finished.folder, tmp_path / "run")


def content(folder):
    return {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_overwriting_leaves_foreign_files_alone(folder):
    (folder / "notes.txt").write_text("mine")
    before = content(folder)
    with pytest.raises(ValueError, match=r"holds 'notes.txt', which no run wrote, .* choose another --workdir"):
        run(folder, overwrite=True)
    assert content(folder) == before


def test_overwriting_leaves_the_experiment_alone(tmp_path):
    file = shutil.copyfile(TINY, tmp_path / "tiny.py")
    source = ExperimentSource(name="tiny", file=file)
    for settings in ({"overwrite": True}, {}):
        with pytest.raises(ValueError, match=r"holds 'tiny.py', which is the experiment|is not empty and holds no run"):
            train(tiny.experiment(), workdir=tmp_path, progress=False, source=source, **settings)
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.py"]


@pytest.mark.parametrize("deleted", [0, 3, 8])
def test_an_interrupted_overwrite_mixes_no_runs(folder, monkeypatch, deleted):
    """Whatever had been deleted when the process was killed, the next run is whole."""
    (folder / "tiny.py").write_text("# an old version")
    count, (unlink, rmtree) = [0], (Path.unlink, shutil.rmtree)

    def killed(delete):
        def call(path, *args, **kwargs):
            if path.parent == folder and path.name not in ("owner.json", ".lock"):
                if count[0] == deleted:
                    raise InterruptedError
                count[0] += 1
            delete(path, *args, **kwargs)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", killed(unlink))
        patch.setattr(shutil, "rmtree", killed(rmtree))
        with pytest.raises(InterruptedError):
            run(folder, steps=20, overwrite=True)
    assert (folder / "arguments.json").is_file()
    run(folder, steps=20, overwrite=True)
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["10", "20"]
    assert (folder / "tiny.py").read_bytes() == TINY.read_bytes()
    assert json.loads((folder / "arguments.json").read_text())["arguments"] == {"steps": 10}


def test_what_a_run_left_without_arguments_is_replaced_only_if_asked(folder):
    (folder / "arguments.json").unlink()
    with pytest.raises(ValueError, match=r"is not empty and holds no run; .* pass --overwrite"):
        run(folder)
    run(folder, overwrite=True)


@pytest.mark.parametrize("name", ["vae[beta=4]", 'a b\'s "c"', "größe λ*?", "-n", "$HOME {a} %20 ["])
def test_any_name_is_a_run_folder(finished, tmp_path, name):
    folder = tmp_path / name / name
    run(folder)
    (folder / "weights.safetensors").unlink()
    back = load_run(folder, experiment=finished.experiment)
    jax.tree.map(np.testing.assert_array_equal, back.variables, finished.variables)
    assert load_run(folder, experiment=finished.experiment, checkpoint="best").step == 10
    run(folder, resume=True)
    assert (folder / "weights.safetensors").exists()
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_relative_and_linked_folders(finished, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk")
    for folder in (Path("run"), Path("link"), Path("other") / "run[1]"):
        run(folder)
        (folder / "weights.safetensors").unlink()
        back = load_run(folder, experiment=finished.experiment)
        jax.tree.map(np.testing.assert_array_equal, back.variables, finished.variables)
