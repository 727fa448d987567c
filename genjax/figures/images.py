"""Pictures of samples, as uint8 pixels of shape (height, width, 3).

The kind of picture follows the shape of the samples: images (N, H, W, 1 or 3) make a grid, points (N, 2) a scatter
plot, numbers (N,) or (N, 1) a histogram, tables of 3 to 5 columns scatter plots of all pairs of columns, anything else
a heat map with one row per sample. Values that are not finite are magenta, which no picture uses otherwise.
"""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from genjax.arguments import PositiveInt, Shape, check_arguments
from genjax.core import Array
from genjax.data import Dataset
from genjax.data.io import replace_file
from genjax.figures.plotting import COLOURS, heat_map, make_figure, tidy, to_pixels

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MAGENTA = np.array([255, 0, 255], np.uint8)
BACKGROUND = np.uint8(128)  # differs from black tiles and from white ones
GAP = 2
MIN_TILE = 40
LINE_HEIGHT = 12
_MAX_PAIRED_COLUMNS, _MAX_ROWS = 5, 100


@check_arguments
def sample_picture(
    x: np.ndarray | Array, *, columns: PositiveInt | None = None, labels: Sequence[Any] | None = None
) -> np.ndarray:
    """Draw N samples in the shapes that the module's docstring lists.

    Args:
      x: samples, first axis N; images in [0, 1] (clipped) or uint8.
      columns: number of tiles in a row of an image grid; None makes the grid nearly square.
      labels: N labels, which images show as text and scatter plots as colours; None for no labels.

    Raises:
      ValueError: if there are no samples, or not one label for each.

    >>> sample_picture(np.zeros((6, 28, 28, 1)), columns=3).shape
    (118, 176, 3)
    """
    x = np.asarray(x)
    if not x.size:
        raise ValueError(f"samples have shape {x.shape}, but there must be at least one; draw more")
    if labels is not None and len(labels) != len(x):
        raise ValueError(f"there are {len(labels)} labels for {len(x)} samples; give one label per sample, or None")
    if x.ndim == 4 and x.shape[-1] in (1, 3):
        return _grid(x, columns, labels)
    table = x.reshape(len(x), -1).astype(np.float64)
    num_columns = table.shape[1]
    if num_columns > _MAX_PAIRED_COLUMNS:
        return _heat_map(table)
    draw = {1: _histogram, 2: _scatter}.get(num_columns, _pairs)
    finite = np.isfinite(table).all(axis=1)
    figure = make_figure(5.0, 5.0 if num_columns > 1 else 3.5)
    draw(figure, table[finite], None if labels is None else np.asarray(labels)[finite])
    if not finite.all():
        figure.suptitle(f"{np.sum(~finite):,} of {len(x):,} samples are not finite", color="magenta", fontsize=10)
    return to_pixels(figure)


@check_arguments
def columns_by_class(shape: Shape, num_classes: PositiveInt) -> int | None:
    """Return the number of columns that shows each class in columns of its own, for images whose labels cycle.

    ``shape`` is that of the samples. The grid is as nearly square as that allows; None, if it shows no class twice.

    >>> columns_by_class((64, 28, 28, 1), 10), columns_by_class((64, 28, 28, 1), 3), columns_by_class((4, 8, 8, 1), 3)
    (10, 9, None)
    """
    num, height, width = (*shape, 1, 1)[:3]
    if num < 2 * num_classes:
        return None
    return num_classes * max(1, round(math.sqrt(num * height / width) / num_classes))


@check_arguments
def class_picture(x: np.ndarray, label: np.ndarray | None, dataset: Dataset) -> np.ndarray:
    """Draw samples with the names of their classes, ``label`` (N,), each class in columns of its own if they cycle."""
    if label is None:
        return sample_picture(x)
    names = label if dataset.class_names is None else [dataset.class_name(each) for each in label]
    return sample_picture(x, columns=columns_by_class(x.shape, int(label.max()) + 1), labels=list(names))


