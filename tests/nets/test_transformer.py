"""The transformer that sees all tokens, against its formula, and beside GPT, whose layers it shares."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import autoregressive
from genjax.nets import TokenTransformer

X = np.array([[0, 3, 2, 3], [1, 1, 3, 0]])  # 3 is the mask
LEVEL = np.array([0.5, 0.25], np.float32)
LABEL = np.eye(2, dtype=np.float32)
small = functools.partial(TokenTransformer, num_values=3, num_layers=2, num_heads=2, features=4, activation=jnp.tanh)


def randomized(net, *arguments):
    random = np.random.default_rng(0)
    shapes = jax.eval_shape(net.init, jax.random.key(0), *arguments)["params"]
    return jax.tree.map(lambda leaf: random.normal(size=leaf.shape).astype(np.float32) / 2, shapes)


def layer_norm(params, h):
    centred = h - h.mean(-1, keepdims=True)
    return centred / np.sqrt(np.square(centred).mean(-1, keepdims=True) + 1e-5) * params["scale"] + params["bias"]


def dense(params, h):
    return h @ params["kernel"] + params["bias"]


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("embed_level", [True, False])
def test_it_is_its_formula(tied, embed_level):
    net = small(tied=tied, embed_level=embed_level)
    params = randomized(net, X, LEVEL, LABEL)
    h = params["embedding"][X] + params["positions"]
    if embed_level:
        level = params["level"]
        frequencies = 10_000.0 ** (-np.arange(32) / 32)
        angle = 1_000 * LEVEL[:, None] * frequencies
        hidden = dense(level["Dense_0"], np.concatenate([np.cos(angle), np.sin(angle)], axis=1))
        embedded = dense(level["Dense_1"], hidden / (1 + np.exp(-hidden))) + LABEL @ level["condition"]["kernel"]
    else:
        embedded = LABEL @ params["condition"]["kernel"]
    h = h + embedded[:, None]
    for i in range(2):
        layer = jax.tree.map(lambda a, i=i: a[i], params["layers"])
        q, k, v = np.split(dense(layer["qkv"], layer_norm(layer["norm_1"], h)), 3, axis=-1)
        heads = []
        for head in (slice(0, 2), slice(2, 4)):
            weights = np.exp(q[..., head] @ k[..., head].swapaxes(1, 2) / np.sqrt(2))
            heads.append(weights / weights.sum(-1, keepdims=True) @ v[..., head])
        h = h + dense(layer["attention"], np.concatenate(heads, axis=-1))
        h = h + dense(layer["down"], np.tanh(dense(layer["up"], layer_norm(layer["norm_2"], h))))
    table = params["embedding"][:3] if tied else params["output"]
    expected = layer_norm(params["norm"], h) @ table.T
    outputs = jax.jit(lambda params: net.apply({"params": params}, X, LEVEL, LABEL))(params)
    np.testing.assert_allclose(outputs, expected, rtol=1e-3, atol=1e-3)


def test_rotary_positions_are_distances():
    """Equal tokens are equal at all positions; a different one is seen from both sides, at its distance."""
    net = small(positions="rotary", embed_level=False)
    params = jax.tree.map(jnp.asarray, randomized(net, X, LEVEL))
    apply = jax.jit(lambda x: net.apply({"params": params}, x, jnp.ones(len(x))))
    same = apply(jnp.ones((1, 5), jnp.int32))[0]
    np.testing.assert_allclose(same, jnp.broadcast_to(same[0], same.shape), atol=1e-5)
    one = apply(jnp.array([[1, 1, 0, 1, 1]]))[0]
    assert (np.abs(one - same).max(1) > 1e-4).all()
    assert np.abs(one[1] - one[3]).max() > 1e-4


def test_grids_are_read_row_by_row():
    net = small()
    params = jax.tree.map(jnp.asarray, randomized(net, X, LEVEL))
    flat = net.apply({"params": params}, X, LEVEL)
    grid = net.apply({"params": params}, X.reshape(2, 2, 2), LEVEL)
    np.testing.assert_allclose(grid.reshape(2, 4, 3), flat, atol=1e-6)


def test_training_drops_channels():
    net = small(dropout=0.5, embed_level=False)
    params = jax.tree.map(jnp.asarray, randomized(net, X, LEVEL))
    run = jax.jit(
        lambda key, train: net.apply({"params": params}, X, LEVEL, train=train, rngs={"dropout": key}), static_argnums=1
    )
    one, two = (run(jax.random.key(i), True) for i in range(2))
    assert np.abs(one - two).max() > 1e-2
    np.testing.assert_allclose(run(jax.random.key(0), False), net.apply({"params": params}, X, LEVEL), atol=1e-5)


def test_it_has_as_many_parameters_as_gpt():
    settings = {"num_values": 256, "num_layers": 4, "num_heads": 4, "features": 128, "positions": "rotary"}
    net, gpt = TokenTransformer(embed_level=False, **settings), autoregressive.GPT(length=64, **settings)
    batch = {"x": jnp.zeros((1, 64), jnp.int32)}
    ours = jax.eval_shape(net.init, jax.random.key(0), batch["x"], jnp.zeros(1))
    theirs = jax.eval_shape(gpt.init, jax.random.key(0), batch).params
    sizes = [sum(leaf.size for leaf in jax.tree.leaves(params)) for params in (ours, theirs)]
    assert sizes[0] == sizes[1] == 826_240


def test_heads_split_the_features():
    with pytest.raises(ValueError, match="features is 9, but num_heads=3 and positions='rotary' need a multiple of 6"):
        small(num_heads=3, features=9, positions="rotary")
    with pytest.raises(ValueError, match="features is 5, but num_heads=2 and positions='learned' need a multiple of 2"):
        small(features=5)
