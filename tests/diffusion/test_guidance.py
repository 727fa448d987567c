"""Guidance of Gaussian data by a linear classifier, where Bayes' rule has a closed form, and values by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import diffusion
from tests.diffusion.exact import COVARIANCE, MEAN, gaussian

PROCESS = diffusion.processes.Cosine()
DIRECTION, DEVIATION, OBSERVED = np.array([1.0, 0.5]), 0.4, 1.6  # y ~ N(direction · x₀, deviation²), and y


def posterior():
    """Return the mean and covariance of x₀ given y."""
    precision = np.linalg.inv(COVARIANCE) + np.outer(DIRECTION, DIRECTION) / DEVIATION**2
    covariance = np.linalg.inv(precision)
    return covariance @ (np.linalg.solve(COVARIANCE, MEAN) + DIRECTION * OBSERVED / DEVIATION**2), covariance


def log_prob(x, t):
    """Return log p(y | x_t), with x₀ integrated out."""
    alpha, sigma = PROCESS.alpha(t), PROCESS.sigma(t)
    covariance, direction = jnp.asarray(COVARIANCE, x.dtype), jnp.asarray(DIRECTION, x.dtype)
    gain = alpha * covariance @ jnp.linalg.inv(alpha**2 * covariance + sigma**2 * jnp.eye(2))
    posterior_covariance = covariance - alpha * gain @ covariance
    mean = gaussian(PROCESS)(x, t).data @ direction
    return jax.scipy.stats.norm.logpdf(
        OBSERVED, mean, jnp.sqrt(direction @ posterior_covariance @ direction + DEVIATION**2)
    )


class TestClassifier:
    @pytest.mark.parametrize("t", [0.1, 0.5, 0.9])
    def test_weight_1_is_the_denoiser_of_the_posterior(self, t):
        x, t = jax.random.normal(jax.random.key(0), (8, 2)), jnp.float32(t)
        guided = jax.jit(diffusion.classifier_guidance(gaussian(PROCESS), PROCESS, log_prob))(x, t)
        for part, expected in zip(guided, gaussian(PROCESS, *posterior())(x, t), strict=True):
            np.testing.assert_allclose(part, expected, rtol=1e-3, atol=1e-3)

    def test_weight_0_is_no_guidance_and_all_weights_are_on_a_line(self):
        x, t = jax.random.normal(jax.random.key(1), (8, 2)), jnp.float32(0.4)
        none, one, two = (
            diffusion.classifier_guidance(gaussian(PROCESS), PROCESS, log_prob, weight)(x, t)
            for weight in (0.0, 1.0, 2.0)
        )
        np.testing.assert_allclose(none.noise, gaussian(PROCESS)(x, t).noise, rtol=1e-5)
        np.testing.assert_allclose(two.noise - one.noise, one.noise - none.noise, atol=1e-5)

    def test_samples_have_the_moments_of_the_posterior(self):
        guided = diffusion.classifier_guidance(gaussian(PROCESS), PROCESS, log_prob)
        levels = diffusion.levels(PROCESS, diffusion.grids.LogSNR(), 40)
        draw = jax.jit(
            lambda key, x: diffusion.sample_loop(diffusion.samplers.DPMSolverPP(2), PROCESS, guided, levels, key, x)[0]
        )
        x = np.asarray(draw(jax.random.key(2), jax.random.normal(jax.random.key(3), (20_000, 2))), np.float64)
        mean, covariance = posterior()
        np.testing.assert_allclose(x.mean(axis=0), mean, atol=4 * (covariance.max() / 20_000) ** 0.5 + 0.005)
        np.testing.assert_allclose(np.cov(x.T), covariance, atol=0.01)

    def test_a_negative_weight_is_refused(self):
        with pytest.raises(ValueError, match=r"weight is -1.0, but must be at least 0"):
            diffusion.classifier_guidance(gaussian(PROCESS), PROCESS, log_prob, -1.0)


def constant_denoiser(*rows):
    """Return a denoiser whose x̂₀ does not depend on x_t."""
    data = jnp.asarray(rows, jnp.float32)
    return lambda x, t: diffusion.Prediction(data, (x - PROCESS.alpha(t) * data) / PROCESS.sigma(t))


class TestThreshold:
    def test_values(self):
        x, t = jnp.ones((2, 4)), jnp.float32(0.5)
        rows = ([0.5, -1.0, 4.0, -2.0], [0.1, 0.2, -0.3, 3.0])
        divided = diffusion.dynamic_thresholding(constant_denoiser(*rows), PROCESS, 100.0)(x, t).data
        np.testing.assert_allclose(divided, np.array(rows) / [[4.0], [3.0]], rtol=1e-6)
        # Medians of magnitudes are 1.5 and 0.25: the second example is only clipped at 1.
        halved = diffusion.dynamic_thresholding(constant_denoiser(*rows), PROCESS, 50.0)(x, t).data
        expected = [[0.5 / 1.5, -1.0 / 1.5, 1.0, -1.0], [0.1, 0.2, -0.3, 1.0]]
        np.testing.assert_allclose(halved, expected, rtol=1e-6)

    def test_data_and_noise_make_up_x(self):
        x, t = jax.random.normal(jax.random.key(4), (2, 3)), jnp.float32(0.3)
        data, noise = diffusion.dynamic_thresholding(
            constant_denoiser([3.0, -0.2, 0.9], [0.1, 0.2, -5.0]), PROCESS, 80.0
        )(x, t)
        np.testing.assert_allclose(PROCESS.alpha(t) * data + PROCESS.sigma(t) * noise, x, atol=1e-6)
        assert np.abs(data).max() <= 1.0

    def test_data_in_range_are_unchanged(self):
        x, t = jax.random.normal(jax.random.key(5), (2, 3)), jnp.float32(0.3)
        denoise = constant_denoiser([1.0, -0.2, 0.9], [0.1, 0.2, -1.0])
        for part, expected in zip(
            diffusion.dynamic_thresholding(denoise, PROCESS, 50.0)(x, t), denoise(x, t), strict=True
        ):
            np.testing.assert_allclose(part, expected, rtol=1e-6)

    @pytest.mark.parametrize("percentile", [0.0, 101.0, float("nan")])
    def test_percentiles_out_of_range_are_refused(self, percentile):
        with pytest.raises(
            ValueError, match=rf"percentile is {percentile}, but must be (in \(0, 100\]|a finite number); 99.5"
        ):
            diffusion.dynamic_thresholding(constant_denoiser([0.0]), PROCESS, percentile)


def labelled(x, t, label):
    """Return the label as x₀, and its square times x as ε."""
    del t
    label = label.astype(jnp.float32)[:, None]
    return diffusion.Prediction(jnp.broadcast_to(label, x.shape), jnp.square(label) * x)


class TestClassifierFree:
    @pytest.mark.parametrize(
        ("weight", "data", "noise"),
        [(0.0, [5.0, 5.0], [25.0, 50.0]), (1.0, [2.0, 3.0], [4.0, 18.0]), (2.5, [-2.5, 0.0], [-27.5, -30.0])],
    )
    def test_values(self, weight, data, noise):
        x = jnp.array([[1.0], [2.0]])
        denoise = diffusion.classifier_free_guidance(labelled, jnp.array([2, 3]), jnp.array([5]), weight=weight)
        guided = denoise(x, jnp.float32(0.5))
        np.testing.assert_allclose(guided.data[:, 0], data, rtol=1e-6)
        np.testing.assert_allclose(guided.noise[:, 0], noise, rtol=1e-6)

    def test_one_label_is_for_all(self):
        guided = diffusion.classifier_free_guidance(labelled, jnp.array([1]), jnp.array([4]), weight=2.0)(
            jnp.ones((3, 1)), jnp.float32(0.5)
        )
        np.testing.assert_array_equal(guided.data, np.full((3, 1), -2.0))

    def test_inactive_guidance_is_the_conditional_denoiser(self):
        denoise = diffusion.classifier_free_guidance(
            labelled, jnp.array([1]), jnp.array([4]), weight=2.0, is_active=lambda t: t < 0.5
        )
        values = [float(denoise(jnp.ones((1, 1)), jnp.float32(t)).data[0, 0]) for t in (0.4, 0.6)]
        assert values == [-2.0, 1.0]
