"""Progressive distillation of the exact denoiser of Gaussian data.

For data N(μ, s²), a step of DDIM from t to s maps x_t to

    α_s μ + k (x_t − α_t μ),        k(t, s) = (α_s α_t s² + σ_s σ_t) / (α_t² s² + σ_t²),

and a student of 2^j steps is exact if its steps multiply by the product of the teacher's two.
"""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import diffusion, nets
from genjax.core import Variables
from genjax.diffusion import grids
from tests.networks import Function

MEAN, DEVIATION = np.array([[0.5, -1.0]]), np.array([[0.8, 0.3]])
PROCESS = diffusion.processes.Cosine(log_snr_max=8.0, log_snr_min=-6.0)
VELOCITY = diffusion.parametrizations.Velocity()
VARIABLES = Variables({"denoiser": {}}, {"denoiser": {}})
GRIDS = [grids.Uniform(), grids.LogSNR(), grids.Karras()]


def factor(t, s):
    return (s.alpha * t.alpha * DEVIATION**2 + s.sigma * t.sigma) / (t.alpha**2 * DEVIATION**2 + t.sigma**2)


def exact(params, x, level, *label):
    """Return the velocity of the exact denoiser; a label shifts the mean."""
    t = PROCESS.time((20 - 40 * level)[:, None])
    alpha, sigma = PROCESS.alpha(t), PROCESS.sigma(t)
    mean = MEAN + (label[0] @ jnp.array([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]]) if label else 0.0)
    centred = (x * jnp.sqrt(alpha**2 + sigma**2) - alpha * mean) / (alpha**2 * DEVIATION**2 + sigma**2)
    return (alpha * sigma * centred - sigma * (mean + alpha * DEVIATION**2 * centred)).astype(jnp.float32)


def teacher_of(grid=None, **options):
    grid = grids.Nested(grids.Uniform() if grid is None else grid)
    return diffusion.Diffusion(shape=(2,), net=Function(exact), process=PROCESS, grid=grid, **options)


def draw(num):
    return jnp.asarray(MEAN + DEVIATION * jax.random.normal(jax.random.key(1), (num, 2)), jnp.float32)


def targets_of(teacher, num_steps, num=64, **more):
    return diffusion.distillation_targets(teacher, VARIABLES, jax.random.key(2), {"x": draw(num), **more}, num_steps)


def steps_of(teacher, num_steps):
    """Return the levels of the steps of a student: pairs of the level before and after."""
    levels = jax.tree.map(np.asarray, teacher.levels(num_steps))
    each = [jax.tree.map(lambda a, i=i: a[i], levels) for i in range(num_steps + 1)]
    return list(itertools.pairwise(each))


def noisy(targets, process=PROCESS):
    t = targets["time"][:, None]
    return process.alpha(t) * targets["x"] + process.sigma(t) * targets["noise"]


