"""Editing and imputation with a network that is exact for correlated Gaussian data, where all answers are Gaussian."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import diffusion
from genjax.diffusion.imputation import fill_unknown
from tests.diffusion import exact

NUM = 4_000
KNOWN = 2.0  # value of the first coordinate
GAIN = exact.COVARIANCE[0, 1] / exact.COVARIANCE[0, 0]
CONDITIONAL = exact.MEAN[1] + GAIN * (KNOWN - exact.MEAN[0]), exact.COVARIANCE[1, 1] - GAIN * exact.COVARIANCE[0, 1]


@dataclasses.dataclass(frozen=True)
class At:
    """A process at one level."""

    alpha_there: jax.Array
    sigma_there: jax.Array

    def alpha(self, t):
        return self.alpha_there

    def sigma(self, t):
        return self.sigma_there


class GaussianNet:
    """The exact network under a variance-preserving process; it predicts v."""

    def init(self, key, x, level):
        return {"params": {}}

    def apply(self, variables, x, level):
        log_snr = 20 - 40 * level[:, None]
        alpha, sigma = jnp.sqrt(jax.nn.sigmoid(log_snr)), jnp.sqrt(jax.nn.sigmoid(-log_snr))
        data, noise = exact.gaussian(At(alpha, sigma))(x, None)
        return alpha * noise - sigma * data


MODEL = diffusion.Diffusion(
    shape=(2,), net=GaussianNet(), process=diffusion.processes.VariancePreserving(), num_steps=40
)


class CopiesFirst(diffusion.samplers.Sampler):
    """A sampler after whose steps all values are the first one."""

    def step(self, process, denoise, t, s, key, x, carry):
        copied = jnp.broadcast_to(x[:, :1], x.shape)
        return diffusion.samplers.Step(copied, carry, copied)


@pytest.fixture(scope="module")
def variables():
    return MODEL.init(jax.random.key(0), {"x": jnp.zeros((2, 2))})


@functools.partial(jax.jit, static_argnames=("num_resamplings", "sampler", "num_steps"))
def imputed(variables, key, x, known, **options):
    return MODEL.impute(variables, key, x, known, **options)


@functools.partial(jax.jit, static_argnames=("strength", "num_steps"))
def edited(variables, key, x, **options):
    return diffusion.edit(MODEL, variables, key, x, **options)


class TestImpute:
    def test_resampling_approaches_the_conditional_distribution(self, variables):
        x, known = jnp.tile(jnp.array([[KNOWN, jnp.nan]]), (NUM, 1)), jnp.array([True, False])
        draw = functools.partial(imputed, variables, x=x, known=known, sampler=diffusion.samplers.Heun(), num_steps=25)
        samples = [np.asarray(draw(jax.random.key(1), num_resamplings=num)) for num in (1, 6, 30)]
        for sample in samples:
            np.testing.assert_array_equal(sample[:, 0], np.float32(KNOWN))
        mean, variance = CONDITIONAL
        errors = [abs(sample[:, 1].mean() - mean) for sample in samples]
        # Without resampling the mean is about halfway to the unconditional one; resampling reduces the error.
        assert errors[0] > 0.15
        assert errors[1] < 0.4 * errors[0]
        assert errors[2] < 0.4 * errors[1]
        np.testing.assert_allclose(errors[2], 0.0, atol=4 * (variance / NUM) ** 0.5)
        np.testing.assert_allclose(samples[2][:, 1].var(), variance, rtol=4 * (2 / NUM) ** 0.5)

    def test_the_default_is_ancestral_and_too_narrow_for_few_steps(self, variables):
        x, known = jnp.tile(jnp.array([[KNOWN, 0.0]]), (NUM, 1)), jnp.array([[True, False]])
        draw = functools.partial(imputed, variables, x=x, known=known, num_resamplings=8)
        few, many = (np.asarray(draw(jax.random.key(2), num_steps=num))[:, 1] for num in (12, 50))
        mean, variance = CONDITIONAL
        np.testing.assert_allclose([few.mean(), many.mean()], mean, atol=0.04)
        assert few.var() < many.var() < variance
        np.testing.assert_allclose(many.var(), variance, rtol=0.2)

    @pytest.mark.parametrize("num_steps", [1, 2])
    def test_known_values_have_the_noise_of_their_level(self, variables, num_steps):
        """The sampler copies the known value at the level before the data, which then is the unknown one."""
        levels = MODEL.levels(num_steps)
        levels = levels._replace(alpha=levels.alpha.at[0].set(0.6))  # a start with a signal
        x, mask = jnp.tile(jnp.array([[KNOWN, 0.0]]), (NUM, 1)), jnp.array([[True, False]])
        process, denoise = MODEL.process, MODEL.denoiser(variables)
        out = fill_unknown(CopiesFirst(), process, denoise, levels, jax.random.key(13), x, mask, 1)
        alpha, sigma = float(levels.alpha[-2]), float(levels.sigma[-2])
        assert sigma > 0
        np.testing.assert_allclose(out[:, 1].mean(), alpha * KNOWN, atol=4 * sigma / NUM**0.5)
        np.testing.assert_allclose(out[:, 1].std(), sigma, rtol=0.05)

    def test_each_example_may_have_its_mask(self, variables):
        x = jnp.array([[0.3, 0.4], [0.5, 0.6], [0.7, 0.8]])
        known = jnp.array([[True, True], [False, True], [False, False]])
        out = imputed(variables, jax.random.key(3), x, known, num_resamplings=2, num_steps=4)
        np.testing.assert_array_equal(np.asarray(out == x), known)

    def test_nothing_known_is_sampling(self, variables):
        x = jnp.full((NUM, 2), jnp.nan)
        out = imputed(
            variables, jax.random.key(4), x, jnp.zeros(2, bool), num_resamplings=2, sampler=diffusion.samplers.Heun()
        )
        np.testing.assert_allclose(out.mean(axis=0), exact.MEAN, atol=4 * 0.8 / NUM**0.5)
        np.testing.assert_allclose(np.cov(out.T), exact.COVARIANCE, atol=0.04)

    def test_the_step_to_data_is_not_repeated(self, variables):
        """Data are then means given the first level, with covariance S α² (α² S + σ²)⁻¹ S; repeats would shrink it."""
        process = diffusion.processes.VariancePreserving(start=0.05)
        model = dataclasses.replace(MODEL, process=process)
        options = {"num_resamplings": 8, "sampler": diffusion.samplers.Heun(), "num_steps": 12}
        draw = jax.jit(lambda key, x: model.impute(variables, key, x, jnp.zeros(2, bool), **options))
        alpha, sigma = (float(f(jnp.float32(process.start))) for f in (process.alpha, process.sigma))
        _, covariance = exact.marginal(alpha, sigma)
        expected = alpha**2 * exact.COVARIANCE @ np.linalg.inv(covariance) @ exact.COVARIANCE
        x = np.asarray(draw(jax.random.key(12), jnp.zeros((NUM, 2))))
        np.testing.assert_allclose(np.linalg.eigvalsh(np.cov(x.T)), np.linalg.eigvalsh(expected), rtol=0.12)

    @pytest.mark.parametrize(
        ("known", "options", "message"),
        [
            (np.ones(2, np.float32), {}, "mask has dtype float32, but must be bool"),
            (np.ones(3, bool), {}, r"mask has shape \(3,\), but must broadcast to that of x, \(5, 2\)"),
            (np.ones((1, 5, 2), bool), {}, r"mask has shape \(1, 5, 2\), but must broadcast to that of x, \(5, 2\)"),
            (np.ones(2, bool), {"num_resamplings": 0}, "num_resamplings is 0, but must be at least 1"),
            (np.ones(2, bool), {"sampler": diffusion.samplers.DPMSolverPP()}, "DPMSolverPP is a multistep method"),
        ],
    )
    def test_errors(self, known, options, message, variables):
        with pytest.raises(ValueError, match=message):
            MODEL.impute(variables, jax.random.key(5), jnp.ones((5, 2)), known, **options)

    def test_multistep_samplers_impute_without_resampling(self, variables):
        options = {"num_resamplings": 1, "sampler": diffusion.samplers.DPMSolverPP(), "num_steps": 4}
        out = imputed(variables, jax.random.key(6), jnp.ones((3, 2)), jnp.array([True, False]), **options)
        np.testing.assert_array_equal(out[:, 0], 1.0)


class TestEdit:
    def test_edits_follow_the_flow_from_the_intermediate_level(self, variables):
        """80 steps of DPM-Solver++ are within 0.01 of the flow; noisy x is Gaussian before and after it."""
        start = jnp.array([[2.0, 1.5]])
        out = np.asarray(
            edited(variables, jax.random.key(7), jnp.tile(start, (NUM, 1)), strength=0.5, num_steps=80), np.float64
        )
        levels = diffusion.levels(MODEL.process, MODEL.grid, 80)
        matrix, offset = exact.flow(jax.tree.map(lambda a: a[40:], levels))
        alpha, sigma = float(levels.alpha[40]), float(levels.sigma[40])
        assert 0.5 < sigma < 0.9  # an intermediate level
        covariance = sigma**2 * matrix @ matrix.T
        deviation = (covariance.max() / NUM) ** 0.5
        np.testing.assert_allclose(out.mean(axis=0), alpha * matrix @ start[0] + offset, atol=4 * deviation + 0.01)
        np.testing.assert_allclose(np.cov(out.T), covariance, atol=0.03)

    def test_low_strength_preserves_x_and_full_strength_forgets_it(self, variables):
        x = jnp.tile(jnp.array([[4.0, -3.0]]), (NUM, 1))
        preserved = edited(variables, jax.random.key(8), x, strength=1e-6)  # one step
        np.testing.assert_allclose(preserved, x, atol=0.1)
        forgotten = edited(variables, jax.random.key(9), x, strength=1.0)
        np.testing.assert_allclose(forgotten.mean(axis=0), exact.MEAN, atol=0.06)
        np.testing.assert_allclose(np.cov(forgotten.T), exact.COVARIANCE, atol=0.05)

    @pytest.mark.parametrize("strength", [0.0, -0.1, 1.01, float("nan")])
    def test_strengths_out_of_range_are_refused(self, strength, variables):
        with pytest.raises(ValueError, match=rf"strength is {strength}, but must be (in \(0, 1\]|a finite number); 1"):
            diffusion.edit(MODEL, variables, jax.random.key(10), jnp.ones((2, 2)), strength=strength)

    def test_labels_and_guidance_are_the_denoisers(self, variables):
        with pytest.raises(ValueError, match="but no condition is given"):
            diffusion.edit(MODEL, variables, jax.random.key(11), jnp.ones((2, 2)), strength=0.5, guidance=2.0)
