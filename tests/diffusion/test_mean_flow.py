"""Mean flow against the exact mean velocity of Gaussian data, and its loss computed again with numpy.

The flow of N(m, s²) keeps standardized values: with c = z_t − (1 − t) m and σ_t² = (1 − t)² s² + t²,

    z_r = (1 − r) m + σ_r/σ_t c,        u = (z_t − z_r)/(t − r) = −m + c ((t + r) − s² (2 − t − r)) / (σ_t (σ_t + σ_r)).
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import diffusion
from genjax.core import Variables
from genjax.diffusion.mean_flow import LEVEL_SCALE, NUM_HARMONICS, harmonics
from tests.networks import Function

MEAN, DEVIATION, SHIFT = np.array([[0.7, -1.2]]), np.array([[0.5, 1.6]]), np.array([[1.0, 0.0]])
STATE = {"velocity": {}}


def deviation(t):
    return ((1 - t) ** 2 * DEVIATION**2 + t**2) ** 0.5


def jump(z, r, t, mean=MEAN):
    """Return u(z_t, r, t) for z (B, 2), times () or (B, 1) and means (1, 2) or (B, 2)."""
    centred = z - (1 - t) * mean
    return -mean + centred * (t + r - DEVIATION**2 * (2 - t - r)) / (deviation(t) * (deviation(t) + deviation(r)))


def arguments_of(level, condition, offset=0):
    """Return t and t − r (B, 1), which the network receives as a level and as harmonics."""
    first = condition[:, offset : offset + 2 * NUM_HARMONICS]
    angle = jnp.arctan2(jnp.abs(first[:, NUM_HARMONICS]), first[:, 0])
    return level[:, None] / LEVEL_SCALE, angle[:, None] / np.pi


def exact_net(params, z, level, condition):
    t, interval = arguments_of(level, condition)
    return jump(z, t - interval, t)


def guided_net(params, z, level, condition):
    """The exact mean velocity of class means m ± Δ, and m without a label, guided with the weight of the condition."""
    t, interval = arguments_of(level, condition)
    _, strength = arguments_of(level, condition, 2 * NUM_HARMONICS)  # 1 − 1/ω
    one_hot = condition[:, 4 * NUM_HARMONICS :]
    shift = (one_hot[:, :1] - one_hot[:, 1:2]) / (1 - strength) * SHIFT
    return jump(z, t - interval, t, MEAN + shift)


def a_model(function=exact_net, **options):
    return diffusion.MeanFlow(shape=(2,), net=Function(function), **options)


VARIABLES = Variables(STATE, STATE)
EXACT = a_model()
GUIDED = a_model(guided_net, num_classes=2, max_guidance=4.0)


def draw(seed, num, mean=MEAN):
    return jnp.asarray(np.random.default_rng(seed).normal(mean, DEVIATION, (num, 2)), jnp.float32)


class TestExact:
    def test_the_mean_velocity_is_that_of_the_flow(self):
        """u is the integral of the velocity u(z_τ, τ, τ) along the path, divided by its duration."""
        r, t, z = 0.2, 0.9, np.array([[0.3, -1.0]])
        taus = r + (t - r) * (np.arange(2_000) + 0.5) / 2_000
        path = [(1 - tau) * MEAN + deviation(tau) / deviation(t) * (z - (1 - t) * MEAN) for tau in taus]
        velocities = [jump(point, tau, tau) for point, tau in zip(path, taus, strict=True)]
        np.testing.assert_allclose(
            EXACT.mean_velocity(VARIABLES, jnp.float32(z), r, t), np.mean(velocities, axis=0), rtol=1e-5
        )

    @pytest.mark.parametrize("num_steps", [1, 2, 4])
    def test_samples_have_the_distribution_at_any_number_of_steps(self, num_steps):
        x = np.asarray(EXACT.sample(VARIABLES, jax.random.key(0), 20_000, num_steps=num_steps), np.float64)
        noise = np.asarray(jax.random.normal(jax.random.key(0), (20_000, 2)))
        np.testing.assert_allclose(x, MEAN + DEVIATION * noise, atol=1e-4)

    def test_the_derivative_is_that_of_finite_differences_along_the_path(self):
        z, r, t = draw(0, 5), np.float64(0.3), np.float64(0.8)
        variables = Variables(STATE, STATE)

        def fixed(z, r, t, label, guidance):
            return EXACT._velocity(variables, z, r, t, label, guidance)

        times = jnp.full(5, t), jnp.ones(5)
        velocity = jnp.asarray(jump(np.asarray(z), t, t), jnp.float32)
        derivative = EXACT._derivative(fixed, velocity, z, jnp.full(5, r), times[0], None, times[1])
        h, z = 1e-5, np.asarray(z, np.float64)
        ahead, behind = (jump(z + sign * h * jump(z, t, t), r, t + sign * h) for sign in (1, -1))
        np.testing.assert_allclose(derivative, (ahead - behind) / (2 * h), rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(jump(z, r, t) + (t - r) * np.asarray(derivative), jump(z, t, t), atol=1e-4)

    def test_the_exact_solution_minimizes_the_loss(self):
        """Its error is the variance of ε − x given z_t, and any other is larger by the mean square of V − v."""

        def net(params, z, level, condition):
            t, interval = arguments_of(level, condition)
            return jump(z, t - interval, t) + params["shift"] + params["slope"] * interval * jnp.sin(z)

        model = a_model(net, weight_power=0.0, pair_fraction=1.0)
        batch = {"x": draw(1, 40_000)}

        @jax.jit
        def loss(shift, slope):
            params = {"velocity": {"shift": jnp.float32(shift), "slope": jnp.float32(slope)}}
            return model.loss(params, STATE, jax.random.key(2), batch, jnp.int32(0))[0]

        least = loss(0.0, 0.0)
        assert all(loss(*change) > least + 1e-3 for change in ((0.3, 0.0), (-0.3, 0.0), (0.0, 0.5), (0.0, -0.5)))
        gradient = jax.grad(loss, argnums=(0, 1))(0.0, 0.0)
        np.testing.assert_allclose(gradient, 0, atol=0.02)
        first, second = (loss(sign * 0.3, 0.0) for sign in (1, -1))
        np.testing.assert_allclose((first + second) / 2 - least, 0.3**2, rtol=0.1)

    def test_guidance_shifts_the_distribution_along_the_line_of_the_means(self):
        for weight in (1.0, 2.5):
            x = GUIDED.sample(VARIABLES, jax.random.key(0), 500, label=1, guidance=weight)
            noise = np.asarray(jax.random.normal(jax.random.key(0), (500, 2)))
            np.testing.assert_allclose(x, MEAN - weight * SHIFT + DEVIATION * noise, atol=2e-3)
        without = GUIDED.sample(VARIABLES, jax.random.key(0), 500)
        np.testing.assert_allclose(without, MEAN + DEVIATION * noise, atol=1e-4)

    def test_the_guided_velocity_is_a_fixed_point_of_its_target(self):
        """With labels of all examples, the mean error of V is zero for data of the class and the guided network."""
        model = dataclasses.replace(GUIDED, weight_power=0.0, pair_fraction=1.0, condition_dropout=1e-6)

        def net(params, *args):
            return guided_net({}, *args) + params[None]

        model = dataclasses.replace(model, net=Function(net))
        batch = {"x": draw(3, 40_000, MEAN + SHIFT), "label": jnp.zeros(40_000, jnp.int32)}

        @jax.jit
        def gradient(offset):
            loss = lambda p: model.loss({"velocity": p}, STATE, jax.random.key(4), batch, jnp.int32(0))[0]  # noqa: E731
            return jax.grad(loss)(offset)

        np.testing.assert_allclose(gradient(jnp.zeros(2)), 0, atol=0.02)

    def test_scaled_data_give_scaled_samples(self):
        scaled = dataclasses.replace(EXACT, data_scale=3.0)
        plain = EXACT.sample(VARIABLES, jax.random.key(0), 5)
        np.testing.assert_allclose(scaled.sample(VARIABLES, jax.random.key(0), 5), 3 * plain, rtol=1e-5)
        x = draw(5, 4)
        u = scaled.mean_velocity(VARIABLES, 3 * x, 0.2, 0.7)
        np.testing.assert_allclose(u, 3 * EXACT.mean_velocity(VARIABLES, x, 0.2, 0.7), rtol=1e-4)
        losses = [
            model.loss(STATE, STATE, jax.random.key(0), {"x": factor * x}, jnp.int32(0))[0]
            for model, factor in ((EXACT, 1), (scaled, 3))
        ]
        np.testing.assert_allclose(*losses, rtol=1e-4)


class TestLoss:
    """A linear network u = a z + b t + c (t − r) + d ω̃ + e·one-hot, whose loss and gradient have closed forms."""

    PARAMS = np.array([0.4, -0.3, 0.8, 0.6])

    @staticmethod
    def recorded(model, batch, params=PARAMS):
        """Return the loss, its gradient, the metrics and what the network received in training."""
        calls = []

        def net(params, z, level, condition, train=False):
            t, interval = arguments_of(level, condition)
            features = [z, t, interval]
            if model.num_classes is not None:
                _, strength = arguments_of(level, condition, 2 * NUM_HARMONICS)
                one_hot = condition[:, 4 * NUM_HARMONICS :]
                features.append(strength + one_hot[:, :1] - one_hot[:, -1:])
                if train:
                    calls.append((z, t, interval, strength, one_hot))
            elif train:
                calls.append((z, t, interval))
            return sum(weight * feature for weight, feature in zip(params, features, strict=False))

        class Trained(Function):
            def apply(self, variables, *args, train):
                return net(variables["params"], *args, train=train)

        model = dataclasses.replace(model, net=Trained(net))

        def loss(params):
            return model.loss({"velocity": params}, STATE, jax.random.key(7), batch, jnp.int32(0))

        with jax.disable_jit():
            value, (_, metrics) = loss(jnp.asarray(params, jnp.float32))
        call = [np.asarray(part, np.float64) for part in calls[0]]
        gradient = jax.grad(lambda params: loss(params)[0])(jnp.asarray(params, jnp.float32))
        return float(value), np.asarray(gradient), metrics, call

    @pytest.mark.parametrize("power", [0.0, 1.0])
    def test_the_loss_and_its_gradient_without_classes(self, power):
        model = a_model(weight_power=power, data_scale=2.0)
        x = np.asarray(draw(8, 10), np.float64)
        value, gradient, metrics, (z, t, interval) = self.recorded(model, {"x": jnp.float32(x)})
        a, b, c, _ = self.PARAMS
        noise = (z - (1 - t) * x / 2) / t
        np.testing.assert_array_equal(interval[3:] < 1e-6, True)
        np.testing.assert_array_equal(interval[:3] > 1e-6, True)
        velocity = a * z + b * t
        # du/dt = a v + b + c, where the network receives t and t − r.
        output = velocity + c * interval + interval * (a * velocity + b + c)
        difference = output - (noise - x / 2)
        errors = (difference**2).mean(axis=1)
        weights = (errors + 1e-3) ** -power
        np.testing.assert_allclose(value, (weights * errors).mean(), rtol=1e-3)
        np.testing.assert_allclose(metrics["velocity_error"], errors[3:].mean(), rtol=1e-3)
        np.testing.assert_allclose(metrics["pair_error"], errors[:3].mean(), rtol=1e-3)
        slopes = [z, t, interval]
        expected = [(weights[:, None] * difference * slope).mean(axis=1).mean() * 2 for slope in slopes]
        np.testing.assert_allclose(gradient[:3], expected, rtol=2e-3, atol=1e-4)

    def test_the_loss_with_guidance(self):
        model = a_model(num_classes=2, max_guidance=4.0, condition_dropout=0.4, weight_power=0.0, pair_fraction=0.5)
        x, label = np.asarray(draw(9, 12), np.float64), np.arange(12) % 2
        value, _, _, (z, t, interval, strength, one_hot) = self.recorded(
            model, {"x": jnp.float32(x), "label": jnp.asarray(label)}
        )
        a, b, c, d = self.PARAMS
        dropped = one_hot[:, 2:] == 1
        assert 0 < dropped.sum() < 12
        np.testing.assert_array_equal((one_hot[:, :2].argmax(axis=1) == label) | dropped[:, 0], True)
        np.testing.assert_allclose(strength[dropped], 0, atol=1e-6)
        assert (strength[~dropped] > 1e-3).all() and (strength < 0.75).all()
        class_term = d * (strength + one_hot[:, :1] - one_hot[:, 2:])
        velocity = a * z + b * t + class_term
        without = a * z + b * t - d
        target = (z - (1 - t) * x) / t - x + strength * (velocity - without)
        output = velocity + c * interval + interval * (a * velocity + b + c)
        np.testing.assert_allclose(value, ((output - target) ** 2).mean(), rtol=1e-3)

    def test_guidance_weights_are_log_uniform(self):
        weights = GUIDED._guidances(jax.random.key(0), 4_000, jnp.zeros(4_000, jnp.int32))
        uniform = np.sort(np.log(np.asarray(weights)) / np.log(4.0))
        np.testing.assert_allclose(uniform, np.linspace(0, 1, 4_000), atol=0.03)

    def test_both_times_of_a_pair_have_the_distribution_of_times(self):
        model = a_model(times=diffusion.times.LogitNormal(mean=-0.4), pair_fraction=0.3)
        r, t = map(np.asarray, model._pairs(jax.random.key(0), 4_000, 1_200))
        assert (r[:1_200] < t[:1_200]).mean() > 0.999
        np.testing.assert_array_equal(r[1_200:], t[1_200:])
        pooled = np.concatenate([r[:1_200], t[:1_200]])
        logits = np.log(pooled / (1 - pooled))
        np.testing.assert_allclose([logits.mean(), logits.std()], [-0.4, 1.0], atol=0.06)
        assert t[1_200:].mean() > pooled.mean() + 0.05  # the larger of two

    def test_harmonics(self):
        angle = np.pi * 0.3 * np.arange(1, 9)
        np.testing.assert_allclose(harmonics(jnp.array([0.3]))[0], [*np.cos(angle), *np.sin(angle)], atol=1e-5)


class TestSettings:
    def test_defaults_are_those_of_the_papers(self):
        model = a_model()
        assert (model.times, model.pair_fraction) == (diffusion.times.LogitNormal(-0.4, 1.0), 0.25)
        assert (model.weight_power, model.condition_dropout) == (1.0, 0.1)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"max_guidance": 2.0}, "max_guidance is 2.0, but num_classes is None and condition_dropout 0.1"),
            (
                {"max_guidance": 2.0, "num_classes": 2, "condition_dropout": 0.0},
                "guidance needs classes and dropped labels",
            ),
            ({"max_guidance": 0.5}, "max_guidance is 0.5, but must be at least 1"),
            ({"pair_fraction": 0.0}, r"pair_fraction is 0.0, but must be in \(0, 1\]"),
        ],
    )
    def test_settings_that_cannot_be(self, options, message):
        with pytest.raises(ValueError, match=message):
            a_model(**options)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"guidance": 5.0, "label": 0}, r"guidance is 5.0, but this model was trained for weights in \[1, 4.0\]"),
            ({"guidance": 0.5, "label": 0}, "guidance is 0.5"),
            ({"guidance": 2.0}, "guidance is 2.0, but label is None; pass a label"),
            ({"label": 2}, r"label is 2, but must be in 0, ..., 1"),
            ({"num_steps": 0}, "num_steps is 0, but must be at least 1"),
        ],
    )
    def test_samples_that_cannot_be(self, options, message):
        with pytest.raises(ValueError, match=message):
            GUIDED.sample(VARIABLES, jax.random.key(0), 3, **options)

    def test_a_network_of_another_shape_is_refused(self):
        model = a_model(lambda params, z, *args: jnp.zeros((z.shape[0], 3)))
        with pytest.raises(ValueError, match=r"net returned shape \(4, 3\), but matching x needs \(4, 2\)"):
            model.init(jax.random.key(0), {"x": jnp.zeros((4, 2))})
