"""Samplers on Gaussian data and on finite sets, where denoisers are exact, and the sampling loop."""

import dataclasses
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import diffusion, ops
from tests.diffusion import exact

PATH = diffusion.processes.LinearPath(end=0.999)
SUB_VP = diffusion.processes.SubVariancePreserving(start=0.01)
COSINE = diffusion.processes.Cosine(log_snr_max=10.0, log_snr_min=-10.0)
DISCRETE = diffusion.processes.DiscreteVariancePreserving()
VP, EDM = diffusion.processes.VariancePreserving(start=0.02), diffusion.processes.EDM(start=0.05)
POINTS = np.float32([[-1.0, -1.0], [1.0, -0.5], [0.2, 1.1]])


def run_loop(sampler, process, denoise, levels, x, key=1, **settings):
    run = jax.jit(
        lambda x: diffusion.sample_loop(sampler, process, denoise, levels, jax.random.key(key), x, **settings)
    )
    return jax.device_get(run(x))


def start(process, count, key=0):
    return jax.random.normal(jax.random.key(key), (count, 2)) * process.sigma(jnp.float32(process.end))


class TestGaussianData:
    """Processes without a convergence test, with samplers in log-SNR and in time."""

    @pytest.mark.parametrize(
        ("sampler", "process", "grid", "tolerance"),
        [
            (diffusion.samplers.DPMSolverPP(2), SUB_VP, diffusion.grids.LogSNR(), 5e-3),
            (diffusion.samplers.DPMSolver2(), COSINE, diffusion.grids.LogSNR(), 5e-3),
            (diffusion.samplers.DPMSolverPP(3), DISCRETE, diffusion.grids.Karras(), 5e-3),
            (diffusion.samplers.Heun(), SUB_VP, diffusion.grids.Karras(), 1e-2),
            (diffusion.samplers.Heun(), diffusion.processes.VarianceExploding(), diffusion.grids.Karras(), 1e-2),
            (diffusion.samplers.Heun(), PATH, diffusion.grids.Karras(), 1e-2),
        ],
        ids=str,
    )
    def test_the_flow(self, sampler, process, grid, tolerance):
        units = jnp.concatenate([jnp.zeros((1, 2)), jnp.eye(2)])
        levels = diffusion.levels(process, grid, 80, to_data=False)
        out, _ = run_loop(sampler, process, exact.gaussian(process), levels, units)
        matrix, offset = exact.flow(levels)
        np.testing.assert_allclose(out[0], offset, atol=tolerance)
        np.testing.assert_allclose((out[1:] - out[0]).T, matrix, atol=tolerance)

    @pytest.mark.parametrize(
        ("sampler", "process"),
        [
            (diffusion.samplers.DPMSolverPP(2, stochastic=True), SUB_VP),
            (diffusion.samplers.EulerMaruyama(), diffusion.processes.VarianceExploding()),
            (diffusion.samplers.DPMSolverPP(2, stochastic=True), COSINE),
            (diffusion.samplers.EulerMaruyama(), DISCRETE),
        ],
        ids=str,
    )
    def test_the_moments(self, sampler, process):
        levels = diffusion.levels(process, diffusion.grids.LogSNR(), 80, to_data=False)
        own = exact.Affine(sampler, process, 80).moments(levels)
        right = exact.marginal(np.float64(levels.alpha)[-1], np.float64(levels.sigma)[-1])
        for value, expected in zip(own, right, strict=True):
            np.testing.assert_allclose(value, expected, atol=4e-2)


@pytest.mark.parametrize(
    ("sampler", "tolerance"),
    [
        (diffusion.samplers.DDIM(), 0.06),
        (diffusion.samplers.DPMSolverPP(3), 1e-3),
        (diffusion.samplers.Heun(), 2e-3),
        (diffusion.samplers.ProbabilityFlow(), 1e-4),
    ],
    ids=str,
)
def test_the_last_step_is_the_denoiser(sampler, tolerance):
    """Samples are x̂₀ at the end of the flow."""
    levels = diffusion.levels(VP, diffusion.grids.LogSNR(), 65)
    x = start(VP, 5)
    out, _ = run_loop(sampler, VP, exact.gaussian(VP), levels, x)
    matrix, offset = exact.flow(jax.tree.map(lambda part: part[:-1], levels))
    last = jnp.asarray(x @ matrix.T + offset[None], jnp.float32)
    np.testing.assert_allclose(out, exact.gaussian(VP)(last, levels.time[-2]).data, atol=tolerance)


