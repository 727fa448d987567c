"""The run folder: everything that a run writes, in open formats.

<experiment>.py      copy of the experiment file, and of the modules beside it that it imports
arguments.json       its arguments, and the settings of its training: seeds, how a step is computed, mesh
datasets.json        names, shapes and tokenizers of its data, so that sampling need not open the data
environment.json     versions, git commits, devices, command
metrics.jsonl        one row of metrics per line; also as TensorBoard events in tensorboard/
samples/             samples drawn during training: pictures, texts or sounds
checkpoints/         one folder per checkpoint, in one folder per stage if there are several
averages/            snapshots of power-function averages in training, one folder each
weights.safetensors  variables of the finished run, for sampling and for other programs
owner.json           process that is writing the folder; its lock is .lock
results.json         final results
evaluation.json      newest evaluation; evaluations.jsonl has all
report.md            one page: results, curves, samples
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, final
from urllib.parse import quote

import jax

from genjax.data.deferred import check_unchanged
from genjax.data.io import replace_file
from genjax.experiment import SINGLE_STAGE
from genjax.runner.claim import LOCK, OWNER
from genjax.runner.settings import TrainSettings
from genjax.runner.shell import genjax_command
from genjax.runner.stored_arguments import to_json

# What a run and the commands write into its folder, besides the experiment's copy and the pictures of the report.
_WRITTEN = {
    *("arguments.json", "datasets.json", "environment.json", "metrics.jsonl", "results.json"),
    *("evaluation.json", "evaluations.jsonl"),
    *("report.md", "weights.safetensors", "samples.png", "samples.txt", "curves.png"),
    *("checkpoints", "averages", "samples", "tensorboard", "latent", "export", "__pycache__"),
}
_PACKAGES = ("genjax-models", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


@final
@dataclass(frozen=True, kw_only=True)
class ExperimentSource:
    """Where the experiment of a run comes from.

    Attributes:
      name: name of the experiment, which is that of its file without ``.py``.
      file: experiment file; None for an experiment built in Python.
      modules: files that it imports from its folder, relative to that.
      arguments: hyper-parameters that ``experiment`` was called with.
      description: one paragraph for the report.
      datasets: descriptions of the data sets that ``experiment`` opened, see ``genjax.data.deferred``.
    """

    name: str = "experiment"
    file: Path | None = None
    modules: Sequence[Path] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)
    description: str = ""
    datasets: Sequence[Mapping[str, Any]] = ()

    def files(self) -> dict[Path, Path]:
        """Return the files that a run folder has copies of, by their paths in it."""
        if self.file is None:
            return {}
        return {Path(self.file.name): self.file} | {path: self.file.parent / path for path in self.modules}


@final
@dataclass(frozen=True)
class RunFolder:
    """Paths and small files of one run."""

    path: Path

    def __truediv__(self, name: str) -> Path:
        """Return the path of a file in the folder."""
        return self.path / name

    def checkpoints(self, stage: str) -> Path:
        """Return the folder of one stage's checkpoints."""
        return self.path / "checkpoints" if stage == SINGLE_STAGE else self.path / "checkpoints" / stage

    @property
    def averages(self) -> Path:
        """Folder of the snapshots of averages, which the last stage writes."""
        return self.path / "averages"

    def checkpoint_steps(self, stage: str) -> list[int]:
        """Return the steps of one stage's finished checkpoints."""
        folder = self.checkpoints(stage)
        return [int(p.name) for p in folder.iterdir() if p.name.isdecimal()] if folder.is_dir() else []

    def write_json(self, name: str, value: Any) -> None:
        """Write a JSON file atomically."""
        replace_file(self / name, (json.dumps(value, indent=2, default=str) + "\n").encode())

    def read_json(self, name: str) -> Any:
        """Read a JSON file of the folder."""
        file = self.path / name
        if not file.is_file():
            raise FileNotFoundError(
                f"{self.path} is not a run folder, because it has no {name}; pass one that train wrote"
            )
        return json.loads(file.read_text())


def newest_path(name: str) -> Path:
    """Return the newest run folder ``runs/<name>/<time>``."""
    parent = Path("runs") / name
    runs = sorted(p.parent for p in parent.glob("*/arguments.json"))
    if not runs:
        raise FileNotFoundError(f"there is no run to resume in {parent}; leave --resume out, or pass --workdir")
    return runs[-1]


