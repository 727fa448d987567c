"""Spectral and conditional batch normalization against numpy."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.nets import ConditionalBatchNorm, Conv, GroupNorm, apply_layer, apply_net, apply_norm, init_net

SHAPE = (6, 3, 5, 4)
X = 3 * jax.random.normal(jax.random.key(0), SHAPE) + jnp.arange(4.0)[None, None, None]
LABELS = np.array([0, 2, 1, 1, 2, 0])


class Spectral(nn.Module):
    """A network of one layer."""

    layer: nn.Module

    @nn.compact
    def __call__(self, x, train=False):
        return apply_layer(self.layer.copy(), x, spectral=True, train=train)


@pytest.mark.parametrize("layer", [nn.Dense(3), Conv(3, (3, 3))], ids=["dense", "convolution"])
def test_a_step_of_power_iteration_divides_the_weights(layer):
    """Only the kernel is scaled, the state changes only in training, and gradients of σ hold u and v fixed."""
    x = X if isinstance(layer, Conv) else X[:, 0, 0]
    net = Spectral(layer)
    params, state = init_net(net, jax.random.key(1), x)
    unit = layer.init(jax.random.key(1), x)["params"]  # an initializer's scale stays what it is
    (layer_params,), (statistics,) = params.values(), state["batch_stats"].values()
    np.testing.assert_allclose(np.std(layer_params["kernel"]), np.std(unit["kernel"]), rtol=0.3)
    params = jax.tree.map(lambda p: p * 2 + 0.25, params)
    ((kernel, bias),) = ((p["kernel"], p["bias"]) for p in params.values())
    matrix, u = np.float64(kernel).reshape(-1, 3), np.float64(statistics["u"])
    v = matrix @ u / np.linalg.norm(matrix @ u)
    new_u = v @ matrix / np.linalg.norm(v @ matrix)

    def expected(kernel):  # W / (v W u), with v and u constants
        weights = kernel / jnp.sum(jnp.float32(np.outer(v, new_u)) * kernel.reshape(-1, 3))
        return layer.apply({"params": {"kernel": weights, "bias": bias}}, x)

    @functools.partial(jax.jit)
    def program(params, state):
        y, same_state = apply_net(net, params, state, x)
        gradient = jax.grad(lambda p: jnp.sum(jnp.sin(apply_net(net, p, state, x)[0])))(params)
        by_hand = jax.grad(lambda k: jnp.sum(jnp.sin(expected(k))))(kernel)
        return y, same_state, apply_net(net, params, state, x, train=True), gradient, expected(kernel), by_hand

    y, same_state, (same, new_state), gradient, y_by_hand, gradient_by_hand = program(params, state)
    np.testing.assert_allclose(y, y_by_hand, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(same, y, rtol=1e-6)
    jax.tree.map(np.testing.assert_array_equal, same_state, state)
    (statistics,) = new_state["batch_stats"].values()
    np.testing.assert_allclose(statistics["u"], new_u, atol=1e-6)
    (gradient,) = gradient.values()
    np.testing.assert_allclose(gradient["kernel"], gradient_by_hand, rtol=1e-3, atol=1e-4)


def test_without_normalization_a_layer_is_itself():
    layer = nn.Dense(3, parent=None)
    variables = layer.init(jax.random.key(0), X)
    bound = layer.bind(variables)
    np.testing.assert_array_equal(apply_layer(bound, X, spectral=False, train=True), layer.apply(variables, X))


@pytest.mark.parametrize("spectral", [False, True], ids=["by_class", "spectral"])
def test_gains_and_biases_are_those_of_the_class(spectral):
    net = ConditionalBatchNorm(spectral=spectral, kernel_init=nn.initializers.normal(1.0))
    label = jax.nn.one_hot(LABELS, 3)
    params, state = init_net(net, jax.random.key(2), X, label)
    y, new_state = jax.jit(lambda p, s: apply_net(net, p, s, X, label, train=True))(params, state)
    x = np.float64(X)
    mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
    kernels = {name: np.float64(params[name]["kernel"]) for name in ("gain", "bias")}
    statistics = new_state["batch_stats"]
    if spectral:  # one step of power iteration has led to u
        for name, kernel in kernels.items():
            before, after = (np.float64(s["batch_stats"][f"spectral_{name}"]["u"]) for s in (state, new_state))
            kernels[name] = kernel * np.linalg.norm(kernel @ before) / (kernel @ before @ kernel @ after)
    gain, bias = (kernels[name][LABELS][:, None, None] for name in ("gain", "bias"))
    np.testing.assert_allclose(y, (1 + gain) * (x - mean) / np.sqrt(var + 1e-5) + bias, rtol=1e-4, atol=1e-4)
    (running,) = (entry for name, entry in statistics.items() if "BatchNorm" in name)
    np.testing.assert_allclose(running["mean"], 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(running["var"], 0.9 + 0.1 * var, rtol=1e-5)


def test_classes_begin_alike():
    net = ConditionalBatchNorm()
    params, state = init_net(net, jax.random.key(0), X, jax.nn.one_hot(LABELS, 3))
    y = apply_net(net, params, state, X, jax.nn.one_hot(LABELS, 3))[0]
    np.testing.assert_allclose(y, X, rtol=1e-4)  # the running mean is 0, the variance 1
    unconditional, _ = init_net(net, jax.random.key(0), X)
    assert {p.shape for p in jax.tree.leaves(unconditional)} == {(4,)}


class Normalized(nn.Module):
    """A network of one normalization."""

    kind: str | None

    @nn.compact
    def __call__(self, x, train=False):
        return apply_norm(x, self.kind, train=train)


@pytest.mark.parametrize("kind", ["batch", "layer", "instance", "spectral", None])
def test_normalizations_of_features(kind):
    net = Normalized(kind)
    y = apply_net(net, *init_net(net, jax.random.key(0), X), X, train=True)[0]
    x, axes = np.float64(X), {"batch": (0, 1, 2), "layer": (1, 2, 3), "instance": (1, 2)}.get(kind)
    if axes is not None:
        x = (x - x.mean(axes, keepdims=True)) / x.std(axes, keepdims=True)
    np.testing.assert_allclose(y, x, rtol=1e-4, atol=1e-4)


def test_a_group_norm_without_a_bias_has_mean_zero():
    net = GroupNorm(2, use_bias=False)
    params, _ = init_net(net, jax.random.key(0), X)
    assert list(params) == ["scale"]
    grouped = np.asarray(net.apply({"params": params}, X)).reshape(len(X), -1, 2, 2)
    np.testing.assert_allclose(grouped.mean(axis=(1, 3)), 0, atol=1e-5)
