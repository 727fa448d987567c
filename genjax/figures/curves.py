"""Learning curves, as uint8 pixels of shape (height, width, 3)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from genjax.arguments import check_arguments
from genjax.figures.plotting import COLOURS, heat_map, make_figure, tidy, to_pixels
from genjax.metrics.rows import Row, format_value, metric_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@check_arguments
def curves_picture(rows: Sequence[Row], *, title: str, log_x: bool = False) -> np.ndarray:
    """Plot every metric over the steps, with training and validation values of one name in one panel.

    Bands are ± one standard deviation over seeds. The limits ignore outliers and, unless the steps are logarithmic, the
    first tenth of the steps, so that large initial values do not flatten the rest. The legend gives the last values.
    Any row of ``MetricLog.rows`` may lack any metric. ``log_x`` makes the axis of steps logarithmic.
    """
    panels = _panels(rows)
    num_columns = max(1, min(3, math.ceil(math.sqrt(len(panels)))))
    num_rows = max(1, math.ceil(len(panels) / num_columns))
    figure = make_figure(1.0 + 4.2 * num_columns, 0.5 + 2.9 * num_rows)
    figure.suptitle(title, fontsize=13, fontweight="bold", parse_math=False)
    if not panels:
        figure.text(0.5, 0.4, "no metrics were logged", ha="center", color="#555555")
    for i, (name, curves) in enumerate(panels.items()):
        axes = figure.add_subplot(num_rows, num_columns, i + 1, sharex=figure.axes[0] if i else None)
        _curves_panel(axes, name, curves, log_x)
    return to_pixels(figure)


@check_arguments
def vectors_picture(steps: Sequence[int], values: np.ndarray, *, title: str) -> np.ndarray:
    """Plot vectors (S, D) over S steps as a heat map, with dimensions sorted by their last value, largest first."""
    order = np.argsort(-np.nan_to_num(values[-1]), kind="stable")
    figure = make_figure(7.0, 4.0)
    lowest = np.min(values, initial=0.0, where=np.isfinite(values))
    axes = heat_map(figure, values[:, order].T, low=lowest, label=title)
    ticks = np.unique(np.linspace(0, len(steps) - 1, 6).round().astype(int))
    axes.set_xticks(ticks, [f"{steps[i]:,}" for i in ticks])
    axes.set_xlabel("step")
    axes.set_ylabel("dimension, ordered by its last value")
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold", parse_math=False)
    return to_pixels(figure)


class _Curve(NamedTuple):
    """One metric over the steps; ``sd`` is zero for a single seed."""

    label: str
    steps: np.ndarray
    mean: np.ndarray
    sd: np.ndarray


def _panels(rows: Sequence[Row]) -> dict[str, list[_Curve]]:
    """Group curves by the name of their metric without ``validation/``."""
    panels: dict[str, list[_Curve]] = {}
    for name in metric_names(rows):
        curve = _curve(rows, name)
        if curve.steps.size:
            panels.setdefault(name.removeprefix("validation/"), []).append(curve)
    return panels


def _curve(rows: Sequence[Row], name: str) -> _Curve:
    """Return a metric at the steps where it is finite."""
    points = [(row["step"], row[name], row.get(f"{name}/sd") or 0.0) for row in rows if row.get(name) is not None]
    steps, mean, sd = np.asarray(points, dtype=np.float64).reshape(-1, 3).T
    finite = np.isfinite(mean)
    label = "validation" if name.startswith("validation/") else "training"
    return _Curve(label, steps[finite], mean[finite], np.nan_to_num(sd[finite], posinf=0.0))


def _curves_panel(axes: Axes, name: str, curves: list[_Curve], log_x: bool) -> None:
    from matplotlib.ticker import EngFormatter, MaxNLocator, NullFormatter

    for curve in curves:
        colour = COLOURS[curve.label == "validation"]
        steps = np.maximum(curve.steps, 1) if log_x else curve.steps
        marker = "o" if curve.label == "validation" or len(steps) < 15 else ""
        text = f"{curve.label} {format_value(curve.mean[-1])}" + (f" ± {curve.sd[-1]:.2g}" if curve.sd.any() else "")
        axes.plot(steps, curve.mean, color=colour, label=text, linewidth=1.4, marker=marker, markersize=3)
        if curve.sd.any():
            axes.fill_between(steps, curve.mean - curve.sd, curve.mean + curve.sd, color=colour, alpha=0.2, linewidth=0)
    if log_x:
        axes.set_xscale("log")
        axes.xaxis.set_minor_formatter(NullFormatter())
    else:
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    _limit(axes, curves, early=0.0 if log_x else 0.1)
    tidy(axes)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_title(name, loc="left", fontsize=10, fontweight="bold", parse_math=False)
    axes.set_xlabel("step")
    axes.set_ylabel("nats per example" if name.startswith("log_prob") else "")
    axes.legend(fontsize=8, frameon=False)


def _limit(axes: Axes, curves: list[_Curve], *, early: float) -> None:
    """Set limits that show the values after the ``early`` fraction of the steps, without outliers.

    An outlier lies outside of the 5 % and 95 % quantiles by more than half of the distance between them. A curve of
    fewer than ten points has no early part.
    """
    late = [c.steps >= c.steps[0] + early * (c.steps[-1] - c.steps[0]) * (len(c.steps) >= 10) for c in curves]
    values = np.concatenate([(c.mean + side * c.sd)[i] for c, i in zip(curves, late, strict=True) for side in (-1, 1)])
    low = np.quantile(values, 0.05, method="higher")
    high = np.quantile(values, 0.95, method="lower")
    bottom, top = values.min(), values.max()
    if high > low:
        reach = 0.5 * (high - low)
        bottom, top = max(bottom, low - reach), min(top, high + reach)
    if top > bottom:
        margin = 0.06 * (top - bottom)
        axes.set_ylim(bottom - margin, top + margin)
