"""Progress bars for computations that take longer than a second."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from genjax.data.progress import progress_bar
from genjax.ops import check_at_least

ProgressCallback = Callable[[int], object]  # takes the number of rows just finished
Progress = Callable[[str, int], ProgressCallback]  # starts a bar, given its name and total


def no_progress(name: str, total: int) -> ProgressCallback:
    """Return a callback that shows nothing."""
    del name, total
    return lambda _: None


def chunks(count: int, size: int, progress: ProgressCallback | None = None) -> Iterator[slice]:
    """Yield slices of at most ``size`` rows that cover ``count`` rows, and report each one once it is finished."""
    check_at_least("chunk_size", size, 1, "; give a number of rows")
    for start in range(0, count, size):
        yield slice(start, min(start + size, count))
        if progress is not None:
            progress(min(size, count - start))


@contextlib.contextmanager
def progress_bars(unit: str = "example") -> Iterator[Progress]:
    """Yield a function that starts a bar on the terminal; each new bar closes the previous one."""
    with contextlib.ExitStack() as stack:

        def start(name: str, total: int) -> ProgressCallback:
            stack.close()
            return stack.enter_context(progress_bar(name, total, unit)).update

        yield start
