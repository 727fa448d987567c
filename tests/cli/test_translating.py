"""``genjax translate`` turns files and folders of images into a folder of images."""

import json
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from PIL import Image

from genjax.cli.main import main
from genjax.cli.translation import num_channels
from genjax.evaluation.translation import translate_images
from genjax.runner import load_run
from genjax.runner.log import read_rows
from tests.running import TINY

TRANSLATING = TINY.parent / "translating.py"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("translating") / "run"
    with pytest.raises(SystemExit) as stop:
        main(["train", str(TRANSLATING), "--workdir", str(folder)])
    assert stop.value.code == 0
    return folder


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)


def read(path):
    return np.asarray(Image.open(path))


@pytest.fixture
def photos(tmp_path):
    """Five images of two sizes in two subfolders, one beside them, and a text."""
    for number in range(3):
        write(tmp_path / "photos" / "small" / f"{number}.png", np.full((4, 6), 50 * number))
        write(tmp_path / "photos" / "large" / f"{number}.jpg", np.full((8, 10), 50 * number))
    write(tmp_path / "photos" / "top.bmp", np.full((4, 6, 3), 200))
    (tmp_path / "photos" / "notes.txt").write_text("no image")
    return tmp_path / "photos"


def test_it_learns_from_unpaired_sets(run):
    losses = [row["loss"] for row in read_rows(run) if "loss" in row]
    assert losses[-1] < 0.01 < losses[0]
    assert (run / "samples.png").stat().st_size > 0


def test_a_folder_becomes_a_folder(genjax, run, photos, tmp_path):
    status, out, err = genjax("translate", run, photos, "--out", tmp_path / "out", "--batch-size", "2")
    assert status == 0, err
    assert f"wrote {tmp_path / 'out'}: 7 images y_to_x at step 60" in out
    assert "7/7" in err
    found = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*"))
    assert found == [f"{folder}/{i}.png" for folder in ("large", "small") for i in range(3)] + ["top.png"]
    for number in range(3):
        large, small = (read(tmp_path / "out" / folder / f"{number}.png") for folder in ("large", "small"))
        assert (large.shape, small.shape) == ((8, 10, 3), (4, 6, 3))  # each keeps its own size
        np.testing.assert_array_equal(small[..., 1], 50 * number)
        np.testing.assert_allclose(small[..., 0].astype(int), 255 - 50 * number, atol=20)  # the gain is nearly 1
    noise = {read(path)[0, 0, 2] for path in (tmp_path / "out").rglob("*.png")}
    assert len(noise) > 4  # each image has a key of its own


def test_neither_batches_nor_other_images_change_a_result(genjax, run, photos, tmp_path):
    results = []
    for number, flags in enumerate((("--batch-size", "1"), ("--batch-size", "2"), (), ("--seed", "1"))):
        assert genjax("translate", run, photos, "--out", tmp_path / str(number), *flags)[0] == 0
        results.append([read(path) for path in sorted((tmp_path / str(number)).rglob("*.png"))])
    for other in results[1:3]:
        for image, expected in zip(other, results[0], strict=True):
            np.testing.assert_array_equal(image, expected)
    assert any((a != b).any() for a, b in zip(results[0], results[3], strict=True))
    assert genjax("translate", run, photos / "small", "--out", tmp_path / "alone")[0] == 0
    assert genjax("translate", run, photos / "top.bmp", "--out", tmp_path / "alone")[0] == 0
    np.testing.assert_array_equal(read(tmp_path / "alone" / "top.png"), read(tmp_path / "0" / "top.png"))


def test_the_other_direction_takes_colours(genjax, run, tmp_path):
    write(tmp_path / "colour.png", np.broadcast_to(np.array([10, 20, 30]), (4, 6, 3)))
    status, out, err = genjax("translate", run, tmp_path / "colour.png", "--direction", "x_to_y")
    assert status == 0, err
    assert "1 images x_to_y" in out
    assert (read(run / "translations" / "x_to_y" / "colour.png") == 20).all()


