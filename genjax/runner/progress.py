"""A progress bar on stderr: losses, steps per second and the time left."""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Mapping
from typing import Any, Self

from genjax.metrics.rows import format_value


class Progress:
    """A progress bar on stderr with the losses, steps per second and the time left.

    A terminal or a notebook gets a bar; anything else (a file, a pipe) gets a plain line at most every ten seconds.

    Args:
      total: number of steps of the whole run.
      initial: number of steps that were finished before resuming.
      description: text before the bar.
      disable: whether to print nothing, neither bar nor messages, as in all processes but the first.
    """

    def __init__(self, total: int, *, initial: int = 0, description: str = "", disable: bool = False) -> None:
        self._total, self._description, self._disable = total, description, disable
        self._step, self._losses = initial, ""
        self._first: tuple[float, int] | None = None  # time and step of the first update, after compilation
        self._line_at, self._line_step = -math.inf, -1
        self._bar = None
        if not disable and (_is_terminal(sys.stderr) or _is_notebook(sys.stderr)):
            from tqdm import tqdm

            # A notebook stores every redraw, so it is redrawn less often.
            interval = 0.5 if _is_notebook(sys.stderr) else 0.1
            self._bar = tqdm(
                total=total, initial=initial, desc=description, unit=" steps", mininterval=interval, dynamic_ncols=True
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def update(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Show that ``step`` steps are finished; ``metrics`` as in ``MetricLog.write``."""
        if self._disable:
            return
        advance, self._step = step - self._step, step
        self._losses = _losses(metrics) or self._losses
        if self._bar is not None:
            self._bar.set_postfix_str(self._losses, refresh=False)
            self._bar.update(advance)
        else:
            now = time.monotonic()
            self._first = self._first or (now, step)
            if now - self._line_at >= 10:
                self._print_line(now)

    def message(self, text: str) -> None:
        """Print a line without breaking the bar."""
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
        elif not self._disable:
            print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Show the final state and close the bar."""
        if self._bar is not None:
            self._bar.close()
        elif self._first is not None and self._line_step != self._step:
            self._print_line(time.monotonic())

    def _print_line(self, now: float) -> None:
        from tqdm import tqdm

        assert self._first is not None
        start, first_step = self._first
        parts = [f"step {self._step:,} of {self._total:,}"]
        if self._step > first_step and now > start:
            rate = (self._step - first_step) / (now - start)
            left = tqdm.format_interval((self._total - self._step) / rate)
            parts += [f"{rate:.4g} steps/s", f"{left} left"]
        prefix = f"{self._description}: " if self._description else ""
        print(prefix + ", ".join([*parts, *filter(None, [self._losses])]), file=sys.stderr, flush=True)
        self._line_at, self._line_step = now, self._step


def _losses(metrics: Mapping[str, Any]) -> str:
    """Return the training losses, at most three, or the first two metrics if there are no losses."""
    training = [name for name in metrics if not name.startswith("validation/")]
    names = [name for name in training if name.split("/")[-1] == "loss"][:3] or training[:2]
    return ", ".join(f"{name} {format_value(metrics[name])}" for name in names)


def _is_terminal(stream: Any) -> bool:
    """Return whether a bar can be drawn; some wrappers are terminals of size 0, which would show none."""
    return stream.isatty() and min(os.get_terminal_size(stream.fileno())) > 0


def _is_notebook(stream: Any) -> bool:
    return type(stream).__module__.startswith("ipykernel")
