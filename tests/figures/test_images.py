"""Pictures have the right pixels in the right places, for any values that training can produce."""

import numpy as np
import pytest

from genjax import data
from genjax.figures.curves import curves_picture
from genjax.figures.images import columns_by_class, condition_picture, sample_picture, save_picture

MAGENTA = (255, 0, 255)


def is_blue(pixels):
    red, _, blue = np.moveaxis(pixels.astype(int), -1, 0)
    return blue > red + 60


def is_orange(pixels):
    red, _, blue = np.moveaxis(pixels.astype(int), -1, 0)
    return red > blue + 60


def is_magenta(pixels):
    return (pixels == MAGENTA).all(axis=-1)


def test_tiles_stand_row_by_row_with_gaps_of_two():
    x = np.broadcast_to(np.reshape([0.0, 0.2, 1.0], (3, 1, 1, 1)), (3, 40, 50, 1))
    expected = np.full((2 + 2 * 42, 2 + 2 * 52, 3), 128, np.uint8)
    expected[2:42, 2:52] = 0
    expected[2:42, 54:104] = 51
    expected[44:84, 2:52] = 255
    np.testing.assert_array_equal(sample_picture(x, columns=2), expected)


@pytest.mark.parametrize(("side", "scale"), [(8, 5), (16, 3), (28, 2), (32, 2), (39, 2), (41, 1)])
def test_small_images_are_magnified_by_a_whole_number(side, scale):
    x = np.random.default_rng(0).integers(256, size=(1, side, side, 1), dtype=np.uint8)
    picture = sample_picture(x)
    assert picture.shape == (side * scale + 4, side * scale + 4, 3)
    for channel in range(3):
        np.testing.assert_array_equal(
            picture[2:-2, 2:-2, channel], np.kron(x[0, :, :, 0], np.ones((scale, scale), int))
        )


def test_colours_keep_their_channels_and_values_are_clipped():
    x = np.broadcast_to([1.7, 0.4, -3.0], (1, 40, 40, 3))
    assert (sample_picture(x)[2:-2, 2:-2] == (255, 102, 0)).all()


@pytest.mark.parametrize(
    ("shape", "tiles"), [((64, 40, 40, 1), (8, 8)), ((8, 40, 80, 1), (4, 2)), ((1, 40, 40, 3), (1, 1))]
)
def test_the_grid_is_nearly_square(shape, tiles):
    _, height, width, _ = shape
    rows, columns = tiles
    assert sample_picture(np.zeros(shape)).shape == (2 + rows * (height + 2), 2 + columns * (width + 2), 3)


def test_long_labels_are_cut_to_their_tiles():
    x = np.zeros((2, 40, 40, 1))
    short, long = (sample_picture(x, columns=2, labels=[label, ""])[42:] for label in ("cat", "anamewiderthananytile"))
    assert (short != long).any()
    assert (long[:, 44:] == 128).all()


@pytest.mark.parametrize(
    ("shape", "num_classes"), [((64, 28, 28, 1), 3), ((64, 28, 28, 1), 2), ((64, 8, 8, 1), 10), ((60, 20, 80, 3), 3)]
)
def test_classes_have_columns_of_their_own_in_a_grid_of_sane_shape(shape, num_classes):
    """Labels that cycle stand in columns of one class; neither side of the picture is over four times the other."""
    columns = columns_by_class(shape, num_classes)
    assert columns % num_classes == 0
    height, width, _ = sample_picture(np.zeros(shape), columns=columns, labels=[0] * shape[0]).shape
    assert 1 / 4 < height / width < 4


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_magenta(bad):
    x = np.full((4, 20, 20, 3), 0.2)
    x[1, 5, 7, 2] = bad
    picture = sample_picture(x)
    rows, columns = np.nonzero(is_magenta(picture))
    # Second tile of a 2 × 2 grid of tiles of 40: it begins at column 44, and its pixel (5, 7) covers two by two.
    assert sorted(zip(rows.tolist(), columns.tolist(), strict=True)) == [(12, 58), (12, 59), (13, 58), (13, 59)]
    assert picture[2, 2].tolist() == [51, 51, 51]


def test_long_labels_are_broken_between_words():
    x = np.zeros((2, 8, 8, 1))
    one, three = (sample_picture(x, columns=2, labels=[label, ""]) for label in ("two", "two digits, 3 above 7"))
    num_lines = 1 + (three.shape[0] - one.shape[0]) // 12
    assert num_lines in (3, 4)
    heights = [three[42 + 12 * i : 54 + 12 * i, 2:42].max() for i in range(num_lines)]
    assert min(heights) > 200


