"""The command line: its outputs, and errors of one line with exit status 2."""

import dataclasses
import json
import shutil
import sys
import textwrap
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax import Experiment, autoregressive, data, vae
from genjax.cli import commands
from genjax.cli.options import SampleOptions
from genjax.metrics import COMPARISONS
from genjax.runner import load_run
from genjax.runner.folder import RunFolder
from genjax.runner.previews import Previews
from genjax.runner.weights import save_weights
from genjax.sharding import Placement
from tests.running import ROOT, TINY
from tests.test_imports import FAMILIES

BROKEN = {
    "no_experiment": ("x = 1\n", "defines no function experiment"),
    "no_default": ("def experiment(width: int): pass\n", "argument 'width' of experiment"),
    "no_type": ("def experiment(width=3): pass\n", "argument 'width' of experiment"),
    "clash": ("def experiment(seed: int = 3): pass\n", "argument 'seed', which is a flag of genjax train"),
    "returns_none": (
        "def experiment(width: int = 3): pass\n",
        "returned a NoneType, but must return a genjax Experiment",
    ),
}


def refused(genjax, *arguments):
    """Run a command, require exit status 2 and one line of output, and return that line."""
    status, out, err = genjax(*arguments)
    lines = [line for line in err.splitlines() if line]
    assert status == 2, err
    assert out == ""
    assert len(lines) == 1, err
    assert lines[0].startswith("genjax: error: ")
    return lines[0]


def test_train_wrote_everything(tiny_run):
    for name in ("tiny.py", "arguments.json", "environment.json", "metrics.jsonl", "report.md", "results.json"):
        assert (tiny_run / name).stat().st_size > 0
    arguments = json.loads((tiny_run / "arguments.json").read_text())
    assert arguments["arguments"]["widths"] == [8]
    assert arguments["seed"] == 0
    assert (tiny_run / "tiny.py").read_text() == TINY.read_text()
    assert sorted(p.name for p in (tiny_run / "samples").glob("step_*.png")) == [
        "step_00000020.png",
        "step_00000040.png",
    ]
    assert list((tiny_run / "tensorboard").glob("events.out.tfevents.*"))
    assert [p.name for p in sorted((tiny_run / "checkpoints").iterdir())] == ["20", "30", "40"]
    assert "A tiny VAE on fixed random images" in (tiny_run / "report.md").read_text()
    assert not list(tiny_run.rglob("*.pkl"))


def test_sample_draws_again_and_repeats_with_its_seed(genjax, tiny_run, tmp_path):
    files = [tmp_path / f"{i}.npz" for i in range(3)]
    for file, seed in zip(files, (5, 5, 6), strict=True):
        status, out, _ = genjax("sample", tiny_run, "-n", "7", "--seed", seed, "--out", file)
        assert status == 0
        assert str(file) in out
    a, b, c = (np.load(file)["x"] for file in files)
    assert a.shape == (7, 4, 4, 1)
    assert set(np.unique(a)) <= {0.0, 1.0}
    np.testing.assert_array_equal(a, b)
    assert (a != c).any()
    status, out, _ = genjax("sample", tiny_run, "--mean", "--out", tmp_path / "means.npy", "--checkpoint", "20")
    assert status == 0
    assert "step 20" in out
    assert not set(np.unique(np.load(tmp_path / "means.npy"))) <= {0.0, 1.0}
    status, out, _ = genjax("sample", tiny_run)
    picture = out.split()[1].rstrip(":")
    assert picture.endswith(".png")
    with Path(picture).open("rb") as file:
        assert file.read(4) == b"\x89PNG"


def test_sample_help_shows_the_models_own_flags(genjax, tiny_run):
    status, out, _ = genjax("sample", tiny_run, "--help")
    assert status == 0
    for flag in ("--num-samples", "--mean", "--label", "--checkpoint"):
        assert flag in out
    assert "whether to return the means of the likelihood" in " ".join(out.replace("│", " ").split())


def test_evaluate_help_describes_the_metrics(genjax, tiny_run):
    status, out, _ = genjax("evaluate", tiny_run, "--help")
    assert status == 0
    for text in ("--likelihood-samples", "parzen: Parzen-window", COMPARISONS["mmd2"].summary):
        assert text in out


