"""Networks of NNX and equinox are those of their own libraries, in eager and compiled models."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from genjax import nets, ops, vae
from genjax.nets import apply_net, init_net
from genjax.testing import check_model

X = jnp.arange(12.0).reshape(4, 3)


class Block(nnx.Module):
    def __init__(self, rngs):
        self.linear = nnx.Linear(3, 2, rngs=rngs)
        self.norm = nnx.BatchNorm(2, momentum=0.5, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        return self.dropout(self.norm(self.linear(x)))


class Dropped(eqx.Module):
    linear: eqx.nn.Linear
    dropout: eqx.nn.Dropout

    def __init__(self, key):
        self.linear, self.dropout = eqx.nn.Linear(3, 2, key=key), eqx.nn.Dropout(0.5)

    def __call__(self, x, *, key=None):
        return self.dropout(self.linear(x), key=key)


def test_an_nnx_module_computes_what_it_computes_alone():
    net = nets.from_nnx(Block)
    params, state = init_net(net, jax.random.key(0), X)
    module = Block(nnx.Rngs(jax.random.key(0)))
    module.eval()
    np.testing.assert_allclose(apply_net(net, params, state, X)[0], module(X), rtol=1e-6)
    outputs, moved = apply_net(net, params, state, X, key=jax.random.key(2), train=True)
    linear = X @ params["linear"]["kernel"] + params["linear"]["bias"][None]
    np.testing.assert_allclose(moved["state"]["norm"]["mean"], 0.5 * linear.mean(axis=0), rtol=1e-5)
    assert 0 < np.sum(np.asarray(outputs) == 0) < outputs.size
    assert jax.tree.structure(moved) == jax.tree.structure(state)
    other, _ = apply_net(net, params, state, X, key=jax.random.key(1), train=True)
    assert not np.array_equal(outputs == 0, other == 0)
    assert net == nets.from_nnx(Block) and hash(net) == hash(nets.from_nnx(Block))


def test_an_equinox_module_computes_what_it_computes_alone():
    net = nets.from_equinox(Dropped)
    params, state = init_net(net, jax.random.key(0), X)
    assert state == {} and sorted(params) == ["linear.bias", "linear.weight"]
    np.testing.assert_allclose(
        apply_net(net, params, state, X)[0], X @ params["linear.weight"].T + params["linear.bias"][None], rtol=1e-6
    )
    outputs, _ = apply_net(net, params, state, X, key=jax.random.key(2), train=True)
    assert 0 < np.sum(np.asarray(outputs) == 0) < outputs.size
    assert len({tuple(row) for row in np.asarray(outputs) == 0}) > 1  # examples have keys of their own


def nnx_decoder(rngs):
    return nnx.Sequential(nnx.Linear(2, 4, rngs=rngs), nnx.relu, nnx.Linear(4, 5, rngs=rngs))


def equinox_decoder(key):
    return eqx.nn.MLP(2, 5, 4, 1, key=key)


@pytest.mark.parametrize("decoder", [nets.from_nnx(nnx_decoder), nets.from_equinox(equinox_decoder)])
def test_models_are_built_of_them(decoder):
    model = vae.VAE(latent_dim=2, encoder=nets.MLP((4,)), decoder=decoder, likelihood=ops.Bernoulli())
    check_model(model, {"x": jnp.eye(5)})
