"""Images of two domains: pairs (x, y), or two sets without a known correspondence.

``x`` is the domain that is generated, such as photos, and ``y`` the other one, such as maps. Models of pairs learn x
given y (Isola et al. 2017, arXiv:1611.07004), models of unpaired sets a translation that makes images of one domain
look like those of the other (Zhu et al. 2017, arXiv:1703.10593). ``scale`` takes the name of the entry:

>>> from genjax.data import chain, scale
>>> preprocess = chain(scale(), scale(entry="y"))
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np

from genjax.arguments import PositiveInt
from genjax.data.arrays import levels_of_images, with_channels
from genjax.data.dataset import Dataset
from genjax.data.deferred import opens_dataset
from genjax.data.folders import find_splits
from genjax.data.images import SUFFIXES, ImageSize, image_reader, in_memory_if_small
from genjax.data.source import ArraySource, RecordSource, Source, UnpairedSource
from genjax.data.splitting import SPLIT_NAMES, Size, split_evenly, split_last, split_source

Channels = Literal[1, 3, 4]
MAX_NAMES = 3  # in a message


@opens_dataset
def paired(
    x: Any,
    y: Any,
    *,
    size: ImageSize | None = None,
    channels: Channels = 3,
    y_channels: Channels | None = None,
    validation: Size = 0,
    test: Size = 0,
    levels: PositiveInt | None = None,
    name: str = "paired",
) -> Dataset:
    """Make a data set of pairs from two arrays or two folders, with entries ``x`` and ``y``.

    Arrays are paired by index, image files by their names without suffixes and by their subfolders. Folders may have
    subfolders ``train``, ``validation`` and ``test``, see ``image_folder``.

    Args:
      x: images of the domain that is generated, (N, H, W) or (N, H, W, C), or the path of a folder.
      y: images of the other domain.
      size: (H, W) of images in folders, see ``image_folder``; None if all have one size.
      channels: channels of images in folders: 1, 3 or 4.
      y_channels: channels of ``y``; None for as many as ``channels``.
      validation: number or fraction of pairs for validation: the last ones of arrays, evenly spaced ones of folders.
      test: number or fraction of pairs for test.
      levels: number of values of ``x``, see ``Dataset``; None means 256 for uint8 images.
      name: name in logs and reports.

    Raises:
      ValueError: if the domains differ in number or size, or a file lacks its partner.

    >>> photos, maps = np.zeros((10, 8, 8, 3), np.uint8), np.zeros((10, 8, 8), np.uint8)
    >>> data = paired(photos, maps, test=2)
    >>> len(data.splits["train"]), data.spec()["x"].shape, data.spec()["y"].shape, data.paired
    (8, (8, 8, 3), (8, 8, 1), True)
    """
    if _are_folders(x, y):
        splits = _paired_folders(Path(x), Path(y), (channels, y_channels or channels), size, validation, test)
    else:
        x, y = _images(x), _images(y)
        if len(x) != len(y):
            raise ValueError(f"x has {len(x)} examples, but y has {len(y)}; leave out those without a partner")
        source = ArraySource({"x": x, "y": y})
        splits = split_source(source, split_last(len(source), validation, test))
    return _dataset(name, splits, levels)


@opens_dataset
def unpaired(
    x: Any,
    y: Any,
    *,
    size: ImageSize | None = None,
    channels: Channels = 3,
    y_channels: Channels | None = None,
    validation: Size = 0,
    test: Size = 0,
    levels: PositiveInt | None = None,
    name: str = "unpaired",
) -> Dataset:
    """Make a data set of two sets of any sizes from arrays or folders, with entries ``x`` and ``y``.

    In training each set is shuffled on its own; see ``UnpairedSource`` for this and for the pairs that an evaluation
    reads. Arguments are those of ``paired``; ``validation`` and ``test`` count or divide the images of either set.

    >>> photos, paintings = np.zeros((10, 8, 8, 3), np.uint8), np.zeros((40, 8, 8, 3), np.uint8)
    >>> train = unpaired(photos, paintings, test=0.2).splits["train"]
    >>> len(train.x), len(train.y), len(train)
    (8, 32, 8)
    """
    domains: dict[str, dict[str, Source]] = {}
    folders = _are_folders(x, y)
    for entry, values, domain_channels in (("x", x, channels), ("y", y, y_channels or channels)):
        if folders:
            domains[entry] = _folder(entry, Path(values), domain_channels, size, validation, test)
        else:
            source = ArraySource({entry: _images(values)})
            domains[entry] = split_source(source, split_last(len(source), validation, test))
    if domains["x"].keys() != domains["y"].keys():
        raise ValueError(
            f"x has the splits {sorted(domains['x'])}, but y has {sorted(domains['y'])}; give both the same splits"
        )
    splits: dict[str, Source] = {
        split: UnpairedSource(source, domains["y"][split]) for split, source in domains["x"].items()
    }
    return _dataset(name, splits, levels)


def _dataset(name: str, splits: dict[str, Source], levels: int | None) -> Dataset:
    x, y = splits["train"].spec["x"].shape, splits["train"].spec["y"].shape
    if x[:2] != y[:2]:
        raise ValueError(
            f"x of {name!r} has size {x[:2]}, but y has {y[:2]}; resize one, or use size=(height, width) for folders"
        )
    return Dataset(name=name, splits=splits, levels=levels or levels_of_images(splits["train"]))


def _are_folders(x: Any, y: Any) -> bool:
    are_paths = [isinstance(values, str | Path) for values in (x, y)]
    if are_paths[0] != are_paths[1]:
        raise ValueError(
            f"x is {'a path' if are_paths[0] else 'an array'}, but y is {'a path' if are_paths[1] else 'an array'}; "
            "give two folders or two arrays"
        )
    return all(are_paths)


def _images(values: Any) -> np.ndarray:
    images = with_channels(np.asarray(values))
    if images.ndim != 4:
        raise ValueError(f"images have shape {images.shape}, but must have shape (N, H, W) of uint8, or (N, H, W, C)")
    return images


def _folder(
    entry: str, folder: Path, channels: int, size: ImageSize | None, validation: Size, test: Size
) -> dict[str, Source]:
    """Return the images of one domain, by split."""
    splits = find_splits(folder, SUFFIXES, validation, test)
    first = next(iter(splits.values())).paths[0]
    read = image_reader(first, channels, size)
    return {
        split: in_memory_if_small(RecordSource(files, lambda record: {entry: read(record["path"])}))
        for split, files in splits.items()
    }


def _paired_folders(
    x: Path, y: Path, channels: tuple[int, int], size: ImageSize | None, validation: Size, test: Size
) -> dict[str, Source]:
    """Return pairs of images, by split."""
    files_x, files_y = _named_files(x), _named_files(y)
    _check_partners(x, files_x, y, files_y)
    if list(files_x) != ["train"] and (validation or test):
        raise ValueError(f"{x} already has the splits {sorted(files_x)}; leave validation and test out")
    paths = {
        split: [{"x": path, "y": files_y[split][name]} for name, path in files.items()]
        for split, files in files_x.items()
    }
    if validation or test:
        pairs = paths["train"]
        parts = split_evenly(len(pairs), validation, test)
        paths = {split: [pairs[i] for i in indices] for split, indices in parts.items()}
    first = paths["train"][0]
    readers = {entry: image_reader(first[entry], c, size) for entry, c in zip(("x", "y"), channels, strict=True)}

    def read(record: Any) -> dict[str, np.ndarray]:
        return {entry: reader(record[entry]) for entry, reader in readers.items()}

    return {split: in_memory_if_small(RecordSource(pairs, read)) for split, pairs in paths.items()}


def _named_files(folder: Path) -> dict[str, dict[str, Path]]:
    """Return the images of a folder by split, and by their path in it without suffix and without the split's folder."""
    named: dict[str, dict[str, Path]] = {}
    for split, files in find_splits(folder, SUFFIXES, 0, 0).items():
        for path in files.paths:
            parts = path.relative_to(folder).with_suffix("").parts
            of_split = len(parts) > 1 and parts[0].strip().lower() in SPLIT_NAMES
            name = "/".join(parts[1:] if of_split else parts)
            others = named.setdefault(split, {})
            if name in others:
                raise ValueError(f"{others[name]} and {path} have one name but for the suffix; rename or remove one")
            others[name] = path
    return named


def _check_partners(x: Path, files_x: dict[str, dict[str, Path]], y: Path, files_y: dict[str, dict[str, Path]]) -> None:
    """Raise ValueError unless both folders have the same splits, and files of the same names in each."""
    if files_x.keys() != files_y.keys():
        raise ValueError(
            f"{x} has the splits {sorted(files_x)}, but {y} has {sorted(files_y)}; give both the same splits"
        )
    for split, files in files_x.items():
        others = files_y[split]
        if not files.keys() & others.keys():
            raise ValueError(
                f"no file of {x} and {y} has the same name ({next(iter(files))!r}, {next(iter(others))!r}); "
                "name partners alike, or use data.unpaired"
            )
        for here, there, lone in ((x, y, files.keys() - others.keys()), (y, x, others.keys() - files.keys())):
            if lone:
                shown = ", ".join(map(repr, sorted(lone)[:MAX_NAMES])) + ", …" * (len(lone) > MAX_NAMES)
                raise ValueError(
                    f"{here} has {len(files if here == x else others)} images, of which {len(lone)} have no partner in "
                    f"{there}: {shown}; add the partners, or remove these"
                )