def test_evaluate_says_what_each_number_is(genjax, tiny_run):
    status, out, _ = genjax("evaluate", tiny_run, "--likelihood-samples", "20", "--json")
    assert status == 0
    report = json.loads(out)
    assert report == json.loads((tiny_run / "evaluation.json").read_text())
    bound, estimate = report["results"]["log_prob_lower_bound"], report["results"]["log_prob_estimate"]
    assert (bound["guarantee"], estimate["guarantee"]) == ("lower bound", "estimate")
    assert estimate["num_samples"] == 20
    assert bound["value"] < estimate["value"] < 0
    bits = report["results"]["log_prob_estimate/bits_per_dim"]
    np.testing.assert_allclose(bits["value"], -estimate["value"] / (16 * np.log(2)), rtol=1e-6)
    status, out, _ = genjax("evaluate", tiny_run, "--likelihood-samples", "20")
    assert f"{estimate['value']:.4f}" in out
    assert "guarantee estimate, units nats per example, examples 16, split test, num samples 20" in out


def test_evaluate_scores_samples_too(genjax, tiny_run):
    status, out, err = genjax(
        "evaluate", tiny_run, "--metrics", "all", "-n", "30", "--likelihood-samples", "5", "--json"
    )
    assert status == 0
    results = json.loads(out)["results"]
    assert "samples of seed 0" in err  # a progress bar
    expected = {"mse", "psnr", "ssim", "frechet_distance", "kernel_distance", "precision", "recall", "density"}
    expected |= {"coverage", "mmd2", "sliced_wasserstein", "classifier_accuracy", "memorization", "parzen"}
    assert expected <= set(results)
    distance = results["frechet_distance"]
    assert (distance["features"], distance["reference"], distance["generated"]) == ("pixels", "16 of test", 30)
    assert distance["value"] > 0
    assert results["inception_score"]["value"] is None
    assert "pixels classify nothing" in results["inception_score"]["reason"]
    assert genjax("evaluate", tiny_run, "--metrics", "frechet_distance", "--mean")[1].count("mean True") == 1


def test_evaluate_names_what_is_available_if_nothing_else_is(genjax, tiny_run):
    status, out, err = genjax("evaluate", tiny_run, "--metrics", "inception_score", "-n", "10")
    assert status == 0
    assert "n/a" in out
    assert "none of these is available for this run; use --metrics likelihood reconstruction latents" in err
    assert "classification" not in err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (
            ("--metrics", "fid"),
            "there is no metric 'fid'; use all or likelihood, log_prob, log_prob_lower_bound, log_prob_estimate, "
            "reconstruction, latents, aggregated_posterior, interpolation, linear_probe, imputation, classification, "
            "calibration, detection, outliers, frechet_distance",
        ),
        (("--split", "dev"), "split is 'dev', but 'random' has"),
        (("--features", "fid"), "features is 'fid', but must be pixels, ngrams for texts, classifier:DATASET"),
        (("--features", "inception:no.safetensors"), "there are no Inception weights at no.safetensors; download"),
        (("--num-samples", "0"), "num_samples is 0, but must be at least 1"),
        (
            ("--metrics", "precision_recall", "-n", "3"),
            "generated has 3 samples, but num_neighbours=5 needs at least 6",
        ),
    ],
)
def test_evaluate_refuses_in_one_line(genjax, tiny_run, flags, message):
    status, _, err = genjax("evaluate", tiny_run, *flags)
    assert status == 2
    assert message in err.splitlines()[-1]


def test_list_names_models_capabilities_and_experiments(genjax):
    status, out, _ = genjax("list", "--json", "--experiments", TINY.parent)
    assert status == 0
    vae = next(entry for entry in json.loads(out) if entry["model"] == "VAE")
    assert vae["family"] == "vae"
    assert vae["file"] == "genjax/vae/vae.py"
    assert {"Encodes", "HasLogProbLowerBound", "HasConditions"} <= set(vae["capabilities"])
    assert "HasLogProb" not in vae["capabilities"]
    assert vae["experiments"] == [str(TINY)]
    assert "vae.VAE" in genjax("list")[1]
    rooms = {path.parent.name for path in (ROOT / "genjax").glob("*/__init__.py")}
    families = rooms & FAMILIES | {"latent"}
    assert {entry["family"] for entry in json.loads(out)} == families


