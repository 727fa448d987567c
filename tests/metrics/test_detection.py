"""Anomaly scores of constructions with known answers, and detection metrics computed by hand."""

import io
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from genjax.metrics.detection import (
    compressed_length,
    detection_metrics,
    input_complexity_score,
    likelihood_ratio_score,
    likelihood_score,
    typicality_score,
)


def normal_log_prob(x):
    """Log-density of the standard normal distribution."""
    return -0.5 * jnp.sum(x**2, axis=-1) - 0.5 * x.shape[-1] * math.log(2 * math.pi)


def against(normal, anomalies):
    """Return detection metrics of scores of normal examples and anomalies."""
    return detection_metrics(
        np.concatenate([normal, anomalies]), np.concatenate([np.zeros(len(normal)), np.ones(len(anomalies))])
    )


class TestDetection:
    def test_perfect_inverse_and_constant_scores(self):
        labels = np.array([0, 0, 0, 1])
        perfect, inverse, constant = (
            detection_metrics(np.array(s), labels) for s in ([1, 2, 3, 4], [4, 3, 2, 1], [7.0] * 4)
        )
        assert (perfect["auroc"], perfect["average_precision"]) == (1, 1)
        assert (inverse["auroc"], inverse["average_precision"]) == (0, 0.25)
        assert (constant["auroc"], constant["average_precision"]) == (0.5, 0.25)
        assert perfect["prevalence"] == 0.25

    def test_ties_count_half(self):
        # Of six pairs, four are ordered correctly, one is not, and one is tied.
        result = detection_metrics(np.array([1.0, 2.0, 4.0, 2.0, 5.0]), np.array([0, 0, 0, 1, 1]))
        assert result["auroc"] == pytest.approx(4.5 / 6)

    def test_average_precision_by_hand(self):
        # By falling score: anomaly (1/1), normal, anomaly (2/3), normal, anomaly (3/5).
        result = detection_metrics(np.array([5.0, 4.0, 3.0, 2.0, 1.0]), np.array([1, 0, 1, 0, 1]))
        assert result["average_precision"] == pytest.approx((1 + 2 / 3 + 3 / 5) / 3)
        assert result["prevalence"] == pytest.approx(0.6)

    def test_equal_variance_normals(self):
        """For quantiles of two normal distributions at distance d, AUROC = Φ(d/√2)."""
        quantiles = stats.norm.ppf((np.arange(2000) + 0.5) / 2000)
        for distance in (0.0, 0.5, 1.0, 3.0):
            result = against(quantiles, quantiles + distance)
            assert result["auroc"] == pytest.approx(stats.norm.cdf(distance / math.sqrt(2)), abs=1e-4)

    def test_standard_error_by_a_double_loop(self):
        random = np.random.default_rng(0)
        normal, anomalies = random.integers(0, 9, 13).astype(float), random.integers(2, 12, 7).astype(float)

        def wins(a, b):
            return 1.0 if a > b else 0.5 if a == b else 0.0

        by_anomaly = [np.mean([wins(a, b) for b in normal]) for a in anomalies]
        by_normal = [np.mean([wins(a, b) for a in anomalies]) for b in normal]
        expected = math.sqrt(np.var(by_anomaly, ddof=1) / 7 + np.var(by_normal, ddof=1) / 13)
        result = against(normal, anomalies)
        assert result["auroc"] == pytest.approx(np.mean(by_anomaly))
        assert result["auroc_standard_error"] == pytest.approx(expected)

    def test_standard_error_is_the_spread_over_repetitions(self):
        random = np.random.default_rng(1)
        results = [against(random.normal(size=60), random.normal(size=40) + 1) for _ in range(200)]
        spread = np.std([result["auroc"] for result in results], ddof=1)
        claimed = np.sqrt(np.mean([result["auroc_standard_error"] ** 2 for result in results]))
        assert claimed == pytest.approx(spread, rel=0.2)  # the spread of 200 estimates is known to 5 %

    def test_only_the_order_matters_also_of_infinite_scores(self):
        labels = np.array([0, 1, 0, 1, 1])
        expected = detection_metrics(np.array([1.0, 2.0, 3.0, 4.0, 4.0]), labels)
        assert detection_metrics(np.array([-np.inf, -7.0, 0.0, np.inf, np.inf], np.float32), labels) == expected
        assert detection_metrics(jnp.array([1.0, 2.0, 3.0, 4.0, 4.0]), jnp.asarray(labels, bool)) == expected

    def test_one_example_of_a_class_has_no_spread(self):
        assert math.isnan(detection_metrics(np.array([1.0, 2.0, 3.0]), np.array([0, 1, 0]))["auroc_standard_error"])

    @pytest.mark.parametrize(
        ("scores", "labels", "message"),
        [
            ([1.0, 2.0], [0, 0], "0 of 2 examples are anomalies, but both classes are needed"),
            ([1.0, 2.0], [1, 1], "2 of 2 examples are anomalies, but both classes are needed"),
            ([], [], "0 of 0 examples are anomalies"),
            ([1.0, np.nan, np.nan], [0, 1, 1], "2 of 3 scores are NaN, first at index 1; leave"),
            ([1.0, 2.0, 3.0], [0, 1, 2], "but must be 1 for anomalies and 0 for normal"),
            ([1.0, 2.0], [0.0, np.nan], "but must be 1 for anomalies and 0 for normal"),
            ([1.0, 2.0], [0, 1, 1], r"scores have shape \(2,\) and labels \(3,\)"),
            ([[1.0], [2.0]], [[0], [1]], "give one of each for N examples"),
        ],
    )
    def test_errors_name_value_limit_and_cure(self, scores, labels, message):
        with pytest.raises(ValueError, match=message):
            detection_metrics(np.array(scores), np.array(labels))


