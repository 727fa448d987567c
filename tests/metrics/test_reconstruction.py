"""MSE, PSNR and SSIM against closed forms, a brute-force loop and another library."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.metrics.reconstruction import Reconstruction, mse, psnr, ssim

SHAPE = (3, 14, 13, 2)


@pytest.fixture(scope="module")
def pair():
    """Smooth images and noisy reconstructions, on [0, 1]."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[: SHAPE[1], : SHAPE[2]]
    phase = random.uniform(0, 6, (3, 1, 1, 2))
    x = 0.5 + 0.4 * np.sin(0.4 * rows[..., None] + 0.7 * columns[..., None] + phase)
    noise = np.array([0.01, 0.1, 0.4]).reshape(3, 1, 1, 1)
    y = np.clip(x + noise * random.normal(size=SHAPE), 0, 1)
    return x.astype(np.float32), y.astype(np.float32)


def brute_force_ssim(x, y, data_range, size):
    """Compute equation 1 for each window and pixel of a single-channel image, in float64."""
    radius = size // 2
    weight = {
        (i, j): np.exp(-(i * i + j * j) / (2 * 1.5**2))
        for i in range(-radius, radius + 1)
        for j in range(-radius, radius + 1)
    }
    total = sum(weight.values())
    values = []
    for row in range(radius, x.shape[0] - radius):
        for column in range(radius, x.shape[1] - radius):
            window = [(w / total, x[row + i, column + j], y[row + i, column + j]) for (i, j), w in weight.items()]
            mean_x, mean_y = sum(w * a for w, a, _ in window), sum(w * b for w, _, b in window)
            variance_x = sum(w * (a - mean_x) ** 2 for w, a, _ in window)
            variance_y = sum(w * (b - mean_y) ** 2 for w, _, b in window)
            covariance = sum(w * (a - mean_x) * (b - mean_y) for w, a, b in window)
            c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
            values.append(
                (2 * mean_x * mean_y + c1)
                * (2 * covariance + c2)
                / ((mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2))
            )
    return np.mean(values)


class TestErrors:
    def test_mean_squared_error_by_hand(self):
        x = jnp.array([[[1.0], [2.0]], [[0.0], [0.0]]])
        y = jnp.array([[[1.0], [4.0]], [[0.5], [-0.5]]])
        np.testing.assert_allclose(mse(x, y), [2.0, 0.25])

    def test_bytes_do_not_wrap_around(self):
        x, y = jnp.array([[0, 10]], jnp.uint8), jnp.array([[10, 0]], jnp.uint8)
        np.testing.assert_allclose(mse(x, y), [100.0])
        np.testing.assert_allclose(psnr(x, y, data_range=255), [20 * np.log10(25.5)], rtol=1e-6)

    def test_psnr_is_in_decibels_of_the_range(self):
        x = jnp.zeros((3, 5))
        y = jnp.array([0.1, 0.01, 0.0])[:, None] * jnp.ones((1, 5))
        np.testing.assert_allclose(psnr(x, y, data_range=1.0), [20, 40, np.inf], rtol=1e-6)
        # The same images on [-1, 1] have twice the error and twice the range.
        np.testing.assert_allclose(psnr(2 * x - 1, 2 * y - 1, data_range=2.0), [20, 40, np.inf], rtol=1e-5)

    def test_noise_of_known_variance(self):
        x = jnp.zeros((1, 100_000))
        y = 0.05 * jax.random.normal(jax.random.key(0), x.shape)
        np.testing.assert_allclose(psnr(x, y, data_range=1.0), [-20 * np.log10(0.05)], atol=0.1)