def test_help_and_version(genjax):
    assert "train FILE" in genjax("--help")[1]
    assert genjax()[0] == 2
    assert genjax("--version")[1].strip().count(".") == 2
    status, out, _ = genjax("train", TINY, "--help")
    assert status == 0
    assert "size of the latent vector" in out
    assert "--seeds" in out
    assert "FILE is a Python file" in genjax("train", "--help")[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("trian",),
            "unknown command 'trian'; use one of train, compile, sample, translate, edit, evaluate, compare, choose, "
            "judge, latent, export, serve, list",
        ),
        (("train",), "FILE is missing"),
        (("train", "nothing.py"), "there is no experiment file nothing.py"),
        (("train", TINY, "--latentdim", "3"), "Unrecognized options: --latentdim, 3; did you mean --latent-dim?"),
        (("train", TINY, "--latent-dim", "many"), "Error parsing --latent-dim: invalid literal for int()"),
        (("train", TINY, "--seeds", "0"), "seeds is 0, but must be in [1, 1000]"),
        (("train", TINY, "--seed", "-1"), "seed is -1, but must be"),
        (
            ("train", TINY, "--seed", "4294967295", "--seeds", "2"),
            "seed is 4294967295, but with seeds=2 must be at most 4294967294",
        ),
        (("train", TINY, "--batch-size", "65"), "batch_size is 65, but the training split of 'random' has 64"),
        (("train", TINY, "--batch-size", "7"), "batch_size is 7, but 2 devices must share it evenly"),
        (("train", TINY, "--dataset", "digitz"), "did you mean 'digits'"),
        (
            ("train", TINY, "--dataset", "digits"),
            "takes 256 values from 0 to 255, but x has 17 values from 0 to 16; use",
        ),
        (("sample", "nowhere"), "nowhere is not a run folder, because it has no arguments.json"),
        (("evaluate", "nowhere"), "nowhere is not a run folder"),
        (("compare",), "RUN is missing: it comes first and is a run folder that train wrote"),
        (("compare", "nowhere"), "nowhere is not a run folder"),
        (("compare", "nowhere", "--floors", "ceiling"), "invalid choice 'ceiling' for argument '--floors'"),
        (("compare", "nowhere", "--speed-repeats", "0"), "speed_repeats is 0, but must be at least 1"),
        (("choose", "--need", "magic"), "invalid choice 'magic' for argument '--need'"),
        (("judge",), "RUN is missing: it comes first and is a run folder that train wrote"),
        (("judge", "nowhere"), "nowhere is not a run folder"),
        (("judge", "nowhere", "--tasks", "taste"), "invalid choice 'taste' for argument '--tasks'"),
        (("judge", "nowhere", "--num-trials", "0"), "num_trials is 0, but must be in [1, 1000]"),
        (("judge", "--score", "nothing.json"), "no .key.json files in ."),
        (("judge", "--score", "nothing.json", "--key", "nothing.key.json"), "no file nothing.key.json; pass --key"),
        (("latent", "nowhere", "--label=-1"), "label is -1, but must be at least 0"),
        (("list", "--jsn"), "Unrecognized options: --jsn; did you mean --json?"),
    ],
)
def test_refused_before_anything_is_written(genjax, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    assert message in refused(genjax, *arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", BROKEN)
def test_files_that_are_no_experiment(genjax, tmp_path, name):
    text, message = BROKEN[name]
    file = tmp_path / f"{name}.py"
    file.write_text(text)
    assert message in refused(genjax, "train", file)


def test_a_folder_is_never_overwritten_unasked(genjax, tiny_run, tmp_path):
    other = tmp_path / "other.py"
    shutil.copyfile(TINY, other)
    before = (tiny_run / "metrics.jsonl").read_bytes()
    assert "holds a run of 'tiny'; pass --resume" in refused(genjax, "train", other, "--workdir", tiny_run)
    assert "not of 'other'" in refused(genjax, "train", other, "--workdir", tiny_run, "--resume")
    line = refused(genjax, "train", TINY, "--workdir", tiny_run, "--resume", "--latent-dim", "3")
    assert "holds a run with latent_dim=2, not 3" in line
    line = refused(genjax, "train", TINY, "--workdir", tiny_run, "--resume", "--seed", "3")
    assert "holds a run with seed 0, not 3; resume it with --seed 0" in line
    assert (tiny_run / "metrics.jsonl").read_bytes() == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    line = refused(genjax, "train", TINY, "--workdir", tmp_path / "mine")
    assert "is not empty and holds no run" in line
    assert "there is no run to resume" in refused(genjax, "train", other, "--resume")


def test_a_changed_file_is_not_resumed_silently(genjax, tiny_run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(tiny_run, folder)
    changed = tmp_path / "tiny.py"
    changed.write_text(TINY.read_text().replace("optax.adam", "optax.sgd"))
    line = refused(genjax, "train", changed, "--workdir", folder, "--resume")
    assert "has changed since the run" in line
    assert f"genjax train {folder / 'tiny.py'} --workdir {folder} --resume" in line


@pytest.mark.filterwarnings("default:checkpoint of step")
def test_resume_passes_over_a_damaged_newest_checkpoint(genjax, tiny_run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(tiny_run, folder)
    for file in (folder / "checkpoints" / "40").rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    status, _, err = genjax("train", TINY, "--workdir", folder, "--resume")
    assert status == 0, err
    warning = next(line for line in err.splitlines() if "warning" in line)
    assert warning.startswith("genjax: warning: checkpoint of step 40")
    assert "trying the one before" in warning
    ends = [load_run(path) for path in (folder, tiny_run)]
    assert [run.step for run in ends] == [40, 40]
    jax.tree.map(np.testing.assert_array_equal, ends[0].variables, ends[1].variables)


def test_overwrite_replaces_the_run(genjax, tiny_run, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(tiny_run, folder)
    (folder / "checkpoints" / "leftover").write_text("old")
    (folder / "notes").write_text("mine")
    command = ("train", TINY, "--workdir", folder, "--overwrite", "--steps", "10")
    assert "holds 'notes', which no run wrote" in refused(genjax, *command)
    (folder / "notes").unlink()
    status, _, err = genjax(*command)
    assert status == 0, err
    assert [p.name for p in (folder / "checkpoints").iterdir()] == ["10"]


def test_evaluations_are_printed_first_and_all_kept(genjax, tiny_run, tmp_path, monkeypatch):
    folder = shutil.copytree(tiny_run, tmp_path / "run", ignore=shutil.ignore_patterns("evaluation*"))
    command = ("evaluate", folder, "--metrics", "log_prob_lower_bound", "--json")
    reports = [json.loads(genjax(*command, "--split", split)[1]) for split in ("test", "validation")]
    assert [report["split"] for report in reports] == ["test", "validation"]
    lines = [json.loads(line) for line in (folder / "evaluations.jsonl").read_text().splitlines()]
    assert lines == reports
    status, out, err = genjax(*command, "--out", tmp_path / "new" / "mine.json")
    assert status == 0
    assert json.loads((tmp_path / "new" / "mine.json").read_text()) == json.loads(out)
    assert "mine.json" in err
    assert json.loads((folder / "evaluation.json").read_text()) == reports[-1]

    def refuse(*_):
        raise PermissionError("read-only")

    monkeypatch.setattr("genjax.runner.folder.RunFolder.write_json", refuse)
    status, out, err = genjax(*command)
    assert status == 1
    assert json.loads(out)["results"] == reports[0]["results"]
    assert "pass --out FILE" in err


@pytest.mark.filterwarnings("default:the examples of split")
def test_a_resumed_run_tells_that_its_data_have_changed(genjax, tmp_path):
    file = tmp_path / "own.py"
    np.save(tmp_path / "x.npy", np.random.default_rng(0).integers(0, 256, (40, 4, 4, 1), np.uint8))
    text = TINY.read_text().replace("data.load(dataset)", "data.npy(dataset, validation=8, levels=256)")
    file.write_text(text.replace('"random",', f'"{tmp_path / "x.npy"}",'))
    command = ("train", file, "--workdir", tmp_path / "run")
    assert genjax(*command, "--steps", "10")[0] == 0
    np.save(tmp_path / "x.npy", np.random.default_rng(1).integers(0, 256, (40, 4, 4, 1), np.uint8))
    status, _, err = genjax(*command, "--resume")
    assert status == 0
    assert "warning: the examples of split 'train' of 'x' have changed since training" in err
    (tmp_path / "x.npy").unlink()
    status, _, err = genjax("sample", tmp_path / "run", "-n", "2")
    assert status == 0, err


def test_sample_refuses_what_it_cannot_do(genjax, tiny_run, tmp_path):
    assert "num_samples is 0" in refused(genjax, "sample", tiny_run, "-n", "0")
    assert "checkpoint is 'first', but must be" in refused(genjax, "sample", tiny_run, "--checkpoint", "first")
    assert "must end in .png, .npz, .npy or nothing, for a folder" in refused(
        genjax, "sample", tiny_run, "--out", tmp_path / "x.jpg"
    )
    assert "num_classes=None" in refused(genjax, "sample", tiny_run, "--label", "3")
    status, _, err = genjax("sample", tiny_run, "--checkpoint", "17")
    assert status == 1
    assert "there is no checkpoint of step 17" in err
    assert "replica is 1, but the run has 1" in refused(genjax, "sample", tiny_run, "--replica", "1")


def test_non_finite_loss_exits_with_1(genjax, tmp_path):
    status, _, err = genjax("train", TINY, "--learning-rate", "1e30", "--workdir", tmp_path / "run")
    assert status == 1
    assert "at step" in err.splitlines()[-1]
    assert "lower the learning rate" in err.splitlines()[-1]


def test_a_bar_counts_the_tokens_that_are_drawn(capsys):
    model = autoregressive.MADE(shape=(8, 8, 1), num_values=17, features=(4,))
    variables = model.init(jax.random.key(0), {"x": jnp.zeros((1, 8, 8, 1), jnp.int32)})
    experiment = Experiment(model=model, data=data.digits(), optimizer=optax.sgd(1.0), steps=1)
    with commands._sampling_progress(experiment, {}, SampleOptions(num_samples=2)) as extra:
        model.sample(variables, jax.random.key(1), 2, **extra)
    assert "samples: 100%" in (shown := capsys.readouterr().err)
    assert "64/64" in shown
    other = dataclasses.replace(experiment, model=vae.FactorizedCategorical(num_values=17))
    with commands._sampling_progress(other, {}, SampleOptions(num_samples=2)) as extra:
        assert set(extra) == {"progress"}  # of samples, since it does not draw tokens one by one


@pytest.fixture
def text_run(genjax, tmp_path):
    (tmp_path / "verse.txt").write_text("to be or not to be. " * 60)
    (tmp_path / "verse.py").write_text(
        f"""
import optax
from genjax import Experiment, autoregressive, data

def experiment(steps: int = 3) -> Experiment:
    text = data.text({str(tmp_path / "verse.txt")!r}, length=12, stride=1, tokenizer="characters")
    size = {{"num_layers": 1, "num_heads": 1, "features": 4}}
    model = autoregressive.GPT(num_values=text.levels, length=12, **size)
    return Experiment(model=model, data=text, optimizer=optax.adam(1e-2), steps=steps, batch_size=8)
"""
    )
    status, _, err = genjax("train", tmp_path / "verse.py", "--workdir", tmp_path / "run")
    assert status == 0, err
    return tmp_path / "run"


def test_texts_are_written_as_texts_and_begin_with_their_prompt(genjax, text_run, tmp_path):
    assert len((text_run / "samples.txt").read_text().splitlines()) == 64
    assert "````text" in (text_run / "report.md").read_text()
    status, out, err = genjax("sample", text_run, "-n", "1", "--prompt", "not ", "--out", tmp_path / "one.txt")
    assert status == 0, err
    text = (tmp_path / "one.txt").read_text()
    assert (len(text), text[:4]) == (13, "not ")
    assert out.startswith(text)  # streamed
    status, _, err = genjax("sample", text_run, "-n", "3", "--temperature", "0.5", "--out", tmp_path / "three.txt")
    assert status == 0, err
    assert "12/12" in err
    assert len((tmp_path / "three.txt").read_text().splitlines()) == 3
    status, out, err = genjax("sample", text_run, "-n", "1", "--num-tokens", "40", "--out", tmp_path / "long.txt")
    assert status == 0, err
    text = (tmp_path / "long.txt").read_text()
    assert (len(text), out.startswith(text)) == (41, True)
    assert "'N' is not among the 8 characters" in refused(genjax, "sample", text_run, "--prompt", "Not")
    status, _, err = genjax("sample", text_run, "--prompt", "t" * 13)
    assert (status, "prompt has 13 tokens, but sequences have length=12; shorten it" in err) == (2, True)
    assert "must end in .txt, .npz or .npy" in refused(genjax, "sample", text_run, "--out", "x.png")


def test_a_diverged_model_of_tokens_is_named_and_its_samples_are_not_decoded(genjax, text_run, tmp_path):
    run = load_run(text_run)
    save_weights(text_run, jax.tree.map(lambda a: jnp.full_like(a, jnp.nan), run.variables), run.step)
    for flags in (("-n", "1"), ("-n", "70"), ("-n", "2", "--num-tokens", "30")):
        status, out, err = genjax("sample", text_run, *flags)
        assert status == 1, err
        assert "the logits of this GPT are NaN or infinite, because its training diverged; use an earlier" in err
        assert not out.strip()
    diverged = Previews(run.experiment, RunFolder(tmp_path / "other"), (0,), Placement())
    with pytest.warns(UserWarning, match="no samples are written at step 7: the logits of this GPT are NaN"):
        diverged(7, load_run(text_run).variables)
    assert not (tmp_path / "other").exists()


def test_refuses_a_prompt_for_what_is_no_text(genjax, tiny_run):
    assert "Unrecognized options: --prompt" in refused(genjax, "sample", tiny_run, "--prompt", "To be")


def write_tune(tmp_path):
    (tmp_path / "tune.json").write_text('{"train": [[[60, 64], [62], [67, 60], [60]]]}')
    (tmp_path / "tune.py").write_text(
        textwrap.dedent(f"""
        import optax
        from genjax import Experiment, autoregressive, data

        def experiment(steps: int = 2) -> Experiment:
            tune = data.chorales({str(tmp_path / "tune.json")!r}, length=2, num_voices=2)
            size = dict(num_layers=1, num_heads=1, features=8)
            model = autoregressive.GPT(num_values=tune.levels, length=4, **size)
            return Experiment(model=model, data=tune, optimizer=optax.adam(1e-2), steps=steps, batch_size=2)
        """)
    )
    return tmp_path / "run"


def test_sounds_are_written_to_be_heard_and_seen(genjax, tmp_path):
    run = write_tune(tmp_path)
    status, _, err = genjax("train", tmp_path / "tune.py", "--workdir", run)
    assert status == 0, err
    assert len(list((run / "samples").glob("step_*/*.mid"))) == 16
    assert sorted(path.name for path in (run / "samples" / "data").iterdir()) == ["00.mid", "01.mid"]
    assert (run / "samples.png").exists() and "samples.png" in (run / "report.md").read_text()
    assert genjax("sample", run, "-n", "3", "--seed", "5")[0] == 0
    assert sorted(path.name for path in (run / "samples" / "seed_5").iterdir()) == ["00.mid", "01.mid", "02.mid"]
    for name in ("one.mid", "one.png"):
        assert genjax("sample", run, "-n", "1", "--out", tmp_path / name)[0] == 0
        assert (tmp_path / name).stat().st_size
    assert "3 samples take a folder" in refused(genjax, "sample", run, "-n", "3", "--out", "tune.mid")
    assert "must end in .png, .npz, .npy, .mid or nothing" in refused(genjax, "sample", run, "--out", "tune.wav")


def test_a_missing_extra_is_told_before_training(genjax, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mido", None)
    run = write_tune(tmp_path)
    status, _, err = genjax("train", tmp_path / "tune.py", "--workdir", run)
    assert status == 2 and 'error: MIDI files need mido; pip install "genjax-models[music]"' in err
    assert not list((run / "samples").glob("step_*"))
