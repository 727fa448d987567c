"""The check of first choices on other tables, with tables whose ranks are known."""

import runpy
from pathlib import Path

from genjax.comparison.table import Cell, Column, Entry, Table

TOOL = runpy.run_path(str(Path(__file__).parents[2] / "experiments" / "tools" / "check_choices.py"))
COLUMN = Column(name="throughput", title="throughput", group="speed", source="speed", higher_is_better=True)


def table_of(**values):
    entries = tuple(Entry(name=name, kind="model", model="VAE") for name in values)
    cells = tuple(Cell(entry=name, column="throughput", value=value) for name, value in values.items())
    return Table(columns=(COLUMN,), entries=entries, cells=cells)


def test_the_first_choice_has_a_place_on_each_other_table():
    first = table_of(vae=3.0, gan=9.0, flow=1.0)
    others = [table_of(vae=1.0, gan=2.0), table_of(vae=3.0, gan=1.0, flow=2.0), table_of(vae=3.0, flow=2.0)]
    assert TOOL["places"](first, others, ["fast-sampling"]) == ("gan", [1, 3, None])