class TestSSIM:
    @pytest.mark.parametrize(("size", "scale"), [(11, 1.0), (3, 1.0), (11, 255.0)])
    def test_brute_force(self, pair, size, scale):
        x, y = (scale * image for image in pair)
        expected = [
            np.mean([brute_force_ssim(x[i, ..., c], y[i, ..., c], scale, size) for c in range(2)]) for i in range(3)
        ]
        assert 0.9995 > expected[0] > expected[1] > expected[2] > 0
        actual = ssim(jnp.asarray(x), jnp.asarray(y), data_range=scale, window_size=size)
        np.testing.assert_allclose(actual, expected, rtol=2e-5)

    @pytest.mark.parametrize("offset", [0.0, 100.0])
    def test_equal_images_have_one(self, pair, offset):
        x = jnp.asarray(pair[0]) + offset
        np.testing.assert_allclose(ssim(x, x, data_range=1.0), 1, rtol=1e-6)

    def test_is_symmetric(self, pair):
        x, y = map(jnp.asarray, pair)
        np.testing.assert_allclose(ssim(x, y, data_range=1.0), ssim(y, x, data_range=1.0), rtol=1e-6)

    def test_constant_images(self):
        a, b = np.array([0.0, 0.3, 1.0]), np.array([0.5, 0.6, 0.0])
        x, y = (jnp.asarray(value, jnp.float32)[:, None, None, None] * jnp.ones((1, 12, 11, 1)) for value in (a, b))
        c1 = 1e-4
        np.testing.assert_allclose(ssim(x, y, data_range=1.0), (2 * a * b + c1) / (a**2 + b**2 + c1), rtol=1e-5)

    def test_a_checkerboard_and_its_negative(self):
        """Equal means m and opposite deviations: the structure term is (C₂ − 2v) / (C₂ + 2v), luminance 1."""
        board = np.indices((11, 11)).sum(0) % 2
        x = jnp.asarray(0.4 + 0.2 * board[None, ..., None], jnp.float32)
        y = 1.0 - x
        g = np.exp(-0.5 * ((np.arange(11) - 5) / 1.5) ** 2)
        g = np.outer(g, g) / g.sum() ** 2
        share = (g * board).sum()
        variance, c2 = 0.04 * share * (1 - share), 9e-4
        mean_x, mean_y, c1 = 0.4 + 0.2 * share, 0.6 - 0.2 * share, 1e-4
        luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
        expected = luminance * (c2 - 2 * variance) / (c2 + 2 * variance)
        assert expected < -0.9
        np.testing.assert_allclose(ssim(x, y, data_range=1.0), [expected], rtol=1e-4)

    def test_images_by_bytes_and_by_unit_range_agree(self, pair):
        x, y = (np.round(255 * image).astype(np.uint8) for image in pair)
        by_bytes = ssim(jnp.asarray(x), jnp.asarray(y), data_range=255)
        by_unit = ssim(jnp.asarray(x / 255, jnp.float32), jnp.asarray(y / 255, jnp.float32), data_range=1)
        np.testing.assert_allclose(by_bytes, by_unit, rtol=2e-5)

    @pytest.mark.peers
    def test_scikit_image(self, pair):
        metrics = pytest.importorskip("skimage.metrics")
        x, y = pair
        for i in range(len(x)):
            _, full = metrics.structural_similarity(
                x[i].astype(np.float64),
                y[i].astype(np.float64),
                data_range=1.0,
                channel_axis=-1,
                gaussian_weights=True,
                sigma=1.5,
                use_sample_covariance=False,
                full=True,
            )
            expected = full[5:-5, 5:-5].mean()
            actual = ssim(jnp.asarray(x[i : i + 1]), jnp.asarray(y[i : i + 1]), data_range=1.0)
            np.testing.assert_allclose(actual, [expected], rtol=2e-5)
            peak = metrics.peak_signal_noise_ratio(x[i], y[i], data_range=1.0)
            np.testing.assert_allclose(psnr(x[i : i + 1], y[i : i + 1], data_range=1.0), [peak], rtol=1e-5)


METRIC = Reconstruction(data_range=1.0)


@pytest.fixture(scope="module")
def update():
    return jax.jit(METRIC.update)