class TestRandomSamplers:
    def test_ddim_with_all_noise_is_the_lower_ancestral_sampler(self):
        levels = diffusion.levels(VP, diffusion.grids.Uniform(), 10)
        x = start(VP, 6)
        one, other = (
            run_loop(sampler, VP, exact.gaussian(VP), levels, x)[0]
            for sampler in (diffusion.samplers.DDIM(1.0), diffusion.samplers.Ancestral("lower"))
        )
        np.testing.assert_array_equal(one, other)
        assert not np.allclose(
            one, run_loop(diffusion.samplers.DDIM(), VP, exact.gaussian(VP), levels, x)[0], atol=0.01
        )

    @pytest.mark.parametrize("process", [VP, EDM], ids=repr)
    def test_variances_of_ancestral_steps(self, process):
        """The lower one is exact if the data are a single point, the upper one if they are N(0, I)."""
        levels = diffusion.levels(process, diffusion.grids.LogSNR(), 4, to_data=False)
        alpha, sigma = (np.float64(part) for part in (levels.alpha, levels.sigma))
        conditional = sigma[:-1] ** 2 - (alpha[:-1] / alpha[1:]) ** 2 * sigma[1:] ** 2  # variance of x_t given x_s
        by_hand = {"lower": conditional * (sigma[1:] / sigma[:-1]) ** 2, "upper": conditional}
        for variance, expected in by_hand.items():
            noises = []
            for n in range(4):
                pair = jax.tree.map(lambda part, n=n: part[n : n + 2], levels)
                noises.append(exact.Affine(diffusion.samplers.Ancestral(variance), process, 1)(pair)[2][0])
            np.testing.assert_allclose(
                np.stack(noises), np.sqrt(expected)[:, None, None] * np.eye(2), rtol=1e-4, atol=1e-5
            )

    def test_noise_of_churn(self):
        """Churn raises σ to (1 + γ) σ between the two bounds only, with the variance of that level."""
        level = diffusion.level_at(EDM, jnp.float32(2.0))
        x = jnp.zeros((40_000, 2))
        for churn, ratio in (
            (diffusion.samplers.Churn(0.3), 1.3),
            (diffusion.samplers.Churn(0.3, 2.5), 1),
            (diffusion.samplers.Churn(0.3, 0, 1), 1),
        ):
            noisier, noisy = churn(EDM, level, jax.random.key(0), x)
            np.testing.assert_allclose(noisier.time, 2 * ratio, rtol=1e-6)
            np.testing.assert_allclose(np.std(noisy), 2 * np.sqrt(ratio**2 - 1), rtol=0.02)
        _, noisy = diffusion.samplers.Churn(0.3, scale=1.5)(EDM, level, jax.random.key(0), x)
        np.testing.assert_allclose(np.std(noisy), 1.5 * 2 * np.sqrt(1.3**2 - 1), rtol=0.02)

    @pytest.mark.parametrize("process", [VP, DISCRETE], ids=repr)
    def test_churn_keeps_the_distribution(self, process):
        """x has the distribution of the noisier level; discrete processes have none beyond their end."""
        for t in (0.5, process.end):
            level = diffusion.level_at(process, jnp.float32(t))
            mean, covariance = exact.marginal(float(level.alpha), float(level.sigma))
            unit = jax.random.normal(jax.random.key(0), (40_000, 2))
            x = jnp.float32(mean)[None] + unit @ jnp.float32(np.linalg.cholesky(covariance)).T
            noisier, noisy = diffusion.samplers.Churn(0.2)(process, level, jax.random.key(1), x)
            mean, covariance = exact.marginal(float(noisier.alpha), float(noisier.sigma))
            np.testing.assert_allclose(np.mean(noisy, axis=0), mean, atol=0.025)
            np.testing.assert_allclose(np.cov(noisy.T), covariance, atol=0.03)
            discrete = isinstance(process, diffusion.processes.DiscreteVariancePreserving)
            assert (noisier.log_snr < level.log_snr) == (not discrete or t < 1)

    def test_langevin_steps_keep_the_distribution(self):
        """The discretization multiplies the variance v of each axis by 1 / (1 − δ/2v)."""
        process = diffusion.processes.EDM(start=0.5, end=1.0)
        levels = diffusion.level_at(process, jnp.float32([1.0, 1.0]))
        sampler = diffusion.samplers.PredictorCorrector(num_corrections=150)
        mean, _ = exact.marginal(1.0, 1.0)
        x = jnp.float32(mean)[None] + 3 * jax.random.normal(jax.random.key(0), (20_000, 2))
        out, _ = run_loop(sampler, process, exact.gaussian(process), levels, x)
        variances = exact.VARIANCES + 1
        stationary = variances / (1 - 0.16**2 / variances)
        np.testing.assert_allclose(np.mean(out, axis=0), mean, atol=5 * np.sqrt(1.7 / 20_000))
        np.testing.assert_allclose(
            np.cov(out.T), exact.AXES @ np.diag(stationary) @ exact.AXES.T, atol=5 * 1.8 / np.sqrt(1e4)
        )

    @pytest.mark.parametrize(
        ("sampler", "process", "num_steps"),
        [
            (diffusion.samplers.PredictorCorrector(diffusion.samplers.DDIM()), VP, 60),
            (diffusion.samplers.PredictorCorrector(diffusion.samplers.Ancestral("upper"), 2), EDM, 60),
            (diffusion.samplers.PredictorCorrector(num_corrections=60), VP, 160),
            (diffusion.samplers.Heun(diffusion.samplers.Churn(0.1)), VP, 60),
        ],
        ids=str,
    )
    def test_gaussian_data(self, sampler, process, num_steps):
        levels = diffusion.levels(process, diffusion.grids.Karras(), num_steps, to_data=False)
        count = 2000
        out, _ = run_loop(sampler, process, exact.gaussian(process), levels, start(process, count))
        mean, covariance = exact.marginal(float(levels.alpha[-1]), float(levels.sigma[-1]))
        # Five standard errors, and the discretization error.
        np.testing.assert_allclose(np.mean(out, axis=0), mean, atol=5 * np.sqrt(0.64 / count) + 0.02)
        np.testing.assert_allclose(np.cov(out.T), covariance, atol=5 * 0.64 * np.sqrt(2 / count) + 0.03)


