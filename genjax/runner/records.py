"""Results of runs, collected in one JSON file: ``{"tables": [...], "records": [...]}``.

``record_results`` adds or replaces one record and leaves everything else in the file as it is. A record is identified
by its experiment and by the hyper-parameters that differ from their defaults. ``experiments/results.json`` is the
project's own file, and ``experiments/tools/make_readme.py`` makes a page from it.
"""

from __future__ import annotations

import inspect
import json
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from genjax.data.io import replace_file
from genjax.runner.folder import RunFolder
from genjax.runner.load import load_experiment_fn
from genjax.runner.stored_arguments import to_json


def read_results(file: Path) -> dict[str, Any]:
    """Return the content of a results file, with empty lists for a missing file; raise ValueError for another file."""
    if not file.exists():
        return {"tables": [], "records": []}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is not a results file, because it is not JSON ({error}); name another file") from None
    if not isinstance(content, dict) or not isinstance(content.get("records"), list):
        raise ValueError(f"{file} is not a results file, because it has no list 'records'; name another file")
    return content


def write_results(file: Path, content: Mapping[str, Any]) -> None:
    """Write a results file atomically."""
    replace_file(file, (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())


def record_results(file: Path, folder: Path, report: Mapping[str, Any]) -> None:
    """Merge what ``genjax evaluate`` measured, its ``evaluation.json``, into a results file, which may not exist yet.

    A record of the same run at the same step gains the new results; a record of another run of the same experiment and
    hyper-parameters is replaced.

    Raises:
      ValueError: if the file is not a results file, or the run was trained without an experiment file.
    """
    content = read_results(file)
    record = _run_record(RunFolder(folder), report)
    others = [other for other in content["records"] if _identity(other) != _identity(record)]
    for previous in content["records"]:
        if previous | {"results": None} == record | {"results": None}:
            record["results"] = previous["results"] | record["results"]
    write_results(file, {**content, "records": [*others, record]})


def _run_record(folder: RunFolder, report: Mapping[str, Any]) -> dict[str, Any]:
    stored, environment = folder.read_json("arguments.json"), folder.read_json("environment.json")
    if stored["file"] is None:
        raise ValueError(f"{folder.path} was trained without an experiment file; record a run of 'genjax train FILE'")
    return {
        "kind": "run",
        "experiment": stored["experiment"],
        "arguments": _changed_arguments(folder / stored["file"], stored["arguments"]),
        "seeds": list(range(stored["seed"], stored["seed"] + stored["seeds"])),
        "step": report["step"],
        "checkpoint": report["checkpoint"],
        "command": _portable(environment["command"]),
        "device": environment["device"],
        "num_devices": environment["num_devices"],
        "cpu_cores": environment["cpu_cores"],
        "jax": environment["packages"]["jax"],
        "started": environment["started"],
        "results": {
            name: {**result, "seed": report["seed"]}
            for name, result in report["results"].items()
            if result["value"] is not None
        },
    }


def _changed_arguments(file: Path, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the hyper-parameters that differ from the defaults in the experiment file."""
    defaults = {name: p.default for name, p in inspect.signature(load_experiment_fn(file)).parameters.items()}
    return {name: value for name, value in arguments.items() if value != to_json(defaults.get(name))}


def _portable(command: str) -> str:
    """Return a command without the flags that concern its run folder alone."""
    words = iter(shlex.split(command))
    portable = []
    for word in words:
        if word == "--workdir":
            next(words, None)
        elif word not in ("--resume", "--overwrite") and not word.startswith("--workdir="):
            portable.append(word)
    return shlex.join(portable)


def _identity(record: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(record.get(name) for name in ("kind", "experiment", "arguments"))