def test_bad_images_stop_the_command_unless_they_are_skipped(genjax, run, photos, tmp_path):
    (photos / "broken.png").write_bytes(b"no image")
    (photos / "lost.png").symlink_to(photos / "nowhere.png")
    write(photos / "odd.png", np.zeros((5, 6)))
    command = ("translate", run, photos, "--out", tmp_path / "out")
    status, out, err = genjax(*command)
    assert (status, out) == (2, "")
    assert "error: 3 of 10 images cannot be used: " in err
    for message in (
        "cannot read the image",
        "broken.png",
        "lost.png",
        "odd.png has size (5, 6), which the model does not take (the height is 5, but must be even)",
        "; repair or remove them, or pass --skip-bad",
    ):
        assert message in err
    assert not (tmp_path / "out").exists()
    status, out, err = genjax(*command, "--skip-bad")
    assert status == 0, err
    assert "7 images y_to_x at step 60, 3 skipped" in out
    for name in ("broken.png", "lost.png", "odd.png"):
        assert f"warning: skipped: {'cannot read the image ' if name != 'odd.png' else ''}{photos / name}" in err
    assert len(list((tmp_path / "out").rglob("*.png"))) == 7


def test_nothing_is_overwritten_in_silence(genjax, run, photos, tmp_path):
    out = tmp_path / "out"
    write(photos / "small" / "0.jpg", np.zeros((4, 6)))
    status, _, err = genjax("translate", run, photos, "--out", out)
    assert (status, "0.jpg and " in err, f"would both become {out / 'small' / '0.png'}; rename" in err) == (
        2,
        True,
        True,
    )
    (photos / "small" / "0.jpg").unlink()
    assert genjax("translate", run, photos / "small", "--out", out)[0] == 0
    status, _, err = genjax("translate", run, photos / "small", "--out", out)
    assert (status, "0.png exists, as do 3 of 3 results; pass --overwrite" in err) == (2, True), err
    assert genjax("translate", run, photos / "small", "--out", out, "--overwrite")[0] == 0
    status, _, err = genjax("translate", run, photos / "small", "--out", photos / "small", "--overwrite")
    assert (status, "0.png is one of the images; use another folder for --out" in err) == (2, True), err
    inside = ("translate", run, photos, "--out", photos / "out")
    assert genjax(*inside)[0] == 0
    status, printed, _ = genjax(*inside, "--overwrite")
    assert (status, ": 7 images" in printed) == (0, True)  # earlier results are not translated again


def test_wrong_arguments_are_refused(genjax, run, tiny_run, photos, tmp_path):
    (tmp_path / "empty").mkdir()
    write(tmp_path / "grey.png", np.zeros((4, 6)))
    for arguments, message in (
        ((run,), "IMAGES are missing: files and folders of images, which come after RUN and before all flags"),
        ((run, tmp_path / "none"), "no file or folder"),
        ((run, tmp_path / "empty"), "no .png or .jpg"),
        ((run, photos, "--out", tmp_path / "grey.png"), "grey.png, which is a file; name a folder"),
        (
            (run, photos, "--direction", "x_to_z"),
            "direction is 'x_to_z', but Translating translates y_to_x and x_to_y; use one of these",
        ),
        ((tiny_run, photos), "VAE does not translate images; use a model of two domains, such as Pix2Pix or CycleGAN"),
        ((run, photos, "--replica", "1"), "replica is 1, but the run has 1 replicas"),
        ((), "RUN is missing: it comes first"),
    ):
        status, out, err = genjax("translate", *arguments)
        assert (status, out, message in err) == (2, "", True), err


def test_help_and_list_name_the_command(genjax, run):
    assert "translate RUN" in genjax("--help")[1]
    for arguments in (("--help",), (run, "--help")):
        status, out, _ = genjax("translate", *arguments)
        assert (status, "--skip-bad" in out, "--direction" in out) == (0, True, True)


