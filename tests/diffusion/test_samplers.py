"""Samplers on Gaussian data and on finite sets, where denoisers are exact; and the walk that takes their steps."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import diffusion
from tests.diffusion import exact

PATH = diffusion.LinearPath(end=0.999)
SUB_VP = diffusion.SubVariancePreserving(start=0.01)
COSINE = diffusion.Cosine(log_snr_max=10.0, log_snr_min=-10.0)
DISCRETE = diffusion.DiscreteVariancePreserving()
VP, EDM = diffusion.VariancePreserving(start=0.02), diffusion.EDM(start=0.05)
POINTS = np.float32([[-1.0, -1.0], [1.0, -0.5], [0.2, 1.1]])


def travel(sampler, process, denoise, levels, x, key=1, **settings):
    run = jax.jit(lambda x: diffusion.walk(sampler, process, denoise, levels, jax.random.key(key), x, **settings))
    return jax.device_get(run(x))


def start(process, count, key=0):
    return jax.random.normal(jax.random.key(key), (count, 2)) * process.sigma(jnp.float32(process.end))


class TestGaussianData:
    """Processes that convergence is not measured for, with samplers of equations in log-SNR and in time."""

    @pytest.mark.parametrize(
        ("sampler", "process", "grid", "tolerance"),
        [
            (diffusion.DPMSolverPP(2), SUB_VP, diffusion.LogSNR(), 5e-3),
            (diffusion.DPMSolver2(), COSINE, diffusion.LogSNR(), 5e-3),
            (diffusion.DPMSolverPP(3), DISCRETE, diffusion.Karras(), 5e-3),
            (diffusion.Heun(), SUB_VP, diffusion.Karras(), 1e-2),
            (diffusion.Heun(), diffusion.VarianceExploding(), diffusion.Karras(), 1e-2),
            (diffusion.Heun(), PATH, diffusion.Karras(), 1e-2),
        ],
        ids=str,
    )
    def test_the_flow(self, sampler, process, grid, tolerance):
        units = jnp.concatenate([jnp.zeros((1, 2)), jnp.eye(2)])
        levels = diffusion.levels(process, grid, 80, to_data=False)
        out, _ = travel(sampler, process, exact.gaussian(process), levels, units)
        matrix, offset = exact.flow(levels)
        np.testing.assert_allclose(out[0], offset, atol=tolerance)
        np.testing.assert_allclose((out[1:] - out[0]).T, matrix, atol=tolerance)

    @pytest.mark.parametrize(
        ("sampler", "process"),
        [
            (diffusion.DPMSolverPP(2, stochastic=True), SUB_VP),
            (diffusion.EulerMaruyama(), diffusion.VarianceExploding()),
            (diffusion.DPMSolverPP(2, stochastic=True), COSINE),
            (diffusion.EulerMaruyama(), DISCRETE),
        ],
        ids=str,
    )
    def test_the_moments(self, sampler, process):
        levels = diffusion.levels(process, diffusion.LogSNR(), 80, to_data=False)
        own = exact.Affine(sampler, process, 80).moments(levels)
        right = exact.marginal(np.float64(levels.alpha)[-1], np.float64(levels.sigma)[-1])
        for value, expected in zip(own, right, strict=True):
            np.testing.assert_allclose(value, expected, atol=4e-2)


@pytest.mark.parametrize(
    ("sampler", "tolerance"),
    [
        (diffusion.DDIM(), 0.06),
        (diffusion.DPMSolverPP(3), 1e-3),
        (diffusion.Heun(), 2e-3),
        (diffusion.ProbabilityFlow(), 1e-4),
    ],
    ids=str,
)
def test_the_last_step_is_the_denoiser(sampler, tolerance):
    """From noise to data: x̂₀ of where the flow ends."""
    levels = diffusion.levels(VP, diffusion.LogSNR(), 65)
    x = start(VP, 5)
    out, _ = travel(sampler, VP, exact.gaussian(VP), levels, x)
    matrix, offset = exact.flow(jax.tree.map(lambda part: part[:-1], levels))
    last = jnp.asarray(x @ matrix.T + offset[None], jnp.float32)
    np.testing.assert_allclose(out, exact.gaussian(VP)(last, levels.t[-2]).data, atol=tolerance)


class TestRandomSamplers:
    def test_ddim_with_all_noise_is_the_lower_ancestral_sampler(self):
        levels = diffusion.levels(VP, diffusion.Uniform(), 10)
        x = start(VP, 6)
        one, other = (
            travel(sampler, VP, exact.gaussian(VP), levels, x)[0]
            for sampler in (diffusion.DDIM(1.0), diffusion.Ancestral("lower"))
        )
        np.testing.assert_array_equal(one, other)
        assert not np.allclose(one, travel(diffusion.DDIM(), VP, exact.gaussian(VP), levels, x)[0], atol=0.01)

    @pytest.mark.parametrize("process", [VP, EDM], ids=repr)
    def test_variances_of_ancestral_steps(self, process):
        """The lower one is right where all data are one point, the upper one where they are N(0, I)."""
        levels = diffusion.levels(process, diffusion.LogSNR(), 4, to_data=False)
        alpha, sigma = (np.float64(part) for part in (levels.alpha, levels.sigma))
        passed = sigma[:-1] ** 2 - (alpha[:-1] / alpha[1:]) ** 2 * sigma[1:] ** 2  # of x_t given x_s
        by_hand = {"lower": passed * (sigma[1:] / sigma[:-1]) ** 2, "upper": passed}
        for variance, expected in by_hand.items():
            noises = []
            for n in range(4):
                pair = jax.tree.map(lambda part, n=n: part[n : n + 2], levels)
                noises.append(exact.Affine(diffusion.Ancestral(variance), process, 1)(pair)[2][0])
            np.testing.assert_allclose(
                np.stack(noises), np.sqrt(expected)[:, None, None] * np.eye(2), rtol=1e-4, atol=1e-5
            )

    def test_noise_of_churn(self):
        """To σ̂ = (1 + γ) σ where σ is between two bounds, and as much as it says; not before or after."""
        here = diffusion.level(EDM, jnp.float32(2.0))
        x = jnp.zeros((40_000, 2))
        for churn, ratio in (
            (diffusion.Churn(0.3), 1.3),
            (diffusion.Churn(0.3, 2.5), 1),
            (diffusion.Churn(0.3, 0, 1), 1),
        ):
            there, moved = churn(EDM, here, jax.random.key(0), x)
            np.testing.assert_allclose(there.t, 2 * ratio, rtol=1e-6)
            np.testing.assert_allclose(np.std(moved), 2 * np.sqrt(ratio**2 - 1), rtol=0.02)
        _, moved = diffusion.Churn(0.3, scale=1.5)(EDM, here, jax.random.key(0), x)
        np.testing.assert_allclose(np.std(moved), 1.5 * 2 * np.sqrt(1.3**2 - 1), rtol=0.02)

    @pytest.mark.parametrize("process", [VP, DISCRETE], ids=repr)
    def test_churn_keeps_the_distribution(self, process):
        """Of x at a level with more noise; at the end of discrete steps there is none, and nothing is added."""
        for t in (0.5, process.end):
            here = diffusion.level(process, jnp.float32(t))
            mean, covariance = exact.marginal(float(here.alpha), float(here.sigma))
            unit = jax.random.normal(jax.random.key(0), (40_000, 2))
            x = jnp.float32(mean)[None] + unit @ jnp.float32(np.linalg.cholesky(covariance)).T
            there, moved = diffusion.Churn(0.2)(process, here, jax.random.key(1), x)
            mean, covariance = exact.marginal(float(there.alpha), float(there.sigma))
            np.testing.assert_allclose(np.mean(moved, axis=0), mean, atol=0.025)
            np.testing.assert_allclose(np.cov(moved.T), covariance, atol=0.03)
            discrete = isinstance(process, diffusion.DiscreteVariancePreserving)
            assert (there.log_snr < here.log_snr) == (not discrete or t < 1)

    def test_langevin_steps_keep_the_distribution(self):
        """Up to the variance that steps of a finite size add: 1 / (1 − δ/2v) times v, for v of each axis."""
        process = diffusion.EDM(start=0.5, end=1.0)
        levels = diffusion.level(process, jnp.float32([1.0, 1.0]))
        sampler = diffusion.PredictorCorrector(num_corrections=150)
        mean, _ = exact.marginal(1.0, 1.0)
        x = jnp.float32(mean)[None] + 3 * jax.random.normal(jax.random.key(0), (20_000, 2))
        out, _ = travel(sampler, process, exact.gaussian(process), levels, x)
        variances = exact.VARIANCES + 1
        kept = variances / (1 - 0.16**2 / variances)
        np.testing.assert_allclose(np.mean(out, axis=0), mean, atol=5 * np.sqrt(1.7 / 20_000))
        np.testing.assert_allclose(
            np.cov(out.T), exact.AXES @ np.diag(kept) @ exact.AXES.T, atol=5 * 1.8 / np.sqrt(1e4)
        )

    @pytest.mark.parametrize(
        ("sampler", "process", "num_steps"),
        [
            (diffusion.PredictorCorrector(diffusion.DDIM()), VP, 60),
            (diffusion.PredictorCorrector(diffusion.Ancestral("upper"), 2), EDM, 60),
            (diffusion.PredictorCorrector(num_corrections=60), VP, 160),
            (diffusion.Heun(diffusion.Churn(0.1)), VP, 60),
        ],
        ids=str,
    )
    def test_gaussian_data(self, sampler, process, num_steps):
        levels = diffusion.levels(process, diffusion.Karras(), num_steps, to_data=False)
        count = 2000
        out, _ = travel(sampler, process, exact.gaussian(process), levels, start(process, count))
        mean, covariance = exact.marginal(float(levels.alpha[-1]), float(levels.sigma[-1]))
        # Five standard errors, and what steps of a finite size leave.
        np.testing.assert_allclose(np.mean(out, axis=0), mean, atol=5 * np.sqrt(0.64 / count) + 0.02)
        np.testing.assert_allclose(np.cov(out.T), covariance, atol=5 * 0.64 * np.sqrt(2 / count) + 0.03)


@pytest.mark.parametrize(
    "sampler",
    [
        diffusion.DDIM(),
        diffusion.Ancestral("lower"),
        diffusion.DPMSolverPP(3),
        diffusion.DPMSolverPP(2, stochastic=True),
        diffusion.DPMSolver2(),
        diffusion.Heun(diffusion.Churn(0.2)),
        diffusion.EulerMaruyama(),
        diffusion.PredictorCorrector(diffusion.DDIM()),
        diffusion.PredictorCorrector(num_corrections=40),
    ],
    ids=str,
)
def test_finite_data_are_found(sampler):
    """Each sample is one of the points, and each point has its share."""
    process = diffusion.VariancePreserving()
    levels = diffusion.levels(process, diffusion.LogSNR(), 100)
    count = 600
    out, _ = travel(sampler, process, exact.finite(process, POINTS), levels, start(process, count))
    distance = np.linalg.norm(out[:, None] - POINTS, axis=-1)
    assert distance.min(axis=1).max() < 1e-3
    shares = np.bincount(distance.argmin(axis=1), minlength=3) / count
    assert (np.abs(shares - 1 / 3) < 5 * np.sqrt(2 / 9 / count)).all(), shares


ALL = [
    diffusion.DDIM(1.0),
    diffusion.Ancestral("upper"),
    diffusion.DPMSolverPP(3),
    diffusion.DPMSolverPP(2, stochastic=True),
    diffusion.Euler(),
    diffusion.Heun(),
    diffusion.ProbabilityFlow(),
    diffusion.PredictorCorrector(diffusion.DDIM()),
]
NEEDY = [
    diffusion.DPMSolver2(),
    diffusion.EulerMaruyama(),
    diffusion.Euler(diffusion.Churn(0.1)),
    diffusion.Heun(diffusion.Churn(0.1)),
    diffusion.PredictorCorrector(diffusion.DPMSolver2()),
    diffusion.PredictorCorrector(),
]


class TestNoSignal:
    @pytest.mark.parametrize(
        ("sampler", "num_steps"),
        [(sampler, 1) for sampler in ALL]
        + [(sampler, 4) for sampler in (diffusion.DDIM(1.0), diffusion.DPMSolverPP(2), diffusion.DPMSolverPP(3))],
        ids=str,
    )
    def test_samples_and_gradients_are_finite(self, sampler, num_steps):
        """Also where the first step begins at α = 0, and is the last one."""
        process = diffusion.LinearPath()
        levels = diffusion.levels(process, diffusion.Uniform(), num_steps)
        assert isinstance(sampler, diffusion.Sampler) and not sampler.needs_signal

        @jax.jit
        def both(x):
            def total(x):
                out, _ = diffusion.walk(sampler, process, exact.gaussian(process), levels, jax.random.key(0), x)
                return jnp.sum(out), out

            return jax.grad(total, has_aux=True)(x)

        gradient, out = both(start(process, 2))
        assert np.isfinite(out).all() and np.isfinite(gradient).all()
        if num_steps == 1:
            np.testing.assert_allclose(out, np.tile(np.float32(exact.MEAN), (2, 1)), rtol=1e-5)

    @pytest.mark.parametrize("sampler", NEEDY, ids=str)
    def test_what_divides_by_it_says_so(self, sampler):
        process = diffusion.LinearPath()

        def draw(x):
            levels = diffusion.levels(process, diffusion.Uniform(), 4)
            return diffusion.walk(sampler, process, exact.gaussian(process), levels, jax.random.key(0), x)

        for function in (draw, jax.jit(draw)):
            with pytest.raises(ValueError, match=r"LinearPath is 0 at t = 1, but .* with end=0.999 for example"):
                function(jnp.zeros((2, 2)))
        near = dataclasses.replace(process, end=0.999)
        levels = diffusion.levels(near, diffusion.Uniform(), 4)
        out, _ = travel(sampler, near, exact.gaussian(near), levels, start(near, 2))
        assert np.isfinite(out).all()


class TestWalk:
    @pytest.mark.parametrize(
        "sampler", [diffusion.DDIM(1.0), diffusion.DPMSolverPP(2), diffusion.Heun(), *NEEDY[:3]], ids=str
    )
    def test_gradients_reach_the_first_noise(self, sampler):
        """Of deterministic samplers those of the flow, through the last step to data too."""
        levels = diffusion.levels(VP, diffusion.LogSNR(), 20)
        x = start(VP, 1)
        jacobian = jax.jit(
            jax.jacrev(lambda x: diffusion.walk(sampler, VP, exact.gaussian(VP), levels, jax.random.key(0), x)[0])
        )(x)[0, :, 0]
        assert np.isfinite(jacobian).all()
        if sampler in (diffusion.DPMSolverPP(2), diffusion.DPMSolver2(), diffusion.Heun()):
            matrix, _ = exact.flow(levels)
            np.testing.assert_allclose(jacobian, matrix, atol=0.03)

    def test_moments_are_observed_before_each_step(self):
        levels = diffusion.levels(VP, diffusion.LogSNR(), 5)
        x = start(VP, 3)
        out, seen = travel(diffusion.DDIM(), VP, exact.gaussian(VP), levels, x, observe=lambda moment: moment)
        assert seen.x.shape == seen.data.shape == (5, 3, 2)
        np.testing.assert_array_equal(seen.x[0], x)
        np.testing.assert_array_equal(seen.here.t, levels.t[:-1])
        np.testing.assert_array_equal(seen.data[-1], out)
        data, noise = exact.gaussian(VP)(jnp.asarray(seen.x[2]), levels.t[2])
        np.testing.assert_allclose(seen.data[2], data, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(seen.x[3], levels.alpha[3] * data + levels.sigma[3] * noise, rtol=1e-5, atol=1e-6)
        assert travel(diffusion.DDIM(), VP, exact.gaussian(VP), levels, x)[1] is None

    def test_what_is_known_is_put_in_after_each_step(self):
        levels = diffusion.levels(VP, diffusion.LogSNR(), 5)
        known = 0.7

        def constrain(key, level, x):
            noise = jax.random.normal(key, (3,))
            return x.at[:, 0].set(level.alpha * known + level.sigma * noise)

        x = start(VP, 3)
        out, seen = travel(
            diffusion.DDIM(), VP, exact.gaussian(VP), levels, x, observe=lambda moment: moment.x, constrain=constrain
        )
        np.testing.assert_array_equal(seen[0], x)
        np.testing.assert_array_equal(out[:, 0], np.float32([known] * 3))
        noises = (seen[1:, :, 0] - known * np.asarray(levels.alpha)[1:-1, None]) / np.asarray(levels.sigma)[1:-1, None]
        assert len(np.unique(noises.round(4))) == 12  # fresh at each step
        # The constrained x is what the next step sees.
        data, noise = exact.gaussian(VP)(jnp.asarray(seen[3]), levels.t[3])
        np.testing.assert_allclose(
            seen[4][:, 1], (levels.alpha[4] * data + levels.sigma[4] * noise)[:, 1], rtol=1e-5, atol=1e-6
        )

    def test_keys(self):
        levels = diffusion.levels(VP, diffusion.LogSNR(), 5)
        x = start(VP, 3)
        one, same, other = (
            travel(diffusion.DDIM(1.0), VP, exact.gaussian(VP), levels, x, key=key)[0] for key in (1, 1, 2)
        )
        np.testing.assert_array_equal(one, same)
        assert (one != other).all()

    def test_the_denoiser_is_traced_once_for_all_steps(self):
        traces = []

        def denoise(x, t):
            assert x.shape == (3, 2) and t.shape == ()
            traces.append(t)
            return exact.gaussian(VP)(x, t)

        levels = diffusion.levels(VP, diffusion.LogSNR(), 12)
        run = jax.jit(lambda x: diffusion.walk(diffusion.DPMSolverPP(), VP, denoise, levels, jax.random.key(0), x)[0])
        run(start(VP, 3))
        run(start(VP, 3, key=1))
        assert len(traces) == 1

    @pytest.mark.parametrize(
        "sampler",
        [diffusion.DDIM(), diffusion.DPMSolver2(), diffusion.Heun(), diffusion.PredictorCorrector(num_corrections=3)],
        ids=str,
    )
    def test_evaluations(self, sampler):
        """As often as a sampler says."""
        process, count = PATH, []

        def denoise(x, t):
            count.append(t)
            return exact.gaussian(process)(x, t)

        levels = diffusion.levels(process, diffusion.LogSNR(), 2, to_data=False)
        with jax.disable_jit():
            here, there = (jax.tree.map(lambda part, n=n: part[n], levels) for n in (0, 1))
            x = jnp.zeros((1, 2))
            sampler.step(process, denoise, here, there, jax.random.key(0), x, sampler.memory(x))
        assert len(count) == sampler.evaluations


class TestErrors:
    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: diffusion.DDIM(1.5), r"eta is 1.5, but must be in \[0, 1\]"),
            (lambda: diffusion.Ancestral("middle"), "variance is 'middle'"),
            (lambda: diffusion.DPMSolverPP(4), "order is 4"),
            (lambda: diffusion.DPMSolverPP(3, stochastic=True), "order is 3, but the stochastic equation has 1 and 2"),
            (lambda: diffusion.Churn(0.5), "gamma is 0.5, .* would double the variance"),
            (lambda: diffusion.Churn(-0.1), "gamma is -0.1"),
            (
                lambda: diffusion.PredictorCorrector(num_corrections=0),
                "num_corrections is 0, .* use the predictor alone",
            ),
            (lambda: diffusion.PredictorCorrector(snr=0.0), "snr is 0.0, but must be above 0"),
        ],
    )
    def test_settings(self, make, message):
        with pytest.raises(ValueError, match=message):
            make()