@check_arguments
def condition_picture(x: np.ndarray, condition: Mapping[str, Any], dataset: Dataset) -> np.ndarray:
    """Draw samples with what they were drawn from, arrays (N, ...) by name: texts, if there are some, or classes."""
    texts = [
        [tokenizer.decode(row) for row in np.asarray(condition[name])]
        for name, tokenizer in dataset.condition_tokenizers.items()
        if name in condition
    ]
    if texts and x.ndim == 4 and x.shape[-1] in (1, 3):
        return sample_picture(x, labels=texts[0])
    return class_picture(x, condition.get("label"), dataset)


@check_arguments
def row_picture(rows: Sequence[np.ndarray], *, columns: PositiveInt = 8) -> np.ndarray:
    """Draw rows of N images of one size each, in [0, 1] or uint8, below each other, ``columns`` images at a time.

    >>> row_picture([np.zeros((12, 40, 40, 1)), np.ones((12, 40, 40, 3))], columns=6).shape
    (170, 254, 3)
    """
    images = [to_rgb(np.asarray(row)) for row in rows]
    bands = [row[start : start + columns] for start in range(0, len(images[0]), columns) for row in images]
    blank = np.full((columns, *images[0].shape[1:]), BACKGROUND)
    full = [np.concatenate([band, blank[len(band) :]]) for band in bands]
    return sample_picture(np.concatenate(full), columns=columns)


@check_arguments
def save_picture(path: Path, pixels: np.ndarray) -> None:
    """Write pixels as a PNG file atomically, and create missing folders."""
    replace_file(path, to_png(pixels))


def to_png(pixels: np.ndarray) -> bytes:
    """Return the PNG file of pixels, uint8 (H, W, 3)."""
    from PIL import Image

    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, format="PNG")
    return encoded.getvalue()


def _grid(x: np.ndarray, columns: int | None, labels: Sequence[Any] | None) -> np.ndarray:
    """Lay tiles out row by row, with a gap around each."""
    num, height, width, _ = x.shape
    scale = max(1, math.ceil(MIN_TILE / max(height, width)))
    square = min(num, max(1, math.ceil(math.sqrt(num * height / width))))
    num_columns = square if columns is None else columns
    tiles = to_rgb(x).repeat(scale, axis=1).repeat(scale, axis=2)
    lines = [_lines(str(label), width * scale) for label in labels or ()]
    text_height = LINE_HEIGHT * max(map(len, lines), default=0)
    cell_height, cell_width = height * scale + text_height + GAP, width * scale + GAP
    shape = (math.ceil(num / num_columns) * cell_height + GAP, num_columns * cell_width + GAP, 3)
    picture = np.full(shape, BACKGROUND)
    rows, places = np.divmod(np.arange(num), num_columns)
    corners = list(zip(GAP + rows * cell_height, GAP + places * cell_width, strict=True))
    for (top, left), tile in zip(corners, tiles, strict=True):
        picture[top : top + height * scale, left : left + width * scale] = tile
    if labels is None:
        return picture
    middle = [(left + width * scale / 2, top + height * scale + LINE_HEIGHT / 2) for top, left in corners]
    return _with_text(picture, middle, lines, width * scale)


def to_rgb(x: np.ndarray) -> np.ndarray:
    """Convert images (N, H, W, 1 or 3), in [0, 1] (clipped) or uint8, to uint8 (N, H, W, 3)."""
    if x.dtype == np.uint8:
        return np.broadcast_to(x, (*x.shape[:3], 3))
    x = x.astype(np.float64)
    finite = np.isfinite(x)
    shades = np.round(255 * np.clip(np.where(finite, x, 0.0), 0.0, 1.0)).astype(np.uint8)
    return np.where(finite.all(axis=-1, keepdims=True), shades, MAGENTA)


