"""One entry for every data set: by name, or by the path of a file or folder."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from genjax.data import audio, images
from genjax.data.arrays import npy, npz
from genjax.data.bundled import TABLES, bundled, digits
from genjax.data.chorales import chorales
from genjax.data.corpora import stdlib, text
from genjax.data.dataset import Dataset
from genjax.data.deferred import opens_dataset
from genjax.data.folders import contains
from genjax.data.io import existing
from genjax.data.lines import lines
from genjax.data.synthetic import DENSITIES
from genjax.data.synthetic import dataset as synthetic_dataset
from genjax.data.tfds_sets import base_name, near_names, tfds, tfds_names

_BY_SUFFIX: dict[str, Callable[..., Dataset]] = {".npz": npz, ".npy": npy, ".wav": audio.wav, ".txt": text, ".gz": text}

_BY_PREFIX: dict[str, Callable[..., Dataset]] = {
    "tfds:": tfds,
    "lines:": lines,
    "clips:": audio.clips,
    "chorales:": chorales,
}


def names() -> list[str]:
    """Return the names of the data sets that need no network and no files."""
    return ["digits", *TABLES, *DENSITIES, "stdlib"]


@opens_dataset
def load(name_or_path: str | Path, **settings: Any) -> Dataset:
    """Open a data set by name or path.

    Args:
      name_or_path: "digits"; a bundled table ("iris", ...); a density ("gaussians_25", ..., which needs ``key=``);
        "stdlib"; the path of a ``.npz``, ``.npy``, ``.txt``, ``.txt.gz`` or ``.wav`` file or of a folder of images or
        wav files, with "lines:", "clips:" or "chorales:" before that of a file which ``lines``, ``clips`` or
        ``chorales`` reads; or the name of a TFDS set, which "tfds:" may precede where another of these has the same
        name.
      **settings: keyword arguments of the function that reads it.

    Raises:
      ValueError: for an unknown name (the message gives the nearest), or wrong settings.
      FileNotFoundError: for a path where nothing is, or a TFDS set that is not prepared.

    >>> load("digits").spec()["x"].shape
    (8, 8, 1)
    """
    name = str(name_or_path)
    opener = _opener(name)
    try:
        inspect.signature(opener).bind(**settings)
    except TypeError as error:
        known = [p.name for p in inspect.signature(opener).parameters.values() if p.kind is p.KEYWORD_ONLY]
        raise ValueError(f"cannot open {name!r}: {error}; it takes {known or 'no settings'}") from None
    return opener(**settings)


def _opener(name: str) -> Callable[..., Dataset]:
    if name == "digits":
        return digits
    if name == "stdlib":
        return stdlib
    if name in TABLES:
        return partial(bundled, name)
    if name in DENSITIES:
        return partial(synthetic_dataset, DENSITIES[name])
    for prefix, opener in _BY_PREFIX.items():
        if name.startswith(prefix):
            return partial(opener, name.removeprefix(prefix))
    path = Path(name)
    if path.is_dir() or path.suffix in _BY_SUFFIX:
        return _path_opener(path)
    if path.is_file():
        raise ValueError(f"cannot tell what {name} holds by its suffix {path.suffix!r}; known are {sorted(_BY_SUFFIX)}")
    base = base_name(name)
    if base in (known := tfds_names()):
        return partial(tfds, name)
    hint = near_names(base, [*names(), *known]) or f"; without a network there are {', '.join(names())}"
    raise ValueError(f"no data set or file {name!r}{hint}")


def _path_opener(path: Path) -> Callable[..., Dataset]:
    if path.is_dir():
        if contains(path, audio.SUFFIXES):
            return partial(audio.wav, path)
        return partial(images.image_folder, path)
    return partial(_BY_SUFFIX[path.suffix], existing(path))
