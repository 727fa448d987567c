"""Reports of a comparison: ``comparison.json`` with every number, ``report.md``, and ``report.html`` in one file."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from genjax.comparison.claims import NOTE, Judgement, judge, read_claims
from genjax.comparison.measure import CellFiles
from genjax.comparison.page import page
from genjax.comparison.plots import scatter_plots
from genjax.comparison.table import Column, Entry, Table
from genjax.comparison.trials import Trials
from genjax.data.io import replace_file
from genjax.metrics.rows import format_value

DATA = "data"  # name of the picture of examples
CONVENTION = (
    'Mean ± standard deviation over seeds. "none": the model or the data do not have the quantity. Floors are simple '
    "models of the same data, which a trained model should beat."
)
RELATED = (
    "The layout stands beside the table of Sam Bond-Taylor, Adam Leach, Yang Long and Chris Willcocks 2021 "
    "(arXiv:2103.04922), whose numbers are collected from papers; those here are measured by one protocol."
)


def write_reports(
    table: Table,
    out: Path,
    environment: Mapping[str, Any],
    command: str,
    trials: Sequence[Trials] = (),
) -> None:
    """Write the three reports into the folder of a comparison."""
    samples = _samples(table, CellFiles(out))
    content = {"command": command, "machine": environment, **table.as_dict()}
    if trials:
        content["trials"] = [each.as_dict() for each in trials]
    judgements = [judge(claim, table) for claim in read_claims()]
    content["claims"] = [judgement.as_dict() for judgement in judgements]
    decided = [judgement for judgement in judgements if judgement.verdict != "undecided"]
    lines = _trial_lines(trials)
    replace_file(out / "comparison.json", (json.dumps(content, indent=1, ensure_ascii=False) + "\n").encode())
    replace_file(
        out / "report.md",
        markdown(
            table,
            environment,
            command,
            {k: v.relative_to(out) for k, v in samples.items()},
            lines,
            decided,
        ).encode(),
    )
    html = page(
        table,
        title=f"Comparison on {table.protocol['data']}",
        protocol=facts(table.protocol),
        machine=facts(environment),
        notes=(f"{CONVENTION} {budget(table)}".rstrip(), RELATED),
        command=command,
        failures=_failures(table),
        trials=lines,
        claims=decided,
        plots=scatter_plots(table),
        samples=samples,
    )
    replace_file(out / "report.html", html.encode())


def _samples(table: Table, files: CellFiles) -> dict[str, Path]:
    """Return the files of data and samples that exist, by title."""
    bases = {name: files.samples(name) for name in [DATA, *(entry.name for entry in table.entries)]}
    paths = {
        name: [base.with_name(f"{base.name}{suffix}") for suffix in (".png", ".txt")] for name, base in bases.items()
    }
    return {name: path for name, both in paths.items() for path in both if path.is_file()}


def facts(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested values as texts by name, names joined by slashes.

    >>> facts({"seed": 0, "packages": {"jax": "0.10"}, "commit": None})
    {'seed': '0', 'packages/jax': '0.10', 'commit': 'unknown'}
    """
    texts: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            texts |= facts(value, f"{prefix}{name}/")
        else:
            texts[f"{prefix}{name}"] = "unknown" if value is None else str(value)
    return texts


def markdown(
    table: Table,
    environment: Mapping[str, Any],
    command: str,
    samples: Mapping[str, Path],
    trials: Sequence[str] = (),
    claims: Sequence[Judgement] = (),
) -> str:
    """Return the report as Markdown, with links to the files of ``samples``, by title."""
    columns = table.shown_columns()
    head = ["", *(_heading(column) for column in columns)]
    best = {column.name: table.best(column.name) for column in columns}
    rows = [[entry.name, *(_text(table, entry, column, best) for column in columns)] for entry in table.entries]
    parts = [
        f"# Comparison on {table.protocol['data']}",
        f"{CONVENTION} {budget(table)}".rstrip(),
        _markdown_table(head, rows),
        "Best of the models in bold. Columns:",
        "\n".join(f"* {column.title}: {column.summary}" for column in columns),
        *_section("Failed", [f"* {failure}" for failure in _failures(table)]),
        "## Entries",
        "\n".join(f"* {entry.name}: {entry.model}. {entry.summary}" for entry in table.entries),
        *_section("Trials", [f"* {line}" for line in trials]),
        *_section("Claims", _claim_lines(claims)),
        *_section("Samples", [f"* [{name}]({path.as_posix()})" for name, path in samples.items()]),
        "## Protocol",
        _markdown_table(["setting", "value"], [[k, f"`{v}`"] for k, v in facts(table.protocol).items()]),
        RELATED,
        "## Machine",
        _markdown_table(["property", "value"], [[k, f"`{v}`"] for k, v in facts(environment).items()]),
        f"Every number, with the command that prints it, is in `comparison.json`. Made by `{command}`.",
    ]
    return "\n\n".join(parts) + "\n"


