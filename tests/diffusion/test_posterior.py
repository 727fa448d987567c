"""Posterior guidance of Gaussian data by linear measurements, where the posterior and its denoiser are known."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import diffusion
from genjax.core import Variables
from genjax.diffusion import operators, posterior
from tests.diffusion.exact import COVARIANCE, MEAN, gaussian
from tests.networks import Function

PROCESS = diffusion.processes.Cosine()
A = np.array([[1.0, 0.5], [0.3, -1.0]])
NOISE_SCALE = 0.4
Y = np.array([1.6, 0.2])
SCALE = 0.8  # of spherical data
NUM = 4_000
LEVELS = pytest.mark.parametrize("t", [0.1, 0.5, 0.9])


def conditional(covariance, matrix=A, y=Y, noise_scale=NOISE_SCALE):
    """Return the mean and covariance of x₀ given y."""
    system = matrix @ covariance @ matrix.T + noise_scale**2 * np.eye(len(matrix))
    gain = covariance @ matrix.T @ np.linalg.inv(system)
    return MEAN + gain @ (y - matrix @ MEAN), covariance - gain @ matrix @ covariance


def guided(method, t, denoise=None, matrix=A, y=Y):
    """Return x_t and the guided prediction there."""
    x, t = jax.random.normal(jax.random.key(0), (8, 2)), jnp.float32(t)
    settings = {"noise_scale": NOISE_SCALE, "method": method}
    y = jnp.tile(jnp.asarray(y, jnp.float32), (8, 1))
    denoise = denoise or gaussian(PROCESS)
    guide = diffusion.posterior_guidance(denoise, PROCESS, y, operators.Matrix(matrix), **settings)
    return x, jax.jit(guide)(x, t)


def expect(prediction, expected):
    for part, value in zip(prediction, expected, strict=True):
        np.testing.assert_allclose(part, value, rtol=1e-3, atol=1e-3)


@LEVELS
def test_moment_matching_is_the_denoiser_of_the_posterior(t):
    x, prediction = guided(posterior.MomentMatching(num_iterations=2), t)
    expect(prediction, gaussian(PROCESS, *conditional(COVARIANCE))(x, jnp.float32(t)))


@LEVELS
def test_pseudo_inverse_guidance_is_exact_for_spherical_data(t):
    covariance = SCALE**2 * np.eye(2)
    x, prediction = guided(posterior.PiGDM(data_scale=SCALE), t, gaussian(PROCESS, covariance=covariance))
    expect(prediction, gaussian(PROCESS, *conditional(covariance))(x, jnp.float32(t)))


@LEVELS
@pytest.mark.parametrize("operator", [operators.AveragePool(2), operators.Mask(jnp.arange(16).reshape(4, 4, 1) < 8)])
def test_images_are_guided_as_their_matrices(operator, t):
    """Both methods that solve a system do so for operators on images as for matrices."""
    mean, covariance = np.linspace(-0.5, 0.5, 16), SCALE**2 * np.eye(16)
    denoise = gaussian(PROCESS, mean, covariance)
    x, t = jax.random.normal(jax.random.key(1), (3, 4, 4, 1)), jnp.float32(t)
    matrix = np.asarray(operator(jnp.eye(16).reshape(16, 4, 4, 1)).reshape(16, -1)).T
    y = operator.fill(jax.random.normal(jax.random.key(2), operator(x).shape))

    def of_images(x, t):
        return diffusion.Prediction(*(part.reshape(x.shape) for part in denoise(x.reshape(len(x), -1), t)))

    for method in (posterior.PiGDM(SCALE), posterior.MomentMatching(4)):
        settings = {"noise_scale": NOISE_SCALE, "method": method}
        image = diffusion.posterior_guidance(of_images, PROCESS, y, operator, **settings)
        rows = diffusion.posterior_guidance(denoise, PROCESS, y.reshape(3, -1), operators.Matrix(matrix), **settings)
        expect((part.reshape(3, -1) for part in image(x, t)), rows(x.reshape(3, -1), t))


@LEVELS
def test_diffusion_posterior_sampling_follows_the_gradient_of_the_distance(t):
    """x̂₀ is affine in x_t, with the Jacobian α S (α² S + σ² I)⁻¹."""
    x, prediction = guided(posterior.DPS(step_size=1.7), t)
    plain = gaussian(PROCESS)(x, jnp.float32(t))
    alpha, sigma = (float(function(jnp.float32(t))) for function in (PROCESS.alpha, PROCESS.sigma))
    jacobian = alpha * COVARIANCE @ np.linalg.inv(alpha**2 * COVARIANCE + sigma**2 * np.eye(2))
    residual = Y - np.asarray(plain.data, np.float64) @ A.T
    score = 1.7 * residual / np.linalg.norm(residual, axis=1, keepdims=True) @ A @ jacobian
    expect(prediction, (plain.data + sigma**2 / alpha * score, plain.noise - sigma * score))


@pytest.mark.parametrize("method", posterior.METHODS)
def test_predictions_add_up_to_x(method):
    x, prediction = guided(method, 0.5)
    t = jnp.float32(0.5)
    np.testing.assert_allclose(
        PROCESS.alpha(t) * prediction.data + PROCESS.sigma(t) * prediction.noise, x, rtol=1e-4, atol=1e-4
    )


def test_a_measurement_that_agrees_guides_nowhere():
    """At r = 0 the distance has no gradient; the guidance is 0 there, not NaN."""
    x, t = jnp.zeros((1, 2)), jnp.float32(0.5)
    plain = gaussian(PROCESS)(x, t)
    y = plain.data @ jnp.asarray(A.T, jnp.float32)
    for method in posterior.METHODS:
        guide = diffusion.posterior_guidance(
            gaussian(PROCESS), PROCESS, y, operators.Matrix(A), noise_scale=0.1, method=method
        )
        expect(guide(x, t), plain)


@pytest.mark.parametrize("method", posterior.METHODS)
def test_levels_without_signal_are_left_alone(method):
    process = diffusion.processes.LinearPath()
    y = jnp.ones((3, 2))
    guide = diffusion.posterior_guidance(
        gaussian(process), process, y, operators.Matrix(A), noise_scale=0.1, method=method
    )
    x, t = jax.random.normal(jax.random.key(3), (3, 2)), jnp.float32(1.0)
    np.testing.assert_allclose(guide(x, t).data, gaussian(process)(x, t).data, rtol=1e-5)


class TestConjugateGradients:
    MATRICES = np.einsum("bij,bkj->bik", *[np.random.default_rng(0).normal(size=(3, 4, 4))] * 2) + 0.5 * np.eye(4)
    RIGHT = np.random.default_rng(1).normal(size=(3, 4))

    def product(self, x):
        return jnp.einsum("bij,bj->bi", jnp.asarray(self.MATRICES, jnp.float32), x)

    def test_each_example_is_solved_on_its_own(self):
        right = jnp.asarray(self.RIGHT, jnp.float32)
        x = posterior.conjugate_gradients(self.product, right, 4)
        np.testing.assert_allclose(x, np.linalg.solve(self.MATRICES, self.RIGHT[..., None])[..., 0], rtol=1e-3)
        x = posterior.conjugate_gradients(self.product, right, 30)
        np.testing.assert_allclose(x, np.linalg.solve(self.MATRICES, self.RIGHT[..., None])[..., 0], rtol=1e-3)
        two = posterior.conjugate_gradients(self.product, right, 2)
        changed = posterior.conjugate_gradients(self.product, right.at[0].multiply(100.0), 2)
        np.testing.assert_array_equal(two[1:], changed[1:])

    def test_nothing_is_solved_by_nothing(self):
        x = posterior.conjugate_gradients(self.product, jnp.zeros((3, 4)), 5)
        np.testing.assert_array_equal(x, 0.0)


def gaussian_net(params, x, level):
    """Return v of the exact denoiser, from x_t of unit variance, as networks receive it."""
    del params
    log_snr = 20 - 40 * level[:, None]
    alpha, sigma = jnp.sqrt(jax.nn.sigmoid(log_snr)), jnp.sqrt(jax.nn.sigmoid(-log_snr))
    process = dataclasses.make_dataclass("At", ["alpha", "sigma"])(lambda t: alpha, lambda t: sigma)
    data, noise = gaussian(process)(x, None)
    return alpha * noise - sigma * data


MODEL = diffusion.Diffusion(
    shape=(2,), net=Function(gaussian_net), process=diffusion.processes.VariancePreserving(), num_steps=25
)
VARIABLES = Variables({"denoiser": {}}, {"denoiser": {}})
KNOWN = operators.Mask(jnp.array([True, False]))


@functools.partial(jax.jit, static_argnames=("method", "sampler", "num_steps"))
def restored(key, y, **options):
    return diffusion.restore(MODEL, VARIABLES, key, y, KNOWN, noise_scale=0.1, **options)


class TestRestore:
    def test_moment_matching_draws_from_the_posterior_and_replacement_does_not(self):
        """The known entry has the value 2 with noise 0.1; the other entry may be anything."""
        mean, covariance = conditional(COVARIANCE, np.array([[1.0, 0.0]]), np.array([2.0]), 0.1)
        y = jnp.tile(jnp.array([[2.0, jnp.nan]]), (NUM, 1))
        options = {"method": posterior.MomentMatching(2), "sampler": diffusion.samplers.Heun()}
        x = np.asarray(restored(jax.random.key(0), y, **options))
        deviations = np.sqrt(np.diag(covariance))
        np.testing.assert_allclose(x.mean(axis=0), mean, atol=4 * deviations.max() / NUM**0.5)
        np.testing.assert_allclose(np.cov(x.T), covariance, atol=0.02)
        impute = functools.partial(MODEL.impute, VARIABLES, num_resamplings=1)
        replaced = np.asarray(jax.jit(impute)(jax.random.key(1), y, jnp.array([True, False])))
        mean, covariance = conditional(COVARIANCE, np.array([[1.0, 0.0]]), np.array([2.0]), 0.0)
        bias = (replaced[:, 1].mean() - mean[1]) / covariance[1, 1] ** 0.5
        assert -0.45 < bias < -0.2  # standard deviations, towards the unconditional mean

    def test_errors_of_the_methods_are_ordered(self):
        """Moment matching is exact; the sphere of ΠGDM is not, and a step of DPS knows no covariance."""
        mean, _ = conditional(COVARIANCE, np.array([[1.0, 0.0]]), np.array([2.0]), 0.1)
        y = jnp.tile(jnp.array([[2.0, jnp.nan]]), (NUM, 1))
        errors = [
            np.abs(np.asarray(restored(jax.random.key(2), y, method=method, sampler="ddim")).mean(axis=0) - mean)[1]
            for method in (posterior.MomentMatching(2), posterior.PiGDM(), posterior.DPS(4.0))
        ]
        assert errors[0] < 0.02 < errors[1] < 0.25
        assert errors[2] < 0.5

    def test_labels_and_guidance_are_the_denoisers(self):
        with pytest.raises(ValueError, match="but no condition is given"):
            diffusion.restore(MODEL, VARIABLES, jax.random.key(3), Y[None], KNOWN, noise_scale=0.1, guidance=2.0)

    @pytest.mark.parametrize(
        ("y", "options", "message"),
        [
            (
                np.ones((5, 3), np.float32),
                {},
                r"y has shape \(5, 3\), but Mask maps examples of shape \(2,\) to \(B, 2\)",
            ),
            (np.array([[np.nan, 1.0]], np.float32), {}, r"y is nan at \(0, 0\), but measurements must be finite"),
            (np.ones((5, 2), np.float32), {"num_steps": 0}, "num_steps is 0, but must be at least 1"),
            (np.ones((5, 2), np.float32), {"noise_scale": -1.0}, "noise_scale is -1.0, but must be at least 0"),
            (np.ones((5, 2), np.float32), {"method": "ddrm"}, "method is 'ddrm', but must be 'dps', 'pigdm', 'moment"),
        ],
    )
    def test_errors(self, y, options, message):
        options = {"noise_scale": 0.1} | options
        with pytest.raises(ValueError, match=message):
            diffusion.restore(MODEL, VARIABLES, jax.random.key(4), y, KNOWN, **options)
