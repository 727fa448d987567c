"""Tools for tables, with tables whose ranks are known: first choices on other tables, and the picture of a table."""

import dataclasses
import runpy
from pathlib import Path

import pytest
from PIL import Image

from genjax.comparison.choosing import choose
from genjax.comparison.table import Cell, Column, Entry, Table, table_from_dict

TOOLS = Path(__file__).parents[2] / "experiments" / "tools"
TOOL = runpy.run_path(str(TOOLS / "check_choices.py"))
DRAW = runpy.run_path(str(TOOLS / "draw_table.py"))
CORRELATIONS = runpy.run_path(str(TOOLS / "rank_correlation.py"))["correlations"]
COLUMN = Column(name="throughput", title="throughput", group="speed", source="speed", higher_is_better=True)


def table_of(**values):
    entries = tuple(Entry(name=name, kind="model", model="VAE") for name in values)
    cells = tuple(Cell(entry=name, column="throughput", value=value) for name, value in values.items())
    return Table(columns=(COLUMN,), entries=entries, cells=cells)


def test_the_first_choice_has_a_place_on_each_other_table():
    first = table_of(vae=3.0, gan=9.0, flow=1.0)
    others = [table_of(vae=1.0, gan=2.0), table_of(vae=3.0, gan=1.0, flow=2.0), table_of(vae=3.0, flow=2.0)]
    assert TOOL["places"](first, others, ["fast-sampling"]) == ("gan", [1, 3, None])


def test_ranks_of_two_tables_correlate_or_are_noise():
    first = table_of(vae=3.0, gan=9.0, flow=1.0, energy=2.0)
    same, other = table_of(vae=30.0, gan=31.0, flow=1.0, energy=2.0), table_of(vae=3.0, gan=1.0, flow=9.0, energy=2.0)
    assert CORRELATIONS(first, same) == {"throughput": (pytest.approx(1.0), 4)}
    assert CORRELATIONS(first, other)["throughput"][0] == pytest.approx(-0.8)  # 1 − 6 Σ d² / (n (n² − 1)), Σ d² = 18
    assert CORRELATIONS(first, table_of(vae=1.0, gan=1.0, flow=1.0, energy=1.0)) == {}
    assert CORRELATIONS(first, table_of(vae=1.0, gan=2.0)) == {}
    noisy = dataclasses.replace(first, rank_correlation={"throughput": 0.89})
    assert noisy.is_noise("throughput") and not first.is_noise("throughput")
    assert table_from_dict(noisy.as_dict()) == noisy
    assert choose(noisy, ["fast-sampling"])[0].reasons == (
        "fast-sampling: 1 of 4 in throughput, 9 (noise: other seeds rank differently)",
    )


def test_a_picture_of_a_table_colours_ranks_and_leaves_out_short_columns(tmp_path):
    table = table_of(vae=3.0, gan=9.0, flow=1.0, energy=1.0)
    expected = {"gan": 1.0, "vae": 2 / 3, "flow": 1 / 6, "energy": 1 / 6}
    assert DRAW["ranks"](table, COLUMN) == expected
    assert DRAW["shown_columns"](table) == [COLUMN]
    assert DRAW["shown_columns"](table_of(vae=3.0, gan=9.0)) == []
    DRAW["draw"](table, tmp_path / "table.png")
    with Image.open(tmp_path / "table.png") as picture:
        assert picture.width > picture.height / 4 > 10
