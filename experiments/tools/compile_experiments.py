"""Compile every experiment for TPUs that are not there, and make a table of what each takes.

    python experiments/tools/compile_experiments.py --out programs.jsonl
    python experiments/tools/compile_experiments.py --out programs.jsonl --add

The first command takes hours, goes on where it was stopped, and needs the extra ``tpu-aot``. The second adds the table
to results.json, from which make_readme.py makes the page.
"""

from __future__ import annotations

import argparse
import inspect
import json
import math
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from genjax.runner import load_experiment_fn
from genjax.runner.records import read_results, write_results

FOLDER = Path(__file__).parents[1]
TABLE = "ahead-of-time"
TOPOLOGIES = ("v5e:2x2", "v5e:4x4")
TIMEOUT_SECONDS = 3_600


def num_chips(topology: str) -> int:
    """Return the number of chips of a topology, such as 4 of ``v5e:2x2``."""
    return math.prod(int(size) for size in topology.partition(":")[2].split("x"))


def batch_flags(file: Path, chips: int) -> list[str]:
    """Return the flags that make the default batch size of an experiment a multiple of the chips, none if it is one."""
    parameter = inspect.signature(load_experiment_fn(file)).parameters.get("batch_size")
    if parameter is None or parameter.default % chips == 0:
        return []
    return ["--batch-size", str(math.ceil(parameter.default / chips) * chips)]


def compile_experiment(file: Path, topology: str) -> dict[str, Any]:
    """Return what ``genjax compile`` says of an experiment: its programs, or the error that it ends with."""
    flags = batch_flags(file, num_chips(topology))
    command = [sys.executable, "-m", "genjax", "compile", str(file), "--topology", topology, *flags, "--json"]
    started = time.perf_counter()
    try:
        process = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        result = {"programs": [], "error": f"did not end within {TIMEOUT_SECONDS} s"}
    else:
        lines = process.stderr.strip().splitlines() or [f"exit status {process.returncode}"]
        result = json.loads(process.stdout) if process.returncode == 0 else {"programs": [], "error": lines[-1]}
    seconds = time.perf_counter() - started
    return {"experiment": file.stem, "topology": topology, "flags": flags, "seconds": seconds} | result


def compile_all(files: Sequence[Path], topologies: Sequence[str], out: Path) -> None:
    """Append a line of JSON for each experiment and topology that has none yet or ended with an error."""
    done = {(row["experiment"], row["topology"]) for row in _rows(out) if "error" not in row}
    left = [(file, topology) for topology in topologies for file in files if (file.stem, topology) not in done]
    for number, (file, topology) in enumerate(left, 1):
        print(f"{number} of {len(left)}: {file.stem} for {topology}", file=sys.stderr)
        row = compile_experiment(file, topology)
        with out.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")


def table(rows: Iterable[Mapping[str, Any]], topologies: Sequence[str]) -> dict[str, Any]:
    """Return the table of results.json: one row for each experiment, its largest training stage and its sampler."""
    by_name: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        by_name.setdefault(row["experiment"], {})[row["topology"]] = row
    kinds = [f"{kind} on {topology}" for topology in topologies for kind in ("training step", "sampling")]
    cells = [
        [f"`experiments/{name}.py`", *(text for topology in topologies for text in _cells(found.get(topology)))]
        for name, found in sorted(by_name.items())
    ]
    return {"id": TABLE, "title": "Programs for TPUs", "columns": ["experiment", *kinds], "rows": cells, "notes": []}


def _cells(row: Mapping[str, Any] | None) -> tuple[str, str]:
    """Return what the largest training stage and the sampler take."""
    if row is None:
        return "not compiled", "not compiled"
    if "error" in row:
        return row["error"].replace("|", "/"), ""
    *stages, sampler = row["programs"]
    largest = max(stages, key=lambda program: (not program["fits"], program["total_bytes"]))
    note = f" ({' '.join(row['flags'])})" if row["flags"] else ""
    return _cell(largest) + note, _cell(sampler)


def _cell(program: Mapping[str, Any]) -> str:
    if program["error"] is not None:
        return f"does not fit: {program['error']}"
    fits = "" if program["fits"] else ", does not fit"
    megabytes, seconds = program["total_bytes"] / 1e6, program["least_seconds"]
    return f"{megabytes:,.0f} MB, {seconds * 1e3:.3g} ms by {program['bound']}{fits}"


def _rows(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()] if out.exists() else []


def main() -> None:
    """Compile the experiments, or add the table of those compiled."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="file of JSON lines, read first if it exists")
    parser.add_argument("--topologies", nargs="+", default=list(TOPOLOGIES), help="kinds and layouts of chips")
    parser.add_argument("--experiments", nargs="+", default=[], help="names without .py; all by default")
    parser.add_argument("--add", action="store_true", help="compile nothing; add the table to results.json")
    options = parser.parse_args()
    if options.add:
        file = FOLDER / "results.json"
        content = read_results(file)
        new = table(_rows(options.out), options.topologies)
        old = next((other for other in content["tables"] if other["id"] == TABLE), {})
        others = [other for other in content["tables"] if other["id"] != TABLE]
        write_results(file, content | {"tables": [*others, new | {"notes": old.get("notes", [])}]})
        return
    files = sorted(FOLDER.glob("*.py"))
    chosen = [file for file in files if file.stem in options.experiments] if options.experiments else files
    compile_all(chosen, options.topologies, options.out)


if __name__ == "__main__":
    main()