@contextlib.contextmanager
def default_folder(name: str) -> Iterator[Path]:
    """Create ``runs/<name>/<time>``, with a suffix if the name is taken, and remove it if it is empty at the end.

    No two runs share a folder, although they start in the same second.
    """
    path = first = Path("runs") / name / time.strftime("%Y-%m-%d_%H-%M-%S")
    created = [folder for folder in (path.parent, path.parent.parent) if not folder.exists()]
    number = 1
    while True:
        try:
            path.mkdir(parents=True)
            break
        except FileExistsError:
            number += 1
            path = first.with_name(f"{first.name}-{number}")
    try:
        yield path
    finally:
        for folder in (path, *created):
            with contextlib.suppress(OSError):  # it is gone, or not empty
                folder.rmdir()


def check_folder(
    path: Path, source: ExperimentSource, settings: TrainSettings, *, resume: bool, overwrite: bool
) -> None:
    """Raise ValueError if training in a folder, which this process has claimed, would mix two runs or lose files.

    With ``resume`` the folder may hold a run of the same experiment, arguments and settings, but of fewer steps or with
    another mesh; with ``overwrite`` any run, but nothing else. Nothing is written.
    """
    folder = RunFolder(path)
    is_run, requested = (path / "arguments.json").is_file(), _arguments(source, settings)
    if is_run and resume:
        _check_same(folder, requested, source)
        return
    if is_run and not overwrite:
        name = folder.read_json("arguments.json")["experiment"]
        raise ValueError(
            f"{path} holds a run of {name!r}; pass --resume to continue it, --overwrite to replace it, "
            "or choose another --workdir"
        )
    own = _own_names(folder, source)
    foreign = sorted(name for name in _names(path) if name not in own)
    if foreign and overwrite:
        why = "which is the experiment" if Path(foreign[0]) in source.files() else "which no run wrote"
        raise ValueError(
            f"{path} holds {foreign[0]!r}, {why}, and --overwrite replaces runs alone; move it, or choose another "
            "--workdir"
        )
    if foreign or (own and not overwrite):
        cure = "choose another --workdir" + ("" if foreign else ", or pass --overwrite")
        raise ValueError(f"{path} is not empty and holds no run; {cure}")


def write_folder(path: Path, source: ExperimentSource, settings: TrainSettings, *, resume: bool) -> None:
    """Write the small files of a run into a folder that ``check_folder`` accepts.

    Without ``resume``, what an earlier run wrote is deleted first.
    """
    folder = RunFolder(path)
    copies = {path / name: file.read_bytes() for name, file in source.files().items()}
    if not resume:
        _delete_run(folder, source)
    for copy, content in copies.items():
        if not copy.exists():
            replace_file(copy, content)
    installed = sorted({f"{each.name}=={each.version}" for each in metadata.distributions()})
    folder.write_json("environment.json", environment() | {"installed": installed})
    if not (resume and (path / "arguments.json").is_file()):
        folder.write_json("datasets.json", list(source.datasets))
        write_arguments(path, source, settings)


def write_arguments(path: Path, source: ExperimentSource, settings: TrainSettings) -> None:
    """Write arguments and settings of a run; of these, a resumed run may change ``steps`` and the mesh."""
    RunFolder(path).write_json("arguments.json", _arguments(source, settings))


def stored_settings(path: Path) -> TrainSettings:
    """Return the settings of the run in a folder, or those by default if it holds none."""
    file = path / "arguments.json"
    return TrainSettings.from_json(RunFolder(path).read_json(file.name)) if file.is_file() else TrainSettings()


def steps_argument(path: Path) -> int | None:
    """Return the argument ``steps`` of the run in a folder; None without such an argument, or without a run."""
    file = path / "arguments.json"
    return RunFolder(path).read_json(file.name)["arguments"].get("steps") if file.is_file() else None


