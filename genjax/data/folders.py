"""Folders of files whose subfolders are classes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np

from genjax.data.splitting import SPLIT_NAMES, Size, split_evenly


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

    Raises:
      FileNotFoundError: if the folder does not exist.
      ValueError: if it holds no such file, or files beside classes, or if it has split folders and sizes are given.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}; check the path")
    split_folders = {split: folder / alias for alias, split in SPLIT_NAMES.items() if (folder / alias).is_dir()}
    if "train" not in split_folders:
        files = _find(folder, suffixes)
        return {split: files.select(indices) for split, indices in split_evenly(len(files), validation, test).items()}
    if validation or test:
        raise ValueError(f"{folder} already has a split folder 'train'; leave validation and test out")
    splits = {split: _find(path, suffixes) for split, path in split_folders.items()}
    for split, files in splits.items():
        if files.classes != splits["train"].classes:
            raise ValueError(
                f"{split!r} of {folder} has classes {list(files.classes)}, but 'train' has "
                f"{list(splits['train'].classes)}; use the same subfolders in both"
            )
    return splits


def contains_files(folder: Path, suffixes: tuple[str, ...]) -> bool:
    """Return whether the folder or its subfolders contain a file with one of the suffixes."""
    return any(path.suffix.lower() in suffixes for path in folder.rglob("*"))


def _find(folder: Path, suffixes: tuple[str, ...]) -> Files:
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in suffixes and path.is_file())
    if not paths:
        raise ValueError(f"no {' or '.join(suffixes)} files in {folder}; check the path")
    tops = [path.relative_to(folder).parts[:-1] for path in paths]
    if not any(tops):
        return Files(tuple(paths), None, ())
    if not all(tops):
        loose = paths[[bool(top) for top in tops].index(False)]
        raise ValueError(f"{loose} lies beside the classes of {folder}; move it into a subfolder")
    classes = tuple(sorted({top[0] for top in tops}))
    return Files(tuple(paths), np.array([classes.index(top[0]) for top in tops], np.int32), classes)
