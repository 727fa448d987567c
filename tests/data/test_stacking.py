"""Stacks hold images of their own split, independent in each channel."""

import jax
import numpy as np
import pytest

from genjax import data


def numbered(count: int, first: int) -> np.ndarray:
    """Images of one grey value each."""
    return np.broadcast_to(np.arange(first, first + count, dtype=np.uint8)[:, None, None, None], (count, 2, 3, 1))


GREY = data.Dataset(
    name="grey",
    splits={
        "train": data.ArraySource({"x": numbered(10, 0), "label": np.zeros(10, np.int32)}),
        "test": data.ArraySource({"x": numbered(5, 100), "label": np.zeros(5, np.int32)}),
    },
)


def test_channels_are_independent_images_of_the_split():
    stacks = data.stack(GREY, jax.random.key(0), num_channels=2, num_train=20_000)
    assert stacks.spec()["x"].shape == (2, 3, 2)
    assert set(stacks.spec()) == {"x"}
    x = stacks.splits["train"].take(np.arange(20_000))["x"]
    np.testing.assert_array_equal(x, np.broadcast_to(x[:, :1, :1], x.shape))  # each channel is one image
    counts = np.histogram2d(x[:, 0, 0, 0], x[:, 0, 0, 1], bins=np.arange(11))[0]
    statistic = np.sum((counts - 200) ** 2 / 200)  # chi-squared of 100 equal cells: 99 ± 14
    assert statistic < 99 + 4 * 14
    test = stacks.splits["test"].take(np.arange(5))["x"]
    assert test.min() >= 100
    other = data.stack(GREY, jax.random.key(1), num_channels=2, num_train=20_000).splits["train"]
    assert not np.array_equal(other.take(np.arange(20_000))["x"], x)


def test_colour_and_empty_stacks_are_refused():
    colour = data.arrays(np.zeros((4, 2, 2, 3), np.uint8), name="colour")
    with pytest.raises(ValueError, match=r"x of 'colour' has shape \(2, 2, 3\), but must be grey images"):
        data.stack(colour, jax.random.key(0), num_channels=2)
    with pytest.raises(ValueError, match="num_channels is 0"):
        data.stack(GREY, jax.random.key(0), num_channels=0)
