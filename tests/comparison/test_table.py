"""Tables keep their numbers through JSON, and say which are best, missing or failed."""

import json

import pytest

from genjax.comparison.table import Cell, Column, Entry, Table, table_from_dict

LOSS = Column(name="loss", title="loss", group="quality", source="loss", higher_is_better=False)
RATE = Column(name="rate", title="rate", group="speed", source="speed", unit="samples/s", higher_is_better=True)
SIZE = Column(name="size", title="size", group="size", source="size", unit="parameters")
TABLE = Table(
    columns=(LOSS, RATE, SIZE),
    entries=(
        Entry(name="vae", kind="model", model="VAE", family="vae", seeds=(0, 1), members=("runs/vae",)),
        Entry(name="gan", kind="model", model="GAN", family="gan"),
        Entry(name="floor: gaussian", kind="floor", model="FullGaussian"),
    ),
    cells=(
        Cell(entry="vae", column="loss", value=2.0, replicas=(1.0, 3.0), protocol={"samples": 10}, commands=("a", "b")),
        Cell(entry="gan", column="loss", value=3.0),
        Cell(entry="floor: gaussian", column="loss", value=1.0),
        Cell(entry="vae", column="rate", status="failed", reason="out of memory"),
        Cell(entry="gan", column="rate", status="none", reason="GAN has none"),
        Cell(entry="gan", column="size", value=1234567.0),
    ),
)


def test_a_table_survives_json():
    assert table_from_dict(json.loads(json.dumps(TABLE.as_dict()))) == TABLE
    assert TABLE.as_dict()["cells"][0]["sd"] == pytest.approx(2**0.5)


def test_floors_are_never_the_best():
    assert TABLE.best("loss") == ("vae",)
    assert TABLE.best("rate") == ()
    assert TABLE.best("size") == ()  # which has no direction
    assert TABLE.values("loss") == {"vae": 2.0, "gan": 3.0, "floor: gaussian": 1.0}


def test_cells_without_a_value_show_why():
    texts = [TABLE.cell(entry, "rate").text(RATE) for entry in ("vae", "gan", "floor: gaussian")]
    assert texts == ["failed", "none", "pending"]
    assert TABLE.cell("vae", "loss").text(LOSS) == "2.0 ± 1.4"
    assert TABLE.cell("gan", "size").text(SIZE) == "1,234,567"


def test_columns_that_no_entry_has_are_not_shown():
    without = Table(columns=TABLE.columns, entries=TABLE.entries, cells=TABLE.cells[4:5])
    assert without.shown_columns() == ()
    assert TABLE.shown_columns() == (LOSS, RATE, SIZE)
