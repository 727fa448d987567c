"""Advice from a measured table: the models that meet some needs best, why, what they give up, and how to start.

A need names columns. A model's score for it is the share of the other candidates that it beats, averaged over these
columns, with half of a tie; its score is the mean over needs. Some needs are conditions: who has no value in the column
is no candidate.
"""

from __future__ import annotations

import importlib.resources
import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Literal, final, get_args

from genjax.comparison.claims import find_column
from genjax.comparison.table import Column, Entry, Table, table_from_dict
from genjax.data import Dataset

NeedName = Literal[
    "exact-likelihood",
    "fast-sampling",
    "best-quality",
    "diversity",
    "stable-training",
    "reconstruction",
    "smooth-latent-space",
    "controllable",
    "sequences",
    "imputation",
    "anomalies",
    "small-data",
    "small-memory",
    "no-gpu",
]
NEED_NAMES: tuple[NeedName, ...] = get_args(NeedName)
USUAL: tuple[NeedName, ...] = ("best-quality", "diversity", "fast-sampling", "stable-training")
GIVEN_UP = 0.5  # share of the others below which a column is given up
MAX_GIVEN_UP = 3  # columns that are named
TEXTS = "stdlib"  # table of texts
SMALL = 2_000  # training examples at most


@final
@dataclass(frozen=True, kw_only=True)
class Need:
    """What a model should be good at.

    Attributes:
      columns: columns that are compared, see ``claims.find_column``.
      condition: whether a candidate needs a value in one of them.
      obstacle: function from a table's protocol to the reason why the table cannot answer the need, or None.
    """

    columns: tuple[str, ...]
    condition: bool = False
    obstacle: Callable[[Mapping[str, Any]], str | None] = lambda _: None


def _not_small(protocol: Mapping[str, Any]) -> str | None:
    number = protocol.get("examples", {}).get("train")
    if number is not None and number <= SMALL:
        return None
    examples = "an unknown number of examples" if number is None else f"{number:,} examples"
    return f"its models are trained on {examples}, and not on {SMALL:,} at most"


def _not_on_a_cpu(protocol: Mapping[str, Any]) -> str | None:
    for name, verb in (("training_device", "trained"), ("device", "measured")):
        device = protocol.get(name, "an unknown device")
        if device != "cpu":
            return f"its models are {verb} on {device}, and not on a CPU"
    return None


def _no_sequences(protocol: Mapping[str, Any]) -> str | None:
    return None if "tokenizer" in protocol else "its models are not trained on sequences of tokens"


NEEDS: Mapping[NeedName, Need] = {
    "exact-likelihood": Need(columns=("likelihood:exact",), condition=True),
    "fast-sampling": Need(columns=("throughput", "latency")),
    "best-quality": Need(columns=("frechet_distance", "kernel_distance", "precision")),
    "diversity": Need(columns=("recall", "coverage", "different_bins")),
    "stable-training": Need(columns=("failed_share", "coverage_variation")),
    "reconstruction": Need(columns=("mse",), condition=True),
    "smooth-latent-space": Need(columns=("path_energy",), condition=True),
    "controllable": Need(columns=("class_accuracy",), condition=True),
    "sequences": Need(columns=("kernel_distance", "coverage", "throughput"), obstacle=_no_sequences),
    "imputation": Need(columns=("imputation_score",), condition=True),
    "anomalies": Need(columns=("outlier_auroc",), condition=True),
    "small-data": Need(columns=("frechet_distance", "recall", "coverage"), obstacle=_not_small),
    "small-memory": Need(columns=("memory", "parameters")),
    "no-gpu": Need(columns=("frechet_distance", "kernel_distance", "throughput"), obstacle=_not_on_a_cpu),
}


@final
@dataclass(frozen=True, kw_only=True)
class Advice:
    """A model that is advised.

    Attributes:
      entry: its row in the table.
      score: its score, in [0, 1].
      scores: its score for each need.
      reasons: its place and value in each column of the needs.
      given_up: its place in the columns in which most others are better.
    """

    entry: Entry
    score: float
    scores: Mapping[str, float]
    reasons: tuple[str, ...]
    given_up: tuple[str, ...]


def nearest_table(dataset: Dataset) -> tuple[str, str]:
    """Return the name of the table that was measured on the most similar data, and the reason.

    Raises:
      ValueError: if there is no table of similar data.
    """
    shape = dataset.spec()["x"].shape
    is_text, is_image = dataset.tokenizer is not None, len(shape) == 3 and dataset.levels is not None
    name = TEXTS if is_text else "digits" if is_image else "toy2d"
    if name not in _names():
        kind, cure = ("texts", "use genjax compare") if is_text else ("images", "add --race 10m")
        raise ValueError(f"{dataset.name} holds {kind}, of which there is no table; {cure}")
    if is_text:
        return TEXTS, f"examples of {dataset.name} are texts"
    if is_image:
        return "digits", f"examples of {dataset.name} are images of {dataset.levels} levels and shape {shape}"
    return "toy2d", f"examples of {dataset.name} have shape {shape}"


def read_table(data: str) -> Table:
    """Return the measured table of a suite, by its name, or of a comparison, by the path of its comparison.json.

    Raises:
      FileNotFoundError: if there is no such table; the message lists those of the library.
      ValueError: if the file is not that of a comparison.
    """
    file = _folder().joinpath(f"{data}.json") if not data.endswith(".json") else Path(data)
    if not file.is_file():
        known = _names()
        choices = ", ".join([*known, "or the path of a comparison.json" if known else "the path of a comparison.json"])
        raise FileNotFoundError(f"there is no table {data}; use {choices}")
    try:
        return table_from_dict(json.loads(file.read_text("utf-8")))
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{data} is not the comparison.json of a comparison; pass one") from None


