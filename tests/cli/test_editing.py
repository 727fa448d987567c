"""``genjax edit`` restores and varies images by a diffusion model."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from genjax import data, diffusion, nets
from genjax.cli.main import main
from genjax.evaluation import editing
from genjax.runner import load_experiment_fn, load_run
from tests.running import TINY

EDITING = TINY.parent / "editing.py"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("editing") / "run"
    with pytest.raises(SystemExit) as stop:
        main(["train", str(EDITING), "--workdir", str(folder)])
    assert stop.value.code == 0
    return folder


def write(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels, np.uint8)).save(path)
    return path


def read(path):
    return np.asarray(Image.open(path))


@pytest.fixture
def photos(tmp_path):
    """Three colour images of the model's size, in two folders, and a mask whose left half is known."""
    rng = np.random.default_rng(0)
    for name in ("a.png", "b/a.png", "b/c.png"):
        write(tmp_path / "photos" / name, rng.integers(0, 256, (4, 4, 3)))
    write(tmp_path / "mask.png", np.where(np.arange(4) < 2, 255, 0)[None].repeat(4, 0))
    return tmp_path / "photos"


def test_known_pixels_stay_and_results_stand_beside_their_images(genjax, run, photos, tmp_path):
    out = tmp_path / "out"
    command = ("edit", run, photos, "--task", "inpaint", "--mask", tmp_path / "mask.png", "--out", out)
    status, printed, err = genjax(*command, "--batch-size", "2", "--label", "1")
    assert status == 0, err
    assert f"wrote {out}: 3 images by inpaint at step 20; {out}.png shows them beside their images" in printed
    assert "3/3" in err
    for name in ("a.png", "b/a.png", "b/c.png"):
        image, result = read(photos / name), read(out / name)
        assert result.shape == (4, 4, 3)
        np.testing.assert_array_equal(result[:, :2], image[:, :2])
        assert (result[:, 2:] != image[:, 2:]).any()
    picture = read(tmp_path / "out.png")
    assert picture.shape == (2 * 42 + 2, 3 * 42 + 2, 3)  # tiles of 4 × 4 pixels, shown tenfold
    tiles = picture[2:, 2:].reshape(2, 42, 3, 42, 3)[:, 5:40:10, :, 5:40:10].transpose(0, 2, 1, 3, 4)
    np.testing.assert_array_equal(tiles[0, 0, :, :2], read(photos / "a.png")[:, :2])
    assert (tiles[0, :, :, 2:] == 128).all()  # unknown
    np.testing.assert_array_equal(tiles[1, 2], read(out / "b" / "c.png"))
    status, _, err = genjax(*command)
    assert (status, "a.png exists, as do 3 of 3 results; pass --overwrite" in err) == (2, True), err
    for path in out.rglob("*.png"):
        path.unlink()
    status, _, err = genjax(*command)
    assert (status, f"{out}.png exists; pass --overwrite to replace it" in err) == (2, True), err
    assert genjax(*command, "--overwrite")[0] == 0


def test_small_images_become_large_ones_alike_in_any_batch(genjax, run, tmp_path):
    """Every image has its own key, and each is edited alone; the means of the results are near the pixels."""
    rng = np.random.default_rng(1)
    for number in range(3):
        write(tmp_path / "small" / f"{number}.png", rng.integers(0, 256, (2, 2, 3)))
    results = []
    for number, flags in enumerate((("--batch-size", "2"), ("--factor", "2"), ("--seed", "1"))):
        out = tmp_path / str(number)
        status, _, err = genjax("edit", run, tmp_path / "small", "--task", "superres", "--out", out, *flags)
        assert status == 0, err
        results.append(np.stack([read(path) for path in sorted(out.glob("*.png"))]))
    np.testing.assert_array_equal(results[0], results[1])
    assert (results[0] != results[2]).any()
    small = np.stack([read(path) for path in sorted((tmp_path / "small").glob("*.png"))])
    means = results[0].reshape(3, 2, 2, 2, 2, 3).mean(axis=(2, 4))
    assert np.corrcoef(means.ravel(), small.ravel())[0, 1] > 0.9


def test_grey_images_become_coloured_and_a_bad_one_is_skipped(genjax, run, tmp_path):
    write(tmp_path / "grey" / "a.png", np.full((4, 4), 90))
    write(tmp_path / "grey" / "b.png", np.full((4, 6), 90))
    command = ("edit", run, tmp_path / "grey", "--task", "colourize")
    status, _, err = genjax(*command)
    assert status == 2
    assert "1 of 2 images cannot be used: " in err
    assert "b.png has size (4, 6), which the model does not take (task 'colourize' takes 4 x 4 pixels; resize" in err
    status, out, err = genjax(*command, "--skip-bad")
    assert status == 0, err
    assert "1 images by colourize at step 20, 1 skipped" in out
    assert read(run / "edits" / "colourize" / "a.png").shape == (4, 4, 3)


def test_a_weak_variation_is_the_image(genjax, run, photos, tmp_path):
    command = ("edit", run, photos / "a.png", "--task", "variation", "--out", tmp_path / "out", "--num-steps", "40")
    assert genjax(*command, "--strength", "0.01")[0] == 0
    np.testing.assert_allclose(read(tmp_path / "out" / "a.png").astype(int), read(photos / "a.png"), atol=8)


