"""The accelerator campaign records each cell once, whatever happens to it, and runs at a hundredth of its size."""

import importlib
import json
import os
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from tests.running import QUICK, ROOT

BENCHMARKS = ROOT / "experiments" / "benchmarks"
# A campaign of five cells; "dies" ends its process, and "hangs" exceeds its limit.
SCRIPT = """
import os, sys, time
from pathlib import Path
import cells

def called(name, after=lambda: None):
    def measure():
        with Path(sys.argv[2]).open("a") as file:
            file.write(f"{name} ")
        after()
        return {"value": 1.5}
    return measure

def fail():
    raise ValueError("no luck")

def lack():
    raise cells.Unavailable("nothing here")

cells.run_cells(
    [
        cells.Cell("works", called("works"), "<= 2"),
        cells.Cell("dies", called("dies", lambda: os._exit(3))),
        cells.Cell("hangs", called("hangs", lambda: time.sleep(60)), limit=0.5),
        cells.Cell("fails", called("fails", fail)),
        cells.Cell("lacks", called("lacks", lack)),
    ],
    Path(sys.argv[1]),
    float(sys.argv[3]),
)
"""


@pytest.fixture
def cells(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("cells")


@pytest.fixture
def campaign(cells, tmp_path, monkeypatch):
    """Return a function that runs the campaign and returns its entries, and the calls of cells so far."""
    monkeypatch.setenv("PYTHONPATH", str(BENCHMARKS))
    (tmp_path / "script.py").write_text(SCRIPT)
    file, calls = tmp_path / "results.json", tmp_path / "calls"
    calls.touch()

    def run(seconds=60.0):
        deadline = time.time() + seconds
        command = [sys.executable, tmp_path / "script.py", file, calls, str(deadline)]
        status = cells.supervise([str(part) for part in command], file, deadline)
        return status, cells.read(file)["cells"], calls.read_text().split()

    return file, run


def test_every_cell_is_measured_once_whatever_happens_to_others(cells, campaign):
    file, run = campaign
    status, entries, calls = run()
    assert (status, calls) == (0, ["works", "dies", "hangs", "fails", "lacks"])
    assert {name: entry["status"] for name, entry in entries.items()} == {
        "works": "done",
        "dies": "failed",
        "hangs": "failed",
        "fails": "failed",
        "lacks": "unavailable",
    }
    assert entries["works"]["values"] == {"value": 1.5}
    reasons = [entries[name]["reason"] for name in ("dies", "hangs", "fails", "lacks")]
    assert reasons == ["ended its process (3)", "took more than 0.5 s", "ValueError: no luck", "nothing here"]
    assert run() == (0, entries, calls)
    cells.forget(file, ("unavailable",))
    assert run()[2] == [*calls, "lacks"]


def test_at_the_deadline_a_cell_is_left_for_the_next_start(campaign):
    file, run = campaign
    file.write_text(json.dumps({"cells": {name: {"status": "done"} for name in ("works", "dies")}}))
    assert run(seconds=0)[1:] == ({"works": {"status": "done"}, "dies": {"status": "done"}}, [])


def test_a_process_that_cannot_start_ends_the_campaign(cells, tmp_path):
    command = [sys.executable, "-c", "raise SystemExit(7)"]
    assert cells.supervise(command, tmp_path / "results.json", time.time() + 60) == 7


def test_the_table_has_numbers_reasons_and_targets(cells):
    entries = {
        "a": {"status": "done", "values": {"ratio": 1.23456, "steps": 3, "met": True}, "target": "<= 2"},
        "b": {"status": "done", "values": {"ms": 2.0, "met": False}, "target": "<= 1"},
        "c": {"status": "failed", "reason": "no luck", "target": ""},
    }
    assert [line.split() for line in cells.table({"cells": entries}).splitlines()] == [
        ["a", "done", "ratio", "1.235,", "steps", "3;", "target", "<=", "2", "met"],
        ["b", "done", "ms", "2;", "target", "<=", "1", "MISSED"],
        ["c", "failed", "no", "luck"],
    ]


@pytest.fixture
def accelerator(cells):
    return importlib.import_module("accelerator")


def test_devices_are_known_by_their_names(accelerator):
    peaks = {
        "TPU v5 lite": 197e12,
        "TPU v5": 459e12,
        "TPU v6 lite": 918e12,
        "TPU v4": 275e12,
        "NVIDIA H200": 989e12,
        "NVIDIA A100-SXM4-80GB": 312e12,
    }
    assert {kind: accelerator.chip_of(kind).flops for kind in peaks} == peaks
    assert accelerator.chip_of("cpu") is None


def test_relative_errors_and_random_batches(accelerator):
    assert accelerator.relative(np.array([3.0, 5.0]), np.array([3.0, 4.0])) == pytest.approx(0.2)
    tokens = accelerator.batch_of(jax.ShapeDtypeStruct((50, 40), np.int32))["x"]
    assert (tokens.min(), tokens.max()) == (0, 255)
    assert set(np.unique(accelerator.batch_of(jax.ShapeDtypeStruct((9, 9), np.float32))["x"])) == {0, 1}


@pytest.mark.slow
def test_the_campaign_runs_at_a_hundredth_of_its_size(tmp_path):
    out = tmp_path / "results.json"
    command = [sys.executable, BENCHMARKS / "accelerator.py", "--tiny", "--out", out, "--seconds", "3000"]
    environment = os.environ | QUICK | {"PYTHONPATH": str(ROOT)}
    subprocess.run([str(part) for part in command], check=True, env=environment, cwd=tmp_path)
    entries = json.loads(out.read_text())["cells"]
    assert len(entries) >= 20
    missing = {"recipe/shakespeare", "recipe/fashion_mnist"} if "TFDS_DATA_DIR" not in os.environ else set()
    failed = {name: entry.get("reason") for name, entry in entries.items() if entry["status"] == "failed"}
    assert set(failed) <= missing, failed
    assert all(entry["values"]["met"] for name, entry in entries.items() if name.startswith("agreement"))
