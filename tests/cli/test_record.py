"""Results of a run, recorded in a results file."""

import json
import shutil

import pytest

TABLES = [{"id": "old", "title": "Kept", "columns": ["a ± b"], "rows": [["−1 ± 2"]], "notes": []}]


@pytest.fixture
def results(tmp_path):
    file = tmp_path / "results.json"
    file.write_text(json.dumps({"tables": TABLES, "records": []}))
    return file


def record(genjax, run, file, *flags):
    status, _, err = genjax("evaluate", run, "--likelihood-samples", "5", "--record", file, *flags)
    assert status == 0, err
    content = json.loads(file.read_text())
    assert content["tables"] == TABLES
    return content["records"]


def test_results_are_merged_by_run(genjax, tiny_run, results):
    (first,) = record(genjax, tiny_run, results, "--metrics", "log_prob_lower_bound")
    evaluation = json.loads((tiny_run / "evaluation.json").read_text())["results"]
    environment = json.loads((tiny_run / "environment.json").read_text())
    assert first["results"]["log_prob_lower_bound"] == evaluation["log_prob_lower_bound"] | {"seed": 0}
    assert (first["kind"], first["experiment"], first["arguments"]) == ("run", "tiny", {})
    assert (first["seeds"], first["step"], first["checkpoint"]) == ([0], 40, "last")
    assert (first["device"], first["cpu_cores"]) == (environment["device"], environment["cpu_cores"])
    assert first["jax"] == environment["packages"]["jax"]
    (second,) = record(genjax, tiny_run, results, "--metrics", "reconstruction")
    assert set(second["results"]) == set(first["results"]) | {"mse", "psnr"} | set(second["results"]) & {"ssim"}
    assert second["results"]["log_prob_lower_bound"] == first["results"]["log_prob_lower_bound"]
    (third,) = record(genjax, tiny_run, results, "--metrics", "reconstruction", "--checkpoint", "20")
    assert third["step"] == 20  # a later step with the same settings replaces the record
    assert "log_prob_lower_bound" not in third["results"]


def test_other_hyper_parameters_are_another_record(genjax, tiny_run, results, tmp_path):
    record(genjax, tiny_run, results, "--metrics", "reconstruction")
    other = tmp_path / "other"
    shutil.copytree(tiny_run, other)
    arguments = json.loads((other / "arguments.json").read_text())
    arguments["arguments"]["learning_rate"] = 0.5
    (other / "arguments.json").write_text(json.dumps(arguments))
    environment = json.loads((other / "environment.json").read_text())
    environment["command"] = "genjax train tiny.py --learning-rate 0.5 --workdir '/tmp/a b' --overwrite"
    (other / "environment.json").write_text(json.dumps(environment))
    records = record(genjax, other, results, "--metrics", "reconstruction")
    assert [entry["arguments"] for entry in records] == [{}, {"learning_rate": 0.5}]
    assert records[1]["command"] == "genjax train tiny.py --learning-rate 0.5"


def test_unavailable_metrics_are_not_recorded(genjax, tiny_run, tmp_path):
    file = tmp_path / "new.json"
    status, _, err = genjax("evaluate", tiny_run, "--metrics", "reconstruction", "classification", "--record", file)
    assert status == 0, err
    content = json.loads(file.read_text())
    assert content["tables"] == []
    assert "mse" in content["records"][0]["results"]
    assert "label_accuracy" not in content["records"][0]["results"]


@pytest.mark.parametrize(("text", "reason"), [("no json", "it is not JSON"), ("[]", "it has no list 'records'")])
def test_other_files_are_refused_before_anything_is_computed(genjax, tiny_run, tmp_path, text, reason):
    file = tmp_path / "thesis.json"
    file.write_text(text)
    status, _, err = genjax("evaluate", tiny_run, "--record", file)
    assert status == 2
    assert f"is not a results file, because {reason}" in err
    assert file.read_text() == text
