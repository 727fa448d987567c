"""Scatter plots of two columns of a table as SVG, whose text takes the colour of the page."""

from __future__ import annotations

import io
import re

from genjax.comparison.table import Column, Entry, Table
from genjax.figures.plotting import COLOURS, make_figure

INK = "#010203"  # of all lines and texts, replaced by the colour of the page
MAX_NAMES = 15  # points that are labelled by name; more are labelled by number
PAIRS = (("throughput", "frechet_distance"), ("recall", "precision"))  # horizontal and vertical axis
LOGARITHMIC = ("throughput", "frechet_distance")


def scatter_plots(table: Table) -> list[str]:
    """Return the plots of quality against speed and of precision against recall that the table has values for."""
    by_name = {column.name: column for column in table.columns}
    pairs = [(by_name[x], by_name[y]) for x, y in PAIRS if x in by_name and y in by_name]
    return [plot for x, y in pairs if (plot := scatter_plot(table, x, y)) is not None]


def scatter_plot(table: Table, x: Column, y: Column) -> str | None:
    """Return an SVG element with a point for each entry and bars of ± one standard deviation; None without points."""
    points = [(number, entry) for number, entry in enumerate(table.entries, start=1) if _has(table, entry, x, y)]
    if not points:
        return None
    import matplotlib

    figure = make_figure(5.6, 4.2)
    axes = figure.add_subplot()
    families = list(dict.fromkeys(entry.family for _, entry in points if entry.kind == "model"))
    for number, entry in points:
        across, up = table.cell(entry.name, x.name), table.cell(entry.name, y.name)
        is_floor = entry.kind == "floor"
        colour = INK if is_floor else COLOURS[families.index(entry.family) % (len(COLOURS) - 1)]
        place = (table.values(x.name)[entry.name], table.values(y.name)[entry.name])
        axes.errorbar(
            *place,
            xerr=across.sd,
            yerr=up.sd,
            color=colour,
            fmt="s" if is_floor else "o",
            markersize=5,
            markerfacecolor="none" if is_floor else colour,
            linewidth=1,
        )
        text = entry.name.removeprefix("floor: ") if len(points) <= MAX_NAMES else str(number)
        axes.annotate(text, place, xytext=(6, 4), textcoords="offset points", fontsize=8, color=INK, parse_math=False)
    for axis, column in ((axes.xaxis, x), (axes.yaxis, y)):
        _set_up(axis, column, [table.values(column.name)[entry.name] for _, entry in points])
    axes.grid(color=INK, alpha=0.12, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(INK)
    axes.tick_params(colors=INK, which="both", labelsize=8)
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": f"{x.name} {y.name}"}):
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(buffer, format="svg", transparent=True, metadata=nothing)
    return _embedded(buffer.getvalue(), f"{x.name}-{y.name}", f"{y.title} against {x.title}")


def _has(table: Table, entry: Entry, *columns: Column) -> bool:
    return all(table.cell(entry.name, column.name).value is not None for column in columns)


def _set_up(axis, column: Column, values: list[float]) -> None:  # noqa: ANN001 - one of matplotlib's two axes
    """Label an axis, and make it logarithmic where that spreads the points."""
    arrow = {True: ", higher is better", False: ", lower is better", None: ""}[column.higher_is_better]
    unit = f" ({column.unit})" if column.unit else ""
    axis.set_label_text(f"{column.title}{unit}{arrow}", color=INK, fontsize=9)
    if column.name in LOGARITHMIC and min(values) > 0 and max(values) > 10 * min(values):
        set_scale = axis.axes.set_xscale if axis.axis_name == "x" else axis.axes.set_yscale
        set_scale("log")


def _embedded(svg: str, prefix: str, title: str) -> str:
    """Return the SVG element alone, with identifiers of its own, a title, and the colour of the page."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\g<1>{prefix}-", svg).replace(INK, "currentColor")
    svg = re.sub(r'(<svg [^>]*?)width="[^"]*" height="[^"]*"', r'\1role="img"', svg, count=1)
    end = svg.index(">") + 1
    return f"{svg[:end]}<title>{title}</title>{svg[end:]}"
