"""Draw a measured table: a row for each model and floor, a cell for each number, coloured by its rank in the column.

    python experiments/tools/draw_table.py digits docs/digits_table.png

The name is that of a table which ``genjax choose`` reads, or the path of a comparison.json. Blue is better than red.
Columns without a direction, and those that fewer than three models have, are left out.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from genjax.comparison.choosing import read_table, share
from genjax.comparison.table import Column, Entry, Table

MIN_MODELS = 3
CELL, ROW = 0.72, 0.2  # inches
COLOURS = matplotlib.colormaps["RdYlBu"]
DPI = 110
NUM_COLOURS = 64  # of the file


def shown_columns(table: Table) -> list[Column]:
    """Return the columns that have a direction and enough models."""
    models = {entry.name for entry in table.entries if entry.kind == "model"}
    return [
        column
        for column in table.columns
        if column.higher_is_better is not None and len(models & table.values(column.name).keys()) >= MIN_MODELS
    ]


def ranks(table: Table, column: Column) -> dict[str, float]:
    """Return the share of the other entries that each entry beats, in [0, 1], with half of a tie."""
    values = table.values(column.name)
    measured = [entry for entry in table.entries if entry.name in values]
    return {entry.name: share(table, entry, column, measured) for entry in measured}


def draw(table: Table, path: Path) -> None:
    """Write the picture of a table."""
    columns, entries = shown_columns(table), table.entries
    names = 2.0  # inches
    figure = Figure((names + CELL * len(columns), ROW * (len(entries) + 5)), layout="constrained")
    axes = FigureCanvasAgg(figure).figure.add_subplot()
    shares = [ranks(table, column) for column in columns]
    grid = np.array([[share.get(entry.name, np.nan) for share in shares] for entry in entries])
    axes.imshow(np.ma.masked_invalid(grid), cmap=COLOURS, vmin=-0.3, vmax=1.3, aspect="auto")
    for row, entry in enumerate(entries):
        for number, column in enumerate(columns):
            text = _text(table, entry, column)
            axes.text(number, row, text, ha="center", va="center", fontsize=7)
    axes.set_xticks(
        range(len(columns)), [_title(table, column) for column in columns], fontsize=7.5, rotation=40, ha="left"
    )
    axes.xaxis.tick_top()
    axes.set_yticks(range(len(entries)), [entry.name for entry in entries], fontsize=7.5)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    for border in _borders(entries):
        axes.axhline(border - 0.5, color="white", linewidth=3)
    figure.savefig(path, dpi=DPI)
    with Image.open(path) as picture:
        small = picture.convert("RGB").quantize(NUM_COLOURS, dither=Image.Dither.NONE)
    small.save(path, optimize=True)


def _title(table: Table, column: Column) -> str:
    arrow = "↑" if column.higher_is_better else "↓"
    has_unit = column.group in ("speed", "size") and column.unit != column.title
    unit = f", {column.unit}" if has_unit else ""
    return f"{column.title}{unit} {arrow}{' noise' if table.is_noise(column.name) else ''}"


def _text(table: Table, entry: Entry, column: Column) -> str:
    value = table.values(column.name).get(entry.name)
    if value is None:
        return ""
    if abs(value) < 1_000:
        return f"{value:.3g}"
    if abs(value) < 100_000:
        return f"{value:,.0f}"
    return f"{value / 1e3:.0f}k" if abs(value) < 1e6 else f"{value / 1e6:.1f}M"


def _borders(entries: Sequence[Entry]) -> list[int]:
    """Return the rows at which another family begins."""
    return [i for i in range(1, len(entries)) if entries[i].family != entries[i - 1].family]


def main() -> None:
    """Draw a table."""
    parser = argparse.ArgumentParser(description="Draw a measured table.")
    parser.add_argument("table", help="name of a table, or path of a comparison.json")
    parser.add_argument("out", type=Path, help="file of the picture")
    options = parser.parse_args()
    draw(read_table(options.table), options.out)
    print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