class TestScores:
    def test_likelihood_of_wider_and_narrower_normals(self):
        """For N(0, s²I) under N(0, I): AUROC = P(s² χ² > χ²') = P(F > 1/s²), D degrees of freedom each."""
        random, dim = np.random.default_rng(0), 10
        normal = likelihood_score(normal_log_prob(jnp.asarray(random.normal(size=(2000, dim)), jnp.float32)))
        for scale in (0.8, 1.0, 1.3):
            x = jnp.asarray(scale * random.normal(size=(2000, dim)), jnp.float32)
            result = against(normal, likelihood_score(normal_log_prob(x)))
            expected = stats.f.sf(1 / scale**2, dim, dim)
            assert abs(result["auroc"] - expected) < 4 * result["auroc_standard_error"]

    def test_typicality_finds_the_mode_which_likelihood_takes_for_most_normal(self):
        """In 1000 dimensions no sample comes near the mode of the normal distribution, where the density is highest."""
        dim = 1000
        x = jax.random.normal(jax.random.key(0), (3, 500, dim))
        training, normal = normal_log_prob(x[0]), normal_log_prob(x[1])
        # Anomalies lie between the mode and half the radius √D of the shell that contains the samples.
        anomalies = normal_log_prob(x[2] * jnp.linspace(0, 0.5, 500)[:, None])
        assert against(likelihood_score(normal), likelihood_score(anomalies))["auroc"] == 0
        normal, anomalies = (typicality_score(log_prob, training) for log_prob in (normal, anomalies))
        assert against(normal, anomalies)["auroc"] == 1
        # The mode lies D/2 nats above the mean log-density −D/2 (1 + log 2π), the negative entropy.
        np.testing.assert_allclose(anomalies[0], dim / 2, atol=5 * math.sqrt(dim / 2 / 500))

    def test_typicality_of_groups_is_that_of_their_mean(self):
        log_prob = jnp.array([[-4.0, -6.0], [-1.0, -2.0]])
        np.testing.assert_allclose(typicality_score(log_prob, jnp.full(3, -5.0)), [0, 3.5])
        # Groups of 25 are hard to detect by twice the spread of normal ones, and easy by another mean.
        random = np.random.default_rng(0)
        training, normal, shifted = (
            random.normal(-100, 1, 5000),
            random.normal(-100, 1, 5000),
            random.normal(-99, 1, 5000),
        )
        one, many = (
            against(*(typicality_score(s.reshape(-1, size), training) for s in (normal, shifted)))["auroc"]
            for size in (1, 25)
        )

        def expected(size):
            """Scores are |Z| and |Z + √M|; the second has a non-central χ distribution."""
            grid = (np.arange(4000) + 0.5) / 4000
            return np.mean(stats.ncx2.sf(stats.chi2.ppf(grid, 1), 1, size))

        assert one == pytest.approx(expected(1), abs=0.03)
        assert many == pytest.approx(expected(25), abs=0.01)

    def test_likelihood_ratio_leaves_what_the_background_does_not_explain(self):
        """x = (a, b), and a has scale s in anomalies. The ratio of p(a)p(b) to q(a)p(b), q flat, depends on a only.

        P(s² χ²₁ > χ²₁') = 2/π arctan s for any background b.
        """
        random, scale, n = np.random.default_rng(0), 3.0, 2000
        normal = np.stack([random.normal(size=n), 5 * random.normal(size=n)], 1)
        anomalies = np.stack([scale * random.normal(size=n), 0.1 * random.normal(size=n)], 1)

        def log_prob(x):
            return jnp.asarray(stats.norm.logpdf(x).sum(1), jnp.float32)

        def background(x):
            return jnp.asarray(stats.norm.logpdf(x[:, 1]) - math.log(100), jnp.float32)

        likelihood = against(*(likelihood_score(log_prob(x)) for x in (normal, anomalies)))
        ratio = against(*(likelihood_ratio_score(log_prob(x), background(x)) for x in (normal, anomalies)))
        assert likelihood["auroc"] < 0.45
        expected = 2 / math.pi * math.atan(scale)
        assert abs(ratio["auroc"] - expected) < 4 * ratio["auroc_standard_error"]

    def test_input_complexity_finds_simple_anomalies_that_likelihood_takes_for_normal(self):
        """Pixels take four values with the probabilities of the model; anomalies repeat the most probable one.

        Anomalies cost log 2.5 nats per pixel, and normal images the entropy, 1.28 nats. A compressor needs more than
        that for normal images, and almost nothing for constant ones.
        """
        random, masses = np.random.default_rng(0), np.array([0.4, 0.3, 0.2, 0.1])
        normal = random.choice(4, (20, 32, 32, 1), p=masses).astype(np.uint8)
        anomalies = np.zeros((20, 32, 32, 1), np.uint8)

        def log_prob(x):
            return jnp.asarray(np.log(masses)[x].sum((1, 2, 3)), jnp.float32)

        assert against(*(likelihood_score(log_prob(x)) for x in (normal, anomalies)))["auroc"] == 0
        scores = [input_complexity_score(log_prob(x), compressed_length(x)) for x in (normal, anomalies)]
        assert against(*scores)["auroc"] == 1
        entropy = -(masses * np.log(masses)).sum() * 32 * 32
        lengths = compressed_length(normal)  # at least the entropy, by the source coding theorem
        assert (lengths > 0.97 * entropy).all()
        assert (lengths < 2 * entropy).all()

    def test_scores_are_functions_that_compile(self):
        log_prob, other = jnp.array([-1.0, -5.0]), jnp.array([-2.0, -3.0])
        np.testing.assert_array_equal(jax.jit(likelihood_score)(log_prob), [1, 5])
        np.testing.assert_array_equal(jax.jit(likelihood_ratio_score)(log_prob, other), [-1, 2])
        np.testing.assert_array_equal(jax.jit(typicality_score)(log_prob, other), [1.5, 2.5])
        np.testing.assert_array_equal(jax.jit(input_complexity_score)(log_prob, -other), [-1, 2])

    @pytest.mark.parametrize(
        ("call", "message"),
        [
            (lambda x: likelihood_ratio_score(x, x[:, None]), r"shape \(2,\) and background_log_prob \(2, 1\)"),
            (lambda x: input_complexity_score(x, x[:1]), r"shape \(2,\) and length \(1,\); give the same examples"),
            (lambda x: typicality_score(x, x[:0]), "training_log_prob is empty; score training"),
            (
                compressed_length,
                "x has dtype float32, but must hold integers; give the data before any scaling",
            ),
        ],
    )
    def test_errors_name_value_limit_and_cure(self, call, message):
        with pytest.raises(ValueError, match=message):
            call(jnp.zeros(2))


