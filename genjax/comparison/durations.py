"""Durations in words, and the numbers of steps that fill them."""

from __future__ import annotations

import re

ROUNDED_TO = 100  # steps
SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def seconds_of(name: str, duration: str) -> float:
    """Return the seconds of a duration such as "90s", "10m" or "1.5h".

    Raises:
      ValueError: if it has another form, or is 0.

    >>> seconds_of("--race", "10m"), seconds_of("--race", "1.5h")
    (600.0, 5400.0)
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", duration)
    if match is None or float(match[1]) == 0:
        raise ValueError(f"{name} is {duration!r}, but must be a time above 0 such as 90s, 10m or 1.5h")
    return float(match[1]) * SECONDS[match[2]]


def steps_in(seconds: float, steps_per_second: float) -> int:
    """Return the number of steps that fill a time, rounded down to hundreds, but at least a hundred.

    >>> steps_in(60.0, 5.5), steps_in(1.0, 5.5)
    (300, 100)
    """
    return max(ROUNDED_TO, int(seconds * steps_per_second) // ROUNDED_TO * ROUNDED_TO)
