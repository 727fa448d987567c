"""Grids against their formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import diffusion

PROCESSES = [
    diffusion.processes.VariancePreserving(),
    diffusion.processes.EDM(),
    diffusion.processes.Cosine(),
    diffusion.processes.LinearPath(end=0.999),
    diffusion.processes.DiscreteVariancePreserving(),
]


def log_snrs(process, grid, num_times):
    return np.float64(process.log_snr(grid.times(process, num_times)))


@pytest.mark.parametrize("process", PROCESSES, ids=repr)
class TestFormulas:
    def test_ends_are_those_of_the_process(self, process):
        for grid in (diffusion.grids.Uniform(), diffusion.grids.LogSNR(), diffusion.grids.Karras()):
            times = grid.times(process, 18)
            assert times.shape == (18,) and (np.diff(times) < 0).all()
            assert times[0] == np.float32(process.end) and times[-1] == np.float32(process.start)
            assert grid.times(process, 1).tolist() == [np.float32(process.end)]

    def test_uniform(self, process):
        expected = np.linspace(process.end, process.start, 7)
        np.testing.assert_allclose(diffusion.grids.Uniform().times(process, 7), expected, rtol=1e-5)

    def test_log_snr(self, process):
        steps = log_snrs(process, diffusion.grids.LogSNR(), 21)
        ends = np.float64(process.log_snr(jnp.float32([process.end, process.start])))
        np.testing.assert_allclose(steps, np.linspace(*ends, 21), atol=5e-3 if ends[0] < -10 else 1e-3)

    def test_karras(self, process):
        """Equation 5: (σ_max^{1/ρ} + i/(N − 1) (σ_min^{1/ρ} − σ_max^{1/ρ}))^ρ, for σ/α."""
        largest, smallest = np.exp(-0.5 * np.float64(process.log_snr(jnp.float32([process.end, process.start]))))
        for rho in (1.0, 3.0, 7.0):
            ratios = np.exp(-0.5 * log_snrs(process, diffusion.grids.Karras(rho), 18))
            roots = largest ** (1 / rho) + np.arange(18) / 17 * (smallest ** (1 / rho) - largest ** (1 / rho))
            np.testing.assert_allclose(ratios, roots**rho, rtol=3e-3)


def test_karras_of_edm():
    """There σ is the time itself."""
    i = np.arange(18)
    expected = (80 ** (1 / 7) + i / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7))) ** 7
    np.testing.assert_allclose(diffusion.grids.Karras().times(diffusion.processes.EDM(), 18), expected, rtol=2e-5)


class TestLevels:
    def test_the_last_step_goes_to_data(self):
        process = diffusion.processes.VariancePreserving()
        levels = diffusion.levels(process, diffusion.grids.Uniform(), 4)
        assert all(part.shape == (5,) and part.dtype == jnp.float32 for part in levels)
        assert [float(part[-1]) for part in levels] == [0.0, 1.0, 0.0, np.inf]
        assert levels.time[0] == process.end and levels.time[-2] == np.float32(process.start)
        np.testing.assert_array_equal(levels.alpha[:-1], process.alpha(levels.time[:-1]))

    def test_or_to_the_start(self):
        process = diffusion.processes.VariancePreserving()
        levels = diffusion.levels(process, diffusion.grids.Uniform(), 4, to_data=False)
        np.testing.assert_allclose(levels.time, np.linspace(1, 1e-3, 5), rtol=1e-6)
        np.testing.assert_array_equal(levels.sigma, process.sigma(levels.time))

    def test_one_step(self):
        process = diffusion.processes.EDM()
        for grid in (diffusion.grids.Uniform(), diffusion.grids.LogSNR(), diffusion.grids.Karras()):
            np.testing.assert_array_equal(diffusion.levels(process, grid, 1).time, np.float32([80, 0]))
            np.testing.assert_array_equal(
                diffusion.levels(process, grid, 1, to_data=False).time, np.float32([80, 0.002])
            )

    def test_levels_are_concrete_in_compiled_functions(self):
        @jax.jit
        def compiled(x):
            levels = diffusion.levels(diffusion.processes.VariancePreserving(), diffusion.grids.Karras(), 4)
            return x + np.asarray(levels.alpha)[-1]

        assert compiled(1.0) == 2

    def test_double_precision(self):
        with jax.enable_x64(True):
            levels = diffusion.levels(diffusion.processes.DiscreteVariancePreserving(), diffusion.grids.Karras(), 4)
            assert all(part.dtype == jnp.float64 for part in levels)


class TestTimes:
    def test_as_given(self):
        process = diffusion.processes.EDM()
        levels = diffusion.levels(process, diffusion.grids.Custom((10.0, 1.0, 0.5)), 3)
        np.testing.assert_array_equal(levels.time, [10, 1, 0.5, 0])
        levels = diffusion.levels(process, diffusion.grids.Custom((10.0, 1.0, 0.5)), 2, to_data=False)
        np.testing.assert_array_equal(levels.sigma, [10, 1, 0.5])

    def test_one_time(self):
        np.testing.assert_array_equal(
            diffusion.levels(diffusion.processes.EDM(), diffusion.grids.Custom((3.0,)), 1).sigma, [3, 0]
        )

    @pytest.mark.parametrize("values", [(0.1, 0.5), (1.0, 0.5, 0.5)])
    def test_they_must_decrease(self, values):
        with pytest.raises(ValueError, match=r"times must decrease, from noise to data"):
            diffusion.grids.Custom(values)

    @pytest.mark.parametrize(
        ("values", "message"), [((), "length 1 or more"), ((1.0, float("nan")), "a finite number, and nan is not")]
    )
    def test_there_must_be_some_and_all_numbers(self, values, message):
        with pytest.raises(ValueError, match=rf"values is .*, but must be .*{message}"):
            diffusion.grids.Custom(values)

    def test_as_many_as_steps(self):
        with pytest.raises(ValueError, match=r"the grid has 2 times, but needs 4; change num_steps"):
            diffusion.levels(diffusion.processes.EDM(), diffusion.grids.Custom((1.0, 0.5)), 4)


class TestErrors:
    def test_no_steps(self):
        for num_steps in (0, -1):
            with pytest.raises(ValueError, match=rf"num_steps is {num_steps}"):
                diffusion.levels(diffusion.processes.EDM(), diffusion.grids.Uniform(), num_steps)

    @pytest.mark.parametrize("grid", [diffusion.grids.LogSNR(), diffusion.grids.Karras()])
    @pytest.mark.parametrize(
        "process",
        [diffusion.processes.LinearPath(), diffusion.processes.VariancePreserving(start=0.0)],
        ids=["alpha = 0", "sigma = 0"],
    )
    def test_infinite_log_snrs_are_replaced(self, grid, process):
        """The ends are exact; the points in between are those of ends at ±12."""
        levels = diffusion.levels(process, grid, 5, to_data=False)
        assert levels.time[0] == process.end and levels.time[-1] == process.start
        ends = [float(process.log_snr(jnp.float32(t))) for t in (process.end, process.start)]
        first, last = (12 * np.sign(end) if np.isinf(end) else end for end in ends)
        if isinstance(grid, diffusion.grids.Karras):
            first, last = (np.exp(-0.5 * log_snr / grid.rho) for log_snr in (first, last))
            inner = -2 * grid.rho * np.log(np.linspace(first, last, 6)[1:-1])
        else:
            inner = np.linspace(first, last, 6)[1:-1]
        np.testing.assert_allclose(levels.log_snr[1:-1], inner, atol=2e-3)

    def test_rho(self):
        with pytest.raises(ValueError, match=r"rho is 0.5"):
            diffusion.grids.Karras(0.5)
