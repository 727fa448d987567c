"""The parts of the U-Net against their formulas, and the network against published sizes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.nets import GroupNorm, UNet, apply_net
from genjax.nets.unet import AttentionBlock, ResidualBlock

GROUPS = 2


def randomized(net, *args):
    """Parameters from numpy, in float64."""
    random = np.random.default_rng(0)
    shapes = jax.eval_shape(net.init, jax.random.key(0), *args)["params"]
    return jax.tree.map(lambda leaf: random.normal(size=leaf.shape) / max(1, np.prod(leaf.shape[:-1])) ** 0.5, shapes)


def applied(net, params, *args):
    return net.apply({"params": jax.tree.map(np.float32, params)}, *args)


def normalized(x, params):
    """Group normalization by the mean and variance of arrays of one group of one example each."""
    y = np.empty_like(np.float64(x))
    size = x.shape[-1] // GROUPS
    for i in range(len(x)):
        for group in range(GROUPS):
            part = (i, ..., slice(group * size, (group + 1) * size))
            y[part] = (x[part] - np.mean(x[part])) / np.sqrt(np.var(x[part]) + 1e-5)
    return y * params["scale"] + params["bias"]


def convolved(x, params):
    """A convolution as the sum of its window's matrices."""
    kernel = params["kernel"]
    reach = len(kernel) // 2
    padded = np.pad(x, ((0, 0), (reach, reach), (reach, reach), (0, 0)))
    rows, columns = x.shape[1:3]
    return params["bias"] + sum(
        padded[:, i : i + rows, j : j + columns] @ kernel[i, j] for i in range(len(kernel)) for j in range(len(kernel))
    )


def silu(x):
    return x / (1 + np.exp(-x))


def test_group_norm_of_channels_and_of_examples():
    x = 5 + np.random.default_rng(1).normal(size=(3, 4, 4, 6)) * np.arange(1, 7)
    gain, bias = np.random.default_rng(2).normal(size=(2, 3, 6))
    net = GroupNorm(GROUPS)
    params = randomized(net, x)
    np.testing.assert_allclose(applied(net, params, np.float32(x)), normalized(x, params), atol=1e-4)
    modulated = (1 + gain[:, None, None]) * normalized(x, params) + bias[:, None, None]
    outputs = applied(net, params, *map(np.float32, (x, gain, bias)))
    np.testing.assert_allclose(outputs, modulated, atol=1e-4)


def test_statistics_of_group_norm_are_float32():
    """In bfloat16, a sum of thousands of ones would stop growing at 256."""
    x = (10 + jax.random.normal(jax.random.key(0), (2, 64, 64, 2))).astype(jnp.bfloat16)
    net = GroupNorm(GROUPS)
    params = {"scale": np.ones(2), "bias": np.zeros(2)}
    outputs = applied(net, params, x)
    assert outputs.dtype == jnp.bfloat16
    np.testing.assert_allclose(np.float32(outputs), normalized(np.float64(x), params), atol=0.03)


@pytest.mark.parametrize("modulation", ["film", "shift"])
@pytest.mark.parametrize("features", [4, 6])
def test_a_residual_block_against_its_formula(modulation, features):
    x, e = np.random.default_rng(1).normal(size=(2, 5, 5, 4)), np.random.default_rng(2).normal(size=(2, 3))
    net = ResidualBlock(features, num_groups=GROUPS, modulation=modulation)
    params = randomized(net, x, e)
    u = convolved(silu(normalized(x, params["GroupNorm_0"])), params["Conv_0"])
    vectors = e @ params["modulation"]["kernel"] + params["modulation"]["bias"]
    if modulation == "film":
        a, b = vectors[:, None, None, :features], vectors[:, None, None, features:]
        u = (1 + a) * normalized(u, params["GroupNorm_1"]) + b
    else:
        u = normalized(u + vectors[:, None, None], params["GroupNorm_1"])
    skipped = x if features == 4 else x @ params["skip"]["kernel"] + params["skip"]["bias"]
    expected = skipped + convolved(silu(u), params["Conv_1"])
    np.testing.assert_allclose(applied(net, params, np.float32(x), np.float32(e)), expected, atol=1e-4)


def test_attention_against_its_formula():
    x = np.random.default_rng(1).normal(size=(2, 2, 3, 4))
    net = AttentionBlock(num_heads=2, num_groups=GROUPS)
    params = randomized(net, x)
    rows = normalized(x, params["GroupNorm_0"]).reshape(2, 6, 4)
    q, k, v = np.split(rows @ params["query_key_value"]["kernel"] + params["query_key_value"]["bias"], 3, axis=-1)
    heads = []
    for head in (slice(0, 2), slice(2, 4)):
        weights = np.exp(q[..., head] @ k[..., head].swapaxes(1, 2) / np.sqrt(2))
        heads.append(weights / weights.sum(axis=-1, keepdims=True) @ v[..., head])
    outputs = np.concatenate(heads, axis=-1) @ params["output"]["kernel"] + params["output"]["bias"]
    np.testing.assert_allclose(applied(net, params, np.float32(x)), x + outputs.reshape(x.shape), atol=1e-5)


def test_dropout_leaves_out_whole_channels_in_training():
    net = ResidualBlock(4, num_groups=GROUPS, dropout=0.5)
    x, e = jax.random.normal(jax.random.key(0), (2, 3, 3, 4)), jnp.zeros((2, 3))
    params = jax.tree.map(np.float32, randomized(net, x, e))
    # With the second kernel the identity of each pixel, what is added shows which channels are there.
    params["Conv_1"] = {"kernel": np.pad(np.eye(4, dtype=np.float32)[None, None], ((1, 1), (1, 1), (0, 0), (0, 0)))}
    params["Conv_1"]["bias"] = np.zeros(4, np.float32)
    run = functools.partial(apply_net, net, params, {}, x, e)
    whole, sparse = (np.asarray(run(**kwargs)[0] - x) for kwargs in ({}, {"key": jax.random.key(3), "train": True}))
    share = sparse / whole
    left_out = np.abs(share) < 1e-4
    np.testing.assert_allclose(share[~left_out], 2, rtol=1e-3)
    assert (left_out.all(axis=(1, 2)) == left_out.any(axis=(1, 2))).all()
    assert 0 < left_out.mean() < 1


@pytest.mark.parametrize("shape", [(28, 28, 1), (8, 8, 3), (32, 16, 3)])
def test_sizes(shape):
    net = UNet(8, (1, 2, 2), num_blocks=1, attention_at=(shape[0] // 4,), dtype=jnp.bfloat16)
    x = jnp.zeros((2, *shape))
    y, _ = jax.eval_shape(net.init_with_output, jax.random.key(0), x, jnp.zeros(2), jnp.eye(2, 11))
    assert (y.shape, y.dtype) == (x.shape, jnp.bfloat16)


def test_the_published_network_has_the_published_number_of_parameters():
    """DDPM's size for CIFAR-10, except for attention in the middle, and 64 instead of 128 sines and cosines."""
    net = UNet(128, (1, 2, 2, 2), attention_at=(16,), num_heads=1, num_groups=32, modulation="shift")
    shapes = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 32, 32, 3)), jnp.zeros(1))
    of_attention = 4 * 256 * 257 + 2 * 256
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 35_746_307 - of_attention - 64 * 512
