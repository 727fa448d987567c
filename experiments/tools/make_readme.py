"""Make experiments/README.md from experiments/results.json, or add the figures of a benchmark to the latter.

    python experiments/tools/make_readme.py
    python experiments/benchmarks/gmmn.py --json > first.jsonl
    python experiments/benchmarks/gmmn.py --json > second.jsonl
    python experiments/tools/make_readme.py --add gmmn first.jsonl second.jsonl

The page is a function of the JSON file alone, which holds

* ``tables``: results as they were reported. Each table has an ``id``, which is its anchor, a ``title``, ``columns``,
  ``rows`` (one text for each column) and ``notes``, all in Markdown.
* ``records``: results as they were written by a command. Those of kind "run" come from
  ``genjax evaluate RUN --record experiments/results.json``: ``experiment``, the ``arguments`` that differ from their
  defaults, ``seeds``, ``step``, ``checkpoint``, training ``command``, ``device``, ``num_devices``, ``cpu_cores``,
  ``jax``, ``started``, and ``results`` by name with value, standard error, sd over seeds and protocol. Those of kind
  "benchmark" come from ``--add``: ``benchmark``, ``date``, the number of ``runs``, and ``rows`` as the benchmark
  printed them; of several runs the worse ratio stands. Those of kind "compiled" come from ``compile_experiments.py``.
"""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from genjax.runner.records import read_results, write_results

FOLDER = Path(__file__).parents[1]
INTRODUCTION = """# Results of the experiments

Every number on this page was measured by a file in this folder, whose docstring gives the command, the hardware and the
time. Numbers are mean ± standard deviation over training seeds where several seeds are stated. This page is made from
[results.json](results.json) by [tools/make_readme.py](tools/make_readme.py); edit the JSON, never the page.
`genjax evaluate RUN --record experiments/results.json` adds the results of a run."""


def page(content: Mapping[str, Any]) -> str:
    """Return the page in Markdown."""
    records = content["records"]
    tables = [
        *content["tables"],
        *_record_table("runs", "Recorded runs", _RUN_COLUMNS, map(_run_rows, _of_kind(records, "run"))),
        *_record_table(
            "benchmarks",
            "Speed",
            _BENCHMARK_COLUMNS,
            map(_benchmark_rows, _of_kind(records, "benchmark")),
        ),
        *_record_table(
            "compiled", "Programs for TPUs", _COMPILED_COLUMNS, map(_compiled_rows, _of_kind(records, "compiled"))
        ),
    ]
    contents = "\n".join(f"- [{table['title']}](#{table['id']})" for table in tables)
    return "\n\n".join([INTRODUCTION, contents, *map(_section, tables)]) + "\n"


def _section(table: Mapping[str, Any]) -> str:
    """Return a heading, a table and its notes."""
    lines = [table["columns"], ["---"] * len(table["columns"]), *table["rows"]]
    rows = "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
    text = "\n\n".join([f'<a id="{table["id"]}"></a>\n\n## {table["title"]}', rows, *table["notes"]])
    return re.sub(r"`experiments/([\w/]+\.py)`", r"[`\1`](\1)", text)


_RUN_COLUMNS = ("experiment", "metric", "value", "step", "command", "hardware", "date")
_BENCHMARK_COLUMNS = (
    "what is timed",
    "ratio",
    "target",
    "compared with; genjax",
    "benchmark",
    "machine",
    "runs",
    "date",
)
_COMPILED_COLUMNS = ("experiment", "chips", "program", "memory of a chip", "least time", "bound by", "libtpu", "date")


def _of_kind(records: Iterable[Mapping[str, Any]], kind: str) -> list[Mapping[str, Any]]:
    return [record for record in records if record["kind"] == kind]


def _record_table(
    name: str, title: str, columns: Sequence[str], rows: Iterable[list[list[str]]]
) -> list[dict[str, Any]]:
    """Return a table of records, or nothing if there are none."""
    joined = [[cell.replace("|", "\\|") for cell in row] for record in rows for row in record]
    return [{"id": f"recorded-{name}", "title": title, "columns": columns, "rows": joined, "notes": []}][: len(joined)]


