"""Advice: places and scores of a made-up table, conditions, what is given up, and the command."""

import dataclasses
import json

import pytest

from genjax.comparison.choosing import choose, read_table
from genjax.comparison.columns import columns
from genjax.comparison.table import Cell, Entry, Table
from genjax.comparison.trials import COLUMNS
from genjax.data import bundled

VALUES = {  # of each model, in the order of NAMES
    "vae": (0.9, 100.0, 0.5, None, -3.0, 0.0),
    "gan": (0.6, 300.0, 0.2, None, None, 0.4),
    "flow": (0.7, 200.0, 0.4, -2.0, None, 0.1),
    "slow": (0.8, 2.0, 0.9, -1.0, None, 0.2),
}
CPU = {"device": "cpu", "training_device": "cpu"}
NAMES = (
    *("precision", "throughput", "recall", "nats_per_example_exact", "nats_per_example_lower_bound", "failed_share"),
)


@pytest.fixture(scope="module")
def table():
    by_name = {column.name: column for column in (*columns(bundled("iris")), *COLUMNS)}
    entries = [
        Entry(name=name, kind="model", model=name.upper(), family="vae", command=f"genjax train {name}.py")
        for name in VALUES
    ]
    floor = Entry(name="floor", kind="floor", model="Floor")
    cells = [
        Cell(entry=name, column=column, value=value)
        for name, values in {**VALUES, "floor": (1.0, 1e9, 1.0, 9.0, None, 0.0)}.items()
        for column, value in zip(NAMES, values, strict=True)
        if value is not None
    ]
    chosen = tuple(by_name[name] for name in NAMES)
    return Table(columns=chosen, entries=(*entries, floor), cells=tuple(cells))


def test_scores_are_the_shares_of_others_that_are_worse(table):
    scores = {each.entry.name: each.score for each in choose(table, ["fast-sampling"])}
    assert scores == pytest.approx({"gan": 1.0, "flow": 2 / 3, "vae": 1 / 3, "slow": 0.0})
    both = {each.entry.name: each.score for each in choose(table, ["fast-sampling", "diversity"])}
    assert both == pytest.approx({"gan": 0.5, "flow": 0.5, "vae": 0.5, "slow": 0.5})
    assert [each.entry.name for each in choose(table, ["stable-training"])] == ["vae", "flow", "slow", "gan"]


def test_conditions_leave_out_who_has_no_value(table):
    advice = choose(table, ["exact-likelihood"])
    assert [(each.entry.name, each.score) for each in advice] == [("slow", 1.0), ("flow", 0.0)]
    first = choose(table, ["exact-likelihood", "fast-sampling"])[0]
    assert first.scores == {"exact-likelihood": 0.0, "fast-sampling": 1.0}


def test_reasons_and_what_is_given_up_name_places_and_values(table):
    first = choose(table, ["fast-sampling"])[0]
    assert first.reasons == ("fast-sampling: 1 of 4 in throughput, 300 samples/s",)
    assert first.given_up == (
        "4 of 4 in precision, 0.6",
        "4 of 4 in recall, 0.2",
        "4 of 4 in failed runs, 0.4",
    )
    slow = choose(table, ["exact-likelihood"])[0]
    assert slow.given_up == ("2 of 2 in throughput, 2 samples/s", "2 of 2 in failed runs, 0.2")


def test_a_need_without_column_and_conditions_that_none_meets_are_refused(table):
    with pytest.raises(ValueError, match=r"the table has no column for 'reconstruction' \(mse\); leave it out"):
        choose(table, ["reconstruction"])
    without = Table(columns=table.columns, entries=table.entries[1:2], cells=table.cells)
    with pytest.raises(ValueError, match="no model of the table meets 'exact-likelihood'"):
        choose(without, ["exact-likelihood"])


def test_some_needs_ask_for_few_examples_or_a_cpu(table):
    few = dataclasses.replace(table, protocol=CPU | {"examples": {"train": 1_257}})
    assert choose(few, ["small-data"])[0].reasons == ("small-data: 1 of 4 in recall, 0.9",)
    assert choose(few, ["no-gpu"])[0].entry.name == "gan"
    for protocol, need, message in (
        (
            {"examples": {"train": 50_000}},
            "small-data",
            "on 50,000 examples, and not on 2,000 .*; use --data digits$",
        ),
        ({}, "small-data", "on an unknown number of examples"),
        (
            CPU | {"training_device": "NVIDIA H200"},
            "no-gpu",
            "trained on NVIDIA H200, and not on a CPU",
        ),
        (
            CPU | {"device": "NVIDIA H200"},
            "no-gpu",
            "measured on NVIDIA H200.*; use --data digits or --data toy2d",
        ),
        ({}, "no-gpu", "trained on an unknown device"),
    ):
        with pytest.raises(ValueError, match=f"the table cannot tell about '{need}': its models are .*{message}"):
            choose(dataclasses.replace(table, protocol=protocol), [need])


def test_sequences_need_a_table_of_texts(table):
    with pytest.raises(ValueError, match="cannot tell about 'sequences': its models are not trained on sequences"):
        choose(table, ["sequences"])
    of_texts = dataclasses.replace(table, protocol={"tokenizer": "Bytes"})
    assert choose(of_texts, ["sequences"])[0].entry.name == "gan"


def test_the_command_reads_a_comparison_and_prints_how_to_start(table, tmp_path, genjax):
    file = tmp_path / "comparison.json"
    file.write_text(json.dumps({"command": "…", **table.as_dict()}))
    assert read_table(str(file)) == table
    status, out, err = genjax("choose", "--need", "fast-sampling", "--need", "stable-training", "--data", file)
    assert status == 0, err
    lines = out.splitlines()
    assert lines[0] == f"fast-sampling, stable-training: 4 candidates measured on {file}"
    assert lines[1] == "1. vae (vae.VAE), score 0.67"
    assert lines[2].endswith("throughput, 100 samples/s; stable-training: 1 of 4 in failed runs, 0")
    assert lines[3].startswith("   start: ") and lines[3].endswith("genjax train vae.py")
    status, out, _ = genjax("choose", "--need", "exact-likelihood", "--data", file, "--json", "--top", "1")
    (advice,) = json.loads(out)
    assert (advice["entry"]["name"], advice["score"]) == ("slow", 1.0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--data", "nothing"), "there is no table nothing; use "),
        (("--data", "nothing.json"), "there is no table nothing.json; use "),
        (("--need", "magic"), "invalid choice 'magic' for argument '--need'"),
        (("--top", "0"), "top is 0, but must be at least 1"),
    ],
)
def test_wrong_flags_are_refused(genjax, arguments, message):
    status, _, err = genjax("choose", *arguments)
    assert (status, message in err) == (2, True), err


def test_a_file_that_is_no_comparison_is_refused(genjax, tmp_path):
    (tmp_path / "other.json").write_text('{"columns": 3}')
    status, _, err = genjax("choose", "--data", tmp_path / "other.json")
    assert status == 2 and "is not the comparison.json of a comparison; pass one" in err
