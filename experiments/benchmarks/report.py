"""Rows of a benchmark: measured side by side, printed as a table or, with ``--json``, one JSON object a line."""

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable, Mapping
from typing import NamedTuple


class Row(NamedTuple):
    """One measured ratio.

    Attributes:
      row: what was measured.
      ratio: against the rival.
      target: what it is to reach, as text.
      rival: what it was measured against.
    """

    row: str
    ratio: float
    target: str
    rival: str


def interleaved(contestants: Mapping[str, Callable[[], object]], *, repeats: int) -> dict[str, list[float]]:
    """Run contestants in turn, ``repeats`` times after a warm-up, so that drift of the machine meets all alike.

    Each contestant leaves its time in seconds in its own attribute ``seconds``, so that set-up is not counted.
    """
    for run in contestants.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(repeats):
        for name, run in contestants.items():
            run()
            seconds[name].append(run.seconds)  # pyright: ignore[reportFunctionMemberAccess]
    return seconds


def machine() -> str:
    """Describe this machine."""
    import jax

    device = jax.devices()[0]
    return (
        f"{device.platform} {device.device_kind}, {os.cpu_count()} cores, jax {jax.__version__}, {platform.machine()}"
    )


def print_rows(*rows: Row) -> None:
    """Print rows as a table, or as JSON lines where ``--json`` is among the arguments."""
    where = machine()
    for row in rows:
        if "--json" in sys.argv[1:]:
            print(json.dumps({**row._asdict(), "ratio": round(row.ratio, 4), "machine": where}))
        else:
            print(f"{row.row:<56}{row.ratio:>8.3f}   target {row.target:<10} vs {row.rival}")
    if "--json" not in sys.argv[1:]:
        print(where)
