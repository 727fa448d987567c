"""Trials: which one is chosen, what counts as failed, and what is measured only once."""

import json

import jax
import jax.numpy as jnp
import pytest

from genjax import data, moment_matching, nets
from genjax.comparison.suites import RUNS, Suite, SuiteExperiment, read_suite
from genjax.comparison.table import Column, Entry, Table
from genjax.comparison.trials import COLUMNS, FOLDER, Trial, Trials, compared, with_stability
from genjax.evaluation.comparison import compare_by
from genjax.evaluation.context import Evaluation
from tests.comparison.conftest import FLAGS
from tests.running import TINY

CONTENT = """
trials = [["--learning-rate", "0.01"], ["--learning-rate", "1e9"]]
[[experiment]]
file = "tiny.py"
flags = ["--steps", "20"]
[[experiment]]
file = "tiny.py"
name = "short"
flags = ["--steps", "10"]
trials = [[]]
"""


def _trials(*coverages, num_seeds=2):
    trials = [
        Trial(flags=f"--try {i}", run=f"run_{i}" if coverage else None, coverage=coverage)
        for i, coverage in enumerate(coverages)
    ]
    return Trials(name="a", trials=tuple(trials), num_seeds=num_seeds)


def test_the_highest_mean_is_chosen_and_half_of_it_is_the_limit():
    trials = _trials((0.2, 0.9), (0.8, 0.6), ())
    assert trials.chosen.flags == "--try 1"
    assert trials.coverages == (0.2, 0.9, 0.8, 0.6, 0.0, 0.0)
    assert trials.failed_share == pytest.approx(3 / 6)  # 0.2 is below 0.35, and both seeds of the last diverged


def test_a_run_without_any_coverage_has_failed():
    assert _trials((0.0, 0.0), (0.0, 0.0)).failed_share == 1.0
    assert _trials((0.35, 0.7), (0.7, 0.7)).failed_share == 0.0  # exactly half of the chosen trial's is enough


def test_stability_has_cells_for_entries_with_several_trials():
    column = Column(name="fd", title="FD", group="quality", source="frechet_distance")
    entries = (
        Entry(name="a", kind="model", model="VAE", members=("run_1",)),
        Entry(name="b", kind="model", model="GAN", members=("other",)),
    )
    table = Table(columns=(column,), entries=entries, cells=())
    assert with_stability(table, [Trials(name="b", trials=(Trial(flags="", run="other"),), num_seeds=2)]) is table
    joined = with_stability(table, [_trials((0.2, 0.9), (0.8, 0.6))])
    assert joined.columns == (column, *COLUMNS)
    assert joined.cell("a", "failed_share").value == 0.25
    assert joined.cell("a", "coverage_variation").value == pytest.approx(0.309570 / 0.625, abs=1e-6)
    assert joined.cell("b", "failed_share").status == "none"


def test_a_file_gives_trials_to_all_experiments_or_to_one(tmp_path):
    (tmp_path / "tiny.py").write_bytes(TINY.read_bytes())
    file = tmp_path / "small.toml"
    file.write_text(CONTENT)
    rates = (("--learning-rate", "0.01"), ("--learning-rate", "1e9"))
    tiny = tmp_path / "tiny.py"
    experiments = (
        SuiteExperiment(file=tiny, flags=("--steps", "20"), trials=rates),
        SuiteExperiment(file=tiny, flags=("--steps", "10"), label="short"),
    )
    assert read_suite(file) == Suite(experiments=experiments)
    assert experiments[0].run_name(rates[0]) == "tiny_steps_20_learning-rate_0.01"
    file.write_text(CONTENT.replace('["--learning-rate", "1e9"]', '["--learning-rate", "0.01"]'))
    with pytest.raises(ValueError, match=r"has tiny_steps_20_learning-rate_0\.01 twice"):
        read_suite(file)
    file.write_text(CONTENT.replace("trials = [[]]", "trials = []"))
    with pytest.raises(ValueError, match="trials"):
        read_suite(file)


def test_a_suite_chooses_between_trials_on_validation_data(tmp_path, genjax):
    (tmp_path / "tiny.py").write_bytes(TINY.read_bytes())
    file, out = tmp_path / "small.toml", tmp_path / "out"
    file.write_text(CONTENT)
    command = ("compare", "--suite", file, "--out", out, "--floors", "gaussian", *FLAGS)
    status, _, err = genjax(*command)
    assert status == 0, err
    table = json.loads((out / "comparison.json").read_text())
    first = table["trials"][0]
    run = out / RUNS / "tiny_steps_20_learning-rate_0.01"
    assert first["chosen"] == "--learning-rate 0.01"
    assert next(entry["members"] for entry in table["entries"]) == [str(run)]
    values = {(cell["entry"], cell["column"]): cell["value"] for cell in table["cells"]}
    name, second, _ = (entry["name"] for entry in table["entries"])
    assert second == "short" and (out / RUNS / "short").is_dir()
    assert values[name, "failed_share"] == 0.5
    assert "chosen --learning-rate 0.01" in (out / "report.md").read_text()
    assert "chosen --learning-rate 0.01" in (out / "report.html").read_text()
    flags = ("--metrics", "precision_recall", "--split", "validation", "--features", "pixels", "--json")
    status, printed, err = genjax("evaluate", run, *flags)
    assert status == 0, err
    (coverage,) = first["trials"][1]["coverage"]
    assert coverage == pytest.approx(json.loads(printed)["results"]["coverage"]["value"])
    assert [file.name for file in (out / FOLDER).iterdir()] == [f"{run.name}.json"]
    status, _, err = genjax(*command)
    assert (status, "coverage of the validation split" in err) == (0, False)