class TestReconstruction:
    def test_is_the_mean_over_examples_with_its_standard_error(self, pair, update):
        x, y = map(jnp.asarray, pair)
        values = METRIC.compute(update(METRIC.init(), x, y))
        single = {"mse": mse(x, y), "psnr": psnr(x, y, data_range=1.0), "ssim": ssim(x, y, data_range=1.0)}
        assert set(values) == {*single, *(f"{name}_standard_error" for name in single), "count"}
        assert values["count"] == 3
        for name, value in single.items():
            np.testing.assert_allclose(values[name], np.mean(value), rtol=1e-5)
            np.testing.assert_allclose(values[f"{name}_standard_error"], np.std(value, ddof=1) / 3**0.5, rtol=1e-5)

    def test_merged_and_streamed_states_have_seen_the_whole(self, pair, update):
        x, y = map(jnp.asarray, pair)
        whole = METRIC.compute(update(METRIC.init(), x, y))
        states = [update(METRIC.init(), x[i : i + 1], y[i : i + 1]) for i in range(3)]
        merged = METRIC.merge(METRIC.merge(METRIC.init(), states[2]), METRIC.merge(*states[:2]))
        streamed, donating = METRIC.init(), jax.jit(METRIC.update, donate_argnums=0)
        for i in range(3):
            streamed = donating(streamed, x[i : i + 1], y[i : i + 1])
        for state in (merged, streamed):
            values = METRIC.compute(state)
            for name, value in whole.items():
                np.testing.assert_allclose(values[name], value, rtol=1e-4, err_msg=name)

    def test_one_perfect_reconstruction_makes_the_mean_psnr_infinite_whenever_it_comes(self, pair, update):
        x, y = map(jnp.asarray, pair)
        other, perfect = update(METRIC.init(), x[:1], y[:1]), update(METRIC.init(), x[:1], x[:1])
        for a, b in [(other, perfect), (perfect, other), (perfect, perfect)]:
            values = METRIC.compute(METRIC.merge(METRIC.merge(METRIC.init(), a), b))
            assert values["psnr"] == jnp.inf
            assert jnp.isfinite(values["mse"])

    def test_tables_have_no_ssim(self):
        metric = Reconstruction(data_range=2.0, window_size=None)
        values = metric.compute(metric.update(metric.init(), jnp.zeros((2, 3)), jnp.full((2, 3), 0.2)))
        assert set(values) == {"mse", "mse_standard_error", "psnr", "psnr_standard_error", "count"}
        np.testing.assert_allclose(values["psnr"], 20, rtol=1e-6)


IMAGE = jnp.zeros((1, 12, 8, 1))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: ssim(IMAGE, IMAGE, data_range=1.0),
            "12 x 8 pixels are smaller than window_size=11; give window_size=7",
        ),
        (lambda: ssim(IMAGE, IMAGE, data_range=1.0, window_size=4), "window_size is 4, but must be odd"),
        (lambda: ssim(IMAGE[..., 0], IMAGE[..., 0], data_range=1.0), r"images \(B, H, W, C\); use mse and psnr"),
        (lambda: psnr(IMAGE, IMAGE, data_range=0.0), "data_range is 0.0, but must be above 0"),
        (lambda: Reconstruction(data_range=-1.0), "data_range is -1.0, but must be above 0"),
        (lambda: mse(IMAGE, IMAGE[:, :1]), "they must be equal and start with the batch axis"),
        (lambda: mse(jnp.zeros(3), jnp.zeros(3)), "add a batch axis to single examples"),
    ],
)
def test_errors_name_value_limit_and_cure(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_what_is_not_a_number_stays_so_in_its_own_example():
    x = jnp.zeros((2, 11, 11, 1)).at[0, 0, 0, 0].set(jnp.nan)
    y = jnp.full_like(x, 0.5)
    for value in (mse(x, y), psnr(x, y, data_range=1.0), ssim(x, y, data_range=1.0)):
        assert jnp.isnan(value).tolist() == [True, False]
