"""A one-page report of a finished run: its results, curves, samples and arguments, and commands to continue with.

The page is Markdown with relative links only, so that the run folder can be moved or published as it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from genjax.data.io import replace_file
from genjax.evaluation.registry import higher_is_better
from genjax.figures.curves import curves_picture, vectors_picture
from genjax.figures.images import save_picture
from genjax.metrics.rows import VECTOR_SUFFIX, Row, format_value, metric_names
from genjax.runner.log import FILE_NAME
from genjax.runner.shell import genjax_command

MAX_TEXT = 2_000  # characters of samples that are texts


def write_report(
    folder: Path,
    *,
    title: str,
    description: str,
    arguments: Mapping[str, Any],
    environment: Mapping[str, Any],
    rows: list[Row],
    results: Mapping[str, Any],
    samples: str | None,
    wall_clock_s: float,
    seeds: Sequence[int],
    class_names: Sequence[str] = (),
) -> Path:
    """Write ``report.md`` and ``curves.png`` into a run folder, and return the path of the page.

    ``rows`` are those of ``MetricLog``. A result is a number, K numbers for K seeds, or anything with a short ``str``.
    ``samples`` is a picture or text, relative to the folder; None, or a missing file, leaves it out. ``class_names``
    are those of the classes that the samples are drawn from.
    """
    save_picture(folder / "curves.png", curves_picture(rows, title=title))
    several = f"{len(seeds)} seeds ({', '.join(map(str, seeds))}), mean ± sd"
    seed_text = f"seed {seeds[0]}" if len(seeds) == 1 else several
    steps = f"{max((row['step'] for row in rows), default=0):,} steps"
    finals = [(name, _value(value, len(seeds))) for name, value in _flat(results)]
    parts = [
        f"# {_one_line(title)}",
        f"{steps} in {_duration(wall_clock_s)}; {seed_text}.",
        *_section("Results", finals, ("metric", "value")),
        *_section("Training", _summary(rows), ("metric", "last", "best")),
        *_pictures(folder, {"samples": samples}),
        f"Classes: {', '.join(map(_one_line, class_names))}." if class_names and samples else "",
        *_pictures(folder, {"curves": "curves.png"} | _vector_pictures(folder, rows)),
        *_section("Arguments", [(k, _code(v)) for k, v in _flat(arguments)], ("argument", "value")),
        *_recipe(description.strip()),
        *_section("Machine", [(k, _code(v)) for k, v in _flat(environment)], ("property", "value")),
        _commands(folder),
        _files(folder),
    ]
    path = folder / "report.md"
    replace_file(path, ("\n\n".join(filter(None, parts)) + "\n").encode())
    return path


def _vector_pictures(folder: Path, rows: list[Row]) -> dict[str, str]:
    """Draw every logged vector, and return file names by title."""
    vectors = dict.fromkeys(name for row in rows for name in row if name.endswith(VECTOR_SUFFIX))
    pictures = {}
    for name in vectors:
        stem = name.removesuffix(VECTOR_SUFFIX).rpartition("/")[2]
        title = stem.replace("_", " ")
        with_name = [row for row in rows if name in row]
        steps, values = [row["step"] for row in with_name], np.array([row[name] for row in with_name])
        save_picture(folder / f"{stem}.png", vectors_picture(steps, values, title=title))
        pictures[title] = f"{stem}.png"
    return pictures


def _summary(rows: list[Row]) -> Iterator[tuple[str, ...]]:
    """Yield the last value of each metric, and the best value if it is measured on held-out data or samples."""
    for name in metric_names(rows):
        with_name = [row for row in rows if row.get(name) is not None]
        if with_name:
            best = _best(with_name, name) if name.startswith(("validation/", "samples/")) else ""
            yield name, _row_value(with_name[-1], name), best


def _best(rows: list[Row], name: str) -> str:
    finite = [row for row in rows if np.isfinite(row[name])]
    if not finite:
        return "none is finite"
    higher = bool(higher_is_better(name))
    row = (max if higher else min)(finite, key=lambda row: row[name])
    return f"{'highest' if higher else 'lowest'} {_row_value(row, name)} at step {row['step']:,}"


def _row_value(row: Row, name: str) -> str:
    return format_value(row.get(f"{name}/seeds", row[name]), digits=6)


def _value(value: Any, num_seeds: int) -> str:
    """Format a result: numbers rounded, those of several seeds as mean ± sd, anything else by ``str``."""
    if value is None:
        return "n/a"
    array = np.asarray(value)
    is_number = array.dtype.kind in "fiu" and (array.size == 1 or array.shape == (num_seeds,))
    return format_value(array, digits=6) if is_number else str(value)


def _flat(items: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of nested mappings, with their names joined by slashes."""
    for name, value in items.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}/")
        else:
            yield f"{prefix}{name}", value


def _section(title: str, rows: Iterable[tuple[str, ...]], head: tuple[str, ...]) -> list[str]:
    """Return a heading and a table, or nothing if there are no rows."""
    lines = [[_one_line(cell).replace("|", "\\|") for cell in row] for row in rows]
    if not lines:
        return []
    table = [list(head), ["---"] * len(head), *lines]
    return [f"## {title}", "\n".join(f"| {' | '.join(cells)} |" for cells in table)]


def _recipe(description: str) -> list[str]:
    """Return a heading and the text of the experiment file, whose numbers are not those of this run."""
    return ["## Recipe", "From the experiment file; its numbers are of other runs.", description] if description else []


def _pictures(folder: Path, paths: Mapping[str, str | None]) -> list[str]:
    """Return a heading and a picture, or the beginning of a text, for each relative path that exists."""
    parts = []
    for name, path in paths.items():
        if path is None or not (folder / path).is_file():
            continue
        content = f"![{name}]({quote(path)})"
        if path.endswith(".txt"):
            content = f"````text\n{(folder / path).read_text(encoding='utf-8')[:MAX_TEXT]}\n````"
        parts += [f"## {name.capitalize()}", content]
    return parts


def _commands(folder: Path) -> str:
    commands = [
        (genjax_command("sample", folder, "-n", 64), "draw samples"),
        (genjax_command("evaluate", folder), "evaluate on held-out data"),
    ]
    copies = sorted(folder.glob("*.py"))
    if copies:
        command = genjax_command("train", copies[0], "--workdir", folder, "--resume")
        commands.append((command, "resume after an interruption"))
    width = max(len(command) for command, _ in commands)
    lines = [f"{command:<{width}}  # {purpose}" for command, purpose in commands]
    return "\n".join(["## Go on from here", "", "```sh", *lines, "```"])


def _files(folder: Path) -> str:
    names = [p.name for p in sorted(folder.glob("*.py"))] + [FILE_NAME, "arguments.json", "environment.json", "samples"]
    links = [f"[{name}]({quote(name)})" for name in names if (folder / name).exists()]
    return f"Files: {', '.join(links)}" if links else ""


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    hours, minutes, rest = round(seconds) // 3600, round(seconds) // 60 % 60, round(seconds) % 60
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def _code(value: Any) -> str:
    """Format a value as inline code, which Markdown leaves unchanged."""
    text = _one_line(value)
    code = f"`` {text} ``" if "`" in text else f"`{text}`"
    return code if text else ""


def _one_line(value: Any) -> str:
    return " ".join(str(value).split())