@pytest.mark.parametrize(
    "sampler",
    [
        diffusion.samplers.DDIM(),
        diffusion.samplers.Ancestral("lower"),
        diffusion.samplers.DPMSolverPP(3),
        diffusion.samplers.DPMSolverPP(2, stochastic=True),
        diffusion.samplers.DPMSolver2(),
        diffusion.samplers.Heun(diffusion.samplers.Churn(0.2)),
        diffusion.samplers.EulerMaruyama(),
        diffusion.samplers.PredictorCorrector(diffusion.samplers.DDIM()),
        diffusion.samplers.PredictorCorrector(num_corrections=40),
    ],
    ids=str,
)
def test_finite_data_are_recovered(sampler):
    """Each sample is one of the points, and the points are equally frequent."""
    process = diffusion.processes.VariancePreserving()
    levels = diffusion.levels(process, diffusion.grids.LogSNR(), 100)
    count = 600
    out, _ = run_loop(sampler, process, exact.finite(process, POINTS), levels, start(process, count))
    distance = np.linalg.norm(out[:, None] - POINTS, axis=-1)
    assert distance.min(axis=1).max() < 1e-3
    shares = np.bincount(distance.argmin(axis=1), minlength=3) / count
    assert (np.abs(shares - 1 / 3) < 5 * np.sqrt(2 / 9 / count)).all(), shares