def _lines(label: str, width: int) -> list[str]:
    """Break a label into lines between words, so that each line with more than one word fits in ``width`` pixels."""
    from PIL import Image, ImageDraw

    draw = ImageDraw.Draw(Image.new("1", (1, 1)))
    lines = [""]
    for word in label.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and draw.textlength(longer) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _with_text(
    picture: np.ndarray, middle: list[tuple[float, float]], labels: Sequence[Sequence[str]], width: int
) -> np.ndarray:
    """Write the lines of a label from each place down, each cut to ``width`` pixels."""
    from PIL import Image, ImageDraw

    image = Image.fromarray(picture)
    draw = ImageDraw.Draw(image)
    for (x, y), lines in zip(middle, labels, strict=True):
        for number, text in enumerate(lines):
            while draw.textlength(text) > width:
                text = f"{text.removesuffix('…')[:-1]}…" if len(text) > 2 else text[:-1]  # noqa: PLW2901
            draw.text((x, y + LINE_HEIGHT * number), text, fill="white", anchor="mm")
    return np.asarray(image).copy()


def _histogram(figure: Figure, x: np.ndarray, labels: np.ndarray | None) -> None:
    axes = figure.add_subplot()
    axes.hist(x[:, 0], bins=_edges(x[:, 0]), density=len(x) > 0, color=COLOURS[0])
    tidy(axes)
    axes.set_ylabel("density")


def _scatter(figure: Figure, x: np.ndarray, labels: np.ndarray | None) -> None:
    axes = figure.add_subplot()
    for label, colour, members in _groups(len(x), labels):
        axes.scatter(*x[members].T, label=label, color=colour, **_marks(len(x)))
    tidy(axes)
    axes.set_aspect("equal", adjustable="datalim")
    if labels is not None and len(x):
        figure.legend(fontsize=8, markerscale=2, frameon=False, loc="outside right upper")


def _pairs(figure: Figure, x: np.ndarray, labels: np.ndarray | None) -> None:
    """Draw histograms on the diagonal, and scatter plots of all pairs of columns below it."""
    num = x.shape[1]
    figure.set_size_inches(2.0 * num, 2.0 * num)
    for i, j in zip(*np.tril_indices(num), strict=True):
        axes = figure.add_subplot(num, num, i * num + j + 1)
        for label, colour, members in _groups(len(x), labels):
            if i == j:
                axes.hist(x[members, i], bins=_edges(x[:, i]), color=colour, alpha=0.6, label=label if i == 0 else None)
            else:
                axes.scatter(x[members, j], x[members, i], color=colour, **_marks(len(x)))
        tidy(axes)
        if j == 0 and i > 0:
            axes.set_ylabel(f"column {i}")
        if i == num - 1:
            axes.set_xlabel(f"column {j}")
    if labels is not None and len(x):
        figure.legend(fontsize=9, frameon=False, loc="upper right")


def _heat_map(x: np.ndarray) -> np.ndarray:
    rows = x[:_MAX_ROWS]
    finite = rows[np.isfinite(rows)]
    low, high = np.quantile(finite, [0.01, 0.99]) if finite.size else (0.0, 1.0)
    figure = make_figure(7.0, min(7.0, 2.0 + 0.08 * len(rows)))
    axes = heat_map(figure, rows, low=low, high=high)
    axes.set_xlabel("column")
    axes.set_ylabel("sample" if len(rows) == len(x) else f"sample (the first {len(rows)} of {len(x):,})")
    return to_pixels(figure)


def _groups(num: int, labels: np.ndarray | None) -> list[tuple[str | None, str, np.ndarray]]:
    """Return name, colour and members of each label's group; without labels, a single group."""
    if labels is None:
        return [(None, COLOURS[0], np.ones(num, bool))]
    colours = itertools.cycle(COLOURS)
    return [(str(label), next(colours), labels == label) for label in np.unique(labels)]


def _marks(num: int) -> dict[str, Any]:
    return {"s": min(20.0, max(4.0, 10_000 / max(num, 1))), "alpha": 0.7 if num < 2_000 else 0.4, "linewidths": 0}


def _edges(x: np.ndarray) -> list[float]:
    """Return the edges of √N bins, which are wide enough to see if all numbers are equal."""
    low, high = (x.min(), x.max()) if len(x) else (0.0, 1.0)
    margin = 0.5 + 0.01 * abs(low) if high - low <= 1e-9 * abs(low) else 0.0
    return np.linspace(low - margin, high + margin, 1 + min(80, max(10, round(math.sqrt(len(x)))))).tolist()