def _delete_run(folder: RunFolder, source: ExperimentSource) -> None:
    """Delete what a run wrote: checkpoints first and arguments last, so that a killed process leaves no mixture."""
    order = {"checkpoints": 0, "report.md": 2, "arguments.json": 3}
    for name in sorted(_own_names(folder, source), key=lambda name: order.get(name, 1)):
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _own_names(folder: RunFolder, source: ExperimentSource) -> set[str]:
    """Return the names of what a run wrote into a folder."""
    names = _names(folder.path)
    own = {name for name in names if name in _WRITTEN or (name.startswith(".") and name.endswith(".tmp"))}
    if "report.md" in own:
        report = (folder / "report.md").read_text(encoding="utf-8")
        own |= {name for name in names if name.endswith(".png") and quote(name) in report}
    if "arguments.json" in own:
        stored = folder.read_json("arguments.json")
        own |= {Path(name).parts[0] for name in [stored["file"], *stored.get("modules", [])] if name} & names
    for name, file in source.files().items():
        copy = folder / str(name)
        if copy.exists() and copy.samefile(file):
            own -= {name.parts[0]}  # the experiment itself lies in the folder
        elif copy.is_file() and copy.read_bytes() == file.read_bytes():
            own |= {name.parts[0]}
    return own


def _names(path: Path) -> set[str]:
    return {file.name for file in path.iterdir()} - {LOCK, OWNER}


def _arguments(source: ExperimentSource, settings: TrainSettings) -> dict[str, Any]:
    return {
        "experiment": source.name,
        "file": source.file.name if source.file else None,
        "modules": [str(path) for path in source.modules],
        "arguments": to_json(source.arguments),
        **settings.to_json(),
    }


def _check_same(folder: RunFolder, requested: dict[str, Any], source: ExperimentSource) -> None:
    """Raise if a folder holds a run of another experiment, or one with other arguments or settings."""
    stored = folder.read_json("arguments.json")
    old, new = stored["experiment"], requested["experiment"]
    if old != new:
        raise ValueError(f"{folder.path} holds a run of {old!r}, not of {new!r}; choose another --workdir")
    for name in ("seed", "seeds", "accumulate", "dtype", "remat"):
        old, new = stored.get(name), requested[name]
        if old not in (None, new):  # None: an older run, which has no such setting
            flag = f"--{name} {old}" if not isinstance(old, bool) else f"--{name}" if old else f"--no-{name}"
            raise ValueError(
                f"{folder.path} holds a run with {name} {old}, not {new}; resume it with {flag}, or choose another "
                "--workdir"
            )
    for name in sorted(set(stored["arguments"]) | set(requested["arguments"])):
        old, new = stored["arguments"].get(name), requested["arguments"].get(name)
        if old != new and not (name == "steps" and isinstance(old, int) and isinstance(new, int) and new > old):
            raise ValueError(
                f"{folder.path} holds a run with {name}={old!r}, not {new!r}; leave the flag out to resume it "
                "unchanged, or choose another --workdir"
            )
    for name, file in source.files().items():
        copy = folder / str(name)
        if copy.is_file() and copy.read_bytes() != file.read_bytes():
            assert source.file is not None
            command = genjax_command("train", folder / source.file.name, "--workdir", folder.path, "--resume")
            raise ValueError(
                f"{file} has changed since the run in {folder.path} began; resume from the copy with "
                f"'{command}', or choose another --workdir"
            )
    if (folder / "datasets.json").is_file():
        for began_with, now in zip(folder.read_json("datasets.json"), source.datasets, strict=False):
            if began_with["dataset"] and now["dataset"]:
                check_unchanged(began_with["dataset"], now["dataset"])


def environment() -> dict[str, Any]:
    """Return the versions, devices and command of this process."""
    devices, program = jax.devices(), Path(sys.argv[0]).name
    return {
        "command": shlex.join(["genjax" if program == "__main__.py" else program, *sys.argv[1:]]),
        "commit": _commit(Path.cwd()),
        "genjax_commit": _commit(Path(__file__).parent),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "device": devices[0].device_kind,
        "num_devices": len(devices),
        "num_processes": jax.process_count(),
        "cpu_cores": os.cpu_count(),
        "platform": platform.platform(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def _commit(folder: Path) -> str | None:
    """Return the git commit of a folder, with "-dirty" if files differ from it; None outside repositories."""
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip() or None
    except (OSError, subprocess.SubprocessError):
        return None


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