ALL = [
    diffusion.samplers.DDIM(1.0),
    diffusion.samplers.Ancestral("upper"),
    diffusion.samplers.DPMSolverPP(3),
    diffusion.samplers.DPMSolverPP(2, stochastic=True),
    diffusion.samplers.Euler(),
    diffusion.samplers.Heun(),
    diffusion.samplers.ProbabilityFlow(),
    diffusion.samplers.PredictorCorrector(diffusion.samplers.DDIM()),
]
NEED_SIGNAL = [
    diffusion.samplers.DPMSolver2(),
    diffusion.samplers.EulerMaruyama(),
    diffusion.samplers.Euler(diffusion.samplers.Churn(0.1)),
    diffusion.samplers.Heun(diffusion.samplers.Churn(0.1)),
    diffusion.samplers.PredictorCorrector(diffusion.samplers.DPMSolver2()),
    diffusion.samplers.PredictorCorrector(),
]


class TestNoSignal:
    @pytest.mark.parametrize(
        ("sampler", "num_steps"),
        [(sampler, 1) for sampler in ALL]
        + [
            (sampler, 4)
            for sampler in (
                diffusion.samplers.DDIM(1.0),
                diffusion.samplers.DPMSolverPP(2),
                diffusion.samplers.DPMSolverPP(3),
            )
        ],
        ids=str,
    )
    def test_samples_and_gradients_are_finite(self, sampler, num_steps):
        """Also if the first step begins at α = 0 and is the last one."""
        process = diffusion.processes.LinearPath()
        levels = diffusion.levels(process, diffusion.grids.Uniform(), num_steps)
        assert isinstance(sampler, diffusion.samplers.Sampler) and not sampler.needs_signal

        @jax.jit
        def both(x):
            def total(x):
                out, _ = diffusion.sample_loop(sampler, process, exact.gaussian(process), levels, jax.random.key(0), x)
                return jnp.sum(out), out

            return jax.grad(total, has_aux=True)(x)

        gradient, out = both(start(process, 2))
        assert np.isfinite(out).all() and np.isfinite(gradient).all()
        if num_steps == 1:
            np.testing.assert_allclose(out, np.tile(np.float32(exact.MEAN), (2, 1)), rtol=1e-5)

    @pytest.mark.parametrize("sampler", NEED_SIGNAL, ids=str)
    def test_samplers_that_divide_by_alpha_raise(self, sampler):
        process = diffusion.processes.LinearPath()

        def draw(x):
            levels = diffusion.levels(process, diffusion.grids.Uniform(), 4)
            return diffusion.sample_loop(sampler, process, exact.gaussian(process), levels, jax.random.key(0), x)

        for function in (draw, jax.jit(draw)):
            with pytest.raises(ValueError, match=r"LinearPath is 0 at t = 1, but .* with end=0.999 for example"):
                function(jnp.zeros((2, 2)))
        near = dataclasses.replace(process, end=0.999)
        levels = diffusion.levels(near, diffusion.grids.Uniform(), 4)
        out, _ = run_loop(sampler, near, exact.gaussian(near), levels, start(near, 2))
        assert np.isfinite(out).all()


