"""Folders of files whose subfolders are classes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np

from genjax.data.splitting import Size, find_split_names, split_evenly

SYSTEM_FOLDERS = {"__MACOSX", "__pycache__", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found"}


@final
@dataclass(frozen=True, eq=False)
class Files:
    """Files and their classes.

    Attributes:
      paths: paths of N files.
      label: class of each file, int32 (N,); None if the files lie in one folder.
      classes: names of the classes.
    """

    paths: tuple[Path, ...]
    label: np.ndarray | None
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> dict[str, object]:
        """Return the record ``{"path": ..., "label": ...}``."""
        record: dict[str, object] = {"path": self.paths[index]}
        return record if self.label is None else record | {"label": self.label[index]}

    def select(self, indices: np.ndarray) -> Files:
        """Return the files at ``indices``."""
        paths = tuple(self.paths[i] for i in indices)
        return Files(paths, None if self.label is None else self.label[indices], self.classes)


def find_splits(folder: Path, suffixes: tuple[str, ...], validation: Size, test: Size) -> dict[str, Files]:
    """Find files by suffix: in subfolders ``train``, ``validation`` and ``test``, or else split evenly.

    Split folders may have any spelling that ``SPLIT_NAMES`` lists. Links are followed; hidden and system files and
    folders are left out.

    Raises:
      FileNotFoundError: if the folder does not exist.
      ValueError: if it holds no such file, files beside classes, an empty class, or a broken link; if it has split
        folders, but none for training, or others beside them, or sizes are given.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}; check the path")
    subfolders = _subfolders(folder)
    split_folders = find_split_names(subfolders, f"folders of {folder}")
    if not split_folders:
        files = _find(folder, suffixes)
        return {split: files.select(indices) for split, indices in split_evenly(len(files), validation, test).items()}
    others = [name for name in subfolders if name not in split_folders.values()]
    for name in others:
        if contains_files(folder / name, suffixes):
            raise ValueError(
                f"{folder / name} lies beside split folders {list(split_folders.values())}; move it into one"
            )
    if validation or test:
        raise ValueError(
            f"{folder} already has a split folder {split_folders['train']!r}; leave validation and test out"
        )
    splits = {split: _find(folder / name, suffixes) for split, name in split_folders.items()}
    for split, files in splits.items():
        if files.classes != splits["train"].classes:
            raise ValueError(
                f"{split!r} of {folder} has classes {list(files.classes)}, but 'train' has "
                f"{list(splits['train'].classes)}; use the same subfolders in both"
            )
    return splits


def contains_files(folder: Path, suffixes: tuple[str, ...]) -> bool:
    """Return whether the folder or its subfolders contain a file with one of the suffixes."""
    return any(True for _ in walk_files(folder, suffixes))


def walk_files(folder: Path, suffixes: tuple[str, ...], above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """Yield files with one of the suffixes, in folders that are links, too, unless they link to a folder above."""
    here = folder.resolve()
    if here in above:
        return
    for entry in os.scandir(folder):
        if _is_hidden(entry.name):
            continue
        if entry.is_dir():
            yield from walk_files(folder / entry.name, suffixes, (*above, here))
        elif Path(entry.name).suffix.lower() in suffixes:
            yield folder / entry.name


def _find(folder: Path, suffixes: tuple[str, ...]) -> Files:
    paths = sorted(walk_files(folder, suffixes))
    if not paths:
        raise ValueError(f"no {' or '.join(suffixes)} files in {folder}; check the path")
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise ValueError(f"{missing[0]} is a link to a file that does not exist; repair or remove it")
    tops = [path.relative_to(folder).parts[:-1] for path in paths]
    if not any(tops):
        return Files(tuple(paths), None, ())
    if not all(tops):
        loose = paths[[bool(top) for top in tops].index(False)]
        raise ValueError(f"{loose} lies beside the classes of {folder}; move it into a subfolder")
    classes = tuple(_subfolders(folder))
    empty = set(classes) - {top[0] for top in tops}
    if empty:
        raise ValueError(
            f"class {min(empty)!r} of {folder} has no {' or '.join(suffixes)} files; add some or remove it"
        )
    return Files(tuple(paths), np.array([classes.index(top[0]) for top in tops], np.int32), classes)


def _subfolders(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and not _is_hidden(path.name))


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in SYSTEM_FOLDERS
