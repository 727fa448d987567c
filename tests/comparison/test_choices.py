"""Tools for tables, with tables whose ranks are known: first choices on other tables, and the picture of a table."""

import runpy
from pathlib import Path

from PIL import Image

from genjax.comparison.table import Cell, Column, Entry, Table

TOOLS = Path(__file__).parents[2] / "experiments" / "tools"
TOOL = runpy.run_path(str(TOOLS / "check_choices.py"))
DRAW = runpy.run_path(str(TOOLS / "draw_table.py"))
COLUMN = Column(name="throughput", title="throughput", group="speed", source="speed", higher_is_better=True)


def table_of(**values):
    entries = tuple(Entry(name=name, kind="model", model="VAE") for name in values)
    cells = tuple(Cell(entry=name, column="throughput", value=value) for name, value in values.items())
    return Table(columns=(COLUMN,), entries=entries, cells=cells)


def test_the_first_choice_has_a_place_on_each_other_table():
    first = table_of(vae=3.0, gan=9.0, flow=1.0)
    others = [table_of(vae=1.0, gan=2.0), table_of(vae=3.0, gan=1.0, flow=2.0), table_of(vae=3.0, flow=2.0)]
    assert TOOL["places"](first, others, ["fast-sampling"]) == ("gan", [1, 3, None])


def test_a_picture_of_a_table_colours_ranks_and_leaves_out_short_columns(tmp_path):
    table = table_of(vae=3.0, gan=9.0, flow=1.0, energy=1.0)
    expected = {"gan": 1.0, "vae": 2 / 3, "flow": 1 / 6, "energy": 1 / 6}
    assert DRAW["ranks"](table, COLUMN) == expected
    assert DRAW["shown_columns"](table) == [COLUMN]
    assert DRAW["shown_columns"](table_of(vae=3.0, gan=9.0)) == []
    DRAW["draw"](table, tmp_path / "table.png")
    with Image.open(tmp_path / "table.png") as picture:
        assert picture.width > picture.height / 4 > 10
