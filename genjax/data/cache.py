"""A cache of decoded arrays in the user's cache folder, ``$XDG_CACHE_HOME/genjax`` or ``~/.cache/genjax``.

An entry is an uncompressed ``.npz`` under a name that fixes its content. It is only ever a shortcut: an entry that
cannot be read is made again, and one that cannot be written is done without.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np

from genjax.data.source import ArraySource

Arrays = Mapping[str, np.ndarray]
T = TypeVar("T")


def fingerprint(paths: list[Path]) -> str:
    """Return eight hexadecimal digits that change with the paths, sizes or times of some files."""
    stats = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(paths)]
    return f"{zlib.crc32(repr(stats).encode()):08x}"


def cached(name: str, read: Callable[[], ArraySource]) -> ArraySource:
    """Return the examples kept under ``name``, or read and keep them."""
    return cached_arrays(name, lambda: read().arrays, ArraySource)


def cached_arrays(name: str, make: Callable[[], Arrays], use: Callable[[Arrays], T]) -> T:
    """Return what ``use`` makes of the arrays kept under ``name``, or make and keep them.

    Args:
      name: fixes the content.
      make: called where there is no entry, or one that cannot be read or used.
      use: raises KeyError or ValueError for arrays that are not those of this name.
    """
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    path = root / "genjax" / f"{re.sub(r'[^A-Za-z0-9._-]+', '-', name)}.npz"
    with contextlib.suppress(OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile), np.load(path) as file:
        return use({key: file[key] for key in file.files})
    arrays = make()
    with contextlib.suppress(OSError):
        _write(path, arrays)
    return use(arrays)


def _write(path: Path, arrays: Arrays) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, allow_pickle=False, **arrays)  # type: ignore[arg-type]
        Path(temporary).replace(path)  # atomic, so that processes may race
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
