"""Bars and stripes, compared with their definition over all images."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from genjax import data


@pytest.mark.parametrize("size", [2, 3, 4])
def test_they_are_all_images_of_rows_or_columns_of_one_colour(size):
    every = np.array(list(itertools.product((0, 1), repeat=size * size))).reshape(-1, size, size)
    rows, columns = (np.ptp(every, axis=axis).max(axis=1) == 0 for axis in (2, 1))
    expected = {image.tobytes() for image in every[rows | columns].astype(np.uint8)}
    for source in data.bars_and_stripes(size).splits.values():
        x = source.take(np.arange(len(source)))["x"]
        assert x.shape == (2 ** (size + 1) - 2, size, size, 1)
        assert {image.tobytes() for image in x[..., 0]} == expected


def test_other_sizes_are_refused():
    with pytest.raises(ValueError, match="size is 1, but must be in 2 … 12"):
        data.bars_and_stripes(1)
