"""Cells of a campaign: named measurements, kept in one JSON file, so that a second start goes on where one ended.

The cells run in a process of their own, one after the other. Another one, which needs no device, watches them: a cell
that takes longer than its limit, or ends its process, is recorded as failed, and the next process begins after it.
"""

from __future__ import annotations

import json
import subprocess
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from genjax.data.io import replace_file

POLL = 0.2  # seconds between two looks at the file


class Cell(NamedTuple):
    """A measurement.

    Attributes:
      name: name of the cell.
      measure: function that returns numbers and texts by name; ``met`` says whether the target is met.
      target: what the numbers should be, as text; "" for none.
      limit: seconds that it may take.
    """

    name: str
    measure: Callable[[], Mapping[str, Any]]
    target: str = ""
    limit: float = 120.0


class Unavailable(Exception):  # noqa: N818 - not an error, because there is nothing to measure
    """Raised by a cell that cannot be measured here; the message says why."""


def read(file: Path) -> dict[str, Any]:
    """Return the contents of a campaign's file, or those of a new one."""
    return json.loads(file.read_text()) if file.is_file() else {"cells": {}}


def record(file: Path, name: str, entry: Mapping[str, Any]) -> None:
    """Write an entry of a cell into the file, at once."""
    contents = read(file)
    contents["cells"][name] = entry
    write(file, contents)


def write(file: Path, contents: Mapping[str, Any]) -> None:
    """Replace the file, so that it is whole at any time."""
    replace_file(file, (json.dumps(contents, indent=2) + "\n").encode())


def run_cells(cells: Sequence[Cell], file: Path, deadline: float) -> None:
    """Measure the cells that have no entry yet; after the deadline, in seconds of ``time.time``, none begins."""
    for cell in cells:
        if cell.name in read(file)["cells"] or time.time() > deadline:
            continue
        started = time.time()
        record(file, cell.name, {"status": "started", "at": started, "limit": cell.limit, "target": cell.target})
        try:
            entry = {"status": "done", "values": dict(cell.measure())}
        except Unavailable as reason:
            entry = {"status": "unavailable", "reason": str(reason)}
        except Exception as error:  # whatever it is, the other cells are measured
            entry = {"status": "failed", "reason": _one_line(error), "traceback": traceback.format_exc()}
        record(file, cell.name, {**entry, "target": cell.target, "seconds": round(time.time() - started, 2)})


def _one_line(error: Exception) -> str:
    lines = str(error).splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"


def supervise(command: Sequence[str], file: Path, deadline: float) -> int:
    """Run a command that calls ``run_cells``, again after each cell that ends its process or exceeds its limit.

    At the deadline, in seconds of ``time.time``, the process is killed, and its cell is left for the next start.

    Returns:
      Exit status of the last process, 0 if the time was over.
    """
    forget(file, ("started",))  # by a campaign that was killed
    while time.time() < deadline:
        process = subprocess.Popen(command)
        try:
            _watch(process, file, deadline)
        finally:
            process.kill()
            process.wait()
        if not _started(file):
            return process.returncode
        if time.time() >= deadline:
            break
        for name, entry in _started(file).items():
            late = time.time() - entry["at"] > entry["limit"]
            reason = f"took more than {entry['limit']:g} s" if late else f"ended its process ({process.returncode})"
            record(file, name, {"status": "failed", "reason": reason, "target": entry["target"]})
    forget(file, ("started",))
    return 0


def _watch(process: subprocess.Popen[bytes], file: Path, deadline: float) -> None:
    """Return when a process has ended, its cell has exceeded its limit, or the time is over."""
    while process.poll() is None and time.time() < deadline:
        if any(time.time() - entry["at"] > entry["limit"] for entry in _started(file).values()):
            return
        time.sleep(POLL)


def _started(file: Path) -> dict[str, Any]:
    """Return the entries of cells that have begun and not ended."""
    return {name: entry for name, entry in read(file)["cells"].items() if entry["status"] == "started"}


def forget(file: Path, statuses: Sequence[str]) -> None:
    """Remove the entries with some statuses, so that their cells are measured again."""
    contents = read(file)
    contents["cells"] = {name: e for name, e in contents["cells"].items() if e["status"] not in statuses}
    write(file, contents)


def table(contents: Mapping[str, Any]) -> str:
    """Return the entries as lines: name, status, numbers or reason, target and whether it is met."""
    lines = []
    for name, entry in contents["cells"].items():
        values = dict(entry.get("values", {}))
        met = {True: "met", False: "MISSED", None: ""}[values.pop("met", None)]
        text = ", ".join(f"{key} {_number(value)}" for key, value in values.items()) or entry.get("reason", "")
        target = f"target {entry['target']} {met}".rstrip() if entry.get("target") else ""
        lines.append(f"{name:<36}{entry['status']:<12}{text}{'; ' * bool(target)}{target}")
    return "\n".join(lines)


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
