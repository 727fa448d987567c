"""Numbers of a server in Prometheus' text format."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # seconds


class Metrics:
    """Counts requests, rows and calls, and times requests."""

    def __init__(self) -> None:
        self.requests: Counter[tuple[str, int]] = Counter()
        self.rows: Counter[str] = Counter()
        self.calls: Counter[tuple[str, int]] = Counter()
        self._bounds: Counter[float] = Counter()
        self._seconds, self._count = 0.0, 0

    def answered(self, program: str, status: int, seconds: float) -> None:
        """Count a request and its time."""
        self.requests[program, status] += 1
        self._bounds.update(bound for bound in BOUNDS if seconds <= bound)
        self._seconds += seconds
        self._count += 1

    def text(self, waiting: int) -> str:
        """Return all numbers, and the number of rows that wait now."""
        lines = ["# TYPE genjax_requests_total counter"]
        lines += [f'genjax_requests_total{{program="{p}",status="{s}"}} {n}' for (p, s), n in self.requests.items()]
        lines += ["# TYPE genjax_rows_total counter"]
        lines += [f'genjax_rows_total{{program="{p}"}} {n}' for p, n in self.rows.items()]
        lines += ["# TYPE genjax_calls_total counter"]
        lines += [f'genjax_calls_total{{program="{p}",size="{s}"}} {n}' for (p, s), n in self.calls.items()]
        lines += ["# TYPE genjax_request_seconds histogram"]
        lines += [f'genjax_request_seconds_bucket{{le="{bound}"}} {self._bounds[bound]}' for bound in BOUNDS]
        lines += [f'genjax_request_seconds_bucket{{le="+Inf"}} {self._count}']
        lines += [f"genjax_request_seconds_sum {self._seconds:.6f}", f"genjax_request_seconds_count {self._count}"]
        lines += ["# TYPE genjax_waiting_rows gauge", f"genjax_waiting_rows {waiting}"]
        memory = resident_memory()
        if memory is not None:
            lines += ["# TYPE process_resident_memory_bytes gauge", f"process_resident_memory_bytes {memory}"]
        return "\n".join(lines) + "\n"


def resident_memory() -> int | None:
    """Return the resident memory of this process in bytes; None where the system does not tell."""
    file = Path("/proc/self/statm")
    return int(file.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") if file.is_file() else None
