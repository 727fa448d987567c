"""Tables with anomalies: their splits and their units."""

import numpy as np
import pytest

from genjax import data

rng = np.random.default_rng(0)
NORMAL = np.concatenate([rng.normal(3, [1, 5], (1_000, 2)), np.full((1_000, 1), 5.7)], axis=1)
ANOMALIES = rng.normal(20, 1, (50, 3))
LABEL = np.repeat([0, 1], [1_000, 50])


def test_anomalies_are_in_test_alone_and_every_row_is_used_once():
    dataset = data.anomalies(np.concatenate([NORMAL, ANOMALIES]), LABEL, name="table")
    arrays = {split: source.arrays for split, source in dataset.splits.items()}
    assert {split: len(a["x"]) for split, a in arrays.items()} == {"train": 500, "validation": 100, "test": 450}
    assert {split: int(a["label"].sum()) for split, a in arrays.items()} == {"train": 0, "validation": 0, "test": 50}
    first = np.concatenate([a["x"][:, 0] for a in arrays.values()])
    assert len(np.unique(first)) == 1_050


def test_columns_are_standardized_by_training_rows_and_constant_ones_left_out():
    dataset = data.anomalies(np.concatenate([NORMAL, ANOMALIES]), LABEL, name="table")
    x = dataset.splits["train"].take(np.arange(500))["x"]
    assert x.shape == (500, 2)
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(x.std(axis=0), 1, atol=1e-5)
    test = dataset.splits["test"].take(np.arange(450))
    assert test["x"][test["label"] == 1, 0].min() > 10  # (20 - 3) / 1, but for the spread


@pytest.mark.parametrize(
    ("x", "label", "settings", "message"),
    [
        (NORMAL, LABEL, {}, r"x has shape \(1000, 3\) and anomalous \(1050,\); give \(N, D\) and \(N,\)"),
        (NORMAL, np.zeros(1_000), {}, "must be 0 or 1, and 1 for at least one anomaly"),
        (NORMAL, np.repeat([0, 2], 500), {}, "must be 0 or 1, and 1 for at least one"),
        (NORMAL, LABEL[-1_000:], {"test": 0}, "test is 0, but detecting anomalies needs held-out normal rows"),
        (NORMAL[:, 2:] + 0.1, LABEL[-1_000:], {}, "x has 1 columns, all constant over normal rows"),
        (
            np.where(np.arange(3_000).reshape(-1, 3) == 7, np.nan, NORMAL),
            LABEL[-1_000:],
            {},
            "x is nan in row 2, column 1",
        ),
    ],
)
def test_refuses_tables_that_show_nothing(x, label, settings, message):
    with pytest.raises(ValueError, match=message):
        data.anomalies(x, label, **settings)
