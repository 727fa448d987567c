"""Image files that are translated or edited: where they are, what they become, and which of them cannot be used.

A folder keeps its subfolders, and every image its name: ``photos/2021/dog.jpg``, found in ``photos``, becomes
``OUT/2021/dog.png``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np

from genjax.core import Array, stream_key
from genjax.data.folders import walk_files
from genjax.data.images import READ_CURE, SUFFIXES, read_image
from genjax.evaluation.image_batches import ImageFunction, map_images
from genjax.metrics.progress import Progress

MAX_NAMES = 5  # in a message
Size = tuple[int, int]  # height, width


class ImageFile(NamedTuple):
    """An image to process.

    Attributes:
      path: path of the file.
      name: path of its result in the folder of results, without suffix.
    """

    path: Path
    name: str


class CheckedFiles(NamedTuple):
    """Images by what can be done with them.

    Attributes:
      sizes: images that can be processed, by height and width.
      bad: reasons why others cannot, by path.
    """

    sizes: Mapping[Size, Sequence[ImageFile]]
    bad: Mapping[Path, str]


class ImageResult(NamedTuple):
    """What became of an image.

    Attributes:
      file: its file.
      image: the image in [0, 1], (H, W, C).
      result: what a model made of it, (H', W', C').
    """

    file: ImageFile
    image: np.ndarray
    result: np.ndarray


def find_images(paths: Sequence[Path], out: Path, *, overwrite: bool) -> list[ImageFile]:
    """Return the images of files and folders, sorted in each folder; ``out`` is the folder of their results.

    Raises:
      FileNotFoundError: if a path does not exist.
      ValueError: if there are no paths, a folder has no images, two images would become one file, or, without
        ``overwrite``, a result exists.
    """
    if not paths:
        raise ValueError("IMAGES are missing: files and folders of images, which come after RUN and before all flags")
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out is {out}, which is a file; name a folder")
    files = [file for path in paths for file in _files_at(path, out)]
    targets: dict[Path, Path] = {}
    for path, name in files:
        target = target_of(out, name)
        if target in targets:
            raise ValueError(
                f"{targets[target]} and {path} would both become {target}; rename one, or write them into two folders"
            )
        targets[target] = path
    present = [target for target in targets if target.exists()]
    inputs = {path.resolve() for path in targets.values()}
    for target in present:
        if target.resolve() in inputs:
            raise ValueError(f"{target} is one of the images; use another folder for --out")
    if present and not overwrite:
        raise ValueError(
            f"{present[0]} exists, as do {len(present)} of {len(files)} results; pass --overwrite to replace "
            "them, or another folder for --out"
        )
    return files


def _files_at(path: Path, out: Path) -> list[ImageFile]:
    if path.is_file():
        return [ImageFile(path, path.stem)]
    if not path.is_dir():
        raise FileNotFoundError(f"no file or folder {path}; check the path")
    inside = out.resolve() if path.resolve() in out.resolve().parents else None  # earlier results
    found = sorted(
        file for file in walk_files(path, SUFFIXES) if inside is None or inside not in file.resolve().parents
    )
    if not found:
        raise ValueError(f"no {' or '.join(SUFFIXES)} files in {path}; check the path")
    return [ImageFile(file, file.relative_to(path).with_suffix("").as_posix()) for file in found]


def target_of(out: Path, name: str) -> Path:
    """Return the path of a result."""
    return out / f"{name}.png"


def check_images(
    files: Sequence[ImageFile], refusal: Callable[[Size], str | None], *, channels: int, progress: Progress
) -> CheckedFiles:
    """Read all files, and sort out those that cannot be processed; ``refusal`` returns why a size cannot, or None."""
    advance = progress("reading", len(files))
    sizes: dict[Size, list[ImageFile]] = {}
    bad: dict[Path, str] = {}
    reasons: dict[Size, str | None] = {}
    for file in files:
        try:
            height, width, _ = read_image(file.path, channels).shape
        except ValueError as error:
            bad[file.path] = str(error).removesuffix(READ_CURE)
        else:
            size = (height, width)
            if size not in reasons:
                reasons[size] = refusal(size)
            if (reason := reasons[size]) is None:
                sizes.setdefault(size, []).append(file)
            else:
                bad[file.path] = f"{file.path} has size {size}, which the model does not take ({reason})"
        advance(1)
    return CheckedFiles(sizes, bad)


def describe_bad(bad: Mapping[Path, str], count: int) -> str:
    """Return an error message about the bad ones of ``count`` images."""
    reasons = list(bad.values())
    more = f", and {len(reasons) - MAX_NAMES} more" if len(reasons) > MAX_NAMES else ""
    return (
        f"{len(reasons)} of {count} images cannot be used: {', '.join(reasons[:MAX_NAMES])}{more}; "
        "repair or remove them, or pass --skip-bad"
    )


def process_images(
    sizes: Mapping[Size, Sequence[ImageFile]],
    function: ImageFunction,
    key: Array,
    *,
    channels: int,
    batch_size: int,
    progress: Progress,
) -> Iterator[ImageResult]:
    """Read files, of which each batch has one size, and yield what a compiled function makes of them.

    The function takes keys (B,) and images (B, H, W, C) in [0, 1]; each key depends on its image's name.
    """
    advance = progress("images", sum(map(len, sizes.values())))
    for files in sizes.values():
        keys = jnp.stack([stream_key(key, file.name) for file in files])
        read = functools.partial(_read_images, files, channels)
        processed = map_images(function, keys, read, batch_size=batch_size, progress=advance)
        rows = ((image, result) for batch in processed for image, result in zip(*map(np.asarray, batch), strict=True))
        for file, (image, result) in zip(files, rows, strict=True):
            yield ImageResult(file, image, result)


def _read_images(files: Sequence[ImageFile], channels: int, numbers: np.ndarray) -> Array:
    """Return the images of numbers (B,) in [0, 1], of which the last may be repeated."""
    images = {number: read_image(files[number].path, channels) for number in np.unique(numbers).tolist()}
    return jnp.asarray(np.stack([images[number] for number in numbers.tolist()]).astype(np.float32) / 255)
