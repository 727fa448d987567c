"""The measured tables of the library: each can be read, has enough rows, and answers the needs it has columns for."""

import importlib.resources

import pytest

from genjax.comparison.choosing import NEEDS, choose, read_table

FOLDER = importlib.resources.files("genjax.comparison").joinpath("tables")
NAMES = sorted(file.name.removesuffix(".json") for file in FOLDER.iterdir() if file.name.endswith(".json"))


@pytest.mark.parametrize("name", NAMES)
def test_tables_have_many_rows_and_all_floors(name):
    table = read_table(name)
    kinds = [entry.kind for entry in table.entries]
    assert len(kinds) >= 28 and kinds.count("floor") == 6
    commands = [entry.command for entry in table.entries if entry.kind == "model"]
    assert all(command.startswith(f"genjax train experiments/suites/{name}.py --method ") for command in commands)
    cells = [table.cell(entry.name, "precision") for entry in table.entries if entry.kind == "model"]
    assert all(len(cell.replicas) >= 5 for cell in cells if cell.status == "measured")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("need", NEEDS)
def test_needs_are_answered_or_refused_by_name(name, need):
    table = read_table(name)
    try:
        advice = choose(table, [need])
    except ValueError as error:
        assert need in str(error)
        return
    scores = [each.score for each in advice]
    assert scores == sorted(scores, reverse=True)
    assert 0 <= min(scores) <= max(scores) <= 1
