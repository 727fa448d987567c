"""Columns are those of the registry, and likelihoods of different kinds never share one."""

import numpy as np
import pytest

from genjax import data
from genjax.comparison.columns import columns, find_result, measurements
from genjax.evaluation.registry import METRICS
from genjax.metrics import Result

TEXT = data.Dataset(
    name="text",
    splits={"train": data.ArraySource({"x": np.zeros((2, 4), np.uint8)})},
    levels=256,
    tokenizer=data.Bytes(),
)


def likelihood(name, units, guarantee, **protocol):
    return Result(name=name, value=1.0, protocol={"units": units, "guarantee": guarantee, **protocol})


def test_directions_are_those_of_the_registry():
    of_registry = [
        column for column in columns(data.digits()) if column.source in METRICS and column.group != "likelihood"
    ]
    assert len(of_registry) == 14
    for column in of_registry:
        expected = None if column.name == "memorization" else METRICS[column.source].results[column.name]
        assert column.higher_is_better == expected


@pytest.mark.parametrize(
    ("dataset", "unit", "bound", "higher"),
    [
        (data.digits(), "bits per dim", "upper bound", False),
        (data.bundled("iris"), "nats per example", "lower bound", True),
        (TEXT, "bits per byte", "upper bound", False),
    ],
    ids=["images", "table", "text"],
)
def test_units_of_likelihoods_follow_the_data(dataset, unit, bound, higher):
    shown = [column for column in columns(dataset) if column.group == "likelihood"]
    assert {column.unit for column in shown} == {unit}
    assert {column.higher_is_better for column in shown} == {higher}
    guarantees = [(column.guarantee, column.given) for column in shown]
    assert guarantees == [(name, given) for given in (False, True) for name in ("exact", bound, "estimate")]


def test_each_kind_of_likelihood_finds_its_column():
    results = [
        likelihood("log_prob", "nats per example", "exact"),
        likelihood("log_prob/bits_per_dim", "bits per dim", "upper bound"),  # of dequantized data
        likelihood("log_prob_estimate/bits_per_dim", "bits per dim", "estimate", given="label"),
    ]
    names = {
        column.name: found.name
        for column in columns(data.digits())
        if column.group == "likelihood" and (found := find_result(column, results)) is not None
    }
    assert names == {
        "bits_per_dim_upper_bound": "log_prob/bits_per_dim",
        "bits_per_dim_estimate_given": "log_prob_estimate/bits_per_dim",
    }


def test_each_measurement_is_made_once():
    names = measurements(columns(data.digits()))
    assert len(names) == len(set(names))
    assert {"precision_recall", "likelihood", "speed", "samples"} <= set(names)
