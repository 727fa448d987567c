"""A model conditioned on a text, an image and an optional vector needs no code outside its file."""

import json

import numpy as np
import pytest
from PIL import Image

from genjax.cli.main import main
from genjax.runner.log import read_rows
from tests.running import TINY

CAPTIONED = TINY.parent / "captioned.py"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("captioned") / "run"
    with pytest.raises(SystemExit) as stop:
        main(["train", str(CAPTIONED), "--workdir", str(folder)])
    assert stop.value.code == 0
    return folder


def drawn(genjax, run, tmp_path, *flags):
    status, _, err = genjax("sample", run, "-n", "2", "--scale", "0.0", "--out", tmp_path / "x.npy", *flags)
    assert status == 0, err
    return np.load(tmp_path / "x.npy")


def test_it_trains_validates_and_is_pictured(run):
    rows = read_rows(run)
    bounds = [row["validation/log_prob"] for row in rows if "validation/log_prob" in row]
    assert bounds[-1] > bounds[0] + 0.5
    assert (run / "samples.png").stat().st_size > 0


def test_it_is_evaluated(genjax, run):
    metrics = ("log_prob", "reconstruction", "frechet_distance")
    status, out, err = genjax("evaluate", run, "--json", "--metrics", *metrics)
    assert status == 0, err
    results = json.loads(out)["results"]
    expected = -8 * np.log(2 * np.pi) - 8  # log-likelihood of 16 standard normal pixels
    np.testing.assert_allclose(results["log_prob"]["value"], expected, atol=1.5)
    assert results["mse"]["value"] < 1e-10
    assert results["frechet_distance"]["value"] < 5


def test_samples_of_given_conditions_are_evaluated(genjax, run, tmp_path):
    """A style of mean 20 moves all samples, so that they no longer look like the data."""
    np.save(tmp_path / "style.npy", np.array([10.0, 30.0]))
    flags = ("--json", "--metrics", "frechet_distance", "--style", tmp_path / "style.npy", "--batch-size", "50")
    status, out, err = genjax("evaluate", run, *flags)
    assert status == 0, err
    result = json.loads(out)["results"]["frechet_distance"]
    np.testing.assert_allclose(result["value"], 16 * 20.0**2, rtol=0.2)
    assert result["style"] == "given"


def test_flags_follow_from_its_conditions(genjax, run, tmp_path):
    grey = np.full((4, 4), 51, np.uint8)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    np.save(tmp_path / "style.npy", np.array([1.0, 3.0]))
    source = ("--source", tmp_path / "grey.png")
    dark = drawn(genjax, run, tmp_path, "--caption", "dark", *source)
    np.testing.assert_allclose(dark, 0.2 * np.ones((2, 4, 4, 1)), atol=1e-6)
    light = drawn(genjax, run, tmp_path, "--caption", "light", *source)
    np.testing.assert_allclose(light - dark, 4.0, atol=0.4)
    styled = drawn(genjax, run, tmp_path, "--caption", "dark", *source, "--style", tmp_path / "style.npy")
    np.testing.assert_allclose(styled - dark, 2.0, atol=1e-6)
    assert "--caption" in genjax("sample", run, "--help")[1]


def test_wrong_conditions_are_refused(genjax, run, tmp_path):
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "black.png")
    np.save(tmp_path / "long.npy", np.zeros(3))
    source, caption = ("--source", tmp_path / "black.png"), ("--caption", "dark")
    for flags, message in (
        ((*source, "--caption", "darkdark"), "--caption has 8 tokens, but at most 6 fit; shorten the text"),
        ((*caption, "--source", tmp_path / "none.png"), "no file"),
        ((*caption, *source, "--style", tmp_path / "long.npy"), r"--style has shape (3,), but must have shape (2,)"),
        (source, "Captioned is conditioned on 'caption'; pass --caption"),
    ):
        status, _, err = genjax("sample", run, *flags)
        assert (status, message in err) == (2, True), err


def test_known_values_of_a_sample_are_kept(genjax, tmp_path):
    """Any subset of the columns of a table may be given."""
    (tmp_path / "table.py").write_text(
        """
import numpy as np, optax
from genjax import Experiment, autoregressive, data

def experiment(steps: int = 2) -> Experiment:
    table = data.arrays(np.arange(120, dtype=np.int32).reshape(40, 3) % 5, levels=5)
    model = autoregressive.MADE(shape=(3,), num_values=5, features=(4,))
    return Experiment(model=model, data=table, optimizer=optax.adam(1e-2), steps=steps, batch_size=8)
"""
    )
    status, _, err = genjax("train", tmp_path / "table.py", "--workdir", tmp_path / "run")
    assert status == 0, err
    np.save(tmp_path / "known.npy", np.array([4, 0, 2]))
    np.save(tmp_path / "keep.npy", np.array([True, False, True]))
    flags = ("--known", tmp_path / "known.npy", "--keep", tmp_path / "keep.npy", "--out", tmp_path / "x.npy")
    status, _, err = genjax("sample", tmp_path / "run", "-n", "20", "--seed", "0", *flags)
    assert status == 0, err
    x = np.load(tmp_path / "x.npy")
    np.testing.assert_array_equal(x[:, [0, 2]], [[4, 2]] * 20)
    assert len(np.unique(x[:, 1])) > 1