def budget(table: Table) -> str:
    """Return how much the budgets of the models differ: parameters, and the time of training by one seed.

    >>> from genjax.comparison.table import Cell
    >>> columns = (Column(name="parameters", title="parameters", group="size", source="size", unit="parameters"),)
    >>> entries = tuple(Entry(name=name, kind="model", model="VAE") for name in ("a", "b", "c"))
    >>> cells = tuple(Cell(entry=name, column="parameters", value=value) for name, value in zip("abc", (80, 100, 150)))
    >>> budget(Table(columns=columns, entries=entries, cells=cells))
    'Budgets of the models: parameters 80 to 150, which is −20 % to +50 % of the median.'
    """
    parts = []
    for name in ("parameters", "training_time"):
        column = next((column for column in table.columns if column.name == name), None)
        models = [entry.name for entry in table.entries if entry.kind == "model"]
        values = [] if column is None else [v for entry, v in table.values(name).items() if entry in models]
        if column is None or len(values) < 2:
            continue
        middle = statistics.median(values)
        low, high = (f"{100 * (value / middle - 1):+.0f} %".replace("-", "−") for value in (min(values), max(values)))
        unit = "" if column.unit == "parameters" else f" {column.unit}"
        least, most = (f"{value:,.0f}" if value >= 10 else f"{value:.2g}" for value in (min(values), max(values)))
        parts.append(f"{column.title} {least} to {most}{unit}, which is {low} to {high} of the median")
    return f"Budgets of the models: {'; '.join(parts)}." if parts else ""


def _section(title: str, lines: list[str]) -> list[str]:
    return [f"## {title}", "\n".join(lines)] if lines else []


def _heading(column: Column) -> str:
    arrow = {True: " ↑", False: " ↓", None: ""}[column.higher_is_better]
    return f"{column.title}{f' ({column.unit})' if column.group == 'speed' else ''}{arrow}"


def _text(table: Table, entry: Entry, column: Column, best: Mapping[str, tuple[str, ...]]) -> str:
    text = table.cell(entry.name, column.name).text(column)
    return f"**{text}**" if entry.name in best[column.name] else text


def _claim_lines(judgements: Sequence[Judgement]) -> list[str]:
    """Return the lines of a Markdown table of claims."""
    if not judgements:
        return []
    rows = [[each.claim.sentence, each.verdict, each.reason, str(each.claim.source)] for each in judgements]
    table = _markdown_table(["claim", "verdict", "numbers", "source"], rows)
    return [f"{NOTE} The claims that need other models or columns are in `comparison.json`.\n\n{table}"]


def _trial_lines(trials: Sequence[Trials]) -> list[str]:
    """Return a line for each experiment with several trials: the chosen one, then the coverage of each."""
    lines = []
    for each in (each for each in trials if len(each.trials) > 1):
        tried = [
            f"{trial.flags or 'without flags'} {'failed' if trial.run is None else format_value(trial.coverage)}"
            for trial in each.trials
        ]
        lines.append(f"{each.label or each.name}: chosen {each.chosen.flags or 'without flags'}; {', '.join(tried)}")
    return lines


def _failures(table: Table) -> list[str]:
    """Return a line for each entry and reason, with the measurements that failed for it."""
    sources = {column.name: column.source.replace("_", " ") for column in table.columns}
    reasons: dict[tuple[str, str | None], dict[str, None]] = {}
    for cell in table.cells:
        if cell.status == "failed":
            reasons.setdefault((cell.entry, cell.reason), {})[sources[cell.column]] = None
    return [f"{entry} ({', '.join(names)}): {reason}" for (entry, reason), names in reasons.items()]


def _markdown_table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |" for cells in lines)
