"""Stacked images: independent grey images in the channels of one.

K classes in C channels make Kᶜ modes, all as common as they are in pairs or triples of the data: stacked MNIST with its
1,000 (Tong Che et al. 2017, arXiv:1612.02136).
"""

from __future__ import annotations

import jax
import numpy as np

from genjax.core import Array
from genjax.data.dataset import Dataset
from genjax.data.deferred import opens_dataset
from genjax.data.source import ArraySource, materialize


@opens_dataset
def stacked(dataset: Dataset, key: Array, *, num_channels: int, num_train: int = 50_000) -> Dataset:
    """Stack images of a data set at random.

    Args:
      dataset: of grey images ``x`` (H, W, 1).
      key: draws which images come together.
      num_channels: C, images in each stack.
      num_train: stacks of the train split; other splits have as many as the data set has images.

    Returns:
      A data set of ``x`` (H, W, C), without labels; see ``genjax.metrics.StackedModes`` and ``channel_classes``.

    Raises:
      ValueError: for images that are not grey, or a count below 1.

    >>> from genjax.data import digits
    >>> pairs = stacked(digits(), jax.random.key(0), num_channels=2, num_train=5_000)
    >>> pairs.name, len(pairs.splits["train"]), pairs.spec()["x"].shape
    ('digits_stacked_2', 5000, (8, 8, 2))
    """
    for name, value in (("num_channels", num_channels), ("num_train", num_train)):
        if value < 1:
            raise ValueError(f"{name} is {value}, but must be at least 1")
    shape = dataset.spec()["x"].shape
    if len(shape) != 3 or shape[-1] != 1:
        raise ValueError(f"x of {dataset.name!r} has shape {shape}, but stacks are made of grey images (H, W, 1)")
    splits = {}
    keys = jax.random.split(key, len(dataset.splits))
    for (name, source), split_key in zip(dataset.splits.items(), keys, strict=True):
        x = np.asarray(materialize(source).arrays["x"])
        count = num_train if name == "train" else len(x)
        rows = np.asarray(jax.random.randint(split_key, (num_channels, count), 0, len(x)))
        splits[name] = ArraySource({"x": np.concatenate([x[row] for row in rows], axis=-1)})
    return Dataset(name=f"{dataset.name}_stacked_{num_channels}", splits=splits, levels=dataset.levels)
