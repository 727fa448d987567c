"""Progress of what takes longer than a second."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

Done = Callable[[int], object]  # called with the number of rows just finished
Progress = Callable[[str, int], Done]  # starts a bar, from a name and a total


def silent(name: str, total: int) -> Done:
    """Show nothing."""
    del name, total
    return lambda _: None


@contextlib.contextmanager
def bars(unit: str = "example") -> Iterator[Progress]:
    """Show bars on the terminal; each one closes the one before."""
    import tqdm

    with contextlib.ExitStack() as stack:

        def start(name: str, total: int) -> Done:
            stack.close()
            return stack.enter_context(tqdm.tqdm(total=total, desc=name, unit=unit)).update

        yield start
