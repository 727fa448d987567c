"""Open any data set by its name, or by the path of a file or folder."""

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
from genjax.data.folders import contains_files
from genjax.data.io import require_file
from genjax.data.lines import lines
from genjax.data.synthetic import DENSITIES
from genjax.data.synthetic import dataset as synthetic_dataset
from genjax.data.tfds_sets import base_name, suggest_names, tfds, tfds_names

_BY_NAME: dict[str, Callable[..., Dataset]] = {
    "digits": digits,
    **{name: partial(bundled, name) for name in TABLES},
    **{name: partial(synthetic_dataset, density) for name, density in DENSITIES.items()},
    "stdlib": stdlib,
    **{f"digits_{size}": partial(digits, size=size) for size in (16, 32)},
}
_BY_SUFFIX: dict[str, Callable[..., Dataset]] = {".npz": npz, ".npy": npy, ".wav": audio.wav, ".txt": text, ".gz": text}
_BY_PREFIX: dict[str, Callable[..., Dataset]] = {
    "tfds:": tfds,
    "lines:": lines,
    "clips:": audio.clips,
    "chorales:": chorales,
}


def names() -> list[str]:
    """Return the names of the data sets that need neither network nor files."""
    return list(_BY_NAME)


@opens_dataset
def load(name_or_path: str | Path, **settings: Any) -> Dataset:
    """Open a data set by name or path.

    Args:
      name_or_path: one of
        "digits", "digits_16", "digits_32", a bundled table ("iris", ...), "stdlib", or a density ("gaussians_25", ...,
        which needs ``key=``);
        the path of a ``.npz``, ``.npy``, ``.txt``, ``.txt.gz`` or ``.wav`` file, or of a folder of images or wav files;
        "lines:", "clips:" or "chorales:" and the path of a file for the function of that name;
        the name of a TFDS set, preceded by "tfds:" if it is also one of the names above.
      **settings: keyword arguments of the function that reads the data.

    Raises:
      ValueError: for an unknown name (the message suggests the nearest) or wrong settings.
      FileNotFoundError: for a path that does not exist, or a TFDS set that is not prepared.

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
    if name in _BY_NAME:
        return _BY_NAME[name]
    for prefix, opener in _BY_PREFIX.items():
        if name.startswith(prefix):
            return partial(opener, name.removeprefix(prefix))
    path = Path(name)
    if path.is_dir():
        return partial(audio.wav if contains_files(path, audio.SUFFIXES) else images.image_folder, path)
    if path.suffix in _BY_SUFFIX:
        return partial(_BY_SUFFIX[path.suffix], require_file(path))
    if path.is_file():
        raise ValueError(f"{name} has the unknown suffix {path.suffix!r}; known suffixes are {sorted(_BY_SUFFIX)}")
    base = base_name(name)
    if base in (known := tfds_names()):
        return partial(tfds, name)
    hint = suggest_names(base, [*names(), *known]) or f"; {', '.join(names())} need no network"
    raise ValueError(f"no data set or file {name!r}{hint}")
