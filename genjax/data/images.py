"""Folders of images, decoded by Pillow."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from genjax.arguments import PositiveInt
from genjax.data.dataset import Dataset
from genjax.data.deferred import opens_dataset
from genjax.data.folders import Files, find_splits
from genjax.data.source import SMALL_BYTES, Record, RecordSource, Source, materialize, num_bytes
from genjax.data.splitting import Size

ImageSize = tuple[PositiveInt, PositiveInt]  # height, width
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
READ_CURE = "; repair or remove it"
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_REFUSED = {"I": "32-bit integers", "F": "32-bit floats", "LAB": "CIELAB colors"}
_CONVERTIBLE = ("1", "L", "LA", "P", "PA", "RGB", "RGBA")  # to each of _MODES
_PREMULTIPLIED = {"La": "LA", "RGBa": "RGBA"}  # alpha multiplied in


def decode_image(data: bytes, *, channels: int, size: ImageSize | None = None) -> np.ndarray:
    """Decode one image file to uint8 (H, W, channels): 1 (grey), 3 (RGB) or 4 (RGBA).

    The image is turned as its EXIF orientation says, and of several frames the first counts. Transparent pixels show a
    white ground, unless there are 4 channels. 16-bit grey is scaled to 8 bits. ``size`` is (H, W), to which the largest
    centered crop of that aspect ratio is resampled (Lanczos); None keeps it. ValueError for images of 32-bit numbers or
    of CIELAB colors.
    """
    from PIL import Image, ImageOps

    image = in_channels(ImageOps.exif_transpose(Image.open(io.BytesIO(data))), _MODES[channels])
    if size is not None and image.size != (size[1], size[0]):
        image = ImageOps.fit(image, (size[1], size[0]), Image.Resampling.LANCZOS)
    return np.asarray(image).reshape(image.height, image.width, channels)


def in_channels(image: Any, mode: str) -> Any:
    """Convert a Pillow image of any mode to "L", "RGB" or "RGBA"."""
    from PIL import Image

    if image.mode in _REFUSED:
        raise ValueError(
            f"mode {image.mode!r}, {_REFUSED[image.mode]}, has no 8-bit values; convert it to 'RGB' or 'L'"
        )
    if image.mode.startswith("I;16"):
        image = Image.fromarray(np.round(np.asarray(image) / 257).astype(np.uint8))
    if image.mode in _PREMULTIPLIED:
        image = image.convert(_PREMULTIPLIED[image.mode])
    if image.mode == mode and "transparency" not in image.info:
        return image
    if image.has_transparency_data and mode != "RGBA":
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return (image if image.mode in _CONVERTIBLE else image.convert("RGB")).convert(mode)


@opens_dataset
def image_folder(
    path: str | Path,
    *,
    size: ImageSize | None = None,
    channels: Literal[1, 3, 4] = 3,
    validation: Size = 0,
    test: Size = 0,
) -> Dataset:
    """Read a folder of images.

    Subfolders are classes, in alphabetical order; ``x`` is uint8, shape (H, W, channels), ``label`` int32. Top-level
    folders ``train``, ``validation`` and ``test``, or such as ``Training`` or ``val``, are splits. Links are followed,
    hidden folders left out. Splits of more than 512 MiB, decoded, are streamed.

    Args:
      path: path of the folder.
      size: (H, W) of all images, see ``decode_image``; None if all images have one size.
      channels: 1, 3 or 4.
      validation: number or fraction of images for validation, evenly spaced over the sorted files.
      test: number or fraction of images for test, evenly spaced.
    """
    path = Path(path)
    splits = find_splits(path, SUFFIXES, validation, test)
    sources = {split: _source(files, channels, size) for split, files in splits.items()}
    return Dataset(name=path.name, splits=sources, levels=256, class_names=splits["train"].classes or None)


def _source(files: Files, channels: int, size: ImageSize | None) -> Source:
    read_image = image_reader(files.paths[0], channels, size)

    def read(record: Record) -> dict[str, Any]:
        return {"x": read_image(record["path"])} | ({"label": record["label"]} if "label" in record else {})

    return in_memory_if_small(RecordSource(files, read))


def in_memory_if_small(source: Source) -> Source:
    """Return a source that is read into memory if it is small."""
    return materialize(source) if num_bytes(source) <= SMALL_BYTES else source


def image_reader(first: Path, channels: int, size: ImageSize | None) -> Callable[[Path], np.ndarray]:
    """Return a function that decodes files to uint8 (H, W, channels), all of one size: that of ``first`` if it is None.

    The function raises ValueError for a file that cannot be read or has another size.
    """
    expected = size or read_image(first, channels, None).shape[:2]

    def read(path: Path) -> np.ndarray:
        x = read_image(path, channels, size)
        if x.shape[:2] != expected:
            raise ValueError(f"{path} has size {x.shape[:2]}, but {first} has {expected}; use size=(height, width)")
        return x

    return read


def read_image(path: Path, channels: int, size: ImageSize | None = None) -> np.ndarray:
    """Decode a file, see ``decode_image``; ValueError with its path if that fails."""
    try:
        return decode_image(path.read_bytes(), channels=channels, size=size)
    except (OSError, ValueError, SyntaxError) as error:
        raise ValueError(f"cannot read the image {path} ({error}){READ_CURE}") from None
