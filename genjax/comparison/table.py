"""The table of a comparison as data: entries, columns and cells, which writers and predicates read.

>>> column = Column(name="fd", title="FD", group="quality", source="frechet_distance", higher_is_better=False)
>>> entries = (Entry(name="vae", kind="model", model="VAE"), Entry(name="gan", kind="model", model="GAN"))
>>> cells = (Cell(entry="vae", column="fd", value=4.5, replicas=(4.0, 5.0)), Cell(entry="gan", column="fd", value=3.0))
>>> table = Table(columns=(column,), entries=entries, cells=cells)
>>> table.cell("vae", "fd").text(column), table.cell("gan", "fd").text(column), table.best("fd")
('4.50 ± 0.71', '3', ('gan',))
"""

from __future__ import annotations

import dataclasses
import functools
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, final

from genjax.arguments import check_arguments
from genjax.metrics.rows import format_value

Group = Literal[
    "quality",
    "diversity",
    "memorization",
    "likelihood",
    "latent",
    "detection",
    "conditioning",
    "stability",
    "speed",
    "size",
]
Status = Literal["measured", "none", "failed", "pending"]
REPEATS = 0.9  # rank correlation from which on a column repeats


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class Column:
    """One measured quantity.

    Attributes:
      name: name in files, unique in a table; that of the result that it shows, but for a likelihood, which ``unit`` and
        ``guarantee`` select.
      title: short heading.
      group: what the quantity tells about a model.
      source: measurement that gives it: a row of ``genjax.evaluation.registry``, or one of this package.
      unit: unit of the values; empty for a number without one.
      higher_is_better: direction; None if the quantity has none.
      guarantee: guarantee of a likelihood: "exact", "lower bound", "upper bound" or "estimate"; None otherwise.
      given: whether a likelihood is that of the data given a label or other conditions.
      summary: one sentence for a reader.
    """

    name: str
    title: str
    group: Group
    source: str
    unit: str = ""
    higher_is_better: bool | None = None
    guarantee: str | None = None
    given: bool = False
    summary: str = ""

    @property
    def sign(self) -> int:
        """1 if higher is better, else −1, also for a quantity without a direction."""
        return 1 if self.higher_is_better else -1


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class Entry:
    """One row: a model that was trained with one or several seeds, or a floor.

    Attributes:
      name: name, unique in a table.
      kind: "model", or "floor" for a simple model that every other should beat.
      model: name of the model's class.
      family: package of the model, such as "vae".
      seeds: seeds of its replicas.
      members: run folders that it comes from; none for a floor.
      arguments: hyper-parameters of its experiment.
      summary: one sentence for a reader.
      command: command that trains it, if a suite did.
    """

    name: str
    kind: Literal["model", "floor"]
    model: str
    family: str = ""
    seeds: tuple[int, ...] = (0,)
    members: tuple[str, ...] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)
    summary: str = ""
    command: str = ""


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class Cell:
    """The value of one column for one entry.

    Attributes:
      entry: name of the entry.
      column: name of the column.
      value: mean over replicas; None unless the cell is measured.
      standard_error: standard error of the value over samples or examples; None if unknown.
      replicas: values of the replicas, empty for a single one.
      status: "measured", "none" if the model or the data do not have the quantity, "failed", or "pending".
      reason: why there is no value.
      protocol: what the value was measured with.
      commands: commands that print the value, one for each run of the entry.
    """

    entry: str
    column: str
    value: float | None = None
    standard_error: float | None = None
    replicas: tuple[float, ...] = ()
    status: Status = "measured"
    reason: str | None = None
    protocol: Mapping[str, Any] = field(default_factory=dict)
    commands: tuple[str, ...] = ()

    @property
    def sd(self) -> float | None:
        """Standard deviation over replicas; None for a single one."""
        return statistics.stdev(self.replicas) if len(self.replicas) > 1 else None

    def text(self, column: Column) -> str:
        """Return the value for display: mean ± sd over replicas, whole numbers with commas, or the status."""
        if self.value is None:
            return self.status
        if column.unit == "parameters" or (self.sd is None and abs(self.value) >= 10_000):
            return f"{self.value:,.0f}"
        return format_value(self.replicas if self.sd is not None else self.value)


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class Table:
    """Entries, columns, and a cell for each pair that was measured or tried.

    Attributes:
      columns: columns in the order of display.
      entries: rows in the order of display.
      cells: cells in any order.
      protocol: settings that all measurements share, such as the number of examples in each split, the device that
        measured, and ``training_device``.
      rank_correlation: Spearman's correlation of the models' ranks in a column, by its name, with those of a second run
        with other seeds; empty if there was none.
    """

    columns: tuple[Column, ...]
    entries: tuple[Entry, ...]
    cells: tuple[Cell, ...]
    protocol: Mapping[str, Any] = field(default_factory=dict)
    rank_correlation: Mapping[str, float] = field(default_factory=dict)

    def is_noise(self, column: str) -> bool:
        """Return whether a second run ranked the models of a column differently, with a correlation below 0.9."""
        return self.rank_correlation.get(column, 1.0) < REPEATS

    @functools.cached_property
    def _by_place(self) -> dict[tuple[str, str], Cell]:
        return {(cell.entry, cell.column): cell for cell in self.cells}

    def cell(self, entry: str, column: str) -> Cell:
        """Return the cell of an entry and a column, which is pending if nothing has been measured."""
        cell = self._by_place.get((entry, column))
        return cell or Cell(entry=entry, column=column, status="pending", reason="not measured yet")

    def values(self, column: str) -> dict[str, float]:
        """Return the measured values of a column by entry."""
        cells = [self.cell(entry.name, column) for entry in self.entries]
        return {cell.entry: cell.value for cell in cells if cell.value is not None}

    def best(self, column: str) -> tuple[str, ...]:
        """Return the names of the models, not floors, with the best value of a column; none if it has no direction."""
        direction = next(each.higher_is_better for each in self.columns if each.name == column)
        models = {entry.name for entry in self.entries if entry.kind == "model"}
        values = {name: value for name, value in self.values(column).items() if name in models}
        if direction is None or len(values) < 2:
            return ()
        best = (max if direction else min)(values.values())
        return tuple(name for name, value in values.items() if value == best)

    def shown_columns(self) -> tuple[Column, ...]:
        """Return the columns in which some entry has a value or a failure."""
        shown = {cell.column for cell in self.cells if cell.status in ("measured", "failed")}
        return tuple(column for column in self.columns if column.name in shown)

    def as_dict(self) -> dict[str, Any]:
        """Return the table for JSON; each cell also has its standard deviation."""
        cells = [dataclasses.asdict(cell) | {"sd": cell.sd} for cell in self.cells]
        parts = {name: list(map(dataclasses.asdict, getattr(self, name))) for name in ("columns", "entries")}
        common = {"protocol": dict(self.protocol), "rank_correlation": dict(self.rank_correlation)}
        return common | parts | {"cells": cells}


def table_from_dict(content: Mapping[str, Any]) -> Table:
    """Return the table of ``Table.as_dict``, also after a round trip through JSON.

    >>> empty = Table(columns=(), entries=(), cells=())
    >>> table_from_dict(empty.as_dict()) == empty
    True
    """

    def read(kind: type, entry: Mapping[str, Any]) -> Any:
        names = {each.name for each in dataclasses.fields(kind)}
        values = {name: tuple(value) if isinstance(value, list) else value for name, value in entry.items()}
        return kind(**{name: value for name, value in values.items() if name in names})

    kinds = {"columns": Column, "entries": Entry, "cells": Cell}
    parts = {name: tuple(read(kind, entry) for entry in content[name]) for name, kind in kinds.items()}
    common = {name: content.get(name, {}) for name in ("protocol", "rank_correlation")}
    return Table(**parts, **common)
