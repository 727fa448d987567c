"""The run folder: everything that a run leaves behind, in open formats.

<experiment>.py      copy of the experiment file
arguments.json       its arguments, the seed and the number of seeds
datasets.json        names, shapes and tokenizers of its data, so that samples can be drawn without them
environment.json     versions, devices, command
metrics.jsonl        one row of numbers a line; the same as TensorBoard events in tensorboard/
samples/             pictures, texts or sounds of samples along the way
checkpoints/         one folder a checkpoint, a folder of those for each stage when there are several
results.json         final numbers
report.md            one page: numbers, curves, samples
"""

from __future__ import annotations

import json
import os
import platform
import shlex
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, final

import jax

from genjax.experiment import SINGLE_STAGE

_PACKAGES = ("genjax-models", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")


@final
@dataclass(frozen=True, kw_only=True)
class ExperimentSource:
    """Where the experiment of a run comes from.

    Attributes:
      name: name of the experiment: of its file, without ``.py``.
      file: experiment file, or None for an experiment made in Python.
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

    def write_json(self, name: str, value: Any) -> None:
        """Write a JSON file atomically."""
        temporary = self.path / f".{name}.{os.getpid()}"
        temporary.write_text(json.dumps(value, indent=2, default=str) + "\n")
        temporary.replace(self.path / name)

    def read_json(self, name: str) -> Any:
        """Read a JSON file of the folder."""
        file = self.path / name
        if not file.is_file():
            raise FileNotFoundError(f"{self.path} is no run folder: it has no {name}; name a folder that train wrote")
        return json.loads(file.read_text())


def default_path(name: str, *, resume: bool) -> Path:
    """Return ``runs/<experiment>/<time>``, or for ``resume`` the newest one that exists."""
    parent = Path("runs") / name
    if resume:
        runs = sorted(p.parent for p in parent.glob("*/arguments.json"))
        if not runs:
            raise FileNotFoundError(f"there is no run to resume in {parent}; leave --resume out, or name a --workdir")
        return runs[-1]
    return parent / time.strftime("%Y-%m-%d_%H-%M-%S")


def check_folder(path: Path, source: ExperimentSource, *, seed: int, seeds: int, resume: bool, overwrite: bool) -> None:
    """Refuse a folder that holds something else than what is to be run; writes nothing.

    Args:
      path: the run folder, which may not exist yet.
      source: the experiment that it is for.
      seed: first seed.
      seeds: number of replicas.
      resume: the run that is there is to go on, and must be of the same experiment.
      overwrite: the run that is there is to be replaced.

    Raises:
      ValueError: naming what the folder holds, and the cure.
    """
    folder = RunFolder(path)
    is_run = (path / "arguments.json").is_file()
    if path.exists() and any(path.iterdir()) and not is_run and not overwrite:
        raise ValueError(f"{path} is not empty and holds no run; choose another --workdir, or pass --overwrite")
    if is_run and resume:
        _check_same(folder, _holds(source, seed, seeds), source)
    elif is_run and not overwrite:
        there = folder.read_json("arguments.json")["experiment"]
        raise ValueError(
            f"{path} holds a run of {there!r}; pass --resume to go on with it, --overwrite to replace it, "
            "or choose another --workdir"
        )


def write_folder(path: Path, source: ExperimentSource, *, seed: int, seeds: int, resume: bool) -> None:
    """Make a run folder that ``check_folder`` has passed; without ``resume`` a run that is there is removed."""
    if not resume and (path / "arguments.json").is_file():
        shutil.rmtree(path)
    path.mkdir(parents=True, exist_ok=True)
    if source.file is not None and not (path / source.file.name).exists():
        shutil.copyfile(source.file, path / source.file.name)
    RunFolder(path).write_json("environment.json", environment())
    RunFolder(path).write_json("datasets.json", list(source.datasets))
    RunFolder(path).write_json("arguments.json", _holds(source, seed, seeds))


def _holds(source: ExperimentSource, seed: int, seeds: int) -> dict[str, Any]:
    return {
        "experiment": source.name,
        "file": source.file.name if source.file else None,
        "arguments": json.loads(json.dumps(dict(source.arguments), default=str)),
        "seed": seed,
        "seeds": seeds,
    }


def _check_same(folder: RunFolder, holds: dict[str, Any], source: ExperimentSource) -> None:
    there = folder.read_json("arguments.json")
    for name in ("experiment", "seed", "seeds"):
        if there[name] != holds[name]:
            raise ValueError(
                f"{folder.path} holds a run with {name} {there[name]!r}, not {holds[name]!r}; "
                f"resume it with --{name} {there[name]}, or choose another --workdir"
                if name != "experiment"
                else f"{folder.path} holds a run of {there[name]!r}, not of {holds[name]!r}; choose another --workdir"
            )
    names = sorted(set(there["arguments"]) | set(holds["arguments"]))
    for name in names:
        old, new = there["arguments"].get(name), holds["arguments"].get(name)
        if old != new:
            raise ValueError(
                f"{folder.path} holds a run with {name}={old!r}, not {new!r}; leave the flag out to resume it as it "
                "was, or choose another --workdir"
            )
    if source.file is not None:
        copy = folder.path / source.file.name
        if copy.is_file() and copy.read_bytes() != source.file.read_bytes():
            raise ValueError(
                f"{source.file} has changed since the run in {folder.path} began; resume from the copy with "
                f"'genjax train {copy} --workdir {folder.path} --resume', or choose another --workdir"
            )


def environment() -> dict[str, Any]:
    """Return versions, devices and command of this process."""
    devices = jax.devices()
    return {
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "device": devices[0].device_kind,
        "num_devices": len(devices),
        "num_processes": jax.process_count(),
        "cpu_cores": os.cpu_count(),
        "platform": platform.platform(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
