"""The diffusion transformer: patches, its layer against the formula and at its start, and published sizes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.nets import DiT
from genjax.nets.dit import DiTLayer, patchify, sincos_positions, unpatchify

LAYER = DiTLayer(num_heads=2, mlp_ratio=1.5, activation=jnp.tanh, output_scale=0.0)
H, E = np.random.default_rng(1).normal(size=(2, 5, 4)), np.random.default_rng(2).normal(size=(2, 3))


@functools.cache
def randomized():
    random = np.random.default_rng(0)
    shapes = jax.eval_shape(LAYER.init, jax.random.key(0), H, E)["params"]
    return jax.tree.map(lambda leaf: random.normal(size=leaf.shape) / 2, shapes)


def applied(params, h):
    return LAYER.apply({"params": jax.tree.map(np.float32, params)}, np.float32(h), np.float32(E))[0]


def dense(x, params):
    return x @ params["kernel"] + params["bias"]


def test_a_layer_against_its_formula():
    params = randomized()

    def modulated(h, gain, bias):
        normalized = (h - h.mean(-1, keepdims=True)) / np.sqrt(h.var(-1, keepdims=True) + 1e-6)
        return (1 + gain) * normalized + bias

    a_1, b_1, g_1, a_2, b_2, g_2 = np.split(dense(E, params["modulation"])[:, None], 6, axis=-1)
    q, k, v = np.split(dense(modulated(H, a_1, b_1), params["query_key_value"]), 3, axis=-1)
    heads = []
    for head in (slice(0, 2), slice(2, 4)):
        weights = np.exp(q[..., head] @ k[..., head].swapaxes(1, 2) / np.sqrt(2))
        heads.append(weights / weights.sum(axis=-1, keepdims=True) @ v[..., head])
    h = H + g_1 * dense(np.concatenate(heads, axis=-1), params["attended"])
    expected = h + g_2 * dense(np.tanh(dense(modulated(h, a_2, b_2), params["up"])), params["down"])
    np.testing.assert_allclose(applied(params, H), expected, atol=1e-4)


def test_a_layer_begins_as_the_identity():
    begun = LAYER.init(jax.random.key(0), np.float32(H), np.float32(E))["params"]["modulation"]
    np.testing.assert_array_equal(begun["kernel"], 0)
    np.testing.assert_array_equal(applied({**randomized(), "modulation": begun}, H), np.float32(H))


def test_a_layer_knows_no_order():
    order = np.array([3, 0, 4, 2, 1])
    np.testing.assert_allclose(applied(randomized(), H[:, order]), applied(randomized(), H)[:, order], atol=1e-5)


@pytest.mark.parametrize(("shape", "size"), [((2, 4, 6, 3), 2), ((1, 28, 28, 1), 7), ((1, 3, 3, 2), 1)])
def test_patches_are_put_together_again(shape, size):
    x = np.arange(np.prod(shape)).reshape(shape)
    patches = patchify(x, size)
    assert patches.shape == (shape[0], shape[1] * shape[2] // size**2, size**2 * shape[3])
    np.testing.assert_array_equal(patches[0, 1].reshape(size, size, -1), x[0, :size, size : 2 * size])
    np.testing.assert_array_equal(unpatchify(patches, size, shape), x)


def test_products_of_positions_know_displacements_alone():
    place = sincos_positions(3, 5, 16).reshape(3, 5, 16)
    for row, column in [(0, 0), (1, 0), (0, 2), (1, 2)]:
        products = np.sum(place[: 3 - row, : 5 - column] * place[row:, column:], axis=-1)
        frequencies = 10_000.0 ** -np.linspace(0, 0.75, 4)
        expected = np.cos(frequencies * row).sum() + np.cos(frequencies * column).sum()
        np.testing.assert_allclose(products, expected, rtol=1e-12)


def test_the_published_network_has_the_published_number_of_parameters():
    """DiT-XL/2, except for fixed positions, outputs of a variance, and 64 instead of 256 sines and cosines."""
    net = DiT(patch_size=2, features=1152, num_layers=28, num_heads=16)
    args = jnp.zeros((1, 32, 32, 4)), jnp.zeros(1), jnp.zeros((1, 1001))
    shapes = jax.eval_shape(net.init, jax.random.key(0), *args)
    left_out = 16**2 * 1152 + 2 * 2 * 4 * 1153 + 192 * 1152
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 675_129_632 - left_out


def test_layers_that_are_computed_again_have_the_same_gradient_and_take_less_memory():
    x, level = jax.random.normal(jax.random.key(0), (16, 8, 8, 1)), jnp.linspace(0, 1, 16)
    nets = [DiT(patch_size=1, features=8, num_layers=6, num_heads=2, output_scale=1.0, remat=r) for r in (False, True)]
    variables = nets[0].init(jax.random.key(1), x, level)
    gradients, sizes = [], []
    for net in nets:
        gradient = jax.jit(jax.grad(lambda v, net=net: jnp.mean(jnp.square(net.apply(v, x, level)))))
        compiled = gradient.lower(variables).compile()
        gradients.append(compiled(variables))
        sizes.append(compiled.memory_analysis().temp_size_in_bytes)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), *gradients)
    assert sizes[1] < 0.5 * sizes[0]
