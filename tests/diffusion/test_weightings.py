"""Weightings agree where they are the same loss, and training times have their distributions."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from genjax import diffusion
from genjax.diffusion.weightings import Errors

U = jnp.asarray((np.arange(4_000) + 0.5) / 4_000, jnp.float32)


def errors_of(noise_error, process, t, output_error=0.0):
    """Return one error in all units, for examples of three elements: equation 1."""
    ratio = jnp.square(process.sigma(t) / process.alpha(t))
    return Errors(ratio * noise_error, noise_error, jnp.broadcast_to(output_error, t.shape), 3)


class TestWeightings:
    @pytest.fixture
    def t(self):
        return jnp.linspace(0.05, 0.95, 7)

    def test_min_snr_is_simple_where_the_signal_is_weak(self, t):
        process = diffusion.processes.VariancePreserving()
        errors = errors_of(jnp.full(7, 2.0), process, t)
        simple, clipped = (
            w(process, t, errors) for w in (diffusion.weightings.Simple(), diffusion.weightings.MinSNR(5.0))
        )
        np.testing.assert_allclose(simple, 2 / 3, rtol=1e-6)
        weak = np.asarray(process.log_snr(t)) < np.log(5.0)
        assert 0 < weak.sum() < 7
        np.testing.assert_allclose(np.asarray(clipped)[weak], 2 / 3, rtol=1e-5)
        np.testing.assert_allclose(clipped[~weak], 5 * np.asarray(errors.data)[~weak] / 3, rtol=1e-5)

    @pytest.mark.parametrize(
        "process",
        [diffusion.processes.VariancePreserving(), diffusion.processes.LinearPath(), diffusion.processes.EDM()],
    )
    def test_the_bound_weighs_by_the_speed_of_the_log_snr(self, process):
        t = jnp.asarray(np.linspace(process.start, process.end, 9)[1:-1], jnp.float32)
        errors = errors_of(jnp.ones(7), process, t)
        span = (process.end - process.start) * 1e-3
        speed = (process.log_snr(t - span) - process.log_snr(t + span)) / (2 * span)
        expected = 0.5 * (process.end - process.start) * speed
        np.testing.assert_allclose(diffusion.weightings.VariationalBound()(process, t, errors), expected, rtol=1e-2)

    def test_gamma(self):
        with pytest.raises(ValueError, match=r"gamma is 0, but must be above 0; 5\.0 is usual"):
            diffusion.weightings.MinSNR(0)


class TestTimes:
    def test_uniform(self):
        process = diffusion.processes.EDM(start=1.0, end=3.0)
        np.testing.assert_allclose(diffusion.times.UniformTimes().quantile(process, U), 1 + 2 * U, rtol=1e-6)

    @pytest.mark.parametrize(
        "process",
        [diffusion.processes.VariancePreserving(), diffusion.processes.EDM(), diffusion.processes.LinearPath()],
    )
    def test_uniform_log_snrs(self, process):
        t = diffusion.times.UniformLogSNR().quantile(process, U)
        lowest = max(float(process.log_snr(jnp.float32(process.end))), -20.0)
        highest = float(process.log_snr(jnp.float32(process.start)))
        log_snr = process.log_snr(t)
        np.testing.assert_allclose(log_snr, highest + (lowest - highest) * U, atol=2e-2)
        assert process.start <= t.min() < t.max() <= process.end

    def test_log_normal(self):
        process = diffusion.processes.EDM(start=1e-4, end=1e3)
        log_sigma = np.log(diffusion.times.LogNormal(-1.2, 1.2).quantile(process, U))
        assert stats.kstest(log_sigma, stats.norm(-1.2, 1.2).cdf).statistic < 1e-3

    def test_logit_normal(self):
        process = diffusion.processes.LinearPath(start=0.0)
        t = np.asarray(diffusion.times.LogitNormal(0.5, 2.0).quantile(process, U[100:-100]))
        expected = stats.norm(0.5, 2.0).cdf(np.log(t / (1 - t)))
        np.testing.assert_allclose(expected, U[100:-100], atol=1e-3)

    def test_discrete_times_are_those_of_the_steps(self):
        process = diffusion.processes.DiscreteVariancePreserving(num_steps=10, beta_max=0.5)
        t, counts = np.unique(np.asarray(diffusion.times.DiscreteTimes(10).quantile(process, U)), return_counts=True)
        np.testing.assert_allclose(t, np.arange(1, 11) / 10, rtol=1e-6)
        np.testing.assert_allclose(counts, 400, atol=1)

    @pytest.mark.parametrize("distribution", [diffusion.times.LogNormal, diffusion.times.LogitNormal])
    def test_standard_deviations(self, distribution):
        with pytest.raises(ValueError, match=r"std is 0\.0, but must be above 0"):
            distribution(std=0.0)
