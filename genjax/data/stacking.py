"""Stacked images: each channel is an independent grey image.

K classes in C channels make Kᶜ modes; stacked MNIST has 1,000 (Tong Che et al. 2017, arXiv:1612.02136).
"""

from __future__ import annotations

import jax
import numpy as np

from genjax.arguments import PositiveInt
from genjax.core import Array
from genjax.data.dataset import Dataset
from genjax.data.deferred import opens_dataset
from genjax.data.source import ArraySource, materialize


@opens_dataset
def stack(dataset: Dataset, key: Array, *, num_channels: PositiveInt, num_train: PositiveInt = 50_000) -> Dataset:
    """Stack randomly drawn images of a data set in channels: a data set of ``x`` (H, W, C), without labels.

    See ``genjax.metrics.StackedModes`` and ``channel_classes``.

    Args:
      dataset: data set of grey images ``x``, which must be (H, W, 1).
      key: typed key, which draws the images of each stack.
      num_channels: number of images in a stack, C.
      num_train: number of stacks in the train split; other splits have as many stacks as the data set has images.

    >>> from genjax.data import digits
    >>> pairs = stack(digits(), jax.random.key(0), num_channels=2, num_train=5_000)
    >>> pairs.name, len(pairs.splits["train"]), pairs.spec()["x"].shape
    ('digits_stacked_2', 5000, (8, 8, 2))
    """
    shape = dataset.spec()["x"].shape
    if len(shape) != 3 or shape[-1] != 1:
        raise ValueError(f"x of {dataset.name!r} has shape {shape}, but must be grey images (H, W, 1)")
    splits = {}
    keys = jax.random.split(key, len(dataset.splits))
    for (name, source), split_key in zip(dataset.splits.items(), keys, strict=True):
        x = np.asarray(materialize(source).arrays["x"])
        count = num_train if name == "train" else len(x)
        rows = np.asarray(jax.random.randint(split_key, (num_channels, count), 0, len(x)))
        splits[name] = ArraySource({"x": np.concatenate([x[row] for row in rows], axis=-1)})
    return Dataset(name=f"{dataset.name}_stacked_{num_channels}", splits=splits, levels=dataset.levels)
