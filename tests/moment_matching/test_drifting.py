"""The drift against plain numpy, its symmetry, and the flows that it follows."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from genjax import gradient_learner, moment_matching, nets
from genjax.moment_matching import drift
from genjax.ops.mmd import mmd_loss
from tests.networks import Function

RNG = np.random.default_rng(0)
X, P, Q = (RNG.normal(size=(num, 3)).astype(np.float32) for num in (5, 7, 6))
KERNELS = {
    "exponential": lambda distance, width: np.exp(-distance / width),
    "gaussian": lambda distance, width: np.exp(-0.5 * distance**2 / width**2),
}
MODEL = moment_matching.Drifting(latent_dim=2, generator=nets.MLP((3,)), widths=(0.5, 2.0))


def mean_shift(x, points, width, kernel, mask=None):
    distance = np.sqrt(((x[:, None] - points[None]) ** 2).sum(axis=-1))
    weights = KERNELS[kernel](distance, width) * (1.0 if mask is None else mask)
    return weights @ points / weights.sum(axis=1, keepdims=True)


class TestDrift:
    @pytest.mark.parametrize("kernel", KERNELS)
    def test_it_is_the_difference_of_two_weighted_means(self, kernel):
        expected = mean_shift(X, P, 0.7, kernel) - mean_shift(X, Q, 0.7, kernel)
        np.testing.assert_allclose(drift(X, P, Q, 0.7, kernel=kernel), expected, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("kernel", KERNELS)
    def test_it_is_antisymmetric_and_zero_for_equal_sets(self, kernel):
        np.testing.assert_allclose(drift(X, P, Q, 0.7, kernel=kernel), -drift(X, Q, P, 0.7, kernel=kernel), atol=1e-6)
        np.testing.assert_allclose(drift(X, P, P[::-1], 0.7, kernel=kernel), 0, atol=1e-6)

    def test_masks_leave_points_out_and_a_point_without_any_stays(self):
        attracts, repels = np.ones((5, 7), bool), np.ones((5, 6), bool)
        attracts[0, 2:], repels[1, :3], attracts[3], repels[4] = False, False, False, False
        result = np.asarray(drift(X, P, Q, 0.7, attracts=jnp.asarray(attracts), repels=jnp.asarray(repels)))
        rows = slice(0, 3)
        expected = mean_shift(X[rows], P, 0.7, "exponential", attracts[rows])
        expected -= mean_shift(X[rows], Q, 0.7, "exponential", repels[rows])
        np.testing.assert_allclose(result[rows], expected, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(result[3:], 0)

    def test_it_does_not_vanish_far_from_the_data_or_lose_digits_far_from_the_origin(self):
        far = np.array([[60.0, 0.0, 0.0]], np.float32)
        np.testing.assert_allclose(drift(far, P[:1], far, 0.1), P[:1] - far, rtol=1e-5)
        shifted = drift(X + 100, P + 100, Q + 100, 0.7)
        np.testing.assert_allclose(shifted, drift(X, P, Q, 0.7), atol=1e-3)

    def test_with_a_gaussian_kernel_it_is_the_difference_of_the_scores_of_two_density_estimates(self):
        width = 0.8

        def log_density(x, points):
            squared = jnp.sum((x[None] - points) ** 2, axis=-1)
            return jax.nn.logsumexp(-0.5 * squared / width**2)

        scores = [jax.vmap(jax.grad(log_density), (0, None))(jnp.asarray(X), points) for points in (P, Q)]
        expected = width**2 * (scores[0] - scores[1])
        np.testing.assert_allclose(drift(X, P, Q, width, kernel="gaussian"), expected, rtol=1e-3, atol=1e-5)

    def test_without_normalization_it_would_be_the_gradient_flow_of_the_discrepancy(self):
        """−∂MMD²/∂q_j = 2/(M τ²) (Z_P (m_P − q_j) − Z_Q (m_Q − q_j)), with means Z of the kernels."""
        width = 0.8
        gradient = jax.grad(lambda q: mmd_loss(jnp.asarray(P), q, (width,)))(jnp.asarray(Q))
        flows = []
        for points in (P, Q):
            towards = mean_shift(Q, points, width, "gaussian") - Q
            distance = np.sqrt(((Q[:, None] - points[None]) ** 2).sum(axis=-1))
            flows.append(KERNELS["gaussian"](distance, width).mean(axis=1, keepdims=True) * towards)
        expected = 2 / (len(Q) * width**2) * (flows[0] - flows[1])
        np.testing.assert_allclose(-gradient, expected, rtol=1e-3, atol=1e-5)


def loss_of(samples, x, params, **options):
    """Return the loss, its gradient with respect to an offset of the samples, and its metrics."""
    generator = Function(lambda params, z, *label: jnp.asarray(samples) + params[None] + 0 * jnp.sum(z))
    model = dataclasses.replace(
        MODEL, generator=generator, **{name: options[name] for name in options if name != "label"}
    )
    batch = {"x": jnp.asarray(x)} | ({"label": jnp.asarray(options["label"])} if "label" in options else {})

    def loss(params):
        return model.loss({"generator": params}, {"generator": {}}, jax.random.key(0), batch, jnp.int32(0))

    (value, (_, metrics)), gradient = jax.value_and_grad(loss, has_aux=True)(jnp.asarray(params, jnp.float32))
    return float(value), np.asarray(gradient), float(metrics["drift"])


class TestLoss:
    def test_it_regresses_on_the_drifted_samples(self):
        y, x = Q, P[:6]
        others = ~np.eye(6, dtype=bool)
        drifts = [mean_shift(y, x, w, "exponential") - mean_shift(y, y, w, "exponential", others) for w in (0.5, 2.0)]
        sizes = [np.sqrt((each**2).mean()) for each in drifts]
        total = sum(each / size for each, size in zip(drifts, sizes, strict=True))
        value, gradient, metric = loss_of(y, x, np.zeros(3))
        np.testing.assert_allclose(value, (total**2).mean(), rtol=1e-3)
        np.testing.assert_allclose(gradient, -2 * total.sum(axis=0) / total.size, rtol=1e-3, atol=1e-5)
        np.testing.assert_allclose(metric, np.mean(sizes), rtol=1e-4)

    def test_samples_drift_within_their_class(self):
        label = np.array([0, 0, 0, 1, 1, 1])
        y, x = Q, P[:6]
        same = label[:, None] == label[None]
        others = same & ~np.eye(6, dtype=bool)
        expected = mean_shift(y, x, 0.5, "exponential", same) - mean_shift(y, y, 0.5, "exponential", others)
        _, _, metric = loss_of(y, x, np.zeros(3), label=label, num_classes=2, widths=(0.5,))
        np.testing.assert_allclose(metric, np.sqrt((expected**2).mean()), rtol=1e-4)

    def test_a_sample_that_is_alone_in_its_class_stays(self):
        _, gradient, metric = loss_of(Q[:2], P[:2], np.zeros(3), label=np.array([0, 1]), num_classes=2)
        assert metric == 0
        np.testing.assert_array_equal(gradient, 0)


def test_a_linear_generator_finds_mean_and_covariance():
    mean, mixing = np.array([1.0, -2.0], np.float32), np.array([[1.0, 0.0], [0.8, 0.5]], np.float32)
    model = moment_matching.Drifting(latent_dim=2, generator=nets.MLP((2,)), widths=(0.5, 2.0))

    def data(key):
        return {"x": mean[None] + jax.random.normal(key, (128, 2)) @ mixing.T}

    learner = gradient_learner(model, optax.adam(optax.cosine_decay_schedule(5e-2, 400)))

    @jax.jit
    def train(key):
        def step(state, key):
            return learner.step(state, jax.random.fold_in(key, 1), data(key))

        return jax.lax.scan(step, learner.init(key, data(key)), jax.random.split(jax.random.fold_in(key, 2), 400))

    with jax.debug_key_reuse(False):
        state, metrics = train(jax.random.key(0))
    assert metrics["drift"][-50:].mean() < 0.3 * metrics["drift"][0]
    samples = np.float64(model.sample(state.variables, jax.random.key(1), 20_000))
    np.testing.assert_allclose(samples.mean(axis=0), mean, atol=0.1)
    np.testing.assert_allclose(np.cov(samples.T), mixing @ mixing.T, atol=0.15)


def test_noise_is_normal_and_samples_decode_it():
    variables = MODEL.init(jax.random.key(0), {"x": jnp.zeros((2, 3))})
    noise = np.float64(MODEL.sample_prior(variables, jax.random.key(1), 20_000))
    np.testing.assert_allclose(noise.mean(axis=0), 0, atol=0.03)
    np.testing.assert_allclose(np.cov(noise.T), np.eye(2), atol=0.03)
    kernel = variables.params["generator"]["Dense_0"]["kernel"]
    np.testing.assert_allclose(MODEL.sample(variables, jax.random.key(1), 20_000), noise @ kernel, atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"latent_dim": 0}, "latent_dim is 0, but must be at least 1"),
        ({"widths": ()}, "widths is "),
        ({"widths": (0.0,)}, "widths is "),
        ({"kernel": "cubic"}, "kernel is 'cubic', but must be 'exponential' or 'gaussian'"),
    ],
)
def test_fields(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(MODEL, **changes)


def test_points_of_other_shapes_are_refused():
    with pytest.raises(
        ValueError, match=r"x has shape \(5, 3\) and samples \(6, 2\), but must be \(B, D\) and \(N, D\)"
    ):
        drift(X, P, Q[:, :2], 1.0)
    with pytest.raises(ValueError, match=r"generator returned shape \(4, 3\), but matching x needs \(4, 5\)"):
        MODEL.init(jax.random.key(0), {"x": jnp.zeros((4, 5))})


def test_widths_shrink_geometrically():
    """After half of four steps a factor of 9 is 3; after all of them it is 1."""
    y, x = Q, P[:6]
    others = ~np.eye(6, dtype=bool)
    generator = Function(lambda params, z: jnp.asarray(y) + 0 * jnp.sum(z))
    model = dataclasses.replace(MODEL, generator=generator, widths=(0.5,), initial_scale=9.0, annealing_steps=4)
    for step, scale in ((0, 9.0), (2, 3.0), (4, 1.0), (9, 1.0)):
        state, batch = {"generator": {}}, {"x": jnp.asarray(x)}
        _, (_, metrics) = model.loss(state, state, jax.random.key(0), batch, jnp.int32(step))
        width = 0.5 * scale
        expected = mean_shift(y, x, width, "exponential") - mean_shift(y, y, width, "exponential", others)
        np.testing.assert_allclose(metrics["drift"], np.sqrt((expected**2).mean()), rtol=1e-4)