class TestTargets:
    @pytest.mark.parametrize(("grid", "num_steps"), [(GRIDS[0], 1), (GRIDS[0], 4), (GRIDS[1], 2), (GRIDS[2], 4)])
    def test_one_step_to_the_pair_is_two_steps_of_the_teacher(self, grid, num_steps):
        teacher = teacher_of(grid)
        targets = targets_of(teacher, num_steps)
        fine, x_t = steps_of(teacher, 2 * num_steps), noisy(targets)
        for i, (t, s) in enumerate(steps_of(teacher, num_steps)):
            rows = np.abs(np.asarray(targets["time"]) - t.time) < 1e-6
            assert rows.sum() == 64 // num_steps  # stratified
            expected = s.alpha * MEAN + factor(*fine[2 * i]) * factor(*fine[2 * i + 1]) * (x_t[rows] - t.alpha * MEAN)
            actual = s.alpha * targets["x"][rows] + s.sigma * targets["noise"][rows]
            np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=2e-4)

    def test_x_t_is_noisy_data(self):
        """Its moments are those of data at the first level."""
        targets = targets_of(teacher_of(), 1, num=50_000)
        x_t, (t, _) = np.asarray(noisy(targets)), steps_of(teacher_of(), 1)[0]
        np.testing.assert_allclose(x_t.mean(axis=0), t.alpha * MEAN[0], atol=0.02)
        np.testing.assert_allclose(np.cov(x_t.T), np.diag((t.alpha**2 * DEVIATION**2 + t.sigma**2)[0]), atol=0.02)

    def test_labels_are_dropped_for_teacher_and_student_alike(self):
        teacher = teacher_of(num_classes=2, condition_dropout=0.5)
        targets = targets_of(teacher, 1, num=1_000, label=jnp.ones(1_000, jnp.int32))
        dropped = np.asarray(targets["label"]) == 2
        np.testing.assert_allclose(dropped.mean(), 0.5, atol=0.06)
        for rows, shift in ((dropped, 0.0), (~dropped, 2.0)):
            np.testing.assert_allclose(targets["x"][rows].mean(axis=0), MEAN[0] + [0.0, shift], atol=0.15)

    def test_other_entries_of_the_batch_stay(self):
        targets = jax.jit(lambda: targets_of(teacher_of(), 2, weight=jnp.arange(64)))()  # as in a stage of training
        assert (targets["weight"] == jnp.arange(64)).all() and "label" not in targets


class TestStudent:
    def test_the_exact_student_has_no_loss_and_its_samples_are_those_of_the_teacher(self):
        """It starts from pure noise with one step; its velocity follows from equation 3 by hand."""
        teacher = teacher_of(grids.LogSNR())
        student = diffusion.distilled(teacher, 2)
        coarse, fine = steps_of(teacher, 2), steps_of(teacher, 4)

        def velocity(params, x, level):
            t = PROCESS.time((20 - 40 * level)[:, None])
            outputs = []
            for i, (first, last) in enumerate(coarse):
                x_s = last.alpha * MEAN + factor(*fine[2 * i]) * factor(*fine[2 * i + 1]) * (x - first.alpha * MEAN)
                # The velocity of the pair: solve x_t = α x₀ + σ ε and x_s = α_s x₀ + σ_s ε.
                solution = jnp.linalg.inv(jnp.array([[first.alpha, first.sigma], [last.alpha, last.sigma]]))
                data, noise = (solution[j, 0] * x + solution[j, 1] * x_s for j in (0, 1))
                outputs.append(jnp.where(jnp.abs(t - first.time) < 1e-3, first.alpha * noise - first.sigma * data, 0))
            return (params["scale"] * sum(outputs)).astype(jnp.float32)

        student = dataclasses.replace(student, net=Function(velocity, {"scale": jnp.ones(())}))
        targets = targets_of(teacher, 2)
        loss = jax.value_and_grad(
            lambda scale: student.loss({"denoiser": {"scale": scale}}, {"denoiser": {}}, jax.random.key(3), targets, 0)[
                0
            ]
        )
        value, slope = loss(jnp.float32(1.0))
        np.testing.assert_allclose([value, slope], 0.0, atol=2e-5)
        assert loss(jnp.float32(1.1))[0] > 1e-3
        variables = Variables({"denoiser": {"scale": jnp.ones(())}}, {"denoiser": {}})
        two = student.sample(variables, jax.random.key(4), 32)
        four = teacher.sample(VARIABLES, jax.random.key(4), 32, sampler="ddim", num_steps=4)
        np.testing.assert_allclose(two, four, atol=2e-3)

    def test_its_loss_is_the_truncated_error(self):
        """max(SNR, 1) ‖x̂₀ − x̃₀‖² in NumPy, with gradients against finite differences."""
        teacher = teacher_of()
        net = Function(lambda params, x, level: exact({}, x, level) + params["error"][None], {"error": jnp.zeros(2)})
        student = dataclasses.replace(diffusion.distilled(teacher, 4), net=net)
        targets = targets_of(teacher, 4)

        def loss(error):
            return student.loss({"denoiser": {"error": error}}, {"denoiser": {}}, jax.random.key(5), targets, 0)[0]

        def expected(error):
            t, x_t = np.asarray(targets["time"])[:, None], np.asarray(noisy(targets), np.float64)
            alpha, sigma = (np.asarray(f(jnp.asarray(t)), np.float64) for f in (PROCESS.alpha, PROCESS.sigma))
            output = np.asarray(exact({}, jnp.asarray(x_t, jnp.float32), student.noise_level(t[:, 0]))) + error[None]
            data = alpha * x_t - sigma * output
            return np.mean(np.maximum(alpha**2 / sigma**2, 1) * (data - np.asarray(targets["x"], np.float64)) ** 2)

        error = np.array([0.1, -0.3])
        value, slope = jax.value_and_grad(loss)(jnp.asarray(error, jnp.float32))
        np.testing.assert_allclose(value, expected(error), rtol=1e-3)
        differences = [(expected(error + step) - expected(error - step)) / 2e-4 for step in 1e-4 * np.eye(2)]
        np.testing.assert_allclose(slope, differences, rtol=2e-3)

    def test_labels_of_targets_are_not_dropped_again(self):
        seen = []
        net = Function(lambda params, x, level, label: (seen.append(np.asarray(label)), 0 * x)[1])
        teacher = teacher_of(num_classes=2, condition_dropout=1.0)
        student = dataclasses.replace(teacher, net=net)
        batch = {"x": draw(4), "noise": draw(4), "time": jnp.full(4, 0.5), "label": jnp.array([0, 1, 1, 0])}
        student.loss(*VARIABLES, jax.random.key(6), batch, 0)
        np.testing.assert_array_equal(seen[0].argmax(axis=1), batch["label"])

    def test_it_samples_with_its_steps_of_ddim(self):
        student = diffusion.distilled(teacher_of(), 4)
        assert (student.num_steps, student.sampler) == (4, diffusion.samplers.DDIM())
        assert student.weighting == diffusion.weightings.TruncatedSNR()


