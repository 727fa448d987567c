"""Bars and stripes: images whose every distribution is known."""

from __future__ import annotations

import numpy as np

from genjax.data.dataset import Dataset
from genjax.data.deferred import opens_dataset
from genjax.data.source import ArraySource

SIZES = range(2, 13)


@opens_dataset
def bars_and_stripes(size: int = 4) -> Dataset:
    """Black and white images in which either all rows or all columns are of one colour.

    There are 2 · 2^size − 2 of them, as the two of one colour are both; each split has every one once, so that the
    distribution is uniform and no model's mean log-mass is above −ln of their number. ``x`` is uint8 in {0, 1} of shape
    (size, size, 1). David MacKay 2003, "Information theory, inference, and learning algorithms", section 43.3.

    Raises:
      ValueError: for a size outside of 2 … 12.

    >>> data = bars_and_stripes()
    >>> {name: len(source) for name, source in data.splits.items()}
    {'train': 30, 'validation': 30, 'test': 30}
    """
    if size not in SIZES:
        raise ValueError(f"size is {size}, but must be in 2 … 12; there are 2^(size + 1) images")
    rows = (np.arange(2**size)[:, None] >> np.arange(size)) & 1
    stripes = np.repeat(rows[:, :, None], size, axis=2)
    bars = stripes.transpose(0, 2, 1)[1:-1]  # the first and the last are stripes too
    x = np.concatenate([stripes, bars])[..., None].astype(np.uint8)
    splits = {name: ArraySource({"x": x}) for name in ("train", "validation", "test")}
    return Dataset(name=f"bars_and_stripes_{size}", splits=splits, levels=2)
