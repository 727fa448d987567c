"""Comparisons of tiny runs: numbers, restarts, failures, and what cannot be compared."""

import json
import re
import shlex
import shutil

import jax
import pytest

from genjax import metrics
from genjax.comparison import measure
from genjax.comparison.runs import contestants_of, read_run
from genjax.comparison.settings import ComparisonSettings
from genjax.comparison.table import table_from_dict
from genjax.evaluation import registry
from tests.cli.test_commands import refused
from tests.comparison.conftest import FLAGS, FLOORS, copy_run
from tests.running import TINY


@pytest.fixture(scope="module")
def content(compared):
    return json.loads((compared / "comparison.json").read_text())


@pytest.fixture(scope="module")
def table(content):
    return table_from_dict(content)


def test_runs_of_one_experiment_are_one_entry(table, runs):
    entry, *floors = table.entries
    assert (entry.name, entry.model, entry.family, entry.seeds) == ("tiny", "VAE", "vae", (0, 1))
    assert entry.members == tuple(map(str, runs))
    assert [floor.name for floor in floors] == [f"floor: {name}" for name in FLOORS]
    assert not [cell for cell in table.cells if cell.status in ("failed", "pending")]


def test_numbers_are_those_that_their_commands_print(genjax, table):
    """Every number of the registry, by the command beside it; both runs have the same weights."""
    cells = [table.cell("tiny", column.name) for column in table.shown_columns() if column.source in registry.METRICS]
    results = {}
    for command in {cell.commands[0] for cell in cells if cell.value is not None}:
        words = shlex.split(command)
        status, out, err = genjax(*words[words.index("evaluate") :], "--json")
        assert status == 0, err
        results |= json.loads(out)["results"]
    columns = {column.name: column for column in table.columns}
    values = [cell for cell in cells if cell.value is not None]
    assert len(values) >= 8
    for cell in values:
        column = columns[cell.column]
        name = column.name
        if column.group == "likelihood":
            name = f"{'log_prob_lower_bound' if 'bound' in column.guarantee else 'log_prob_estimate'}/bits_per_dim"
        assert cell.replicas == (results[name]["value"],) * 2
        assert cell.value == results[name]["value"]
        assert cell.standard_error == results[name].get("standard_error")


def test_likelihoods_stand_in_columns_of_their_guarantee(table):
    shown = {column.name for column in table.shown_columns() if column.group == "likelihood"}
    assert shown == {"bits_per_dim_exact", "bits_per_dim_upper_bound", "bits_per_dim_estimate"}
    assert table.cell("tiny", "bits_per_dim_exact").reason == (
        "VAE gives no likelihood in bits per dim of the kind exact"
    )
    assert 0 < table.cell("floor: factorized", "bits_per_dim_exact").value <= 1.05  # of one binary pixel
    assert "density of data with 256 discrete values" in table.cell("floor: gaussian", "bits_per_dim_exact").reason
    assert table.cell("tiny", "class_accuracy").status == "none"


def test_the_bootstrap_memorizes(table):
    assert table.cell("floor: bootstrap", "memorization").value > table.cell("tiny", "memorization").value


def test_speed_size_and_time_are_measured_here(table, runs):
    seconds = json.loads((runs[0] / "results.json").read_text())["seconds"]
    assert table.cell("tiny", "training_time").value == pytest.approx(seconds)
    layers = [(16, 8), (8, 4), (2, 8), (8, 16), (16, 16)]
    assert table.cell("tiny", "parameters").value == sum(i * o + o for i, o in layers)
    assert table.cell("floor: gaussian", "parameters").value == 1 + 16 + 16**2
    for name in ("latency", "throughput", "compile_time"):
        assert table.cell("tiny", name).value > 0
    assert table.cell("tiny", "throughput").protocol["median of"] == 2


def test_reports_have_every_entry_and_the_protocol(compared, content):
    report = (compared / "report.md").read_text()
    assert report.startswith("# Comparison on random\n")
    for name in ("tiny", *(f"floor: {name}" for name in FLOORS)):
        assert f"| {name} |" in report
        assert (compared / re.search(rf"\[{re.escape(name)}\]\((.*)\)", report)[1]).stat().st_size > 100
    assert (content["protocol"]["features"], content["protocol"]["num_samples"]) == ("pixels", 24)
    assert content["machine"]["packages"]["jax"] == jax.__version__


def test_a_killed_comparison_goes_on(genjax, compared, runs, tmp_path):
    out = shutil.copytree(compared, tmp_path / "out")
    lost = out / "cells" / "tiny" / "seed_1" / "size.json"
    before = {path: path.stat().st_mtime_ns for path in (out / "cells").rglob("*.json") if path != lost}
    number = lost.read_text()
    lost.unlink()
    (out / "comparison.json").unlink()
    status, _, err = genjax("compare", *runs, "--out", out, "--floors", *FLOORS, *FLAGS)
    assert status == 0, err
    assert err.splitlines() == ["0 of 1: tiny, seed_1: size"]
    assert json.loads(lost.read_text())["results"] == json.loads(number)["results"]
    assert {path: path.stat().st_mtime_ns for path in before} == before
    cells = [json.loads((each / "comparison.json").read_text())["cells"] for each in (out, compared)]
    assert [cell["value"] for cell in cells[0]] == [cell["value"] for cell in cells[1]]


