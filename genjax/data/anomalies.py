"""Tables for anomaly detection: train on normal rows, test on normal and anomalous ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from genjax.data.dataset import Dataset
from genjax.data.deferred import opens_dataset
from genjax.data.source import ArraySource
from genjax.data.splitting import Size, split_evenly, split_source


@opens_dataset
def anomalies(x: Any, anomalous: Any, *, validation: Size = 0.1, test: Size = 0.4, name: str = "anomalies") -> Dataset:
    """Split a table so that only the test split contains anomalies.

    Normal rows are spread evenly over the splits. ``x`` is float32, standardized with the mean and standard deviation
    of the train split; columns that are constant there are dropped. ``label`` is 0 for normal rows and 1 for anomalies.

    Args:
      x: table of finite numbers, shape (N, D), at least one of whose columns varies over normal rows.
      anomalous: 1 or True for anomalies, at least one, else 0 or False, shape (N,).
      validation: number or fraction of normal rows for validation.
      test: number or fraction of normal rows for test, at least one.
      name: name in logs and reports.

    >>> table = np.random.default_rng(0).normal(size=(100, 3))
    >>> data = anomalies(table, table[:, 0] > 2)
    >>> {split: int(source.arrays["label"].sum()) for split, source in data.splits.items()}
    {'train': 0, 'validation': 0, 'test': 2}
    """
    x, anomalous = np.asarray(x, np.float64), np.asarray(anomalous)
    if x.ndim != 2 or anomalous.shape != x.shape[:1]:
        raise ValueError(f"x has shape {x.shape} and anomalous {anomalous.shape}; give (N, D) and (N,)")
    if not np.isin(anomalous, (0, 1)).all() or not anomalous.any():
        raise ValueError(
            f"anomalous holds {np.unique(anomalous)[:5]}, but must be 0 or 1, and 1 for at least one anomaly"
        )
    if not np.isfinite(x).all():
        row, column = np.argwhere(~np.isfinite(x))[0]
        raise ValueError(f"x is {x[row, column]} in row {row}, column {column}; fill or drop missing values")
    normal = np.flatnonzero(anomalous == 0)
    splits = {split: normal[rows] for split, rows in split_evenly(len(normal), validation, test).items()}
    if "test" not in splits:
        raise ValueError(f"test is {test}, but detecting anomalies needs held-out normal rows; use 0.4, for example")
    splits["test"] = np.sort(np.concatenate([splits["test"], np.flatnonzero(anomalous)]))
    mean, deviation = x[splits["train"]].mean(axis=0), x[splits["train"]].std(axis=0)
    varying = np.ptp(x[splits["train"]], axis=0) > 0  # the deviation of a constant is not quite 0
    if not varying.any():
        raise ValueError(f"x has {x.shape[1]} columns, all constant over normal rows; there is nothing to learn")
    standardized = ((x - mean) / np.where(varying, deviation, 1.0))[:, varying].astype(np.float32)
    source = ArraySource({"x": standardized, "label": anomalous.astype(np.int32)})
    return Dataset(name=name, splits=split_source(source, splits), num_classes=2)
