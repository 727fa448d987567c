"""Reading and writing files: clear errors for those that are missing or broken, and writes that are never partial."""

from __future__ import annotations

import contextlib
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np


def existing(path: Path) -> Path:
    """Return the path of a file; FileNotFoundError where there is none."""
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}; check the path")
    return path


@contextlib.contextmanager
def opened_npz(path: Path) -> Iterator[Any]:
    """Open an ``.npz`` file, whose pickled objects are never read; ValueError where it is none."""
    try:
        with zipfile.ZipFile(existing(path)), np.load(path, allow_pickle=False) as file:
            yield file
    except (zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f"{path} is not a readable .npz file ({error}); save it with numpy.savez") from None


def replace_file(path: Path, content: bytes) -> None:
    """Write a whole file such that a reader, or a kill, meets either the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
