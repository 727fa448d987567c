"""Consistency models on Gaussian data, whose consistency function is known.

Data N(μ, s²) become N(μ, s² + t²) under the process of EDM, and the probability flow preserves x in units of the
standard deviation, so that

    f(x, t) = μ + (x − μ) s / √(s² + t²).

Training compares points with the same data and noise rather than points of one path. The fixed point of its quadratic
distance for linear functions μ + g(t) (x − μ) is

    g(t) = g(r) E[x_r x_t] / E[x_t²] = g(r) (s² + r t) / (s² + t²),

the denoiser s² / (s² + t²) if r = 0, and s / √(s² + t²) as r → t.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import diffusion, nets
from genjax.core import Variables
from genjax.diffusion.consistency import Gap
from tests.networks import Function

MEAN, DEVIATION = np.array([[0.5, -1.0]]), np.array([[0.8, 0.3]])
EDM = diffusion.processes.EDM()
SCALE = diffusion.parametrizations.Preconditioned(data_scale=0.5)
QUADRATIC = 1e4  # c, far above all errors


@dataclasses.dataclass(frozen=True)
class Constant:
    """The same ratio at all times."""

    value: float

    def ratio(self, process, t, step):
        return jnp.full_like(t, self.value)


@dataclasses.dataclass(frozen=True)
class OneTime:
    """One time for all examples."""

    time: float

    def quantile(self, process, u):
        return jnp.full_like(u, self.time)


class Fixed:
    """Noise that is the same in every batch."""

    def __init__(self, noise):
        self.noise = noise

    def pair(self, key, x, noise):
        return self.noise


def at(model, t, noise):
    """Return the model with training at one time, with the same noise."""
    denoiser = dataclasses.replace(model.denoiser, coupling=Fixed(noise))
    return dataclasses.replace(model, denoiser=denoiser, times=OneTime(t))


def f_in_numpy(x, t, error=0.0):
    return MEAN + np.exp(error) * DEVIATION / np.sqrt(DEVIATION**2 + t**2) * (x - MEAN)


def exact(t):
    return DEVIATION / jnp.sqrt(DEVIATION**2 + t**2)


def fixed_point(ratio):
    """Return g of the fixed point for a constant ratio: a product over the points t, ρ t, ρ² t … above the start."""

    def gain(t):
        later, product = t, 1.0
        for _ in range(60 if ratio else 1):
            earlier = jnp.where(ratio * later < EDM.start, 0.0, ratio * later)
            product = product * (DEVIATION**2 + earlier * later) / (DEVIATION**2 + later**2)
            later = earlier
        return product

    return gain


def linear(gain, **options):
    """Return a model whose f is exp(error) g(t) (x − μ) + μ."""

    def network(params, x, level):
        t = jnp.exp(-0.5 * (20 - 40 * level))[:, None]
        x_t = x * jnp.sqrt(SCALE.data_scale**2 + t**2)
        f = MEAN + jnp.exp(params["error"])[None] * gain(t) * (x_t - MEAN)
        return SCALE.target(EDM, t[:, 0], diffusion.Prediction(f, (x_t - f) / t)).astype(jnp.float32)

    net = Function(network, {"error": jnp.zeros(2)})
    denoiser = diffusion.Diffusion(shape=(2,), net=net, process=EDM, parametrization=SCALE)
    return diffusion.ConsistencyModel(denoiser=denoiser, **options)


def variables_of(model):
    return model.init(jax.random.key(0), {"x": jnp.zeros((2, 2))})


def draw(num):
    return jnp.asarray(MEAN + DEVIATION * jax.random.normal(jax.random.key(1), (num, 2)), jnp.float32)


def gradient(model, num=40_000):
    params, state = variables_of(model)
    slope = jax.jit(jax.grad(lambda p: model.loss(p, state, jax.random.key(2), {"x": draw(num)}, jnp.int32(0))[0]))
    return QUADRATIC * 2**0.5 * np.asarray(slope(params)["denoiser"]["error"])


def quadratic(ratio, gain):
    """Return a model of the quadratic distance at times where data matter."""
    times = diffusion.times.LogNormal(-0.5, 0.8)
    return linear(gain, gap=Constant(ratio), times=times, huber=QUADRATIC)


class TestLoss:
    @pytest.mark.parametrize(("ratio", "wrong"), [(0.0, exact), (0.5, exact), (0.8, fixed_point(0.0))])
    def test_the_gradient_vanishes_at_the_fixed_point_of_a_gap(self, ratio, wrong):
        scale = np.abs(gradient(quadratic(ratio, wrong))).min()
        assert scale > 0.01
        np.testing.assert_allclose(gradient(quadratic(ratio, fixed_point(ratio))), 0.0, atol=0.1 * scale)

    def test_the_consistency_function_is_the_fixed_point_of_small_gaps(self):
        """Its gradient falls with the gap, and is already small where that of the denoiser is not."""
        errors = [np.abs(gradient(quadratic(ratio, exact))) for ratio in (0.0, 0.5, 0.9)]
        assert (errors[0] > 2 * errors[1]).all() and (errors[1] > 2 * errors[2]).all()
        assert (np.abs(gradient(quadratic(0.9, fixed_point(0.0)))) > 5 * errors[2]).all()

    def test_it_vanishes_where_all_paths_end_in_one_point(self):
        """Then two points with the same data and noise are on the same path."""
        model = linear(lambda t: 0.0 * t, gap=diffusion.ShrinkingGap())
        batch = {"x": jnp.broadcast_to(jnp.asarray(MEAN, jnp.float32), (64, 2))}
        loss, (_, metrics) = model.loss(*variables_of(model), jax.random.key(3), batch, jnp.int32(3_000))
        np.testing.assert_allclose([loss, metrics["inconsistency"]], 0.0, atol=1e-4)

    def test_its_value(self):
        """At one time, in NumPy: 1/(t − r) (√(‖f(x_t) − f(x_r)‖² + c²) − c)."""
        t, ratio, c = 1.5, 0.6, 0.2
        noise, x = jax.random.normal(jax.random.key(4), (5, 2)), draw(5)
        model = at(linear(exact, gap=Constant(ratio), huber=c / 2**0.5), t, noise)
        loss, (_, metrics) = model.loss(*variables_of(model), jax.random.key(5), {"x": x}, jnp.int32(0))
        f_t, f_r = (f_in_numpy(np.asarray(x + s * noise), s) for s in (t, ratio * t))
        squared = np.sum((f_t - f_r) ** 2, axis=1)
        np.testing.assert_allclose(loss, np.mean((np.sqrt(squared + c**2) - c) / (t - ratio * t)), rtol=1e-4)
        np.testing.assert_allclose(metrics["inconsistency"], np.sqrt(squared.mean() / 2), rtol=1e-4)

    def test_no_gradient_flows_through_the_point_nearer_to_the_data(self):
        """Finite differences of equation 1 in NumPy, with the parameters of that point held."""
        t, ratio, c = 1.2, 0.7, 0.4
        noise, x, error = jax.random.normal(jax.random.key(6), (4, 2)), draw(4), jnp.array([0.1, -0.2])
        model = at(linear(exact, gap=Constant(ratio), huber=c / 2**0.5), t, noise)
        state = {"denoiser": {}}
        actual = jax.grad(
            lambda e: model.loss({"denoiser": {"error": e}}, state, jax.random.key(7), {"x": x}, jnp.int32(0))[0]
        )(error)

        def distance(moving):
            ends = ((moving, t), (np.asarray(error), ratio * t))
            f_t, f_r = (f_in_numpy(np.asarray(x + s * noise), s, e) for e, s in ends)
            return np.mean((np.sqrt(np.sum((f_t - f_r) ** 2, axis=1) + c**2) - c) / (t - ratio * t))

        steps = 1e-4 * np.eye(2)
        expected = [(distance(error + step) - distance(error - step)) / 2e-4 for step in steps]
        np.testing.assert_allclose(actual, expected, rtol=1e-3, atol=1e-4)

    @pytest.mark.parametrize("ratio", [0.0, 1e-3])
    def test_the_nearer_point_is_data_below_the_first_level(self, ratio):
        """There the target is x₀ itself, whatever f says, and the gap is all of the noise."""
        noise, x, c = jax.random.normal(jax.random.key(16), (8, 2)), draw(8), 2**0.5
        model = at(linear(lambda t: 7.0 + 0 * t, gap=Constant(ratio), huber=1.0), 1.5, noise)
        loss, _ = model.loss(*variables_of(model), jax.random.key(7), {"x": x}, jnp.int32(0))
        f_t = MEAN + 7 * (np.asarray(x + 1.5 * noise) - MEAN)
        squared = np.sum((f_t - np.asarray(x)) ** 2, axis=1)
        np.testing.assert_allclose(loss, np.mean((np.sqrt(squared + c**2) - c) / 1.5), rtol=1e-4)

    def test_dropout_is_the_same_in_both_evaluations(self):
        masks = []

        class Dropping:
            init = Function(None).init

            def apply(self, variables, x, level, train=False, rngs=None):
                masks.append(jax.random.bernoulli(rngs["dropout"], 0.5, x.shape))
                assert train
                return jnp.where(masks[-1], x, 0.0)

        denoiser = diffusion.Diffusion(shape=(2,), net=Dropping(), process=EDM, parametrization=SCALE)
        model = diffusion.ConsistencyModel(denoiser=denoiser)
        model.loss({"denoiser": {}}, {"denoiser": {}}, jax.random.key(7), {"x": draw(64)}, jnp.int32(0))
        assert len(masks) == 2
        np.testing.assert_array_equal(*masks)

    def test_labels_are_dropped_as_those_of_the_denoiser(self):
        seen = []

        def network(params, x, level, label):
            seen.append(np.asarray(label))
            return 0.0 * x

        denoiser = diffusion.Diffusion(
            shape=(2,), net=Function(network), process=EDM, parametrization=SCALE, num_classes=3, condition_dropout=0.25
        )
        batch = {"x": draw(2_000), "label": jnp.ones(2_000, jnp.int32)}
        diffusion.ConsistencyModel(denoiser=denoiser).loss(*({"denoiser": {}},) * 2, jax.random.key(7), batch, 0)
        np.testing.assert_array_equal(*seen)
        np.testing.assert_allclose(seen[0].mean(axis=0), [0, 0.75, 0, 0.25], atol=0.03)


class TestTargets:
    """Consistency distillation from the exact denoiser, which is linear with the gain s² / (s² + t²)."""

    def targets(self, num=64):
        model = linear(fixed_point(0.0), times=diffusion.times.LogNormal(-0.5, 0.8))
        batch = {"x": draw(num), "weight": jnp.arange(num)}
        return diffusion.consistency_targets(model, variables_of(model), jax.random.key(12), batch)

    def test_they_are_the_estimates_of_the_denoiser_at_noisy_data(self):
        targets = self.targets(20_000)
        t = np.asarray(targets["time"])[:, None]
        x_t = np.asarray(targets["x"] + t * targets["noise"])
        gain = DEVIATION**2 / (DEVIATION**2 + t**2)
        np.testing.assert_allclose(targets["x"], MEAN + gain * (x_t - MEAN), rtol=1e-3, atol=1e-3)
        normalized = (x_t - MEAN) / np.sqrt(DEVIATION**2 + t**2)
        np.testing.assert_allclose(np.cov(normalized.T), np.eye(2), atol=0.04)
        np.testing.assert_allclose(np.log(t).mean(), -0.5, atol=0.01)
        assert (targets["weight"] == jnp.arange(20_000)).all() and "label" not in targets

    def test_the_consistency_function_is_their_fixed_point(self):
        """Its evaluations differ by the error of a step of DDIM, O((t − r)²), with other data and noise by O(t − r)."""
        targets, own = self.targets(), {"x": draw(64)}
        errors = []
        for batch in (targets, own):
            for ratio in (0.8, 0.9, 0.95):
                model = linear(exact, gap=Constant(ratio), times=diffusion.times.LogNormal(-0.5, 0.8))
                _, (_, metrics) = model.loss(*variables_of(model), jax.random.key(13), batch, jnp.int32(0))
                errors.append(float(metrics["inconsistency"]))
        np.testing.assert_allclose(np.log2([errors[0] / errors[1], errors[1] / errors[2]]), 2, atol=0.25)
        np.testing.assert_allclose(np.log2([errors[3] / errors[4], errors[4] / errors[5]]), 1, atol=0.25)

    def test_labels_are_dropped_once(self):
        seen = []
        net = Function(lambda params, x, level, label: (seen.append(label), 0 * x)[1])
        options = {"process": EDM, "parametrization": SCALE, "num_classes": 2, "condition_dropout": 0.5}
        model = diffusion.ConsistencyModel(denoiser=diffusion.Diffusion(shape=(2,), net=net, **options))
        variables, batch = Variables({"denoiser": {}}, {"denoiser": {}}), {"x": draw(400)}
        batch["label"] = jnp.ones(400, jnp.int32)
        targets = diffusion.consistency_targets(model, variables, jax.random.key(14), batch)
        model.loss(*variables, jax.random.key(15), targets, 0)
        np.testing.assert_allclose(np.mean(targets["label"] == 2), 0.5, atol=0.1)
        for label in seen[-3:]:  # those of the teacher and of both evaluations
            np.testing.assert_array_equal(np.argmax(label, axis=1), targets["label"])

    def test_a_teacher_of_another_network(self):
        small, large = (
            diffusion.ConsistencyModel(
                denoiser=diffusion.Diffusion(shape=(2,), net=nets.DenoisingMLP((width,), 4, fourier_features=0))
            )
            for width in (4, 8)
        )
        batch = {"x": draw(3)}
        variables = small.init(jax.random.key(0), batch)
        with pytest.raises(ValueError, match=r"the teacher has '.*' of shape \(8,\), but the model needs shape \(16,"):
            diffusion.consistency_targets(large, variables, jax.random.key(1), batch)


class TestGaps:
    def test_the_shrinking_gap(self):
        """ρ = 1 − n/q^a, n = 1 + k sigmoid(−b t), with a from 1 up to the last stage."""
        gap = diffusion.ShrinkingGap(steps_per_stage=10, num_stages=4, q=3.0, k=8.0, b=0.7)
        t = np.array([0.002, 0.1, 1.0, 80.0], np.float32)
        n = 1 + 8 / (1 + np.exp(0.7 * t))
        for step, a in ((0, 1), (9, 1), (10, 2), (39, 4), (1_000, 4)):
            actual = gap.ratio(EDM, jnp.asarray(t), jnp.int32(step))
            np.testing.assert_allclose(actual, np.maximum(1 - n / 3.0**a, 0), rtol=1e-5)

    def test_the_gap_of_the_grid_is_a_step_of_it(self):
        gap = diffusion.GridGap(steps_per_stage=5, first=10, last=35)
        for step, num_steps in ((0, 10), (4, 10), (5, 20), (10, 35), (100, 35)):
            times = np.asarray(diffusion.grids.Karras().times(EDM, num_steps + 1))
            ratio = gap.ratio(EDM, jnp.asarray(times[:-1]), jnp.int32(step))
            np.testing.assert_allclose(ratio[:-1] * times[:-2], times[1:-1], rtol=2e-3)
            assert ratio[-1] * times[-2] <= 1.01 * EDM.start
        assert gap.ratio(EDM, jnp.array([EDM.start]), jnp.int32(0)) == 0

    def test_ratios_are_of_noise_to_signal(self):
        """The same data at other scales of time have the same ratios."""
        cosine = diffusion.processes.Cosine()
        log_snr = jnp.linspace(-8.0, 10.0, 7)
        for gap in (diffusion.ShrinkingGap(), diffusion.GridGap()):
            edm = diffusion.processes.EDM(start=float(np.exp(-6.0)), end=float(np.exp(5.0)))
            ratios = [gap.ratio(p, p.time(log_snr), jnp.int32(0)) for p in (edm, cosine)]
            np.testing.assert_allclose(*ratios, rtol=2e-2, atol=1e-3)

    def test_both_are_gaps(self):
        assert isinstance(diffusion.ShrinkingGap(), Gap) and isinstance(diffusion.GridGap(), Gap)

    def test_a_grid_that_shrinks(self):
        with pytest.raises(ValueError, match="first is 10 and last is 9"):
            diffusion.GridGap(last=9)


class TestSamples:
    def test_one_step_is_the_consistency_function_of_noise(self):
        model = linear(exact)
        noise = model.sample_prior(variables_of(model), jax.random.key(8), 6)
        np.testing.assert_array_equal(noise, jax.random.normal(jax.random.key(8), (6, 2)))
        expected = MEAN + exact(EDM.end) * (EDM.end * noise - MEAN)
        actual = model.decode(variables_of(model), noise)
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)

    @pytest.mark.parametrize("num_steps", [1, 2, 4])
    def test_samples_of_any_number_of_steps_have_the_distribution(self, num_steps):
        model = linear(exact)
        x = np.asarray(model.sample(variables_of(model), jax.random.key(9), 50_000, num_steps=num_steps))
        np.testing.assert_allclose(x.mean(axis=0), MEAN[0], atol=4 * 0.8 / 50_000**0.5 + 0.015)
        np.testing.assert_allclose(np.cov(x.T), np.diag(DEVIATION[0] ** 2), atol=0.02)

    def test_later_steps_start_from_data_with_fresh_noise(self):
        """A model that returns the half of x: two steps give ½ (½ σ₀ z₀ + σ₁ z₁)."""
        model = linear(lambda t: 0.5 + 0 * t)
        model = dataclasses.replace(model, grid=diffusion.grids.Custom((80.0, 2.0)), num_steps=2)
        x = np.asarray(model.sample(variables_of(model), jax.random.key(10), 20_000))
        expected = np.diag([0.25 * (0.25 * 80**2 + 2**2)] * 2)
        np.testing.assert_allclose(np.cov(x.T), expected, rtol=0.05, atol=20)
        alone = np.asarray(model.sample(variables_of(model), jax.random.key(10), 20_000, num_steps=1, grid="uniform"))
        residual = x - (MEAN / 2 + alone / 2)
        np.testing.assert_allclose(residual.std(axis=0), 1.0, atol=0.03)

    def test_labels_reach_the_network(self):
        net = Function(lambda params, x, level, label: label[:, :2] + 0 * x)
        denoiser = diffusion.Diffusion(shape=(2,), net=net, process=EDM, parametrization=SCALE, num_classes=2)
        model = diffusion.ConsistencyModel(denoiser=denoiser)
        assert model.num_classes == 2 and model.conditions == denoiser.conditions
        variables = Variables({"denoiser": {}}, {"denoiser": {}})
        draws = [model.sample(variables, jax.random.key(11), 3, label=label) for label in (0, 1, None)]
        assert (draws[0][:, 0] > draws[1][:, 0]).all() and (draws[1][:, 1] > draws[2][:, 1]).all()


class TestTuning:
    def test_the_parameters_are_those_of_the_diffusion_model(self):
        denoiser = diffusion.Diffusion(shape=(2,), net=nets.DenoisingMLP((4,)), process=EDM, parametrization=SCALE)
        model = diffusion.ConsistencyModel(denoiser=denoiser)
        trained, own = (m.init(jax.random.key(0), {"x": jnp.zeros((2, 2))}) for m in (denoiser, model))
        assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), trained, own))

    def test_the_first_stage_is_denoising_at_small_noise(self):
        """There the gap reaches the data."""
        assert (diffusion.ShrinkingGap().ratio(EDM, jnp.array([0.01, 0.1, 0.5]), jnp.int32(0)) == 0).all()

    def test_defaults_are_those_of_the_papers(self):
        model = linear(exact)
        assert model.times == diffusion.times.LogNormal(mean=-1.1, std=2.0)
        assert model.huber == 0.00054
        assert (model.gap.q, model.gap.k, model.gap.b) == (2.0, 8.0, 1.0)
        assert (diffusion.GridGap().first, diffusion.GridGap().last) == (10, 1_280)

    def test_a_network_that_predicts_the_data(self):
        denoiser = diffusion.Diffusion(
            shape=(2,), net=nets.DenoisingMLP((4,)), parametrization=diffusion.parametrizations.Data()
        )
        with pytest.raises(ValueError, match="parametrization of the denoiser is Data"):
            diffusion.ConsistencyModel(denoiser=denoiser)
