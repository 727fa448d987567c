"""The report as one HTML file, which needs no network: styles, script, plots and pictures are inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from genjax.comparison.claims import NOTE, Judgement
from genjax.comparison.table import Cell, Table
from genjax.figures.pages import data_uri, render

MAX_TEXT = 2_000  # characters of samples that are texts


def page(
    table: Table,
    *,
    title: str,
    protocol: Mapping[str, str],
    machine: Mapping[str, str],
    notes: tuple[str, str],
    command: str,
    failures: Sequence[str] = (),
    trials: Sequence[str] = (),
    claims: Sequence[Judgement] = (),
    plots: Sequence[str] = (),
    samples: Mapping[str, Path] | None = None,
) -> str:
    """Return the page.

    Args:
      table: table of the comparison.
      title: title of the page.
      protocol: settings that all numbers share, by name.
      machine: versions and devices, by name.
      notes: conventions of the table, and a note on the protocol.
      command: command that made the page.
      failures: a line for each failed measurement.
      trials: a line for each entry that was chosen between several settings.
      claims: what overviews say, with verdicts.
      plots: SVG elements.
      samples: files of pictures (.png) and texts (.txt) by title.
    """
    from markupsafe import Markup

    columns = table.shown_columns()
    samples = samples or {}
    return render(
        "genjax.comparison",
        "page",
        table=table,
        title=title,
        protocol=protocol,
        machine=machine,
        notes=notes,
        command=command,
        failures=failures,
        trials=trials,
        claims=claims,
        claims_note=NOTE,
        columns=columns,
        best={column.name: table.best(column.name) for column in columns},
        describe=_describe,
        commands={entry.name: _commands(table, entry.name) for entry in table.entries},
        plots=[Markup(plot) for plot in plots],
        pictures={
            name: data_uri("image/png", path.read_bytes()) for name, path in samples.items() if path.suffix == ".png"
        },
        texts={name: path.read_text("utf-8")[:MAX_TEXT] for name, path in samples.items() if path.suffix == ".txt"},
    )


def _describe(cell: Cell) -> str:
    """Return how a cell was measured, or why it has no value."""
    if cell.value is None:
        return cell.reason or ""
    error = [] if cell.standard_error is None else [f"standard error {cell.standard_error:.3g}"]
    replicas = [f"seeds {', '.join(f'{value:.4g}' for value in cell.replicas)}"] if cell.replicas else []
    entries = [f"{name.replace('_', ' ')} {value}" for name, value in cell.protocol.items()]
    return "; ".join([*replicas, *error, *entries])


def _commands(table: Table, entry: str) -> list[str]:
    """Return the commands that print an entry's numbers, each once."""
    cells = [table.cell(entry, column.name) for column in table.columns]
    return list(dict.fromkeys(command for cell in cells for command in cell.commands))
