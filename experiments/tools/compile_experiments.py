"""Compile every experiment for TPUs that are not there, and record what each program takes in results.json.

    python experiments/tools/compile_experiments.py --topologies v5e:2x2 v5e:4x4
    python experiments/tools/make_readme.py

It needs the extra ``tpu-aot`` and hours on 2 CPU cores. Programs that are recorded are not compiled again, so that it
goes on where it was stopped; ``--again`` compiles them anew.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from genjax.runner import load_experiment_fn
from genjax.runner.records import read_results, write_results

FOLDER = Path(__file__).parents[1]
RESULTS = FOLDER / "results.json"
TOPOLOGIES = ("v5e:2x2", "v5e:4x4")
TIMEOUT_SECONDS = 3_600
KEPT = ("name", "total_bytes", "flops", "bytes_moved", "collectives", "fits", "least_seconds", "bound", "error")


def num_chips(topology: str) -> int:
    """Return the number of chips of a topology, such as 4 of ``v5e:2x2``."""
    return math.prod(int(size) for size in topology.partition(":")[2].split("x"))


def batch_flags(file: Path, chips: int) -> list[str]:
    """Return the flags that make the batch size of an experiment a multiple of the chips, none if it is one.

    It is the next larger multiple, or a smaller one where the training split has fewer examples.
    """
    experiment = load_experiment_fn(file)()
    size = experiment.batch_size
    if size % chips == 0:
        return []
    larger = math.ceil(size / chips) * chips
    fits = larger <= len(experiment.data.splits["train"])
    return ["--batch-size", str(larger if fits else size // chips * chips)]


def compile_experiment(file: Path, topology: str) -> dict[str, Any]:
    """Return a record of what ``genjax compile`` says of an experiment; RuntimeError with its last line if it fails."""
    flags = batch_flags(file, num_chips(topology))
    command = [sys.executable, "-m", "genjax", "compile", str(file), "--topology", topology, *flags, "--json"]
    process = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
    if process.returncode:
        raise RuntimeError((process.stderr.strip().splitlines() or ["no message"])[-1])
    return record(file.stem, topology, flags, json.loads(process.stdout))


def record(experiment: str, topology: str, flags: list[str], output: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record of results.json from what ``genjax compile --json`` prints."""
    return {
        "kind": "compiled",
        "experiment": experiment,
        "topology": topology,
        "flags": flags,
        "programs": [{name: program[name] for name in KEPT} for program in output["programs"]],
        "libtpu": metadata.version("libtpu"),
        "date": time.strftime("%Y-%m-%d"),
    }


def add(new: Mapping[str, Any]) -> None:
    """Write a record in place of the earlier one of the same experiment and topology."""
    content = read_results(RESULTS)
    others = [other for other in content["records"] if _identity(other) != _identity(new)]
    order = sorted([*others, new], key=lambda each: _identity(each) if each["kind"] == "compiled" else ("",))
    write_results(RESULTS, content | {"records": order})


def _identity(entry: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(entry.get(name, "") for name in ("kind", "experiment", "topology"))


def main() -> None:
    """Compile the experiments."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("experiments", nargs="*", help="names without .py; all by default")
    parser.add_argument("--topologies", nargs="+", default=list(TOPOLOGIES), help="kinds and layouts of chips")
    parser.add_argument("--again", action="store_true", help="also compile programs that are recorded")
    options = parser.parse_args()
    names = options.experiments or sorted(file.stem for file in FOLDER.glob("*.py"))
    recorded = set() if options.again else {_identity(entry) for entry in read_results(RESULTS)["records"]}
    pairs = [(name, topology) for topology in options.topologies for name in names]
    left = [pair for pair in pairs if ("compiled", *pair) not in recorded]
    for number, (name, topology) in enumerate(left, 1):
        print(f"{number} of {len(left)}: {name} for {topology}", file=sys.stderr)
        try:
            add(compile_experiment(FOLDER / f"{name}.py", topology))
        except (RuntimeError, FileNotFoundError, subprocess.TimeoutExpired) as error:
            print(f"{name} for {topology}: {error}", file=sys.stderr)


if __name__ == "__main__":
    main()
