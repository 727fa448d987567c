"""Files that are to be there, and to be readable."""

from __future__ import annotations

import contextlib
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
