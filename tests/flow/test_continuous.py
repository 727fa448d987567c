"""Continuous flows against linear fields, whose flow is a matrix exponential, and against brute force."""

import functools
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import expm

from genjax import latent
from genjax.core import Variables
from genjax.flow.bijection import Bijection
from genjax.flow.continuous import Continuous
from genjax.flow.ffjord import FFJORD
from genjax.nets import MLP
from genjax.ops import Solver

RNG = np.random.default_rng(0)
A = np.float32(RNG.normal(size=(3, 3)) * 0.6)
B = np.float32(RNG.normal(size=(3, 2)))
X = np.float32(RNG.normal(size=(5, 3)))
NET = MLP((8,), activation=jnp.tanh)


class Linear(nn.Module):
    """v = 2 t (A x + B c): by s = t² the flow of A x + B c from s = 0 to 1."""

    output_shape: Sequence[int] | None = None

    @nn.compact
    def __call__(self, x, condition):
        time, condition = condition[:, :1], condition[:, 1:]
        matrix = self.param("matrix", nn.initializers.normal(), (x.shape[1], x.shape[1]))
        drift = self.param("drift", nn.initializers.normal(), (x.shape[1], condition.shape[1]))
        return 2 * time * (x @ matrix.T + condition @ drift.T)


class Normalized(nn.Module):
    output_shape: Sequence[int] | None = None

    @nn.compact
    def __call__(self, x, condition, train=False):
        return nn.BatchNorm(use_running_average=not train)(x)


def linear(matrix, drift=None):
    return {
        "matrix": jnp.asarray(matrix),
        "drift": jnp.zeros((len(matrix), 0)) if drift is None else jnp.asarray(drift),
    }


def log_normal(z):
    return -0.5 * np.sum(np.square(z) + np.log(2 * np.pi), axis=-1)


def random_params(model, x, scale=2.0, **batch):
    """Parameters far from the identity, biases included."""
    variables = model.init(jax.random.key(3), {"x": x, **batch})
    leaves, tree = jax.tree.flatten(variables.params)
    keys = jax.random.split(jax.random.key(4), len(leaves))
    noisy = [scale * p + 0.3 * jax.random.normal(k, p.shape) for p, k in zip(leaves, keys, strict=True)]
    return Variables(jax.tree.unflatten(tree, noisy), variables.state)


