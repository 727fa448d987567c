"""What ``genjax sample`` writes, and how it draws: in batches, of all classes, longer than a context."""

import csv
import json
import os
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image

from genjax import autoregressive, data, nets, ops, vae
from genjax.cli.conditions import read_conditions
from genjax.evaluation import samples
from genjax.evaluation.samples import draw_samples, num_batches
from genjax.metrics.progress import progress_bars
from tests.running import ROOT, finish, start

CLASSES = """
import numpy as np, optax
from genjax import Experiment, data, nets, ops, vae

def experiment(steps: int = 2) -> Experiment:
    rng = np.random.default_rng(0)
    x, label = rng.integers(0, 256, (30, 4, 4, 1), dtype=np.uint8), np.arange(30) % 3
    model = vae.VAE(
        latent_dim=2, encoder=nets.MLP((4,)), decoder=nets.MLP((4,), output_shape=(4, 4, 1)),
        likelihood=ops.Bernoulli(), num_classes=3,
    )
    images = data.arrays(x, label=label, name="shapes")
    preprocess = data.dynamic_binarization(levels=256)
    settings = {"preprocess": preprocess, "optimizer": optax.adam(1e-2), "steps": steps, "batch_size": 6}
    return Experiment(model=model, data=images, **settings)
"""
TABLE = """
import numpy as np, optax
from genjax import Experiment, data, flow

def experiment(steps: int = 2) -> Experiment:
    table = data.arrays(np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32))
    model = flow.real_nvp(shape=(2,), num_layers=2, hidden=(4,))
    return Experiment(model=model, data=table, optimizer=optax.adam(1e-2), steps=steps, batch_size=8)
"""


def trained(genjax, folder, text):
    (folder / "own.py").write_text(text)
    status, _, err = genjax("train", folder / "own.py", "--workdir", folder / "run")
    assert status == 0, err
    return folder / "run"


@pytest.fixture
def class_run(genjax, tmp_path):
    return trained(genjax, tmp_path, CLASSES)


@pytest.mark.parametrize("stop_token", [None, 0])
def test_a_batch_size_changes_no_sample(monkeypatch, stop_token):
    monkeypatch.setattr(samples, "BLOCK_SIZE", 4)
    size = {"num_layers": 1, "num_heads": 1, "features": 4}
    gpt = autoregressive.GPT(num_values=3, length=5, stop_token=stop_token, **size)
    variables = gpt.init(jax.random.key(0), {"x": np.zeros((1, 5), np.int32)})
    prompts = np.arange(18, dtype=np.int32).reshape(18, 1) % 3
    draw = lambda **kwargs: np.asarray(draw_samples(gpt, variables, jax.random.key(1), 18, prompt=prompts, **kwargs))  # noqa: E731
    whole = draw(batch_size=1000)
    assert whole.shape == (18, 5)
    np.testing.assert_array_equal(whole[:, 0], prompts[:, 0])
    finished: list[int] = []
    for batch_size in (1, 4, 9):
        np.testing.assert_array_equal(draw(batch_size=batch_size, progress=finished.append), whole)
    assert sum(finished) == 3 * 18
    assert len(finished) == 5 + 5 + 2 == 2 * num_batches(18, 4) + num_batches(18, 9)
    assert len({tuple(row) for row in whole[prompts[:, 0] == 1]}) > 2  # blocks have keys of their own


def test_a_batch_size_changes_no_sample_of_continuous_data(monkeypatch):
    monkeypatch.setattr(samples, "BLOCK_SIZE", 4)
    model = vae.VAE(latent_dim=2, encoder=nets.MLP((4,)), decoder=nets.MLP((10,)), likelihood=ops.Gaussian())
    variables = model.init(jax.random.key(0), {"x": np.zeros((1, 5), np.float32)})
    whole, parts = (draw_samples(model, variables, jax.random.key(1), 10, batch_size=size) for size in (100, 4))
    np.testing.assert_allclose(whole, parts, rtol=1e-5, atol=1e-6)


def test_the_command_draws_in_batches(genjax, tiny_run, tmp_path):
    for size in (64, 128):
        flags = ("-n", "130", "--seed", "3", "--batch-size", size, "--out", tmp_path / f"{size}.npy")
        status, _, err = genjax("sample", tiny_run, *flags)
        assert status == 0, err
        assert "130/130" in err
    np.testing.assert_array_equal(np.load(tmp_path / "64.npy"), np.load(tmp_path / "128.npy"))


def test_images_are_written_as_files_of_their_own(genjax, tiny_run, tmp_path):
    status, _, err = genjax("sample", tiny_run, "-n", "3", "--out", tmp_path / "images")
    assert status == 0, err
    assert [path.name for path in sorted((tmp_path / "images").iterdir())] == ["00000.png", "00001.png", "00002.png"]
    assert Image.open(tmp_path / "images" / "00000.png").size == (4, 4)


def test_a_table_is_written_as_one(genjax, tmp_path):
    run = trained(genjax, tmp_path, TABLE)
    for name in ("x.csv", "x.npy"):
        status, _, err = genjax("sample", run, "-n", "5", "--seed", "1", "--out", tmp_path / name)
        assert status == 0, err
    header, *rows = csv.reader((tmp_path / "x.csv").open())
    assert header == ["x0", "x1"]
    np.testing.assert_array_equal(np.array(rows, np.float32), np.load(tmp_path / "x.npy"))


