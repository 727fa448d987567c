"""Reading and writing files: clear errors for missing and broken ones, and atomic writes."""

from __future__ import annotations

import contextlib
import mmap
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np


def require_file(path: Path) -> Path:
    """Return the path; FileNotFoundError if it is not a file."""
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}; check the path")
    return path


def read_npy(path: Path, *, mapped: bool = False) -> np.ndarray:
    """Read a ``.npy`` file, but never pickled objects; ValueError if it is damaged, too large or no plain array.

    If it is ``mapped``, the array stays on disk, and what is used of it is read then.
    """
    try:
        array = np.load(require_file(path), mmap_mode="r" if mapped else None, allow_pickle=False)
        if mapped and isinstance(array.base, mmap.mmap) and hasattr(mmap, "MADV_RANDOM"):
            array.base.madvise(mmap.MADV_RANDOM)  # examples are read in random order, so their neighbours are not
        return np.asarray(array)
    except FileNotFoundError:
        raise
    except Exception as error:  # damaged files raise anything, MemoryError for a size that was changed
        raise ValueError(f"{path} holds no plain array ({error}); save it with numpy.save") from None


@contextlib.contextmanager
def available_from(source: str) -> Iterator[None]:
    """Add where a missing file is available, and under which licence, to the FileNotFoundError of its block.

    >>> with available_from("https://example.org (CC0)"):
    ...     require_file(Path("rare.npz"))
    Traceback (most recent call last):
    FileNotFoundError: no file rare.npz; check the path, or get the file from https://example.org (CC0)
    """
    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}, or get the file from {source}") from error


@contextlib.contextmanager
def open_npz(path: Path) -> Iterator[Any]:
    """Open an ``.npz`` file without reading pickled objects; ValueError if it is not one."""
    with contextlib.ExitStack() as stack:
        try:
            with zipfile.ZipFile(require_file(path)):
                file = stack.enter_context(np.load(path, allow_pickle=False))
        except FileNotFoundError:
            raise
        except Exception as error:  # damaged files raise anything
            raise ValueError(f"{path} is not a readable .npz file ({error}); save it with numpy.savez") from None
        yield file


def read_entry(path: Path, file: Any, name: str) -> np.ndarray:
    """Return an array of an open ``.npz`` file; ValueError if it is damaged, too large or no plain array."""
    try:
        return np.asarray(file[name])
    except Exception as error:  # damaged files raise anything, MemoryError for a size that was changed
        raise ValueError(f"{name!r} of {path} is no plain array ({error}); save it as numbers") from None


def replace_file(path: Path, content: bytes) -> None:
    """Replace a file atomically: it has either the old content or the new, even if the process is killed."""
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
