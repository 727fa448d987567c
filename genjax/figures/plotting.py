"""Functions shared by all plots: figures outside of pyplot, colours, and conversion to pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#e69f00", "#56b4e9", "#8c564b", "#7f7f7f", "#bcbd22", "#5e3c99", "#111111")


def make_figure(width: float, height: float) -> Figure:
    """Make a figure outside of pyplot, which would keep it alive and needs a display backend."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=100, facecolor="white")
    figure.set_layout_engine("constrained", w_pad=0.1, h_pad=0.1)
    FigureCanvasAgg(figure)
    return figure


def tidy(axes: Axes) -> None:
    """Give axes a light grid and no box."""
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)


def to_pixels(figure: Figure) -> np.ndarray:
    """Draw a figure and return its pixels, uint8 (height, width, 3)."""
    canvas: Any = figure.canvas
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def heat_map(figure: Figure, x: np.ndarray, *, low: float, high: float | None = None, label: str = "") -> Axes:
    """Draw a matrix with a colour bar, numbers that are not finite in magenta; return the axes."""
    import matplotlib

    axes = figure.add_subplot()
    colours = matplotlib.colormaps["viridis"].with_extremes(bad="magenta")
    finite = np.where(np.isfinite(x), x, np.nan)
    image = axes.imshow(finite, aspect="auto", interpolation="nearest", cmap=colours, vmin=low, vmax=high)
    figure.colorbar(image, ax=axes, label=label)
    return axes