class TestContinuous:
    def test_a_linear_field_flows_by_the_matrix_exponential(self):
        bijection = Continuous(net=Linear(), solver=Solver(rtol=1e-6, atol=1e-6))
        assert isinstance(bijection, Bijection)
        condition = np.float32(RNG.normal(size=(5, 2)))
        variables = Variables(linear(A, B), {})
        assert jax.tree.map(jnp.shape, bijection.init(jax.random.key(0), X, condition)) == jax.tree.map(
            jnp.shape, variables
        )
        flow = expm(np.float64(A))
        expected = X @ flow.T + condition @ (np.linalg.inv(A) @ (flow - np.eye(3)) @ B).T
        y, log_det = bijection.forward(variables, X, condition)
        np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(log_det, np.full(5, np.trace(A)), atol=1e-5)
        x, log_det = bijection.inverse(variables, jnp.float32(expected), condition)
        np.testing.assert_allclose(x, X, rtol=1e-5, atol=2e-5)
        np.testing.assert_allclose(log_det, np.full(5, -np.trace(A)), atol=1e-5)

    def test_log_det_is_that_of_the_jacobian_matrix_for_examples_of_any_shape(self):
        bijection = Continuous(net=NET, solver=Solver(rtol=1e-6, atol=1e-6))
        x = np.float32(RNG.normal(size=(3, 2, 2)))
        units = np.eye(4, dtype=np.float32).reshape(4, 2, 2)
        # Finite differences of order 4 in one batch, so that all take the same steps.
        stencil, weights, width = np.float32([0, -2, -1, 1, 2]), np.array([0, 1, -8, 8, -1]) / 12, np.float32(0.05)
        shifted = x[:, None, None] + width * stencil[:, None, None] * units[:, None]  # (3, 4, 5, 2, 2)
        rows = shifted.reshape(60, 2, 2)
        condition = np.float32(np.repeat(RNG.normal(size=(3, 3)), 20, axis=0))
        params = jax.tree.map(lambda p: 2.5 * p, bijection.init(jax.random.key(0), rows, condition).params)
        y, log_det = bijection.forward(Variables(params, {}), rows, condition)
        matrices = np.einsum("bisj,s->bji", np.asarray(y, np.float64).reshape(3, 4, 5, 4), weights / width)
        log_dets = np.reshape(log_det, (3, 4, 5))[:, :, 0]
        assert np.ptp(log_dets) > 0.1
        np.testing.assert_allclose(log_dets, np.linalg.slogdet(matrices)[1][:, None].repeat(4, 1), atol=2e-4)
        again, log_det_back = bijection.inverse(Variables(params, {}), y, condition)
        np.testing.assert_allclose(again, rows, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(log_det_back, -log_det, atol=1e-5)

    def test_an_outlier_in_the_batch_changes_others_within_the_tolerance(self):
        bijection, variables = Continuous(net=Linear()), Variables(linear(A), {})
        near = np.float32(0.01) * X
        one = bijection.forward(variables, near)[0][:4]
        other = bijection.forward(variables, np.concatenate([near[:4], np.full((1, 3), 100.0, np.float32)]))[0][:4]
        assert not np.array_equal(one, other), "the outlier did not change the steps"
        np.testing.assert_allclose(one, other, atol=1e-5)


class TestLoss:
    @pytest.mark.parametrize(("adjoint", "trace"), [("checkpoint", "hutchinson"), ("backsolve", "exact")])
    def test_is_the_closed_form_and_so_are_its_gradients(self, adjoint, trace):
        model = FFJORD(
            shape=(3,),
            net=Linear(),
            trace=trace,
            noise="gaussian",
            solver=Solver(rtol=1e-6, atol=1e-6, adjoint=adjoint),
            kinetic_weight=0.5,
            jacobian_weight=0.2,
        )
        directions = np.sqrt(3) * np.eye(3)  # their average is exact
        if trace == "hutchinson":
            directions = np.asarray(model._trace(jax.random.key(7)[None], X)[0])

        def closed_form(matrix):
            pushed = directions @ matrix.T
            log_det = np.mean(np.sum(pushed * directions, axis=1))
            jacobian = 4 / 3 * np.mean(np.sum(pushed**2, axis=1))  # ∫ (2 t)² dt ‖A ε‖²
            times = ((np.arange(50) + 0.5) / 50)[:, None, None]  # the midpoint rule
            speeds = 2 * times * (matrix @ expm(times**2 * matrix) @ X.T)
            kinetic = np.sum(np.square(speeds)) / (len(X) * len(times))
            base = np.mean(log_normal(X @ expm(matrix).T))
            metrics = {"base": base, "log_det": log_det, "kinetic": kinetic, "jacobian": jacobian}
            return 0.5 * kinetic + 0.2 * jacobian - base - log_det, metrics

        @jax.jit
        @functools.partial(jax.value_and_grad, has_aux=True)
        def loss(params):
            return model.loss(params, {}, jax.random.key(7), {"x": X}, jnp.int32(0))

        (value, (_, metrics)), gradients = loss({"velocity": linear(A)})
        expected, parts = closed_form(np.float64(A))
        changes = 1e-5 * np.eye(9).reshape(9, 3, 3)
        gradient = [(closed_form(A + change)[0] - closed_form(A - change)[0]) / 2e-5 for change in changes]
        np.testing.assert_allclose(value, expected, rtol=1e-3)
        for name, part in parts.items():
            np.testing.assert_allclose(metrics[name], part, rtol=1e-3, atol=1e-4, err_msg=name)
        np.testing.assert_allclose(gradients["velocity"]["matrix"].ravel(), gradient, rtol=2e-3, atol=2e-3)


@pytest.fixture(scope="module")
def exact():
    return FFJORD(shape=(2,), net=NET, trace="exact")


@pytest.fixture(scope="module")
def variables(exact):
    return random_params(exact, jnp.zeros((3, 2)))


class TestFFJORD:
    def test_the_density_integrates_to_one(self, exact, variables):
        side = np.linspace(-12, 12, 121, dtype=np.float32)
        grid = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
        log_prob = exact.log_prob_estimate(variables, jax.random.key(0), grid, 1)
        density = np.exp(np.float64(log_prob))
        assert np.abs(density - np.exp(log_normal(grid))).max() > 0.05, "the flow is nearly the identity"
        assert np.sum(density) * (side[1] - side[0]) ** 2 == pytest.approx(1.0, abs=2e-3)

    def test_samples_come_with_their_density_and_go_back_to_noise(self, exact, variables):
        x, log_prob = exact.sample_and_log_prob_estimate(variables, jax.random.key(1), 6)
        np.testing.assert_allclose(
            exact.log_prob_estimate(variables, jax.random.key(2), x, 1), log_prob, rtol=1e-4, atol=1e-4
        )
        noise = exact.encode(variables, x)
        np.testing.assert_allclose(exact.decode(variables, noise), x, rtol=1e-4, atol=1e-4)
        walk = latent.interpolate(exact, variables, x, x[::-1], 3)
        np.testing.assert_allclose(walk[:, 0], x, rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(walk[:, 1], exact.decode(variables, (noise + noise[::-1]) / 2), atol=1e-4)

    def test_samples_of_a_linear_field_have_its_covariance(self):
        model = FFJORD(shape=(3,), net=Linear())
        x = model.sample(Variables({"velocity": linear(A)}, {}), jax.random.key(0), 20_000)
        back = expm(-np.float64(A))
        np.testing.assert_allclose(np.cov(np.asarray(x).T), back @ back.T, atol=0.05 * np.abs(back @ back.T).max())

    @pytest.mark.parametrize("noise", ["rademacher", "gaussian"])
    def test_hutchinson_is_unbiased(self, exact, variables, noise):
        model = FFJORD(shape=(2,), net=NET, noise=noise)
        x = jnp.asarray(X[:, :2])
        expected = exact.log_prob_estimate(variables, jax.random.key(0), x, 1)
        keys = jax.random.split(jax.random.key(5), 400)
        one_each = jax.jit(jax.vmap(lambda key: model.log_prob_estimate(variables, key, x, 1)))(keys)
        error = np.std(one_each, axis=0) / np.sqrt(400)
        assert (error > 1e-3).all(), "one direction cannot be exact here"
        assert (np.abs(np.mean(one_each, axis=0) - expected) < 4 * error).all()
        as_many_as_elements = model.log_prob_estimate(variables, jax.random.key(6), x, 2)
        np.testing.assert_array_equal(as_many_as_elements, expected)

    def test_directions_are_averaged_in_chunks(self):
        model, variables = FFJORD(shape=(3,), net=Linear()), Variables({"velocity": linear(A)}, {})
        two, one_at_a_time = (
            model.log_prob_estimate(variables, jax.random.key(0), X, 2, chunk_size=size) for size in (2, 1)
        )
        np.testing.assert_allclose(two, one_at_a_time, rtol=1e-4)
        assert np.abs(two - model.log_prob_estimate(variables, jax.random.key(0), X, 3)).max() > 0.1

    def test_rademacher_directions_are_exact_for_a_diagonal_jacobian(self):
        diagonal = np.float32([0.5, -1.0, 0.3])
        variables = Variables({"velocity": linear(np.diag(diagonal))}, {})
        log_prob = FFJORD(shape=(3,), net=Linear()).log_prob_estimate(variables, jax.random.key(0), X, 1)
        np.testing.assert_allclose(log_prob, log_normal(np.exp(diagonal) * X) + diagonal.sum(), atol=1e-4)

    def test_labels_steer_the_field(self):
        model = FFJORD(shape=(3,), net=Linear(), num_classes=2, trace="exact")
        variables = Variables({"velocity": linear(A, B)}, {})
        flow, label = expm(np.float64(A)), np.array([0, 1, 1, 0, 1], np.int32)
        shift = (np.linalg.inv(A) @ (flow - np.eye(3)) @ B).T[label]
        expected = log_normal(X @ flow.T + shift) + np.trace(A)
        np.testing.assert_allclose(
            model.log_prob_estimate(variables, jax.random.key(0), X, 1, label=label), expected, rtol=1e-4
        )
        with pytest.raises(ValueError, match="needs 'label'"):
            model.init(jax.random.key(0), {"x": X})


class TestErrors:
    def test_running_out_of_steps_is_an_error_and_nan_where_compiled(self):
        bijection = Continuous(net=Linear(), solver=Solver(max_steps=2, rtol=1e-6, atol=1e-6))
        variables = Variables(linear(A), {})
        with pytest.raises(RuntimeError, match="max_steps=2"):
            bijection.forward(variables, X)
        y, log_det = jax.jit(bijection.forward)(variables, X)
        assert np.isnan(y).all()
        assert np.isnan(log_det).all()

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"shape": ()}, "of length 1 or more"),
            ({"trace": "approximate"}, "'hutchinson' or 'exact'"),
            ({"noise": "uniform"}, "'rademacher' or 'gaussian'"),
            ({"net": lambda x: x}, "output_shape"),
            ({"kinetic_weight": -1.0}, "kinetic_weight is -1.0"),
            ({"jacobian_weight": -1.0}, "jacobian_weight is -1.0"),
            ({"num_classes": 0}, "num_classes is 0"),
        ],
    )
    def test_wrong_settings(self, options, message):
        with pytest.raises(ValueError, match=message):
            FFJORD(**({"shape": (3,), "net": NET} | options))

    @pytest.mark.parametrize("options", [{"rtol": 1e-9}, {"atol": 0.0}, {"max_steps": 0}, {"adjoint": "direct"}])
    def test_wrong_solvers(self, options):
        with pytest.raises(ValueError, match=f"{next(iter(options))} is "):
            Solver(**options)

    def test_networks_that_do_not_fit(self):
        with pytest.raises(ValueError, match="batch_stats"):
            Continuous(net=Normalized()).init(jax.random.key(0), X)

        class Deaf(nn.Module):
            output_shape: Sequence[int] | None = None

            @nn.compact
            def __call__(self, x, condition):
                return nn.Dense(2)(x)

        with pytest.raises(ValueError, match=r"\(5, 2\), but a velocity"):
            Continuous(net=Deaf()).init(jax.random.key(0), X)

    @pytest.mark.parametrize(
        ("x", "message"), [(X[:, :2], "shape"), (np.int32(X), "dtype"), (np.where(X > 1, np.nan, X), "finite")]
    )
    def test_wrong_data(self, x, message):
        with pytest.raises(ValueError, match=message):
            FFJORD(shape=(3,), net=NET).init(jax.random.key(0), {"x": jnp.asarray(x)})