class TestErrors:
    def test_a_grid_that_is_not_halved(self):
        teacher = dataclasses.replace(teacher_of(), grid=grids.Uniform())
        for call in (lambda: diffusion.distilled(teacher, 2), lambda: targets_of(teacher, 2)):
            with pytest.raises(ValueError, match=r"grid is Uniform\(\), whose 2 steps are not every second level of 4"):
                call()

    @pytest.mark.parametrize("num_steps", [0, -1])
    def test_no_steps(self, num_steps):
        for call in (lambda: diffusion.distilled(teacher_of(), num_steps), lambda: targets_of(teacher_of(), num_steps)):
            with pytest.raises(ValueError, match=f"num_steps is {num_steps}, but must be"):
                call()

    def test_a_teacher_of_another_shape(self):
        with pytest.raises(ValueError, match=r"x has shape \(3, 5\), but this model has shape=\(2,\)"):
            diffusion.distillation_targets(teacher_of(), VARIABLES, jax.random.key(0), {"x": jnp.zeros((3, 5))}, 2)

    def test_a_teacher_of_another_network(self):
        small, large = (
            dataclasses.replace(teacher_of(), net=nets.DenoisingMLP((width,), 4, fourier_features=0))
            for width in (4, 8)
        )
        batch = {"x": jnp.zeros((3, 2))}
        variables = small.init(jax.random.key(0), batch)
        with pytest.raises(
            ValueError, match=r"the teacher has '.*' of shape \(8,\), but the model needs shape \(16,\)"
        ):
            diffusion.distillation_targets(large, variables, jax.random.key(1), batch, 2)


@pytest.mark.parametrize("grid", GRIDS, ids=repr)
def test_nested_grids_halve(grid):
    for process in (PROCESS, diffusion.processes.EDM()):
        fine, coarse = (diffusion.levels(process, grids.Nested(grid), n).time for n in (8, 4))
        np.testing.assert_allclose(fine[::2], coarse, rtol=1e-3, atol=1e-5)
        assert fine[-1] == 0 and fine[0] == np.float32(process.end)
