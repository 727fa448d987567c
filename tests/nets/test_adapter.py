import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.nets import Net, apply_net, init_net


class Normalized(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        return nn.BatchNorm(use_running_average=not train, momentum=0.75)(x)


class Dropped(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        return nn.Dropout(0.5, deterministic=not train)(x)


class Plain:
    """A network that uses no library."""

    def init(self, key, x):
        return {"params": {"w": jax.random.normal(key, (x.shape[-1], 3))}}

    def apply(self, variables, x):
        return x @ variables["params"]["w"]


@pytest.fixture(scope="module")
def x():
    return jax.random.normal(jax.random.key(0), (64, 5)) * 2.0 + 3.0


def test_batch_statistics_are_state_and_move_only_in_training(x):
    net = Normalized()
    params, state = init_net(net, jax.random.key(1), x)
    assert set(params) == {"BatchNorm_0"}
    assert set(state) == {"batch_stats"}
    evaluated, same = apply_net(net, params, state, x)
    assert same is state
    np.testing.assert_allclose(evaluated, x, rtol=1e-4)
    trained, new_state = apply_net(net, params, state, x, train=True)
    np.testing.assert_allclose(trained.mean(0), jnp.zeros(5), atol=1e-5)
    np.testing.assert_allclose(new_state["batch_stats"]["BatchNorm_0"]["mean"], 0.25 * x.mean(0), rtol=1e-5)


def test_statistics_keep_their_type_on_data_of_64_bits(x):
    params, state = init_net(Normalized(), jax.random.key(1), x)
    with jax.enable_x64(True):
        _, new_state = apply_net(Normalized(), params, state, np.asarray(x, np.float64), train=True)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(new_state)} == {"float32"}


def test_dropout_acts_only_in_training(x):
    params, state = init_net(Dropped(), jax.random.key(1), x)
    assert (params, state) == ({}, {})
    np.testing.assert_array_equal(apply_net(Dropped(), params, state, x, key=jax.random.key(2))[0], x)
    y, _ = apply_net(Dropped(), params, state, x, key=jax.random.key(3), train=True)
    mask = y != 0
    np.testing.assert_allclose(y[mask], 2.0 * x[mask], rtol=1e-6)
    assert 0.3 < mask.mean() < 0.7


def test_a_network_without_train_or_dropout_gets_neither(x):
    params, state = init_net(nn.Dense(2), jax.random.key(1), x)
    y, _ = apply_net(nn.Dense(2), params, state, x, key=jax.random.key(2), train=True)
    np.testing.assert_allclose(y, jnp.dot(x, params["kernel"]), rtol=1e-6)


def test_any_object_with_init_and_apply_is_a_network(x):
    assert isinstance(Plain(), Net)
    params, state = init_net(Plain(), jax.random.key(1), x)
    y, new_state = apply_net(Plain(), params, state, x, key=jax.random.key(2), train=True)
    np.testing.assert_array_equal(y, x @ params["w"])
    assert new_state == {}
