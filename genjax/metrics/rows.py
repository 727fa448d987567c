"""Rows of metrics as a run logs them: names of their entries, and numbers formatted for display."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

Row = dict[str, Any]
VECTOR_SUFFIX = "/each"  # suffix of the names of vectors


def metric_names(rows: Iterable[Row]) -> list[str]:
    """Return names of scalars in order of first appearance, without ``/sd``, ``/seeds`` and vectors."""
    names = dict.fromkeys(name for row in rows for name in row if name != "step" and not name.endswith(VECTOR_SUFFIX))
    return [name for name in names if not (name.endswith(("/sd", "/seeds")) and name.rpartition("/")[0] in names)]


def format_value(value: Any, *, digits: int = 4) -> str:
    """Format a number, or the mean ± standard deviation of several, for display.

    The standard deviation has two significant digits, and the mean as many decimals.

    >>> format_value(98.31415)
    '98.31'
    >>> format_value([98.2, 98.4, 98.6])
    '98.40 ± 0.20'
    """
    values = np.asarray(value, dtype=np.float64).ravel()
    with np.errstate(invalid="ignore"):
        mean, sd = np.mean(values), np.std(values, ddof=1) if values.size > 1 else 0.0
    if values.size == 1:
        return f"{mean:.{digits}g}"
    if not 0 < sd < math.inf or not 1e-4 <= abs(mean) < 1e7:
        return f"{mean:.{digits}g} ± {sd:.2g}"
    decimals = max(0, 1 - math.floor(math.log10(sd)))
    return f"{mean:.{decimals}f} ± {sd:.{decimals}f}"