class TestSampleLoop:
    @pytest.mark.parametrize(
        "sampler",
        [diffusion.samplers.DDIM(1.0), diffusion.samplers.DPMSolverPP(2), diffusion.samplers.Heun(), *NEED_SIGNAL[:3]],
        ids=str,
    )
    def test_gradients_reach_the_first_noise(self, sampler):
        """For deterministic samplers, they are those of the flow, including the last step."""
        levels = diffusion.levels(VP, diffusion.grids.LogSNR(), 20)
        x = start(VP, 1)
        jacobian = jax.jit(
            jax.jacrev(
                lambda x: diffusion.sample_loop(sampler, VP, exact.gaussian(VP), levels, jax.random.key(0), x)[0]
            )
        )(x)[0, :, 0]
        assert np.isfinite(jacobian).all()
        if sampler in (diffusion.samplers.DPMSolverPP(2), diffusion.samplers.DPMSolver2(), diffusion.samplers.Heun()):
            matrix, _ = exact.flow(levels)
            np.testing.assert_allclose(jacobian, matrix, atol=0.03)

    def test_the_observer_receives_the_state_before_each_step(self):
        levels = diffusion.levels(VP, diffusion.grids.LogSNR(), 5)
        x = start(VP, 3)
        out, records = run_loop(diffusion.samplers.DDIM(), VP, exact.gaussian(VP), levels, x, observe=lambda info: info)
        assert records.x.shape == records.data.shape == (5, 3, 2)
        np.testing.assert_array_equal(records.x[0], x)
        np.testing.assert_array_equal(records.level.time, levels.time[:-1])
        np.testing.assert_array_equal(records.data[-1], out)
        data, noise = exact.gaussian(VP)(jnp.asarray(records.x[2]), levels.time[2])
        np.testing.assert_allclose(records.data[2], data, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(records.x[3], levels.alpha[3] * data + levels.sigma[3] * noise, rtol=1e-5, atol=1e-6)
        assert run_loop(diffusion.samplers.DDIM(), VP, exact.gaussian(VP), levels, x)[1] is None

    def test_the_constraint_applies_after_each_step(self):
        levels = diffusion.levels(VP, diffusion.grids.LogSNR(), 5)
        known = 0.7

        def constrain(key, level, x):
            noise = jax.random.normal(key, (3,))
            return x.at[:, 0].set(level.alpha * known + level.sigma * noise)

        x = start(VP, 3)
        out, records = run_loop(
            diffusion.samplers.DDIM(),
            VP,
            exact.gaussian(VP),
            levels,
            x,
            observe=lambda info: info.x,
            constrain=constrain,
        )
        np.testing.assert_array_equal(records[0], x)
        np.testing.assert_array_equal(out[:, 0], np.float32([known] * 3))
        noises = (records[1:, :, 0] - known * np.asarray(levels.alpha)[1:-1, None]) / np.asarray(levels.sigma)[
            1:-1, None
        ]
        assert len(np.unique(noises.round(4))) == 12  # fresh at each step
        # The next step starts from the constrained x.
        data, noise = exact.gaussian(VP)(jnp.asarray(records[3]), levels.time[3])
        np.testing.assert_allclose(
            records[4][:, 1], (levels.alpha[4] * data + levels.sigma[4] * noise)[:, 1], rtol=1e-5, atol=1e-6
        )

    def test_keys(self):
        levels = diffusion.levels(VP, diffusion.grids.LogSNR(), 5)
        x = start(VP, 3)
        one, same, other = (
            run_loop(diffusion.samplers.DDIM(1.0), VP, exact.gaussian(VP), levels, x, key=key)[0] for key in (1, 1, 2)
        )
        np.testing.assert_array_equal(one, same)
        assert (one != other).all()

    def test_the_denoiser_is_traced_once_for_all_steps(self):
        traces = []

        def denoise(x, t):
            assert x.shape == (3, 2) and t.shape == ()
            traces.append(t)
            return exact.gaussian(VP)(x, t)

        levels = diffusion.levels(VP, diffusion.grids.LogSNR(), 12)
        run = jax.jit(
            lambda x: diffusion.sample_loop(
                diffusion.samplers.DPMSolverPP(), VP, denoise, levels, jax.random.key(0), x
            )[0]
        )
        run(start(VP, 3))
        run(start(VP, 3, key=1))
        assert len(traces) == 1

    @pytest.mark.parametrize(
        "sampler",
        [
            diffusion.samplers.DDIM(),
            diffusion.samplers.DPMSolver2(),
            diffusion.samplers.Heun(),
            diffusion.samplers.PredictorCorrector(num_corrections=3),
        ],
        ids=str,
    )
    def test_evaluations(self, sampler):
        """The denoiser is called as often as the sampler declares."""
        process, count = PATH, []

        def denoise(x, t):
            count.append(t)
            return exact.gaussian(process)(x, t)

        levels = diffusion.levels(process, diffusion.grids.LogSNR(), 2, to_data=False)
        with jax.disable_jit():
            t, s = (jax.tree.map(lambda part, n=n: part[n], levels) for n in (0, 1))
            x = jnp.zeros((1, 2))
            sampler.step(process, denoise, t, s, jax.random.key(0), x, sampler.init_carry(x))
        assert len(count) == sampler.evaluations

    @pytest.mark.parametrize(
        ("sampler", "in_last"),
        [
            (diffusion.samplers.DDIM(), 1),
            (diffusion.samplers.DPMSolver2(), 1),
            (diffusion.samplers.Heun(), 1),
            (diffusion.samplers.Heun(diffusion.samplers.Churn(0.2)), 1),
            (diffusion.samplers.PredictorCorrector(diffusion.samplers.Heun(), num_corrections=2), 3),
        ],
        ids=str,
    )
    @pytest.mark.parametrize("repeats", [1, 3])
    def test_the_last_step_evaluates_no_more_than_its_estimate_of_the_data(self, sampler, in_last, repeats):
        """The denoiser is not repeated either."""
        times = []

        def denoise(x, t):
            times.append(float(t))
            return exact.gaussian(PATH)(x, t)

        levels = diffusion.levels(PATH, diffusion.grids.LogSNR(), 3)
        with jax.disable_jit():
            diffusion.sample_loop(sampler, PATH, denoise, levels, jax.random.key(0), jnp.zeros((1, 2)), repeats=repeats)
        assert len(times) == 2 * repeats * sampler.evaluations + in_last

    @pytest.mark.parametrize("sampler", [diffusion.samplers.Heun(), diffusion.samplers.DPMSolver2()], ids=str)
    def test_the_loop_is_one_scan(self, sampler):
        """The program contains the denoiser as often as a step evaluates it."""
        traces = []

        def denoise(x, t):
            traces.append(t)
            return exact.gaussian(PATH)(x, t)

        levels = diffusion.levels(PATH, diffusion.grids.LogSNR(), 5)
        jaxpr = jax.make_jaxpr(
            lambda x: diffusion.sample_loop(sampler, PATH, denoise, levels, jax.random.key(0), x)[0]
        )(jnp.zeros((1, 2)))
        assert len(traces) == sampler.evaluations
        assert [equation.primitive.name for equation in jaxpr.eqns].count("scan") == 1


class TestNames:
    def test_every_name_of_the_registry_is_a_choice(self):
        for names, registry in (
            (diffusion.samplers.SamplerName, diffusion.samplers.SAMPLERS),
            (diffusion.grids.GridName, diffusion.grids.GRIDS),
        ):
            assert typing.get_args(names) == tuple(registry)

    @pytest.mark.parametrize("name", diffusion.samplers.SAMPLERS)
    def test_samplers(self, name):
        sampler = diffusion.samplers.SAMPLERS[name]
        assert isinstance(sampler, diffusion.samplers.Sampler)
        levels = diffusion.levels(PATH, diffusion.grids.LogSNR(), 20)
        out, _ = run_loop(sampler, PATH, exact.gaussian(PATH), levels, start(PATH, 2))
        assert np.isfinite(out).all()

    @pytest.mark.parametrize("name", diffusion.grids.GRIDS)
    def test_grids(self, name):
        levels = diffusion.levels(PATH, diffusion.grids.GRIDS[name], 4)
        assert (np.diff(levels.time) < 0).all()

    def test_unknown_names(self):
        with pytest.raises(
            ValueError, match=r"sampler is 'huen', but must be 'ddpm', .*'heun', .* or 'probability-flow'"
        ):
            ops.resolve_choice("sampler", "huen", diffusion.samplers.SAMPLERS, diffusion.samplers.DDIM())
        with pytest.raises(ValueError, match=r"grid is 'cosine', but must be 'uniform', 'log-snr' or 'karras'"):
            ops.resolve_choice("grid", "cosine", diffusion.grids.GRIDS, diffusion.grids.Uniform())


class TestErrors:
    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: diffusion.samplers.DDIM(1.5), r"eta is 1.5, but must be in \[0, 1\]"),
            (lambda: diffusion.samplers.Ancestral("middle"), "variance is 'middle'"),
            (lambda: diffusion.samplers.DPMSolverPP(4), "order is 4"),
            (
                lambda: diffusion.samplers.DPMSolverPP(3, stochastic=True),
                "order is 3, but must be 1 or 2 if stochastic",
            ),
            (lambda: diffusion.samplers.Churn(0.5), "gamma is 0.5, .* would double the variance"),
            (lambda: diffusion.samplers.Churn(-0.1), "gamma is -0.1"),
            (
                lambda: diffusion.samplers.PredictorCorrector(num_corrections=0),
                "num_corrections is 0, .* use the predictor alone",
            ),
            (lambda: diffusion.samplers.PredictorCorrector(snr=0.0), "snr is 0.0, but must be above 0"),
        ],
    )
    def test_settings(self, make, message):
        with pytest.raises(ValueError, match=message):
            make()