def test_samples_show_their_texts_or_their_classes():
    tokenizer = data.Words("boot red")
    condition = {"prompt": np.array([[2, 1], [1, 0]]), "label": np.array([0, 1])}
    source = data.ArraySource({"x": np.zeros((2, 8, 8, 1), np.uint8), **condition})
    dataset = data.Dataset(name="boots", splits={"train": source}, condition_tokenizers={"prompt": tokenizer})
    x = np.zeros((2, 8, 8, 1))
    texts = sample_picture(x, labels=["red boot", "boot"])
    np.testing.assert_array_equal(condition_picture(x, condition, dataset), texts)
    np.testing.assert_array_equal(
        condition_picture(x, {"label": np.array([0, 1])}, dataset), sample_picture(x, labels=[0, 1])
    )
    np.testing.assert_array_equal(condition_picture(x, {}, dataset), sample_picture(x))


def test_labels_stand_below_their_tiles():
    x = np.full((2, 40, 40, 1), 0.2)
    picture = sample_picture(x, columns=1, labels=[8, "a"])
    assert picture.shape == (2 + 2 * (40 + 12 + 2), 44, 3)
    for top in (2, 56):
        assert (picture[top : top + 40, 2:42] == 51).all()
        strip = picture[top + 40 : top + 52]
        assert 10 < (strip > 200).all(axis=-1).sum() < 100


def test_points_are_drawn_to_scale():
    from scipy import ndimage

    picture = sample_picture(np.array([[0.0, 0.0], [4.0, 0.0], [0.0, 1.0]]))
    spots, count = ndimage.label(is_blue(picture))
    assert count == 3
    centres = ndimage.center_of_mass(is_blue(picture), spots, [1, 2, 3])
    above, left, right = (np.array(c) for c in sorted(centres, key=lambda c: (round(c[0]), c[1])))
    assert left[1] == pytest.approx(above[1], abs=1)
    assert right[0] == pytest.approx(left[0], abs=1)
    assert right[1] - left[1] == pytest.approx(4 * (left[0] - above[0]), abs=3)
    assert right[1] - left[1] > 200


@pytest.mark.parametrize("num_columns", [1, 2, 3])
def test_samples_that_are_not_finite_are_counted_in_magenta(num_columns):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100, num_columns))
    fine = sample_picture(x)
    assert is_blue(fine).sum() > 200
    assert not is_magenta(fine).any()
    x[3] = np.nan
    assert is_magenta(sample_picture(x)).any()


