"""Folders of images, decoded by Pillow."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np

from genjax.data.dataset import Dataset
from genjax.data.deferred import opens_dataset
from genjax.data.folders import Files, find_splits
from genjax.data.source import SMALL_BYTES, Record, RecordSource, Source, materialize, num_bytes
from genjax.data.splitting import Size

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def decode_image(data: bytes, *, channels: int, size: tuple[int, int] | None = None) -> np.ndarray:
    """Decode one image file to uint8 (H, W, channels): 1 (grey), 3 (RGB) or 4 (RGBA); other modes are converted.

    ``size`` is (H, W), to which the largest centered crop of that aspect ratio is resampled (Lanczos); None keeps it.
    """
    from PIL import Image, ImageOps

    image = Image.open(io.BytesIO(data))
    if image.mode != _MODES[channels]:
        image = image.convert(_MODES[channels])
    if size is not None and image.size != (size[1], size[0]):
        image = ImageOps.fit(image, (size[1], size[0]), Image.Resampling.LANCZOS)
    return np.asarray(image).reshape(image.height, image.width, channels)


@opens_dataset
def image_folder(
    path: str | Path, *, size: tuple[int, int] | None = None, channels: int = 3, validation: Size = 0, test: Size = 0
) -> Dataset:
    """Read a folder of images.

    Subfolders are classes, in alphabetical order; ``x`` is uint8, shape (H, W, channels), ``label`` int32. Top-level
    folders ``train``, ``validation`` and ``test`` are splits. Splits of more than 512 MiB, decoded, are streamed.

    Args:
      path: path of the folder.
      size: (H, W) of all images, see ``decode_image``; None if all images have one size.
      channels: 1, 3 or 4.
      validation: number or fraction of images for validation, evenly spaced over the sorted files.
      test: number or fraction of images for test, evenly spaced.
    """
    check_image_settings(channels, size)
    path = Path(path)
    splits = find_splits(path, SUFFIXES, validation, test)
    sources = {split: _source(files, channels, size) for split, files in splits.items()}
    return Dataset(name=path.name, splits=sources, levels=256, num_classes=len(splits["train"].classes) or None)


def check_image_settings(channels: int, size: tuple[int, int] | None) -> None:
    """Raise if ``decode_image`` does not support the settings."""
    if channels not in _MODES:
        raise ValueError(f"channels is {channels}, but must be 1 (grey), 3 (RGB) or 4 (RGBA)")
    if size is not None and (len(size) != 2 or min(size) < 1):
        raise ValueError(f"size is {size}, but must be (height, width) in pixels, or None")


def _source(files: Files, channels: int, size: tuple[int, int] | None) -> Source:
    expected = size or _decode(files.paths[0], channels, None).shape[:2]

    def read(record: Record) -> dict[str, Any]:
        x = _decode(record["path"], channels, size)
        if x.shape[:2] != expected:
            raise ValueError(
                f"{record['path']} has size {x.shape[:2]}, but {files.paths[0]} has {expected}; "
                "use size=(height, width)"
            )
        return {"x": x} | ({"label": record["label"]} if "label" in record else {})

    source = RecordSource(files, read)
    return materialize(source) if num_bytes(source) <= SMALL_BYTES else source


def _decode(path: Path, channels: int, size: tuple[int, int] | None) -> np.ndarray:
    try:
        return decode_image(path.read_bytes(), channels=channels, size=size)
    except (OSError, ValueError, SyntaxError) as error:
        raise ValueError(f"cannot read the image {path} ({error}); repair or remove it") from None
