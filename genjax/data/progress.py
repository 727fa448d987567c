"""Progress bars of computations that take longer than a second."""

from __future__ import annotations

import sys
from typing import Any

LOG_INTERVAL_S = 30.0


def progress_bar(name: str, total: int, unit: str, **options: Any) -> Any:
    """Start a ``tqdm`` bar on stderr; in a file or a pipe it is drawn once in 30 seconds and at its end."""
    from tqdm import tqdm

    if not (sys.stderr.isatty() or type(sys.stderr).__module__.startswith("ipykernel")):
        options |= {"mininterval": LOG_INTERVAL_S, "maxinterval": LOG_INTERVAL_S}
    return tqdm(total=total, desc=name, unit=unit, **options)
