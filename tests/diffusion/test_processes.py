"""Noise processes against their formulas in double precision, and rates against finite differences."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import diffusion
from genjax.diffusion.processes import conditional_variance, rates

LO, HI = 0.1, 20.0  # β of the continuous processes


def integral(t):
    """Return ∫ β."""
    return LO * t + 0.5 * (HI - LO) * t**2


def beta(t):
    return LO + (HI - LO) * t


def angles(process):
    return [math.atan(math.exp(-0.5 * (end - process.shift))) for end in (process.log_snr_max, process.log_snr_min)]


COSINE = diffusion.processes.Cosine()
FIRST, LAST = angles(COSINE)
SHIFTED = diffusion.processes.Cosine(shift=-2 * math.log(4), log_snr_max=9.0, log_snr_min=-11.0)
FACTOR = np.float64(np.exp(-0.5 * SHIFTED.shift))  # of σ / α: 4
LOW, HIGH = (math.atan(math.exp(-0.5 * end)) for end in (9.0, -11.0))


def shifted(t):
    """Return σ / α."""
    return FACTOR * np.tan(LOW + (HIGH - LOW) * t)


# α, σ, f and g², each by its own formula.
FORMULAS = {
    diffusion.processes.VariancePreserving(): (
        lambda t: np.exp(-0.5 * integral(t)),
        lambda t: np.sqrt(-np.expm1(-integral(t))),
        lambda t: -0.5 * beta(t),
        beta,
    ),
    diffusion.processes.SubVariancePreserving(): (
        lambda t: np.exp(-0.5 * integral(t)),
        lambda t: -np.expm1(-integral(t)),
        lambda t: -0.5 * beta(t),
        lambda t: -beta(t) * np.expm1(-2 * integral(t)),
    ),
    diffusion.processes.VarianceExploding(): (
        np.ones_like,
        lambda t: 0.01 * 5000**t,
        np.zeros_like,
        lambda t: 2 * np.log(5000) * (0.01 * 5000**t) ** 2,
    ),
    diffusion.processes.EDM(): (np.ones_like, lambda t: t, np.zeros_like, lambda t: 2 * t),
    COSINE: (
        lambda t: np.cos(FIRST + (LAST - FIRST) * t),
        lambda t: np.sin(FIRST + (LAST - FIRST) * t),
        lambda t: -(LAST - FIRST) * np.tan(FIRST + (LAST - FIRST) * t),
        lambda t: 2 * (LAST - FIRST) * np.tan(FIRST + (LAST - FIRST) * t),
    ),
    SHIFTED: (lambda t: 1 / np.hypot(1, shifted(t)), lambda t: shifted(t) / np.hypot(1, shifted(t)), None, None),
    diffusion.processes.LinearPath(end=0.999): (
        lambda t: 1 - t,
        lambda t: t,
        lambda t: -1 / (1 - t),
        lambda t: 2 * t / (1 - t),
    ),
    diffusion.processes.LinearPath(sigma_min=0.1, start=0.0, end=0.99): (
        lambda t: 1 - t,
        lambda t: 0.1 + 0.9 * t,
        lambda t: -1 / (1 - t),
        lambda t: 2 * 0.9 * (0.1 + 0.9 * t) + 2 * (0.1 + 0.9 * t) ** 2 / (1 - t),
    ),
}
DISCRETE = [
    diffusion.processes.DiscreteVariancePreserving(),
    diffusion.processes.DiscreteVariancePreserving(num_steps=50, schedule="cosine"),
    diffusion.processes.DiscreteVariancePreserving(num_steps=3, schedule=(0.1, 0.5, 0.2)),
]
ALL = [*FORMULAS, *DISCRETE]


def times(process, count=101):
    return np.linspace(process.start, process.end, count, dtype=np.float32)


@pytest.mark.parametrize("process", FORMULAS, ids=repr)
class TestFormulas:
    def test_levels(self, process):
        t = times(process)
        alpha, sigma = (formula(np.float64(t)) for formula in FORMULAS[process][:2])
        here = diffusion.level_at(process, jnp.asarray(t))
        np.testing.assert_allclose(here.alpha, alpha, rtol=1e-5)
        np.testing.assert_allclose(here.sigma, sigma, rtol=1e-5)
        np.testing.assert_allclose(here.log_snr, 2 * np.log(alpha / sigma), rtol=1e-5, atol=2e-5)

    def test_equation(self, process):
        drift, diffused = FORMULAS[process][2:]
        if drift is None:
            pytest.skip("the shift has no formula of its own")
        t = times(process)
        change = rates(process, jnp.asarray(t))
        np.testing.assert_allclose(change.alpha / process.alpha(jnp.asarray(t)), drift(np.float64(t)), rtol=2e-5)
        np.testing.assert_allclose(change.diffusion, diffused(np.float64(t)), rtol=5e-5)


@pytest.mark.parametrize("process", ALL, ids=repr)
class TestProcess:
    def test_it_is_a_noise_process(self, process):
        assert isinstance(process, diffusion.processes.NoiseProcess)
        assert hash(process) == hash(process)
        diffusion.processes.check_process(process)

    def test_the_log_snr_falls_and_is_that_of_the_level(self, process):
        here = jax.tree.map(np.float64, diffusion.level_at(process, jnp.asarray(times(process))))
        assert (np.diff(here.log_snr) < 0).all()
        np.testing.assert_allclose(here.log_snr, 2 * np.log(here.alpha / here.sigma), rtol=1e-5, atol=2e-5)

    def test_time_is_the_inverse(self, process):
        t = times(process, 1001)
        log_snr = np.asarray(process.log_snr(jnp.asarray(t)))
        back = process.time(jnp.asarray(log_snr))
        # Effect of rounding the log-SNR, in addition to that of rounding the time.
        slope = np.abs(np.gradient(np.float64(log_snr), np.float64(t)))
        rounding = np.finfo(np.float32).eps * (np.maximum(1, np.abs(log_snr)) / slope + t)
        assert (np.abs(np.float64(back) - t) <= 8 * rounding + 1e-7 * process.end).all()

    def test_rates_are_those_of_differences(self, process):
        with jax.enable_x64(True):
            edges = np.linspace(process.start, process.end, 301)
            t = 0.5 * (edges[1:] + edges[:-1])  # between the steps of discrete processes
            width = 1e-6 * (process.end - process.start)
            change = jax.tree.map(np.asarray, rates(process, jnp.asarray(t)))
            below, above = (diffusion.level_at(process, jnp.asarray(t + sign * width)) for sign in (-1, 1))
            slopes = [np.asarray((b - a) / (2 * width)) for a, b in zip(below, above, strict=True)]
            sigma = np.asarray(process.sigma(jnp.asarray(t)))
        assert change.alpha.dtype == np.float64
        np.testing.assert_allclose(change.alpha, slopes[1], rtol=1e-5, atol=1e-8)
        np.testing.assert_allclose(change.sigma, slopes[2], rtol=1e-5, atol=1e-8)
        np.testing.assert_allclose(change.diffusion, -slopes[3] * sigma**2, rtol=1e-5)
        # The variance of x_t obeys dσ²/dt = 2 f σ² + g².
        drift = change.alpha / np.asarray(process.alpha(jnp.asarray(t)))
        np.testing.assert_allclose(2 * sigma * slopes[2] - 2 * drift * sigma**2, change.diffusion, rtol=1e-4, atol=1e-8)

    def test_conditional_variance(self, process):
        t = times(process, 41)
        earlier, later = (diffusion.level_at(process, jnp.asarray(part)) for part in (t[:-1], t[1:]))
        exact_earlier, exact_later = (jax.tree.map(np.float64, one) for one in (earlier, later))
        ratio = exact_later.alpha / exact_earlier.alpha
        expected = exact_later.sigma**2 - ratio**2 * exact_earlier.sigma**2
        np.testing.assert_allclose(conditional_variance(later, earlier), expected, rtol=1e-4, atol=1e-6)


class TestDiscrete:
    @pytest.mark.parametrize("process", DISCRETE, ids=repr)
    def test_alphas_are_products(self, process):
        steps = np.arange(1, process.num_steps + 1)
        squared = np.cumprod(1 - process.betas)
        t = jnp.asarray(steps / process.num_steps, jnp.float32)
        np.testing.assert_allclose(np.square(process.alpha(t)), squared, rtol=2e-5)
        np.testing.assert_allclose(np.square(process.sigma(t)), 1 - squared, rtol=2e-5)
        assert process.start == 1 / process.num_steps and process.end == 1.0

    def test_the_published_numbers(self):
        betas = diffusion.processes.DiscreteVariancePreserving().betas
        np.testing.assert_allclose(betas[[0, 1, -1]], [1e-4, 1e-4 + 0.0199 / 999, 0.02])
        process = diffusion.processes.DiscreteVariancePreserving(schedule="cosine")
        squared = np.cos((np.arange(1001) / 1000 + 0.008) / 1.008 * np.pi / 2) ** 2
        t = np.arange(1, 991) / 1000  # before the last ones are clipped
        np.testing.assert_allclose(
            np.square(process.alpha(jnp.asarray(t, jnp.float32))), squared[1:991] / squared[0], rtol=1e-4
        )
        assert process.betas[-1] == 0.999

    def test_between_two_steps(self):
        process = DISCRETE[2]
        alpha = np.sqrt(np.cumprod([0.9, 0.5, 0.8]))
        between = process.alpha(jnp.float32([1.5 / 3, 2.25 / 3, 0.5 / 3]))
        expected = [np.sqrt(alpha[0] * alpha[1]), alpha[1] ** 0.75 * alpha[2] ** 0.25, np.sqrt(alpha[0])]
        np.testing.assert_allclose(between, expected, rtol=1e-6)

    def test_one_step_adds_the_beta(self):
        process = diffusion.processes.DiscreteVariancePreserving(num_steps=20)
        here = diffusion.level_at(process, jnp.arange(1, 21, dtype=jnp.float32) / 20)
        earlier, later = (jax.tree.map(lambda a, s=s: a[s], here) for s in (slice(None, -1), slice(1, None)))
        np.testing.assert_allclose(conditional_variance(later, earlier), process.betas[1:], rtol=1e-4)


class TestEnds:
    def test_a_straight_path_without_signal(self):
        process = diffusion.processes.LinearPath(start=0.0)
        here = diffusion.level_at(process, jnp.float32([0.0, 1.0]))
        np.testing.assert_array_equal(here.alpha, [1, 0])
        np.testing.assert_array_equal(here.sigma, [0, 1])
        np.testing.assert_array_equal(here.log_snr, [np.inf, -np.inf])
        np.testing.assert_array_equal(process.time(here.log_snr), [0, 1])

    @pytest.mark.parametrize(
        "process", [diffusion.processes.VariancePreserving(), diffusion.processes.SubVariancePreserving()], ids=repr
    )
    def test_data_without_noise(self, process):
        assert process.sigma(jnp.float32(0.0)) == 0 and process.log_snr(jnp.float32(0.0)) == np.inf
        assert process.time(jnp.float32(np.inf)) == 0


class TestErrors:
    @pytest.mark.parametrize(
        ("process", "settings", "message"),
        [
            (diffusion.processes.VariancePreserving, {"beta_min": 0.0}, "beta_min is 0.0 .* 0 < beta_min <= beta_max"),
            (diffusion.processes.SubVariancePreserving, {"beta_min": 2.0, "beta_max": 1.0}, "beta_max is 1.0"),
            (diffusion.processes.VarianceExploding, {"sigma_min": 0.0}, "from 0.0 to 50.0, but must grow"),
            (diffusion.processes.VarianceExploding, {"sigma_max": 0.01}, "from 0.01 to 0.01"),
            (diffusion.processes.EDM, {"start": 0.0}, "from 0.0 to 80.0"),
            (diffusion.processes.EDM, {"start": 90.0}, "from 90.0 to 80.0"),
            (diffusion.processes.Cosine, {"log_snr_min": 15.0}, "log_snr_min is 15.0 .* must be less than log_snr_max"),
            (diffusion.processes.LinearPath, {"sigma_min": 1.0}, r"sigma_min is 1.0, but must be in \[0, 1\)"),
            (diffusion.processes.LinearPath, {"sigma_min": -0.1}, "sigma_min is -0.1"),
            (diffusion.processes.DiscreteVariancePreserving, {"num_steps": 1}, "num_steps is 1"),
            (diffusion.processes.DiscreteVariancePreserving, {"schedule": "quadratic"}, "schedule is 'quadratic'"),
            (
                diffusion.processes.DiscreteVariancePreserving,
                {"schedule": (0.1, 0.2)},
                "2 betas, but num_steps is 1000",
            ),
            (
                diffusion.processes.DiscreteVariancePreserving,
                {"num_steps": 2, "schedule": (0.1, 0.0)},
                "is 0.0, but .* adds noise",
            ),
            (diffusion.processes.DiscreteVariancePreserving, {"beta_max": 1.5}, r"all must be in \(0, 1\)"),
            (
                diffusion.processes.DiscreteVariancePreserving,
                {"num_steps": 2, "schedule": (0.1, math.nan)},
                "nan is not",
            ),
        ],
    )
    def test_constructors(self, process, settings, message):
        with pytest.raises(ValueError, match=message):
            process(**settings)

    def test_times_in_the_wrong_order(self):
        with pytest.raises(ValueError, match=r"start is 1.0 and end is 0.5"):
            diffusion.processes.check_process(diffusion.processes.VariancePreserving(start=1.0, end=0.5))

    def test_a_log_snr_that_rises(self):
        class Wave:
            start, end = 0.0, 1.0

            def log_snr(self, t):
                return jnp.where(t < 0.5, -t, -1 + t)

        with pytest.raises(ValueError, match=r"Wave is not monotone: .* after t = 0.5"):
            diffusion.processes.check_process(Wave())

    def test_a_log_snr_that_is_nan(self):
        with pytest.raises(ValueError, match=r"LinearPath is not monotone"):
            diffusion.processes.check_process(diffusion.processes.LinearPath(end=1.5))

    def test_a_process_is_checked_while_another_function_is_compiled(self):
        @jax.jit
        def checked(x):
            diffusion.processes.check_process(diffusion.processes.DiscreteVariancePreserving())
            return x

        assert checked(1.0) == 1
