"""Progress bars for computations that take longer than a second."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

ProgressCallback = Callable[[int], object]  # takes the number of rows just finished
Progress = Callable[[str, int], ProgressCallback]  # starts a bar, given its name and total


def no_progress(name: str, total: int) -> ProgressCallback:
    """Return a callback that shows nothing."""
    del name, total
    return lambda _: None


@contextlib.contextmanager
def progress_bars(unit: str = "example") -> Iterator[Progress]:
    """Yield a function that starts a bar on the terminal; each new bar closes the previous one."""
    import tqdm

    with contextlib.ExitStack() as stack:

        def start(name: str, total: int) -> ProgressCallback:
            stack.close()
            return stack.enter_context(tqdm.tqdm(total=total, desc=name, unit=unit)).update

        yield start
