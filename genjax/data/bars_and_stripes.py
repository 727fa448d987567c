"""Bars and stripes: a small set of images with a known distribution."""

from __future__ import annotations

import numpy as np

from genjax.data.dataset import Dataset
from genjax.data.deferred import opens_dataset
from genjax.data.source import ArraySource

SIZES = range(2, 13)


@opens_dataset
def bars_and_stripes(size: int = 4) -> Dataset:
    """Return all black-and-white images of size 2 … 12 in which every row, or every column, has a single color.

    There are 2 · 2^size − 2 of them, because the two uniform images are both. Every split contains each image once: the
    distribution is uniform, and no model has a mean log-mass above −ln(number of images). ``x`` is uint8 in {0, 1},
    shape (size, size, 1). David MacKay 2003, "Information theory, inference, and learning algorithms", section 43.3.

    >>> data = bars_and_stripes()
    >>> {name: len(source) for name, source in data.splits.items()}
    {'train': 30, 'validation': 30, 'test': 30}
    """
    if size not in SIZES:
        raise ValueError(f"size is {size}, but must be in 2 … 12; there are 2^(size + 1) images")
    rows = (np.arange(2**size)[:, None] >> np.arange(size)) & 1
    stripes = np.repeat(rows[:, :, None], size, axis=2)
    bars = stripes.transpose(0, 2, 1)[1:-1]  # the first and the last are among the stripes
    x = np.concatenate([stripes, bars])[..., None].astype(np.uint8)
    splits = {name: ArraySource({"x": x}) for name in ("train", "validation", "test")}
    return Dataset(name=f"bars_and_stripes_{size}", splits=splits, levels=2)