def test_all_classes_are_drawn_by_default_and_on_demand(genjax, class_run, tmp_path):
    for number, flags in enumerate([(), ("--label", "all")]):
        out = tmp_path / f"{number}.npz"
        status, _, err = genjax("sample", class_run, "-n", "7", "--seed", "0", "--out", out, *flags)
        assert status == 0, err
        with np.load(out) as file:
            assert file["x"].shape == (7, 4, 4, 1)
            np.testing.assert_array_equal(file["label"], [0, 1, 2, 0, 1, 2, 0])
    status, _, err = genjax("sample", class_run, "-n", "60", "--out", tmp_path / "all.png")
    assert status == 0, err
    width, height = Image.open(tmp_path / "all.png").size
    assert 0.5 < width / height < 2
    status, _, err = genjax("sample", class_run, "--label", "circles")
    assert (status, "--label is 'circles', but must be a class number or 'all'" in err) == (2, True), err
    assert genjax("sample", class_run, "--label", "3")[0] == 2
    assert genjax("evaluate", class_run, "--split", "train", "--label", "all", "--likelihood-samples", "2")[0] == 0


NAMED = CLASSES.replace("4, 4, 1)", "16, 64, 1)").replace(
    "    preprocess =",
    '    images = dataclasses.replace(images, class_names=("circles", "squares", "a | b"))\n    preprocess =',
)


def test_classes_are_named_in_messages_reports_and_evaluations(genjax, tmp_path):
    run = trained(genjax, tmp_path, f"import dataclasses\n{NAMED}")
    assert (
        "## Samples\n\n![samples](samples.png)\n\nClasses: circles, squares, a | b.\n"
        in (run / "report.md").read_text()
    )
    for flags, classes in (((), "classes circles, squares, a | b in turn"), (("--label", "squares"), "class squares")):
        status, out, err = genjax("sample", run, "-n", "64", "--seed", "1", "--out", tmp_path / "x.png", *flags)
        assert status == 0, err
        assert out == f"wrote {tmp_path / 'x.png'}: 64 samples of {classes} at step 2, drawn with --seed 1\n"
        if not flags:
            assert Image.open(tmp_path / "x.png").size == Image.open(run / "samples.png").size
    flags = ("--split", "train", "--metrics", "mmd2", "-n", "4", "--label", "1", "--json")
    status, out, err = genjax("evaluate", run, *flags)
    assert status == 0, err
    assert json.loads(out)["results"]["mmd2"]["label"] == "squares"


def test_a_class_is_called_by_its_name():
    model = vae.VAE(
        latent_dim=2, encoder=nets.MLP((4,)), decoder=nets.MLP((5,)), likelihood=ops.Bernoulli(), num_classes=2
    )
    source = data.ArraySource({"x": np.zeros((2, 5), np.float32), "label": np.int32([0, 1])})
    shapes = data.Dataset(name="shapes", splits={"train": source}, class_names=("circles", "squares"))
    assert read_conditions({"label": "squares"}, model, shapes, 3) == {"label": 1}
    with pytest.raises(ValueError, match="but must be one of circles, squares, a class number or 'all'"):
        read_conditions({"label": "stars"}, model, shapes, 3)


def test_terminals_without_unicode_show_what_they_can(tiny_run):
    for arguments in (("evaluate", tiny_run, "--likelihood-samples", "2"), ("list",)):
        process = start(*arguments, PYTHONIOENCODING="ascii", LC_ALL="C")
        status, out, err = finish(process)
        assert status == 0, err
        assert out.isascii() and out


def test_the_metrics_command_needs_no_unicode(tmp_path):
    np.save(tmp_path / "x.npy", np.random.default_rng(0).normal(size=(8, 2)))
    command = [sys.executable, "-m", "genjax.metrics", tmp_path / "x.npy", tmp_path / "x.npy", "--metrics", "mmd2"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    process = subprocess.run(command, check=False, env=environment, capture_output=True, cwd=ROOT)
    assert process.returncode == 0, process.stderr
    assert process.stdout.startswith(b"metric") and process.stdout.isascii()


INTERRUPTED = """
import os, signal, sys

class Interrupts:
    def find_spec(self, name, *_):
        if name == "optax":
            try:
                os.kill(os.getpid(), signal.SIGINT)
            except KeyboardInterrupt:
                raise ImportError("Encountered an error while initializing the extension.")

sys.meta_path.insert(0, Interrupts())
from genjax.cli.main import main
main(["list"])
"""


def test_imports_interrupted_by_ctrl_c_end_in_one_line():
    """Extension modules turn KeyboardInterrupt into an ImportError."""
    process = subprocess.run([sys.executable, "-c", INTERRUPTED], check=False, capture_output=True, text=True, cwd=ROOT)
    assert (process.returncode, process.stderr) == (130, "genjax: interrupted\n")


def test_bars_outside_a_terminal_take_a_line(capfd):
    with progress_bars() as progress:
        advance = progress("samples", 5_000)
        for _ in range(5_000):
            advance(1)
    drawn = capfd.readouterr().err.replace("\r", "\n").split("\n")
    assert len([line for line in drawn if line.strip()]) <= 3
    assert any("5000/5000" in line for line in drawn)


def test_a_reader_that_has_read_enough_is_no_error():
    command = [sys.executable, "-m", "genjax", "--help"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 128 + signal.SIGPIPE