def _run_rows(record: Mapping[str, Any]) -> list[list[str]]:
    """Return one row per result."""
    changed = ", ".join(f"{name}={value}" for name, value in record["arguments"].items())
    name = f"`experiments/{record['experiment']}.py`" + (f" ({changed})" if changed else "")
    hardware = f"{record['num_devices']} × {record['device']}, {record['cpu_cores']} CPU cores, jax {record['jax']}"
    rest = [f"{record['step']:,}", f"`{record['command']}`", hardware, record["started"][:10]]
    return [[name, metric, _value(result, record), *rest] for metric, result in record["results"].items()]


def _value(result: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    """Return a value ± sd over seeds, or else ± the standard error."""
    value = f"{result['value']:.5g}"
    if "sd" in result:
        return f"{value} ± {result['sd']:.2g} ({len(record['seeds'])} seeds)"
    return f"{value} ± {result['standard_error']:.2g} (standard error)" if "standard_error" in result else value


def _benchmark_rows(record: Mapping[str, Any]) -> list[list[str]]:
    """Return one row per line that the benchmark printed."""
    name, rest = f"`experiments/benchmarks/{record['benchmark']}.py`", [str(record["runs"]), record["date"]]
    return [
        [row["row"], _ratio(row["ratio"]), row["target"], row["rival"], name, row["machine"], *rest]
        for row in record["rows"]
    ]


def _compiled_rows(record: Mapping[str, Any]) -> list[list[str]]:
    """Return a row for the stage of training that takes most memory, and one for the sampler."""
    *stages, sampler = record["programs"]
    largest = max(stages, key=lambda program: (program["fits"] is False, program["total_bytes"]))
    name = " ".join([f"`experiments/{record['experiment']}.py`", *record["flags"]])
    return [
        [name, record["topology"], *_program(program), record["libtpu"], record["date"]]
        for program in (largest, sampler)
    ]


def _program(program: Mapping[str, Any]) -> list[str]:
    if program["error"] is not None:
        return [program["name"], f"does not fit: {program['error']}", "", ""]
    memory = f"{program['total_bytes'] / 1e6:,.0f} MB" + ("" if program["fits"] else ", does not fit")
    return [program["name"], memory, f"{program['least_seconds'] * 1e3:.3g} ms", program["bound"]]


def _ratio(value: float) -> str:
    return f"{value:.3g}" if value < 1_000 else f"{value:,.0f}"


def add_benchmark(content: Mapping[str, Any], name: str, runs: Sequence[str]) -> dict[str, Any]:
    """Return the content with the figures of a benchmark, which replace earlier ones.

    Args:
      content: content of the results file.
      name: name of the benchmark's file, without ``.py``.
      runs: what each run printed with ``--json``, one JSON object a line; of each row the worse ratio stands.
    """
    rows: dict[str, dict[str, Any]] = {}
    for row in (json.loads(line) for run in runs for line in run.splitlines()):
        name_of_row = row["row"]
        rows[name_of_row] = _worse(rows[name_of_row], row) if name_of_row in rows else row
    record = {"kind": "benchmark", "benchmark": name, "date": time.strftime("%Y-%m-%d"), "runs": len(runs)}
    record["rows"] = list(rows.values())
    others = [other for other in content["records"] if other.get("benchmark") != name]
    return {**content, "records": [*others, record]}


def _worse(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    """Return the row with the larger ratio if the target is an upper limit, else that with the smaller one."""
    pick = max if a["target"].startswith("<") else min
    return pick(a, b, key=lambda row: row["ratio"])


def main() -> None:
    """Make the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--add", nargs="+", metavar=("BENCHMARK", "FILE"), help="add what runs printed by --json")
    options = parser.parse_args()
    file = FOLDER / "results.json"
    if options.add is not None:
        name, *paths = options.add
        runs = [Path(path).read_text(encoding="utf-8") for path in paths]
        write_results(file, add_benchmark(read_results(file), name, runs))
    (FOLDER / "README.md").write_text(page(read_results(file)), encoding="utf-8")


if __name__ == "__main__":
    main()