def test_cells_of_a_run_that_was_trained_anew_do_not_count(compared, runs, tmp_path):
    changed = copy_run(runs[0], tmp_path / "run")
    environment = json.loads((changed / "environment.json").read_text())
    (changed / "environment.json").write_text(json.dumps(environment | {"started": "later"}))
    stored = []
    for path in (runs[0], changed):
        (contestant,) = contestants_of([read_run(path)], ComparisonSettings(), metrics.pixels())
        stored.append(measure.CellFiles(compared).read(contestant, contestant.members[0], "size"))
    assert stored[0].results[0].value == 612
    assert stored[1] is None


def test_a_failed_cell_says_why_and_is_tried_again_if_asked(genjax, compared, runs, tmp_path, monkeypatch):
    out = shutil.copytree(compared, tmp_path / "out")
    command = ("compare", *runs, "--out", out, "--floors", *FLOORS, *FLAGS)
    (out / "cells" / "tiny" / "seed_0" / "speed.json").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(measure, "speed", lambda *_, **__: 1 / 0)
        status, printed, err = genjax(*command)
    assert status == 0 and "4 failed" in printed
    assert "failed: tiny: speed: ZeroDivisionError: division by zero" in err
    report = (out / "report.md").read_text()
    assert "* tiny (speed): ZeroDivisionError: division by zero" in report
    assert re.search(r"^\| tiny \|.*failed \| failed \| failed", report, re.MULTILINE)
    status, printed, err = genjax(*command)
    assert "4 failed" in printed and not err
    status, printed, err = genjax(*command, "--retry-failed")
    assert err.splitlines() == ["0 of 1: tiny, seed_0: speed"]
    assert ", 3 failed" not in printed


def test_one_folder_has_one_protocol(genjax, compared, runs, tmp_path):
    line = refused(genjax, "compare", *runs, "--out", compared, *FLAGS, "--seed", 1)
    assert "holds a comparison with seed=0, not 1" in line and "choose another --out" in line
    (tmp_path / "thesis.tex").touch()
    assert "is not empty and holds no comparison" in refused(genjax, "compare", *runs, "--out", tmp_path, *FLAGS)


@pytest.mark.parametrize(
    ("changes", "old", "new", "message"),
    [
        ({}, "", "", "are both runs of 'tiny' with seed 0, which would count it twice"),
        ({}, "(96, 4, 4, 1)", "(99, 4, 4, 1)", "the lengths of their data is {'train': 64, 'validation': 16"),
        ({}, "default_rng(0)", "default_rng(1)", "the fingerprint of their data is"),
        ({"seed": 1}, "dynamic_binarization(", "scale(", "with values in [0, 1] and [0, 1], up to"),
        (
            {"seed": 1},
            "preprocess=data.dynamic_binarization(levels=256)",
            "preprocess=data.chain(data.dynamic_binarization(levels=256), lambda k, b: {**b, 'x': 1 - 2 * b['x']})",
            "--features pixels compares the same examples with values in [0, 1] and [-1, 1]",
        ),
    ],
)
def test_what_cannot_be_compared_is_named(genjax, tiny_run, tmp_path, changes, old, new, message):
    other = copy_run(tiny_run, tmp_path / "other", **changes)
    (other / "tiny.py").write_text(TINY.read_text().replace(old, new))
    (other / "datasets.json").unlink()
    line = refused(genjax, "compare", tiny_run, other, "--out", tmp_path / "out", *FLAGS)
    assert message in line
    assert str(tiny_run) in line and str(other) in line
    assert not (tmp_path / "out").exists()


def test_hyper_parameters_and_code_tell_namesakes_apart(tiny_run, tmp_path):
    arguments = json.loads((tiny_run / "arguments.json").read_text())["arguments"]
    faster = copy_run(tiny_run, tmp_path / "faster", seed=1, arguments=arguments | {"learning_rate": 0.5})
    edited = copy_run(tiny_run, tmp_path / "edited")
    (edited / "tiny.py").write_text(f"{TINY.read_text()}\n# another file\n")
    for other, names in (
        (faster, ["tiny learning_rate=0.001", "tiny learning_rate=0.5"]),
        (edited, [r"tiny \([0-9a-f]{8}\)"] * 2),
    ):
        contestants = contestants_of([read_run(tiny_run), read_run(other)], ComparisonSettings(), metrics.pixels())
        for contestant, name in zip(contestants, names, strict=True):
            assert re.fullmatch(name, contestant.entry.name)
    assert len({contestant.entry.name for contestant in contestants}) == 2
