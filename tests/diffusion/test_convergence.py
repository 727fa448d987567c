"""Orders of convergence, measured on Gaussian data in double precision, where every sampler's moments are exact."""

import jax
import numpy as np
import pytest

from genjax import diffusion
from genjax.ops import Solver
from tests.diffusion import exact

VP = diffusion.processes.VariancePreserving(start=0.05, end=0.8)
EDM = diffusion.processes.EDM(start=0.1, end=5.0)
LINEAR = diffusion.processes.LinearPath(start=0.05, end=0.9)
LOG_SNR, KARRAS, UNIFORM = diffusion.grids.LogSNR(), diffusion.grids.Karras(), diffusion.grids.Uniform()
STEPS = (32, 64, 128)


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def flow_error(step, process, grid, num_steps):
    """Return the error of the map from the first level to the last."""
    levels = diffusion.levels(process, grid, num_steps, to_data=False)
    (matrix, offset, _), (right, shift) = step(levels), exact.flow(levels)
    return max(np.abs(matrix - right).max(), np.abs(offset - shift).max())


def moment_error(step, process, grid, num_steps):
    """Return the error of the mean and the covariance at the last level."""
    levels = diffusion.levels(process, grid, num_steps, to_data=False)
    right = exact.marginal(np.asarray(levels.alpha)[-1], np.asarray(levels.sigma)[-1])
    return max(np.abs(own - other).max() for own, other in zip(step.moments(levels), right, strict=True))


@pytest.mark.parametrize(
    ("sampler", "order", "process", "grid"),
    [
        (diffusion.samplers.DDIM(), 1, VP, LOG_SNR),
        (diffusion.samplers.DPMSolverPP(1), 1, LINEAR, UNIFORM),
        (diffusion.samplers.DPMSolverPP(2), 2, VP, LOG_SNR),
        (diffusion.samplers.DPMSolverPP(2), 2, EDM, KARRAS),
        (diffusion.samplers.DPMSolver2(), 2, LINEAR, LOG_SNR),
        (diffusion.samplers.DEIS(1), 1, EDM, KARRAS),
        (diffusion.samplers.DEIS(2), 2, VP, LOG_SNR),
        (diffusion.samplers.DEIS(2), 2, EDM, KARRAS),
        (diffusion.samplers.Euler(), 1, VP, UNIFORM),
        (diffusion.samplers.Euler(), 1, EDM, KARRAS),
        (diffusion.samplers.Heun(), 2, VP, UNIFORM),
        (diffusion.samplers.Heun(), 2, EDM, KARRAS),
    ],
    ids=str,
)
def test_order_of_the_flow(sampler, order, process, grid):
    step = exact.Affine(sampler, process, 0)
    errors = [flow_error(step, process, grid, num_steps) for num_steps in STEPS]
    assert errors[-1] < 0.02
    assert abs(exact.order(errors) - order) < 0.2, errors


@pytest.mark.parametrize(
    ("process", "grid"),
    [
        (diffusion.processes.VariancePreserving(start=0.05), LOG_SNR),
        (diffusion.processes.EDM(start=0.1), KARRAS),
    ],
    ids=str,
)
@pytest.mark.parametrize("sampler", [diffusion.samplers.DPMSolverPP(3), diffusion.samplers.DEIS(3)], ids=str)
def test_order_3(sampler, process, grid):
    """With half of DPM-Solver++'s second derivative, as in other implementations, its order would be 2."""
    step = exact.Affine(sampler, process, 0)
    errors = [flow_error(step, process, grid, num_steps) for num_steps in (64, 128, 256)]
    assert abs(exact.order(errors) - 3) < 0.2, errors


@pytest.mark.parametrize(
    ("sampler", "order", "process"),
    [
        (diffusion.samplers.DDIM(1.0), 1, VP),
        (diffusion.samplers.DDIM(0.5), 1, EDM),
        (diffusion.samplers.Ancestral("upper"), 1, VP),
        (diffusion.samplers.Ancestral("upper"), 1, EDM),
        (diffusion.samplers.DPMSolverPP(1, stochastic=True), 1, LINEAR),
        (diffusion.samplers.DPMSolverPP(2, stochastic=True), 2, LINEAR),
        (diffusion.samplers.EulerMaruyama(), 1, VP),
        (diffusion.samplers.EulerMaruyama(), 1, EDM),
    ],
    ids=str,
)
def test_weak_order(sampler, order, process):
    step = exact.Affine(sampler, process, STEPS[-1])
    errors = [moment_error(step, process, LOG_SNR, num_steps) for num_steps in STEPS]
    assert errors[-1] < 0.05
    assert abs(exact.order(errors) - order) < 0.2, errors


@pytest.mark.parametrize(
    ("sampler", "order", "process"), [(diffusion.samplers.Euler, 1, EDM), (diffusion.samplers.Heun, 2, EDM)]
)
def test_weak_order_with_churn(sampler, order, process):
    """The total noise does not depend on the number of steps: γ is S_churn divided by it."""
    errors = []
    for num_steps in STEPS:
        step = exact.Affine(sampler(diffusion.samplers.Churn(2.0 / num_steps)), process, num_steps)
        errors.append(moment_error(step, process, KARRAS, num_steps))
    assert abs(exact.order(errors) - order) < 0.2, errors


def test_lower_orders_are_those_of_ddim():
    levels = diffusion.levels(VP, UNIFORM, 8, to_data=False)
    for eta, sampler in (
        (0.0, diffusion.samplers.DPMSolverPP(1)),
        (0.0, diffusion.samplers.DEIS(1)),
        (1.0, diffusion.samplers.DPMSolverPP(1, stochastic=True)),
    ):
        own, right = (exact.Affine(one, VP, 8)(levels) for one in (sampler, diffusion.samplers.DDIM(eta)))
        for a, b in zip(own, right, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("tolerance", [1e-3, 1e-7])
def test_the_flow_is_solved_to_its_tolerance(tolerance):
    sampler = diffusion.samplers.ProbabilityFlow(Solver(rtol=tolerance, atol=tolerance))
    error = flow_error(exact.Affine(sampler, VP, 0), VP, LOG_SNR, 1)
    assert 1e-4 * tolerance < error < 10 * tolerance


def test_too_few_steps_for_the_tolerance_give_nan():
    sampler = diffusion.samplers.ProbabilityFlow(Solver(max_steps=2))
    levels = diffusion.levels(VP, LOG_SNR, 1, to_data=False)
    assert np.isnan(exact.Affine(sampler, VP, 0)(levels)[0]).all()
