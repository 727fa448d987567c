"""Data sets from NumPy arrays and from NumPy files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from genjax.arguments import PositiveInt
from genjax.data.dataset import Dataset, count_classes
from genjax.data.deferred import opens_dataset
from genjax.data.io import open_npz, read_entry, read_npy, require_file
from genjax.data.source import RESIDENT_BYTES, ArraySource, MappedSource, Source
from genjax.data.splitting import Size, find_split_names, split_last, split_source


@opens_dataset
def arrays(
    x: Any,
    *,
    label: Any = None,
    validation: Size = 0,
    test: Size = 0,
    levels: PositiveInt | None = None,
    name: str = "arrays",
) -> Dataset:
    """Make a data set from arrays.

    Args:
      x: examples, shape (N, ...). uint8 of shape (N, H, W) or (N, H, W, C) are images; the former gain a channel axis.
      label: integer classes, shape (N,), or None.
      validation: number or fraction of examples for validation, taken from the end, before those for test.
      test: number or fraction of examples for test, taken from the end. Shuffle sorted data beforehand.
      levels: see ``Dataset``; None means 256 for uint8 images and continuous otherwise.
      name: name in logs and reports.

    >>> data = arrays(np.zeros((10, 28, 28), np.uint8), validation=0.2)
    >>> len(data.splits["train"]), data.spec()["x"].shape, data.levels
    (8, (28, 28, 1), 256)
    """
    source = _source(np.asarray(x), label)
    return _dataset(name, split_source(source, split_last(len(source), validation, test)), levels)


@opens_dataset
def npy(
    path: str | Path,
    *,
    validation: Size = 0,
    test: Size = 0,
    levels: PositiveInt | None = None,
    resident: bool | None = None,
) -> Dataset:
    """Read ``x`` from a ``.npy`` file, but never pickled objects; see ``arrays`` for the other arguments.

    ``resident`` examples are read into memory at once, others when they are used, so that the file may be larger than
    memory; None means up to 2 GiB.
    """
    path = Path(path)
    if resident is None:
        resident = require_file(path).stat().st_size <= RESIDENT_BYTES
    x = read_npy(path, mapped=not resident)
    if resident:
        return arrays(x, validation=validation, test=test, levels=levels, name=path.stem)
    source = MappedSource({"x": with_channels(x)})
    return _dataset(path.stem, split_source(source, split_last(len(source), validation, test)), levels)


@opens_dataset
def npz(
    path: str | Path,
    *,
    x: str = "x",
    label: str | None = None,
    validation: Size = 0,
    test: Size = 0,
    levels: PositiveInt | None = None,
) -> Dataset:
    """Read a ``.npz`` file with entries x and label (or y), or x_train, y_train, x_test etc.; never pickled objects.

    Beside x_test and x_val, x is the training split. An entry y of images, (N, H, W) or (N, H, W, C), is not a label:
    it becomes the entry ``y`` of a paired data set, see ``paired``.

    ``x`` and ``label`` name the entries with examples and labels; None takes "label" or "y" if there is one.
    ``validation`` and ``test`` are for files without splits; see ``arrays`` for them and for ``levels``.
    """
    path = Path(path)
    with open_npz(path) as file:
        splits = _npz_splits(path, file, x, label)
    if len(splits) == 1:
        splits = split_source(splits["train"], split_last(len(splits["train"]), validation, test))
    elif validation or test:
        raise ValueError(f"{path} already has the splits {sorted(splits)}; leave validation and test out")
    return _dataset(path.stem, splits, levels)


def _npz_splits(path: Path, file: Any, x: str, label: str | None) -> dict[str, Source]:
    entries = {name.removeprefix(f"{x}_"): name for name in file.files if name.startswith(f"{x}_")}
    if x in file.files:
        if "train" in entries:
            raise ValueError(f"{path} holds {x!r} and {entries['train']!r}, but needs one of them; rename the other")
        entries["train"] = x
    names = find_split_names(entries, f"entries {x}_… of {path}")
    keys = {split: entries[name] for split, name in names.items()}
    if "train" not in keys:
        raise ValueError(f"{path} holds {sorted(file.files)}, but neither {x!r} nor '{x}_train'; name the entry by x=…")
    label_names = ("label", "y") if label is None else (label,)
    if label is not None and not any(key == label or key.startswith(f"{label}_") for key in file.files):
        raise ValueError(f"{path} holds {sorted(file.files)}, but not {label!r}; name the labels by label=…")
    splits = {}
    for split, key in keys.items():
        suffix = key[len(x) :]
        label_key = next((n + suffix for n in label_names if n + suffix in file.files), None)
        y_key = f"y{suffix}"
        y = read_entry(path, file, y_key) if label is None and x != "y" and y_key in file.files else None
        images = y if y is not None and y.ndim >= 3 else None
        if images is not None and label_key == y_key:
            label_key = None
        labels = None if label_key is None else read_entry(path, file, label_key)
        splits[split] = _source(read_entry(path, file, key), labels, images)
    return splits


def _source(x: np.ndarray, label: Any, y: np.ndarray | None = None) -> ArraySource:
    arrays = {"x": with_channels(x)} | ({} if y is None else {"y": with_channels(y)})
    if label is None:
        return ArraySource(arrays)
    label = np.asarray(label)
    if label.ndim != 1 or label.dtype.kind not in "iub":
        raise ValueError(f"label is {label.dtype}{list(label.shape)}, but must be integers of shape (N,)")
    return ArraySource(arrays | {"label": label.astype(np.int64)})


def with_channels(x: np.ndarray) -> np.ndarray:
    """Return an array, with a channel axis if it holds grey images, uint8 (N, H, W)."""
    return x[..., None] if x.dtype == np.uint8 and x.ndim == 3 else x


def levels_of_images(source: Source) -> int | None:
    """Return 256 if ``x`` are uint8 images, else None."""
    x = source.spec["x"]
    return 256 if x.dtype == np.uint8 and len(x.shape) == 3 else None


def _dataset(name: str, splits: dict[str, Source], levels: int | None) -> Dataset:
    levels = levels or levels_of_images(splits["train"])
    num_classes = None
    if all("label" in source.spec for source in splits.values()):
        labels = [source.arrays["label"] for source in splits.values() if isinstance(source, ArraySource)]
        num_classes = count_classes("label", np.concatenate(labels))
    return Dataset(name=name, splits=splits, levels=levels, num_classes=num_classes)