def test_only_the_replica_whose_samples_are_not_finite_has_no_coverage():
    model = moment_matching.GMMN(latent_dim=2, generator=nets.MLP((2,)), bandwidths=(1.0,))
    x = jax.random.normal(jax.random.key(0), (40, 2))
    variables = model.init(jax.random.key(1), {"x": x})
    evaluation = Evaluation(
        model=model,
        variables=jax.tree.map(lambda leaf: jnp.stack([leaf, jnp.full_like(leaf, jnp.nan)]), variables),
        dataset=data.arrays(x, test=20),
        key=jax.random.key(2),
        seeds=(0, 1),
    )
    expected = {result.name: result.value for result in compare_by("precision_recall")(evaluation, 0)}["coverage"]
    values = [compared(evaluation, index, "precision_recall", "coverage") for index in (0, 1)]
    assert values == [expected, None]
    assert expected > 0


def test_data_without_a_validation_split_are_refused_before_training(tmp_path, genjax):
    (tmp_path / "unsplit.py").write_text(TINY.read_text().replace("validation=16, ", ""))
    file = tmp_path / "small.toml"
    file.write_text('trials = [[], ["--steps", "1"]]\n[[experiment]]\nfile = "unsplit.py"\n')
    status, _, err = genjax("compare", "--suite", file, "--out", tmp_path / "out")
    assert status == 2
    assert "trials are chosen on a validation split, but random has train, test; add it, or give each" in err
    assert not (tmp_path / "out").exists()


TEXTS = """
import optax
from genjax import Experiment, autoregressive, data

def experiment(learning_rate: float = 1e-2, steps: int = 3) -> Experiment:
    text = data.text("PATH", length=12, tokenizer="characters", validation=0.2, test=0.2)
    model = autoregressive.GPT(num_values=text.levels, length=12, num_layers=1, num_heads=1, features=4)
    return Experiment(model=model, data=text, optimizer=optax.adam(learning_rate), steps=steps, batch_size=8)
"""


def test_trials_and_comparisons_of_texts_are_of_their_ngrams(tmp_path, genjax):
    (tmp_path / "verse.txt").write_text("to be or not to be. " * 60)
    (tmp_path / "verse.py").write_text(TEXTS.replace("PATH", str(tmp_path / "verse.txt")))
    file, out = tmp_path / "small.toml", tmp_path / "out"
    file.write_text('trials = [[], ["--learning-rate", "0.1"]]\n[[experiment]]\nfile = "verse.py"\nname = "gpt"\n')
    status, _, err = genjax("compare", "--suite", file, "--out", out, *FLAGS)
    assert status == 0, err
    content = json.loads((out / "comparison.json").read_text())
    floors = ["floor: factorized", "floor: markov_chain", "floor: bootstrap"]
    assert [entry["name"] for entry in content["entries"]] == ["gpt", *floors]
    assert (content["protocol"]["features"], content["protocol"]["tokenizer"]) == ("ngrams", "Characters")
    assert all(len(trial["coverage"]) == 1 for trial in content["trials"][0]["trials"])
    values = {(cell["entry"], cell["column"]): cell["value"] for cell in content["cells"]}
    assert values["floor: bootstrap", "memorization"] == 0.5  # every window of the text stands in all splits
    bits = [values[name, "bits_per_byte_exact"] for name in ("gpt", *floors[:2])]
    assert bits[2] < bits[1] < bits[0]  # an untrained network knows less than frequencies, and these less than pairs
    assert values["gpt", "frechet_distance"] > values["floor: markov_chain", "frechet_distance"] > 0
    pages = (out / "report.html").read_text()
    assert "not to be." in pages
    assert not [cell for cell in content["cells"] if cell["status"] == "failed"]
    status, _, err = genjax("compare", "--suite", file, "--out", tmp_path / "other", "--floors", "gaussian", *FLAGS)
    assert (status, "floors has 'gaussian', which does not suit texts; use factorized, markov" in err) == (2, True)
    status, _, err = genjax("compare", out / "runs" / "gpt", "--features", "pixels", "--out", tmp_path / "third")
    assert (status, "features is 'pixels', but verse holds texts; use ngrams" in err) == (2, True)
    status, printed, err = genjax("choose", "--need", "sequences", "--data", out / "comparison.json")
    assert (status, printed.splitlines()[1]) == (0, "1. gpt (autoregressive.GPT), score 1.00"), err
