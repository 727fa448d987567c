"""Image files that are translated: where they are, what they become, and which of them cannot be translated.

A folder keeps its subfolders, and every image its name and size: ``photos/2021/dog.jpg``, found in ``photos``, becomes
``OUT/2021/dog.png``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np

from genjax.capabilities import Translates
from genjax.core import Array, Variables, stream_key
from genjax.data.folders import walk_files
from genjax.data.images import READ_CURE, SUFFIXES, read_image
from genjax.evaluation.translation import translate_images
from genjax.experiment import Experiment
from genjax.figures.images import save_picture, to_rgb
from genjax.metrics.progress import Progress

MAX_NAMES = 5  # in a message
Size = tuple[int, int]  # height, width


class ImageFile(NamedTuple):
    """An image to translate.

    Attributes:
      path: path of the file.
      name: path of its translation in the folder of translations, without suffix.
    """

    path: Path
    name: str


class CheckedFiles(NamedTuple):
    """Images by what can be done with them.

    Attributes:
      sizes: images that can be translated, by height and width.
      bad: reasons why others cannot, by path.
    """

    sizes: Mapping[Size, Sequence[ImageFile]]
    bad: Mapping[Path, str]


def find_images(paths: Sequence[Path], out: Path, *, overwrite: bool) -> list[ImageFile]:
    """Return the images of files and folders, sorted in each folder; ``out`` is the folder of their translations.

    Raises:
      FileNotFoundError: if a path does not exist.
      ValueError: if there are no paths, a folder has no images, two images would become one file, or, without
        ``overwrite``, a translation exists.
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
                f"{targets[target]} and {path} would both become {target}; rename one, or translate them into two "
                "folders"
            )
        targets[target] = path
    present = [target for target in targets if target.exists()]
    inputs = {path.resolve() for path in targets.values()}
    for target in present:
        if target.resolve() in inputs:
            raise ValueError(f"{target} is an image to translate; use another folder for --out")
    if present and not overwrite:
        raise ValueError(
            f"{present[0]} exists, as do {len(present)} of {len(files)} translations; pass --overwrite to replace "
            "them, or another folder for --out"
        )
    return files


def _files_at(path: Path, out: Path) -> list[ImageFile]:
    if path.is_file():
        return [ImageFile(path, path.stem)]
    if not path.is_dir():
        raise FileNotFoundError(f"no file or folder {path}; check the path")
    inside = out.resolve() if path.resolve() in out.resolve().parents else None  # earlier translations
    found = sorted(
        file for file in walk_files(path, SUFFIXES) if inside is None or inside not in file.resolve().parents
    )
    if not found:
        raise ValueError(f"no {' or '.join(SUFFIXES)} files in {path}; check the path")
    return [ImageFile(file, file.relative_to(path).with_suffix("").as_posix()) for file in found]


def target_of(out: Path, name: str) -> Path:
    """Return the path of a translation."""
    return out / f"{name}.png"


def num_channels(experiment: Experiment, direction: str) -> Literal[1, 3, 4]:
    """Return the number of channels of the images that a model translates in one direction."""
    entry, spec = direction.partition("_")[0], experiment.batch_spec()
    if entry not in spec:
        raise ValueError(f"direction {direction!r} takes images {entry!r}, but the data has {sorted(spec)}; add them")
    channels = spec[entry].shape[-1]
    if channels not in (1, 3, 4):
        raise ValueError(
            f"direction {direction!r} takes images of {channels} channels, but image files have 1, 3 or 4; "
            "call translate of the run in Python"
        )
    return cast(Literal[1, 3, 4], channels)


def check_images(
    files: Sequence[ImageFile],
    model: Translates,
    variables: Variables,
    *,
    direction: str,
    channels: int,
    progress: Progress,
) -> CheckedFiles:
    """Read all files, and trace the model for each size, to know which can be translated; nothing is computed."""
    advance = progress("reading", len(files))
    sizes: dict[Size, list[ImageFile]] = {}
    bad: dict[Path, str] = {}
    refused: dict[Size, str | None] = {}
    for file in files:
        try:
            height, width, _ = read_image(file.path, channels).shape
        except ValueError as error:
            bad[file.path] = str(error).removesuffix(READ_CURE)
        else:
            size = (height, width)
            if size not in refused:
                refused[size] = _refusal(model, variables, direction, (1, *size, channels))
            if (reason := refused[size]) is None:
                sizes.setdefault(size, []).append(file)
            else:
                bad[file.path] = f"{file.path} has size {size}, which the model does not take ({reason})"
        advance(1)
    return CheckedFiles(sizes, bad)


def _refusal(model: Translates, variables: Variables, direction: str, shape: tuple[int, ...]) -> str | None:
    """Return why a model cannot translate images of a shape, or None if it can."""

    def translate(variables: Variables, key: Array, x: Array) -> Array:
        return model.translate(variables, key, x, direction=direction)

    try:
        out = jax.eval_shape(translate, variables, jax.random.key(0), jax.ShapeDtypeStruct(shape, jnp.float32))
    except (ValueError, TypeError) as error:  # what JAX and Flax raise for shapes that do not fit
        return " ".join(str(error).split())
    return None if out.shape[-1] in (1, 3) else f"its results have {out.shape[-1]} channels, but pictures have 1 or 3"


def describe_bad(bad: Mapping[Path, str], count: int) -> str:
    """Return an error message about images that cannot be translated, ``count`` being the number of all."""
    reasons = list(bad.values())
    more = f", and {len(reasons) - MAX_NAMES} more" if len(reasons) > MAX_NAMES else ""
    return (
        f"{len(reasons)} of {count} images cannot be translated: {', '.join(reasons[:MAX_NAMES])}{more}; "
        "repair or remove them, or pass --skip-bad"
    )


def write_translations(
    sizes: Mapping[Size, Sequence[ImageFile]],
    out: Path,
    model: Translates,
    variables: Variables,
    key: Array,
    *,
    direction: str,
    channels: int,
    batch_size: int,
    progress: Progress,
) -> int:
    """Translate files batch by batch into a folder, and return their number; each key depends on its image's name."""
    count = sum(map(len, sizes.values()))
    advance = progress("images", count)
    for batch in _batches(sizes, batch_size):
        images = np.stack([read_image(file.path, channels) for file in batch]).astype(np.float32) / 255
        keys = jnp.stack([stream_key(key, file.name) for file in batch])
        if len(batch) < batch_size <= len(sizes[images.shape[1:3]]):  # the last of several, of which one shape compiles
            fill = np.minimum(np.arange(batch_size), len(batch) - 1)
            images, keys = images[fill], keys[fill]
        x = translate_images(model, variables, keys, jnp.asarray(images), direction=direction, batch_size=batch_size)
        for file, image in zip(batch, to_rgb(np.asarray(x)[: len(batch)]), strict=True):
            save_picture(target_of(out, file.name), image)
        advance(len(batch))
    return count


def _batches(sizes: Mapping[Size, Sequence[ImageFile]], batch_size: int) -> Iterator[Sequence[ImageFile]]:
    for files in sizes.values():
        for start in range(0, len(files), batch_size):
            yield files[start : start + batch_size]
