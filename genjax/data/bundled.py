"""Data sets that come with scikit-learn: they need no network and load in milliseconds."""

from __future__ import annotations

import difflib
from typing import Literal

import numpy as np

from genjax.data.dataset import Dataset
from genjax.data.deferred import opens_dataset
from genjax.data.source import ArraySource
from genjax.data.splitting import split_source, split_stratified

TABLES = ("iris", "wine", "breast_cancer", "diabetes")


@opens_dataset
def digits(*, size: Literal[8, 16, 32] = 8) -> Dataset:
    """Load handwritten digits of 8 x 8 pixels with grey levels 0 … 16 (Alpaydin & Kaynak, UCI repository, 1998).

    ``x`` is uint8, shape (8, 8, 1); ``label`` is int32. The split is fixed: with the 1,797 images sorted by label
    (stably), rank r goes to test if r mod 5 = 0 (360 images), to validation if r mod 10 = 1 (180), and otherwise to
    train (1,257). Each split keeps scikit-learn's order.

    With ``size`` 16 or 32 the images are enlarged bilinearly and have 256 levels; ``load`` and feature networks call
    these data sets "digits_16" and "digits_32".

    >>> data = digits()
    >>> {name: len(source) for name, source in data.splits.items()}, data.levels
    ({'train': 1257, 'validation': 180, 'test': 360}, 17)
    >>> large = digits(size=32)
    >>> large.name, large.spec()["x"].shape, large.levels
    ('digits_32', (32, 32, 1), 256)
    """
    from sklearn.datasets import load_digits

    x, label = load_digits(return_X_y=True)
    x = x.reshape(-1, 8, 8, 1)
    name, levels = "digits", 17
    if size > 8:
        name, levels = f"digits_{size}", 256
        x = np.round(255 / 16 * _enlarge(x, size))
    source = ArraySource({"x": x.astype(np.uint8), "label": label.astype(np.int32)})
    return Dataset(name=name, splits=split_source(source, split_stratified(label)), levels=levels, num_classes=10)


def _enlarge(x: np.ndarray, size: int) -> np.ndarray:
    """Return square images (B, S, S, C) interpolated bilinearly between pixel centres, (B, size, size, C)."""
    side = x.shape[1]
    centres = np.clip((np.arange(size) + 0.5) * side / size - 0.5, 0, side - 1)
    weights = np.maximum(0, 1 - np.abs(centres[:, None] - np.arange(side)))
    return np.einsum("ih,jw,bhwc->bijc", weights, weights, x, optimize=True)


@opens_dataset
def bundled(name: str) -> Dataset:
    """Load one of scikit-learn's small tables: iris, wine, breast_cancer or diabetes.

    ``x`` is float32, shape (num_features,), standardized with the mean and standard deviation of the train split.
    ``label`` is int32; diabetes has none, because its target is a real number. The split is 70 / 10 / 20 %, by the rule
    of ``digits`` (diabetes is sorted by its target).
    """
    if name not in TABLES:
        near = difflib.get_close_matches(name, TABLES, 1, 0.3)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"no bundled table {name!r}, only {', '.join(TABLES)}{hint}")
    import sklearn.datasets

    table = getattr(sklearn.datasets, f"load_{name}")()
    x, target = table.data, table.target
    parts = split_stratified(target)
    mean, deviation = x[parts["train"]].mean(axis=0), x[parts["train"]].std(axis=0)
    arrays = {"x": ((x - mean) / np.where(deviation > 0, deviation, 1.0)).astype(np.float32)}
    class_names = None
    if name != "diabetes":
        arrays["label"] = target.astype(np.int32)
        class_names = tuple(map(str, table.target_names))
    return Dataset(name=name, splits=split_source(ArraySource(arrays), parts), class_names=class_names)
