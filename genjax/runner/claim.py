"""The claim of a run folder, so that one process at a time writes into it."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from genjax.data.io import replace_file

if TYPE_CHECKING:
    from filelock import FileLock

LOCK, OWNER = ".lock", "owner.json"


@contextlib.contextmanager
def claim(path: Path) -> Iterator[None]:
    """Hold a folder, which is created if it is missing, for this process alone.

    The operating system frees the lock of a killed process; the next claim then warns that it takes the folder over. If
    no run is in the folder at the end, the lock is removed, and the folder, too, if it is empty.

    Raises:
      ValueError: if a living process holds the folder.
    """
    from filelock import FileLock, Timeout

    created = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise ValueError(
            f"{path} is in use by {_owner(path)}; wait until it ends, stop it, or choose another --workdir"
        ) from None
    try:
        if (path / OWNER).exists():
            warnings.warn(f"taking {path} over from {_owner(path)}, which was killed", stacklevel=3)
        owner = {"host": platform.node(), "process": os.getpid(), "started": time.strftime("%Y-%m-%d %H:%M:%S")}
        replace_file(path / OWNER, json.dumps(owner).encode())
        yield
    finally:
        _release(path, created, lock)


def _release(path: Path, created: list[Path], lock: FileLock) -> None:
    with contextlib.suppress(OSError):  # the folder may have been deleted or moved
        (path / OWNER).unlink(missing_ok=True)
        if not (path / "arguments.json").exists():
            (path / LOCK).unlink()
            for folder in (path, *created[1:]):
                folder.rmdir()  # raises unless it is empty
    lock.release()


def _owner(path: Path) -> str:
    """Describe the process that holds a folder, or held it when it was killed."""
    try:
        owner = json.loads((path / OWNER).read_text())
        return f"process {owner['process']} on {owner['host']}, which started at {owner['started']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
