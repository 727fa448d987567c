"""The page of results contains what its JSON file contains, and nothing else."""

import json
import re
import runpy

import pytest

from tests.running import ROOT

FOLDER = ROOT / "experiments"
CONTENT = json.loads((FOLDER / "results.json").read_text(encoding="utf-8"))
SCRIPT = runpy.run_path(str(FOLDER / "tools" / "make_readme.py"))
RUN = {
    "kind": "run",
    "experiment": "vae_digits",
    "arguments": {"latent_dim": 4},
    "seeds": [0, 1, 2],
    "step": 1000,
    "checkpoint": "last",
    "command": "genjax train experiments/vae_digits.py --latent-dim 4",
    "device": "cpu",
    "num_devices": 1,
    "cpu_cores": 2,
    "jax": "0.10.2",
    "started": "2026-01-02T03:04:05+0000",
    "results": {"log_prob_lower_bound": {"value": -86.881, "standard_error": 0.5, "sd": 0.19}, "mse": {"value": 0.25}},
}


def timed(ratio, target=">= 2"):
    row = {"row": "a step", "ratio": ratio, "target": target, "rival": "torch", "machine": "a cpu"}
    return json.dumps(row) + "\n"


def test_the_committed_page_is_the_one_that_the_script_makes():
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert page == SCRIPT["page"](CONTENT), "run python experiments/tools/make_readme.py"


@pytest.mark.parametrize("table", CONTENT["tables"], ids=lambda table: table["id"])
def test_every_row_has_a_cell_for_each_column(table):
    assert set(table) == {"id", "title", "columns", "rows", "notes"}
    assert table["rows"]
    assert {len(row) for row in table["rows"]} == {len(table["columns"])}


def test_ids_are_unique():
    ids = [table["id"] for table in CONTENT["tables"]]
    assert len(ids) == len(set(ids))


def test_every_file_that_is_named_exists():
    text = json.dumps(CONTENT["tables"], ensure_ascii=False)
    files = re.findall(r"[\w/]+\.py", text)
    assert files
    missing = [file for file in files if not (ROOT / file).is_file()]
    assert not missing
    links = re.findall(r"\]\(([^)#]+)\)", SCRIPT["page"](CONTENT))
    assert not [link for link in links if not (FOLDER / link).is_file()]


def test_recorded_runs_and_benchmarks_become_tables():
    content = SCRIPT["add_benchmark"]({"tables": [], "records": [RUN]}, "gmmn", [timed(2.3)])
    lines = SCRIPT["page"](content).splitlines()
    (bound,) = (line for line in lines if "log_prob_lower_bound" in line)
    assert bound.split(" | ")[:4] == [
        "| [`vae_digits.py`](vae_digits.py) (latent_dim=4)",
        "log_prob_lower_bound",
        "-86.881 ± 0.19 (3 seeds)",
        "1,000",
    ]
    assert bound.endswith("| 1 × cpu, 2 CPU cores, jax 0.10.2 | 2026-01-02 |")
    assert any("| mse | 0.25 | 1,000 |" in line for line in lines)
    (speed,) = (line for line in lines if "a step" in line)
    assert speed.startswith("| a step | 2.3 | >= 2 | torch | [`benchmarks/gmmn.py`](benchmarks/gmmn.py) | a cpu | 1 | ")


def test_a_compiled_experiment_has_a_row_for_its_largest_stage_and_its_sampler():
    program = {"total_bytes": 2_000_000, "fits": True, "least_seconds": 2e-3, "bound": "memory", "error": None}
    stages = [{**program, "name": "train a"}, {**program, "name": "train b", "total_bytes": 3e9, "fits": False}]
    failed = {**program, "name": "sample", "total_bytes": 0, "fits": False, "error": "Used 17G of 16G hbm"}
    record = {"kind": "compiled", "experiment": "vae_digits", "topology": "v5e:2x2", "flags": ["--batch-size", "32"]}
    record |= {"programs": [*stages, failed], "libtpu": "0.0.52", "date": "2026-01-02"}
    lines = SCRIPT["page"]({"tables": [], "records": [record]}).splitlines()
    name = "| [`vae_digits.py`](vae_digits.py) --batch-size 32 | v5e:2x2 | "
    assert [line.removeprefix(name) for line in lines if line.startswith(name)] == [
        "train b | 3,000 MB, does not fit | 2 ms | memory | 0.0.52 | 2026-01-02 |",
        "sample | does not fit: Used 17G of 16G hbm |  |  | 0.0.52 | 2026-01-02 |",
    ]


def test_of_several_runs_of_a_benchmark_the_worse_ratio_stands():
    content = SCRIPT["add_benchmark"]({"tables": [], "records": [RUN]}, "gmmn", [timed(2.3)])
    again = SCRIPT["add_benchmark"](content, "gmmn", [timed(2.4), timed(2.2), timed(2.5)])
    assert [record["kind"] for record in again["records"]] == ["run", "benchmark"]
    assert again["records"][1]["rows"] == [json.loads(timed(2.2))]
    limits = SCRIPT["add_benchmark"](content, "gmmn", [timed(1.0, "<= 1.1"), timed(1.2, "<= 1.1")])
    assert limits["records"][1]["rows"] == [json.loads(timed(1.2, "<= 1.1"))]