def _folder() -> Traversable:
    return importlib.resources.files("genjax.comparison").joinpath("tables")


def _names() -> list[str]:
    """Return the names of the tables of the library."""
    return sorted(each.name.removesuffix(".json") for each in _folder().iterdir() if each.name.endswith(".json"))


def usual_needs(table: Table) -> tuple[NeedName, ...]:
    """Return the usual needs that a table has columns for: without trials, nothing tells how stable training is."""
    return tuple(need for need in USUAL if _columns(table, NEEDS[need]))


def choose(table: Table, needs: Sequence[NeedName] = USUAL) -> list[Advice]:
    """Return the candidates, the best first.

    Raises:
      ValueError: if the table cannot answer a need, in which case the message names tables that can, or has no column
        of it, or if no model meets all conditions.

    >>> from genjax.comparison.table import Cell
    >>> column = Column(name="throughput", title="throughput", group="speed", source="speed", higher_is_better=True)
    >>> entries = tuple(Entry(name=name, kind="model", model=name.upper()) for name in ("vae", "gan"))
    >>> values = {"vae": 9.0, "gan": 12.0}
    >>> cells = tuple(Cell(entry=name, column="throughput", value=value) for name, value in values.items())
    >>> table = Table(columns=(column,), entries=entries, cells=cells)
    >>> [(advice.entry.name, advice.score) for advice in choose(table, ["fast-sampling"])]
    [('gan', 1.0), ('vae', 0.0)]
    """
    chosen: dict[str, Need] = {name: NEEDS[name] for name in dict.fromkeys(needs)}
    columns = {name: _columns(table, need) for name, need in chosen.items()}
    for name, compared in columns.items():
        if (reason := chosen[name].obstacle(table.protocol)) is not None:
            tables = [f"--data {other}" for other in _names() if _answers(chosen[name], read_table(other))]
            cure = f"use {' or '.join(tables)}" if tables else "leave it out"
            raise ValueError(f"the table cannot tell about {name!r}: {reason}; {cure}")
        if not compared:
            raise ValueError(f"the table has no column for {name!r} ({', '.join(chosen[name].columns)}); leave it out")
    candidates = [entry for entry in table.entries if entry.kind == "model" and _measured(table, entry)]
    for name, need in chosen.items():
        if need.condition:
            candidates = [e for e in candidates if any(_value(table, e, c) is not None for c in columns[name])]
            if not candidates:
                raise ValueError(f"no model of the table meets {name!r} and the needs before it; leave one out")
    advice = [_advice(table, entry, candidates, columns) for entry in candidates]
    return sorted(advice, key=lambda each: -each.score)


def _answers(need: Need, table: Table) -> bool:
    return need.obstacle(table.protocol) is None and bool(_columns(table, need))


def _advice(
    table: Table,
    entry: Entry,
    candidates: Sequence[Entry],
    columns: Mapping[str, Sequence[Column]],
) -> Advice:
    scores, reasons, names = {}, [], set()
    for name, compared in columns.items():
        scores[name] = statistics.fmean(share(table, entry, column, candidates) for column in compared)
        for column in compared:
            names.add(column.name)
            if _value(table, entry, column) is not None:
                reasons.append(f"{name}: {_place(table, entry, column, candidates)}")
    others = [c for c in table.columns if c.higher_is_better is not None and c.name not in names]
    others = [c for c in others if c.group not in ("likelihood", "size") and _value(table, entry, c) is not None]
    worst = sorted(others, key=lambda column: share(table, entry, column, candidates))
    given_up = [column for column in worst if share(table, entry, column, candidates) < GIVEN_UP][:MAX_GIVEN_UP]
    return Advice(
        entry=entry,
        score=statistics.fmean(scores.values()),
        scores=scores,
        reasons=tuple(reasons),
        given_up=tuple(_place(table, entry, column, candidates) for column in given_up),
    )


def _columns(table: Table, need: Need) -> list[Column]:
    columns = [find_column(table, name) for name in need.columns]
    return [column for column in columns if column is not None]


def _measured(table: Table, entry: Entry) -> bool:
    return any(table.cell(entry.name, column.name).value is not None for column in table.columns)


def _value(table: Table, entry: Entry, column: Column) -> float | None:
    return table.cell(entry.name, column.name).value


def share(table: Table, entry: Entry, column: Column, candidates: Sequence[Entry]) -> float:
    """Return the share of the other candidates that are worse, with half of a tie; 0 without a value."""
    own = _value(table, entry, column)
    if own is None:
        return 0.0
    others = [_value(table, other, column) for other in candidates if other is not entry]
    wins = [1.0 if other is None else (column.sign * (own - other) > 0) + 0.5 * (own == other) for other in others]
    return statistics.fmean(wins) if wins else 1.0


def _place(table: Table, entry: Entry, column: Column, candidates: Sequence[Entry]) -> str:
    """Return the place and the value of an entry in a column, such as "2 of 9 in throughput, 1234 samples/s"."""
    own = _value(table, entry, column)
    assert own is not None
    values = [value for other in candidates if (value := _value(table, other, column)) is not None]
    place = 1 + sum(column.sign * (value - own) > 0 for value in values)
    unit = f" {column.unit}" if column.unit else ""
    noise = " (noise: other seeds rank differently)" if table.is_noise(column.name) else ""
    return (
        f"{place} of {len(values)} in {column.title}, {table.cell(entry.name, column.name).text(column)}{unit}{noise}"
    )