class TestCompressedLength:
    @pytest.mark.parametrize("channels", [1, 2, 3, 4])
    def test_noise_takes_its_entropy_and_constants_next_to_nothing(self, channels):
        noise = np.random.default_rng(0).integers(0, 256, (2, 64, 64, channels), dtype=np.uint8)
        entropy = noise[0].size * math.log(256)
        assert compressed_length(noise) == pytest.approx(entropy, rel=0.05)
        assert (compressed_length(noise) > entropy).all()
        assert (compressed_length(np.full_like(noise, 9)) < 0.06 * entropy).all()

    def test_images_are_portable_network_graphics(self):
        """A horizontal ramp is simple for PNG, which predicts pixels from their neighbours, but not for zlib alone."""
        image_module = pytest.importorskip("PIL.Image")
        steps = np.random.default_rng(0).integers(0, 2, (64, 64))
        image = np.cumsum(steps, axis=1).astype(np.uint8)
        length = compressed_length(image[None, ..., None])[0]
        file = io.BytesIO()
        image_module.fromarray(image).save(file, "PNG", compress_level=9)
        assert length == pytest.approx(8 * math.log(2) * len(file.getvalue()))
        np.testing.assert_array_equal(np.asarray(image_module.open(file)), image)
        assert length < 0.8 * compressed_length(image[None])[0]

    def test_texts_and_tables_have_a_length_too(self):
        text = np.array([list(b"ab" * 500), list(np.random.default_rng(0).integers(97, 99, 1000))], np.uint8)
        repeated, random = compressed_length(text)
        assert random > 1000 * math.log(2) > 5 * repeated
        assert compressed_length(np.zeros((3, 5), np.int32)).shape == (3,)
