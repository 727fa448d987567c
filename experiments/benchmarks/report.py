"""Rows of a benchmark: timed in turns, printed as a table or, with ``--json``, as one JSON object per line."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

REST = 0.5  # seconds


class Row(NamedTuple):
    """One measured ratio.

    Attributes:
      row: name of the measurement.
      ratio: ratio to the rival, or seconds if the name says so.
      target: target ratio, as text.
      rival: what the ratio compares with.
    """

    row: str
    ratio: float
    target: str
    rival: str


def arguments(description: str, *, repeats: int, **more: dict[str, Any]) -> argparse.Namespace:
    """Parse the flags of every benchmark, ``--json`` and ``--repeats``, and further argparse flags by name."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="print each row as one line of JSON")
    parser.add_argument("--repeats", type=int, default=repeats, help="number of timed runs, or of seeds")
    for name, settings in more.items():
        parser.add_argument(f"--{name}", **settings)
    return parser.parse_args()


def interleaved(contestants: Mapping[str, Callable[[], float]], *, repeats: int) -> dict[str, list[float]]:
    """Run contestants in turns, so that drift of the machine affects all equally, and return the seconds of each.

    The first turn, which compiles, does not count. A pause separates runs, because OpenMP threads spin for 0.2 s after
    their work and would slow the next contestant down.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for turn in range(repeats + 1):
        for name, run in contestants.items():
            time.sleep(REST)
            took = run()
            if turn:
                seconds[name].append(took)
    return seconds


def timed(run: Callable[[], object], times: float) -> Callable[[], float]:
    """Return a contestant that reports seconds, multiplied by ``times``."""

    def seconds() -> float:
        started = time.perf_counter()
        run()
        return times * (time.perf_counter() - started)

    return seconds


def steps_of(learner: Any, data: Any) -> Callable[[], float]:
    """Return a contestant that reports seconds per step, over steps on data (S, B, ...) in one dispatch."""
    import jax

    from genjax.compilation import jit

    x = jax.numpy.asarray(data)
    state = jit(learner.init)(jax.random.key(0), {"x": x[0]})

    @jit
    def chunk(state: Any, x: jax.Array) -> Any:
        def step(state: Any, now: tuple[jax.Array, jax.Array]) -> tuple[Any, Any]:
            return learner.step(state, now[0], {"x": now[1]})

        return jax.lax.scan(step, state, (jax.random.split(jax.random.key(1), len(x)), x))

    return timed(lambda: jax.block_until_ready(chunk(state, x)), 1 / len(x))


def ratio(seconds: Mapping[str, list[float]], over: str, under: str) -> float:
    """Return the median over turns of the ratio within each turn."""
    return statistics.median(a / b for a, b in zip(seconds[over], seconds[under], strict=True))


def milliseconds(seconds: list[float]) -> str:
    """Format times as median and best, in milliseconds."""
    return f"{1e3 * statistics.median(seconds):.2f} ms (best {1e3 * min(seconds):.2f})"


def machine() -> str:
    """Return a description of this machine."""
    import jax

    device = jax.devices()[0]
    return (
        f"{device.platform} {device.device_kind}, {os.cpu_count()} cores, jax {jax.__version__}, {platform.machine()}"
    )


def print_rows(*rows: Row, as_json: bool) -> None:
    """Print rows as a table, or as JSON lines."""
    where = machine()
    for row in rows:
        if as_json:
            print(json.dumps({**row._asdict(), "ratio": round(row.ratio, 4), "machine": where}))
        else:
            print(f"{row.row:<56}{row.ratio:>8.3f}   target {row.target:<10} vs {row.rival}")
    if not as_json:
        print(where)
