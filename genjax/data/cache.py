"""A cache of decoded arrays in the user's cache folder, ``$XDG_CACHE_HOME/genjax`` or ``~/.cache/genjax``.

An entry is an uncompressed ``.npz`` file whose name determines its content. The cache is never needed: entries that
cannot be read are made again, and failures to write are ignored.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import numpy as np

Arrays = Mapping[str, np.ndarray]
T = TypeVar("T")


def fingerprint(paths: list[Path]) -> str:
    """Return eight hexadecimal digits that depend on the paths, sizes and modification times of files."""
    stats = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(paths)]
    return f"{zlib.crc32(repr(stats).encode()):08x}"


def cache_arrays(name: str, make: Callable[[], Arrays], use: Callable[[Arrays], T]) -> T:
    """Apply ``use`` to the arrays cached under ``name``, which determines them; on a miss, make and cache them first.

    An entry that cannot be read is a miss, and one for which ``use`` raises: its content is another.
    """
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    path = root / "genjax" / f"{re.sub(r'[^A-Za-z0-9._-]+', '-', name)}.npz"
    with contextlib.suppress(Exception), np.load(path) as file:  # damaged files raise anything
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
        Path(temporary).replace(path)  # atomic: processes may race
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