def test_a_run_translates_arrays(run):
    loaded = load_run(run)
    y = np.random.default_rng(0).random((5, 4, 6, 1), np.float32)
    key = jax.random.key(0)
    whole = np.asarray(loaded.translate(key, y))
    np.testing.assert_allclose(whole[..., 1:2], y)
    np.testing.assert_array_equal(loaded.translate(key, y, batch_size=2), whole)
    np.testing.assert_array_equal(loaded.translate(key, whole, direction="x_to_y"), whole[..., 1:2])
    assert len(np.unique(whole[..., 2])) == 5
    finished = []
    keys = jax.random.split(key, 5)
    translate_images(loaded.model, loaded.replica(), keys, y, batch_size=2, progress=finished.append)
    assert finished == [2, 2, 1]
    with pytest.raises(ValueError, match="direction is 'x', but Translating translates"):
        loaded.translate(key, y, direction="x")


def test_samples_take_a_source(genjax, run, photos, tmp_path):
    """A source is read at its own size, as the model takes any."""
    flags = ("-n", "2", "--y", photos / "large" / "1.jpg", "--out", tmp_path / "x.npy")
    status, _, err = genjax("sample", run, *flags)
    assert status == 0, err
    x = np.load(tmp_path / "x.npy")
    assert x.shape == (2, 8, 10, 3)
    np.testing.assert_allclose(x[..., 1], 50 / 255, atol=1e-6)


def test_it_is_evaluated_on_fixed_pairs(genjax, run):
    status, out, err = genjax("evaluate", run, "--metrics", "frechet_distance", "--json")
    assert status == 0, err
    assert json.loads(out)["results"]["frechet_distance"]["value"] >= 0


def test_channels_that_no_file_has_are_refused():
    spec = {"x": jax.ShapeDtypeStruct((4, 4, 3), np.float32), "y": jax.ShapeDtypeStruct((4, 4, 12), np.float32)}
    experiment = SimpleNamespace(batch_spec=lambda: spec)
    assert num_channels(experiment, "x_to_y") == 3
    with pytest.raises(
        ValueError, match=r"takes images of 12 channels, but image files have 1, 3 or 4; call translate"
    ):
        num_channels(experiment, "y_to_x")
    with pytest.raises(ValueError, match=r"'z_to_x' takes images 'z', but the data has \['x', 'y'\]; add them"):
        num_channels(experiment, "z_to_x")


def test_a_killed_run_would_continue_alike(genjax, tmp_path):
    """Unpaired data depend on the step alone: 40 steps and 20 more equal 60 steps at once."""
    folders = tmp_path / "whole", tmp_path / "parts"
    status, out, err = genjax("train", TRANSLATING, "--workdir", folders[0], "--steps", "60", "--seeds", "2")
    assert (status, f"translate {folders[0]} IMAGES --out DIR" in out) == (0, True), err
    assert genjax("train", TRANSLATING, "--workdir", folders[1], "--steps", "40", "--seeds", "2")[0] == 0
    status, _, err = genjax("train", TRANSLATING, "--workdir", folders[1], "--steps", "60", "--resume")
    assert status == 0, err
    whole, parts = (load_run(folder).variables.params["model"]["gain"] for folder in folders)
    np.testing.assert_array_equal(whole, parts)
    assert whole.shape == (2,)


def test_previews_show_sources_and_results(run):
    """Rows of y, G(y), x and F(x), twice eight columns; tiles of 4 × 6 pixels are shown sevenfold."""
    picture = read(run / "samples.png")
    assert picture.shape == (8 * (4 * 7 + 2) + 2, 8 * (6 * 7 + 2) + 2, 3)
    tiles = picture[2:, 2:].reshape(8, 30, 8, 44, 3)[:, 3:28:7, :, 3:42:7]  # the middle of each pixel
    y, translated, x, back = (np.concatenate([tiles[row], tiles[row + 4]]) for row in range(4))
    np.testing.assert_array_equal(translated[..., 1], y[..., 1])
    np.testing.assert_array_equal(back[..., 0], x[..., 1])
    assert (y[..., 0] == y[..., 2]).all()  # grey
    assert len(np.unique(y)) > 50  # scaled to [0, 1]: raw values would all be white


def test_samples_of_evaluations_are_drawn_from_scaled_images(run):
    evaluation = load_run(run).evaluation(key=jax.random.key(0), split="test")
    x = np.concatenate([np.asarray(batch) for batch in evaluation.samples(0)])
    assert x.shape == (6, 4, 6, 3)
    assert 0.2 < x[..., 1].mean() < 0.8