def test_a_histogram_has_the_height_of_the_density():
    # Three quarters of the mass lie in the left half: the bars there are three times as high.
    x = np.concatenate([np.linspace(0.001, 0.999, 3_000), np.linspace(1.001, 1.999, 1_000)])
    blue = is_blue(sample_picture(x))
    columns = np.nonzero(blue.any(axis=0))[0]
    heights = blue[:, [columns[len(columns) // 4], columns[3 * len(columns) // 4]]].sum(axis=0)
    assert heights[0] == pytest.approx(3 * heights[1], rel=0.03)


def test_wide_tables_are_rows_of_colours_with_magenta_gaps():
    x = np.random.default_rng(0).normal(size=(10, 20))
    assert not is_magenta(sample_picture(x)).any()
    x[2:7, 5:15] = np.nan
    rows, columns = np.nonzero(is_magenta(sample_picture(x)))
    assert np.ptp(rows) * np.ptp(columns) > 5_000
    assert len(rows) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)


@pytest.mark.parametrize("num_columns", [1, 2, 3, 8])
@pytest.mark.parametrize("value", [np.inf, 1e38])
def test_a_collapsed_or_exploded_sampler_still_has_a_picture(num_columns, value):
    assert sample_picture(np.full((3, num_columns), value)).dtype == np.uint8


def test_nothing_to_draw_and_wrong_labels_are_refused():
    with pytest.raises(ValueError, match=r"\(0, 8, 8, 1\).*at least one"):
        sample_picture(np.zeros((0, 8, 8, 1)))
    with pytest.raises(ValueError, match="2 labels for 3 samples"):
        sample_picture(np.zeros((3, 2)), labels=[0, 1])


def test_a_picture_is_saved_whole_and_alone(tmp_path):
    from PIL import Image

    pixels = np.random.default_rng(0).integers(256, size=(7, 5, 3), dtype=np.uint8)
    path = tmp_path / "samples" / "step_1.png"
    save_picture(path, pixels)
    np.testing.assert_array_equal(np.asarray(Image.open(path)), pixels)
    assert list(path.parent.iterdir()) == [path]


def loss_rows(start=()):
    steps = np.arange(1, 101)
    losses = 90 + 10 * np.cos(steps / 4)
    losses[: len(start)] = start
    return [{"step": 10 * int(s), "loss": float(v)} for s, v in zip(steps, losses, strict=True)]


@pytest.mark.parametrize("start", [(), (1e9,), (-1e30,), (1_000,) * 9])
def test_a_huge_start_does_not_flatten_the_curve(start):
    picture = curves_picture(loss_rows(start), title="run")
    past_the_start = is_blue(picture)[:, 150:]
    assert past_the_start.any(axis=1).sum() > 0.5 * len(picture)


def test_a_lone_spike_does_not_flatten_the_curve():
    rows = loss_rows()
    rows[30]["loss"] = 1e9
    past_the_spike = is_blue(curves_picture(rows, title="run"))[:, 250:]
    assert past_the_spike.any(axis=1).sum() > 0.35 * len(past_the_spike)


@pytest.mark.parametrize(("log_x", "ratio"), [(True, 1.0), (False, np.log(2) / np.log(3 / 2))])
def test_steps_can_be_logarithmic(log_x, ratio):
    # On linear steps the logarithm rises by log(3/2) over the last third, and by log 2 over the one before.
    rows = [{"step": s, "loss": np.log(s)} for s in range(1, 1_001)]
    heights, columns = np.nonzero(is_blue(curves_picture(rows, title="run", log_x=log_x)))
    third = np.ptp(columns) // 3
    first, second, third = (heights[columns == columns.max() - i * third].mean() for i in (2, 1, 0))
    assert (first - second) / (second - third) == pytest.approx(ratio, rel=0.06)


def test_validation_shares_the_panel_of_training():
    training = loss_rows()
    alone = curves_picture(training, title="run")
    assert not is_orange(alone).any()
    both = curves_picture([*training, {"step": 500, "validation/loss": 91.0}], title="run")
    assert both.shape == alone.shape
    assert is_orange(both).sum() > 10
    assert is_blue(both).sum() > 200


def test_each_metric_has_a_panel_and_spreads_have_none():
    one = curves_picture([{"step": 1, "loss": 1.0, "loss/sd": 0.1, "loss/seeds": [0.9, 1.1]}], title="run")
    two = curves_picture([{"step": 1, "loss": 1.0, "kl": 0.1}], title="run")
    assert one.shape[0] == two.shape[0]
    assert two.shape[1] > 1.5 * one.shape[1]


@pytest.mark.parametrize("sd", [2.0, 4.0])
def test_seeds_have_a_band_of_one_sd_to_both_sides(sd):
    rows = [{"step": s, "loss": s / 10, "loss/sd": sd} for s in range(101)]
    picture = curves_picture(rows, title="run").astype(int)
    line = is_blue(picture) & (picture[..., 0] < 80)
    heights, columns = np.nonzero(line)
    pixels_per_unit = (heights.max() - heights[columns == columns.max()].mean()) / 10  # it rises from 0 to 10
    column = columns.max() - 20
    tinted = np.nonzero(picture[:, column, 2] > picture[:, column, 0] + 20)[0]
    middle = np.nonzero(line[:, column])[0].mean()
    assert middle - tinted.min() == pytest.approx(sd * pixels_per_unit, abs=2.5)
    assert tinted.max() - middle == pytest.approx(sd * pixels_per_unit, abs=2.5)


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [{"step": 0, "loss": 1.0}],
        [{"step": 0, "loss": None}, {"step": 1}, {"step": 2, "loss": 1.0, "validation/kl": float("nan")}],
        [{"step": 5, "loss": 1.0, "loss/sd": float("nan"), "loss/seeds": [1.0, None]}],
        [{"step": i, "a $_1$": value} for i, value in enumerate([1e38, -1e38, float("inf"), 2.0])],
    ],
)
def test_sparse_rows_still_have_a_picture(rows):
    assert curves_picture(rows, title="50 $ and $_\\frac", log_x=bool(rows)).shape[2] == 3
