"""Data sets that come with scikit-learn: they need no network and load in milliseconds."""

from __future__ import annotations

import difflib

import numpy as np

from genjax.data.dataset import Dataset
from genjax.data.deferred import opens_dataset
from genjax.data.source import ArraySource
from genjax.data.splitting import split_source, split_stratified

TABLES = ("iris", "wine", "breast_cancer", "diabetes")


@opens_dataset
def digits() -> Dataset:
    """Load handwritten digits of 8 x 8 pixels with grey levels 0 … 16 (Alpaydin & Kaynak, UCI repository, 1998).

    ``x`` is uint8, shape (8, 8, 1); ``label`` is int32. The split is fixed: with the 1,797 images sorted by label
    (stably), rank r goes to test if r mod 5 = 0 (360 images), to validation if r mod 10 = 1 (180), and otherwise to
    train (1,257). Each split keeps scikit-learn's order.

    >>> data = digits()
    >>> {name: len(source) for name, source in data.splits.items()}, data.levels
    ({'train': 1257, 'validation': 180, 'test': 360}, 17)
    """
    from sklearn.datasets import load_digits

    x, label = load_digits(return_X_y=True)
    source = ArraySource({"x": x.astype(np.uint8).reshape(-1, 8, 8, 1), "label": label.astype(np.int32)})
    return Dataset(name="digits", splits=split_source(source, split_stratified(label)), levels=17, num_classes=10)


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
