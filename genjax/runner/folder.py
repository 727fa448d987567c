"""The run folder: everything that a run writes, in open formats.

<experiment>.py      copy of the experiment file
arguments.json       its arguments, the seed and the number of seeds
datasets.json        names, shapes and tokenizers of its data, so that sampling need not open the data
environment.json     versions, git commits, devices, command
metrics.jsonl        one row of metrics per line; also as TensorBoard events in tensorboard/
samples/             samples drawn during training: pictures, texts or sounds
checkpoints/         one folder per checkpoint, in one folder per stage if there are several
weights.safetensors  variables of the finished run, for sampling and for other programs
results.json         final results
report.md            one page: results, curves, samples
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, final

import jax

from genjax.data.io import replace_file
from genjax.experiment import SINGLE_STAGE

_PACKAGES = ("genjax-models", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


@final
@dataclass(frozen=True, kw_only=True)
class ExperimentSource:
    """Where the experiment of a run comes from.

    Attributes:
      name: name of the experiment, which is that of its file without ``.py``.
      file: experiment file; None for an experiment built in Python.
      arguments: hyper-parameters that ``experiment`` was called with.
      description: one paragraph for the report.
      datasets: descriptions of the data sets that ``experiment`` opened, see ``genjax.data.deferred``.
    """

    name: str = "experiment"
    file: Path | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    description: str = ""
    datasets: Sequence[Mapping[str, Any]] = ()


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


def default_path(name: str, *, resume: bool) -> Path:
    """Return ``runs/<name>/<time>``, or with ``resume`` the newest existing run."""
    parent = Path("runs") / name
    if resume:
        runs = sorted(p.parent for p in parent.glob("*/arguments.json"))
        if not runs:
            raise FileNotFoundError(f"there is no run to resume in {parent}; leave --resume out, or pass --workdir")
        return runs[-1]
    return parent / time.strftime("%Y-%m-%d_%H-%M-%S")


def check_folder(path: Path, source: ExperimentSource, *, seed: int, seeds: int, resume: bool, overwrite: bool) -> None:
    """Raise ValueError if training in a folder, which may not exist yet, would mix two runs or lose files.

    With ``resume`` the folder may hold a run of the same experiment, arguments and seeds, with ``overwrite`` any run or
    files. Nothing is written.
    """
    folder = RunFolder(path)
    is_run = (path / "arguments.json").is_file()
    if path.exists() and any(path.iterdir()) and not is_run and not overwrite:
        raise ValueError(f"{path} is not empty and holds no run; choose another --workdir, or pass --overwrite")
    if is_run and resume:
        _check_same(folder, _arguments(source, seed, seeds), source)
    elif is_run and not overwrite:
        name = folder.read_json("arguments.json")["experiment"]
        raise ValueError(
            f"{path} holds a run of {name!r}; pass --resume to continue it, --overwrite to replace it, "
            "or choose another --workdir"
        )


def write_folder(path: Path, source: ExperimentSource, *, seed: int, seeds: int, resume: bool) -> None:
    """Create a run folder that ``check_folder`` accepts; without ``resume``, delete the run that it holds."""
    if not resume and (path / "arguments.json").is_file():
        shutil.rmtree(path)
    path.mkdir(parents=True, exist_ok=True)
    if source.file is not None and not (path / source.file.name).exists():
        shutil.copyfile(source.file, path / source.file.name)
    folder = RunFolder(path)
    installed = sorted({f"{each.name}=={each.version}" for each in metadata.distributions()})
    folder.write_json("environment.json", environment() | {"installed": installed})
    folder.write_json("datasets.json", list(source.datasets))
    folder.write_json("arguments.json", _arguments(source, seed, seeds))


def _arguments(source: ExperimentSource, seed: int, seeds: int) -> dict[str, Any]:
    return {
        "experiment": source.name,
        "file": source.file.name if source.file else None,
        "arguments": json.loads(json.dumps(dict(source.arguments), default=str)),
        "seed": seed,
        "seeds": seeds,
    }


def _check_same(folder: RunFolder, requested: dict[str, Any], source: ExperimentSource) -> None:
    """Raise if a folder holds a run of another experiment, or one with other arguments or seeds."""
    stored = folder.read_json("arguments.json")
    old, new = stored["experiment"], requested["experiment"]
    if old != new:
        raise ValueError(f"{folder.path} holds a run of {old!r}, not of {new!r}; choose another --workdir")
    for name in ("seed", "seeds"):
        old, new = stored[name], requested[name]
        if old != new:
            raise ValueError(
                f"{folder.path} holds a run with {name} {old}, not {new}; resume it with --{name} {old}, or choose "
                "another --workdir"
            )
    for name in sorted(set(stored["arguments"]) | set(requested["arguments"])):
        old, new = stored["arguments"].get(name), requested["arguments"].get(name)
        if old != new:
            raise ValueError(
                f"{folder.path} holds a run with {name}={old!r}, not {new!r}; leave the flag out to resume it "
                "unchanged, or choose another --workdir"
            )
    if source.file is not None:
        copy = folder.path / source.file.name
        if copy.is_file() and copy.read_bytes() != source.file.read_bytes():
            raise ValueError(
                f"{source.file} has changed since the run in {folder.path} began; resume from the copy with "
                f"'genjax train {copy} --workdir {folder.path} --resume', or choose another --workdir"
            )


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