def test_runs_edit_arrays_on_their_scale(run):
    loaded = load_run(run)
    x = np.full((2, 4, 4, 3), 0.25, np.float32)
    edited = loaded.edit(jax.random.key(0), x, "deblur", blur=0.5, noise=0.001, num_steps=20, method="pigdm")
    assert edited.shape == x.shape
    np.testing.assert_allclose(edited, x, atol=0.1)
    assert loaded.experiment.image_range() == (-1.0, 1.0)
    with pytest.raises(ValueError, match="the mask is missing: task 'inpaint' needs one"):
        loaded.edit(jax.random.key(0), x, "inpaint")
    with pytest.raises(ValueError, match=r"images have shape \(4, 4, 1\): they have 1 channels, but must have 3"):
        loaded.edit(jax.random.key(0), x[..., :1], "deblur")
    with pytest.raises(ValueError, match="x has dtype uint8, but must be real numbers in"):
        loaded.edit(jax.random.key(0), x.astype(np.uint8), "deblur")
    with pytest.raises(ValueError, match=r"x is 2.0 at \(0, 0, 0, 0\), but images must be in"):
        loaded.edit(jax.random.key(0), 8 * x, "deblur")
    with pytest.raises(ValueError, match=r"x has shape \(4, 4, 3\), but must be images \(N, h, w, C\)"):
        loaded.edit(jax.random.key(0), x[0], "deblur")


def test_wrong_arguments_are_refused(genjax, run, tiny_run, photos, tmp_path):
    white = write(tmp_path / "white.png", np.full((4, 4), 255))
    wide = write(tmp_path / "wide.png", np.full((4, 6), 0))
    inpaint = (run, photos, "--task", "inpaint")
    for arguments, message in (
        ((run, photos), "--task is missing; use one of superres, inpaint, colourize, deblur, variation"),
        ((run, photos, "--task", "paint"), "invalid choice 'paint'"),
        ((run, "--task", "deblur"), "IMAGES are missing: files and folders of images"),
        ((tiny_run, photos, "--task", "deblur"), "VAE does not edit images; use a diffusion model of images"),
        (inpaint, "the mask is missing: task 'inpaint' needs one, True (white) where the image is known"),
        ((*inpaint, "--mask", white), "the mask is True (white) everywhere, so that nothing is left to draw"),
        ((*inpaint, "--mask", wide), "the mask has shape (4, 6) and type bool, but must be bool of shape (4, 4)"),
        ((*inpaint, "--mask", tmp_path / "none.png"), "none.png"),
        ((run, photos, "--task", "deblur", "--mask", white), "a mask is given, but task 'deblur' takes none"),
        ((run, photos, "--task", "deblur", "--factor", "2"), "--factor is 2, but task 'deblur' takes none"),
        ((run, photos, "--task", "superres"), "divided by the same whole number above 1"),
        ((run, white, "--task", "superres", "--strength", "0"), "strength is 0.0, but must be in (0, 1]"),
        ((run, photos, "--task", "deblur", "--noise", "2"), "noise is 2.0, but must be in [0, 1]"),
        ((run, photos, "--task", "deblur", "--num-steps", "0"), "num_steps is 0, but must be at least 1"),
        ((run, photos, "--task", "deblur", "--label", "cat"), "--label is 'cat', but must be a class number"),
        ((run, photos, "--task", "deblur", "--label", "7"), "label is 7"),
    ):
        status, out, err = genjax("edit", *arguments)
        assert (status, out, message in err) == (2, "", True), (arguments, err)
    small = write(tmp_path / "small.png", np.zeros((2, 2, 3)))
    status, _, err = genjax("edit", run, small, "--task", "superres", "--factor", "4")
    assert (status, "--factor 4 needs 1 x 1 pixels" in err) == (2, True), err


def test_help_names_the_command(genjax, run):
    assert "edit RUN" in genjax("--help")[1]
    for arguments in (("--help",), (run, "--help")):
        status, out, _ = genjax("edit", *arguments)
        assert (status, "--task" in out, "white where images are known" in " ".join(out.replace("│", "").split())) == (
            0,
            True,
            True,
        )


def test_models_without_colours_or_images_are_refused():
    grey = diffusion.Diffusion(shape=(4, 4, 1), net=nets.DenoisingMLP((4,)))
    with pytest.raises(ValueError, match="the model's images are grey, but task 'colourize' needs"):
        editing.check_model(grey, "colourize")
    with pytest.raises(ValueError, match=r"the model's data have shape \(2,\), but editing needs images"):
        editing.check_model(dataclasses.replace(grey, shape=(2,)), "deblur")
    for size in ((4, 4, 1), (3, 4, 1), (2, 1, 1)):
        assert "divided by the same whole number above 1" in editing.refusal(grey, "superres", size)
    assert editing.refusal(grey, "superres", (2, 2, 1)) is None


def test_dequantized_images_are_put_at_the_centers_of_bins():
    experiment = load_experiment_fn(EDITING)()
    assert experiment.image_range() == (-1.0, 1.0)
    dequantized = dataclasses.replace(experiment, preprocess=data.dequantize(low=-1.0))
    low, high = dequantized.image_range()
    images = jnp.arange(256) / 255
    np.testing.assert_allclose(data.quantize(low + (high - low) * images, low=-1.0), images, atol=1e-6)
    unknown = dataclasses.replace(experiment, preprocess=lambda key, batch: batch)
    with pytest.raises(ValueError, match=r"values of 'colours' after .* are unknown, so that images cannot be put on"):
        unknown.image_range()
