"""Properties of all networks of diffusion models, at any parameters."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.nets import DenoisingMLP, DiffWave, DiT, FourierFeatures, LevelEmbedding, UNet, apply_net, init_net

POINTS, SOUNDS, IMAGES = (3, 5), (3, 12), (3, 8, 8, 1)

NETS = {
    "mlp": (DenoisingMLP((8, 8, 6), embedding_features=8, fourier_features=3, fourier_scale=1.0), POINTS),
    "unet": (UNet(4, (1, 2), num_blocks=1, attention_at=(4,), num_heads=2, num_groups=2), IMAGES),
    "unet_shift": (UNet(4, (2,), num_blocks=1, num_groups=2, modulation="shift"), IMAGES),
    "diff_wave": (DiffWave(4, num_layers=2, patch_size=3), SOUNDS),
    "dit": (DiT(patch_size=4, features=8, num_layers=2, num_heads=2), IMAGES),
}


def start(net, *args):
    """Return parameters from numpy, which differ from initial values and are faster than ``init``."""
    random = np.random.default_rng(0)
    params, _ = jax.eval_shape(functools.partial(init_net, net), jax.random.key(0), *args)
    return jax.tree.map(
        lambda leaf: np.float32(random.normal(size=leaf.shape) / max(1, np.prod(leaf.shape[:-1])) ** 0.5), params
    )


@functools.cache
def passes(name):
    """Return initial outputs, outputs of two levels and conditions, outputs in half precision, and gradients."""
    net, shape = NETS[name]
    x = jax.random.normal(jax.random.key(0), shape)
    level, label = jnp.array([0.1, 0.5, 0.9]), jnp.eye(3, 4)

    def run(net, params, level, label):
        return apply_net(net, params, {}, x, level, label)[0]

    @functools.partial(jax.jit)
    def program(params):
        key = jax.random.key(1, impl="rbg")  # compiles faster
        first = run(net, init_net(net, key, x, level, label)[0], level, label)
        levels = jnp.stack([level, 1 - level, level])
        labels = jnp.stack([label, label, jnp.roll(label, 1, axis=1)])
        several = jax.vmap(functools.partial(run, net, params))(levels, labels)
        half = run(net.clone(dtype=jnp.bfloat16), params, level, label)
        weights = jnp.sin(jnp.arange(x.size)).reshape(x.shape)
        return first, several, half, jax.grad(lambda params: jnp.sum(weights * run(net, params, level, label)))(params)

    return program(start(net, x, level, label))


@pytest.mark.parametrize("name", NETS)
class TestDenoisers:
    def test_begin_at_zero(self, name):
        assert passes(name)[0].shape == NETS[name][1]
        np.testing.assert_array_equal(passes(name)[0], 0)

    def test_level_and_condition_reach_the_outputs(self, name):
        one, other_level, other_label = np.asarray(passes(name)[1]).reshape(3, 3, -1)
        assert np.abs(one - other_level).max(axis=1)[[0, 2]].min() > 1e-2
        np.testing.assert_allclose(one[1], other_level[1], rtol=1e-5, atol=1e-6)  # 0.5 in both
        assert np.abs(one - other_label).max(axis=1).min() > 1e-2

    def test_half_precision(self, name):
        _, (one, *_), half, _ = passes(name)
        assert half.dtype == jnp.bfloat16
        np.testing.assert_allclose(np.float32(half), one, atol=0.05 * np.abs(one).max())

    def test_every_parameter_gets_gradient(self, name):
        sizes = {jax.tree_util.keystr(path): np.abs(g).max() for path, g in jax.tree.leaves_with_path(passes(name)[3])}
        assert not [name for name, size in sizes.items() if not size > 1e-5 * max(sizes.values())]

    def test_is_a_value_with_float32_parameters(self, name):
        net, shape = NETS[name]
        assert net == net.clone()
        assert hash(net) == hash(net.clone())
        half = functools.partial(init_net, net.clone(dtype=jnp.bfloat16))
        params, state = jax.eval_shape(half, jax.random.key(0), jnp.zeros(shape), jnp.zeros(3))
        assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}
        assert not state


def test_the_embedding_of_level_and_condition():
    net = LevelEmbedding(features=5, num_frequencies=6, activation=jnp.tanh)
    level, condition = np.array([0.0, 0.003, 1.0], np.float32), np.eye(3, 4, dtype=np.float32)
    params = start(net, level, condition)
    # Vaswani et al.'s positions, of 1000 times the level.
    angle = 1000 * np.float64(level)[:, None] / 10_000 ** (np.arange(6) / 6)
    sinusoids = np.concatenate([np.cos(angle), np.sin(angle)], axis=1)
    hidden = np.tanh(sinusoids @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"])
    expected = hidden @ params["Dense_1"]["kernel"] + params["Dense_1"]["bias"]
    outputs = [net.apply({"params": params}, level, *conditions) for conditions in ((), (condition,))]
    np.testing.assert_allclose(outputs[0], expected, atol=1e-4)
    np.testing.assert_allclose(outputs[1], expected + params["condition"]["kernel"][:3], atol=1e-4)
    assert set(params["condition"]) == {"kernel"}


def test_fourier_features():
    x = jax.random.normal(jax.random.key(0), (4, 2))
    net = FourierFeatures(3, scale=10.0)
    outputs, variables = net.init_with_output(jax.random.key(1), x)
    angle = np.float64(x) @ np.float64(variables["params"]["kernel"])
    np.testing.assert_allclose(outputs, np.concatenate([x, np.sin(angle), np.cos(angle)], axis=1), atol=1e-5)
    many = FourierFeatures(1000, scale=10.0).init(jax.random.key(2), x)["params"]["kernel"]
    assert 9 < np.std(many) < 11


def test_the_perceptron_against_its_formula():
    net = DenoisingMLP((3, 3), embedding_features=4, fourier_features=0, activation=jnp.tanh)
    x, level = jax.random.normal(jax.random.key(0), (2, 3)), jnp.array([0.2, 0.7])
    params = start(net, x, level)
    e = np.tanh(LevelEmbedding(4, activation=jnp.tanh).apply({"params": params["LevelEmbedding_0"]}, level))

    def dense(number, h):
        return np.float64(h) @ params[f"Dense_{number}"]["kernel"] + params[f"Dense_{number}"]["bias"]

    h = x
    for layer in (0, 2):  # of equal widths with their inputs: residual
        gain, bias = np.split(dense(layer, e), 2, axis=1)
        h = h + np.tanh((1 + gain) * dense(layer + 1, h) + bias)
    np.testing.assert_allclose(net.apply({"params": params}, x, level), dense(4, h), atol=1e-5)


IMAGE = jnp.zeros((2, 8, 8, 1))


@pytest.mark.parametrize(
    ("make", "x", "message"),
    [
        (lambda: DenoisingMLP(()), IMAGE, "features is (), but must be of length 1 or more; (256,) * 3 is usual"),
        (lambda: DenoisingMLP((8, 0)), IMAGE, "every entry is at least 1, and 0 is not; (256,)"),
        (lambda: DenoisingMLP((8,), fourier_features=-1), IMAGE, "fourier_features is -1"),
        (lambda: LevelEmbedding(0), None, "features is 0"),
        (lambda: UNet(0), IMAGE, "features is 0"),
        (lambda: UNet(8, ()), IMAGE, "multipliers is (), but must be of length 1 or more; (1, 2, 2) is usual"),
        (
            lambda: UNet(8, (1, 0)),
            IMAGE,
            "multipliers is (1, 0), but must be a sequence whose every entry is at least 1, and 0 is not",
        ),
        (lambda: UNet(8, num_blocks=0), IMAGE, "num_blocks is 0"),
        (lambda: UNet(8, modulation="scale"), IMAGE, "modulation is 'scale', but must be 'film' or 'shift'"),
        (lambda: UNet(8, dropout=1.0), IMAGE, "dropout is 1.0, but must be in [0, 1)"),
        (lambda: UNet(12), IMAGE, "UNet has 12 channels, but needs a multiple of num_groups=8; change one of them"),
        (lambda: UNet(8), jnp.zeros((2, 64)), "UNet got shape (2, 64), but takes images (B, H, W, C)"),
        (
            lambda: UNet(8, (1, 1, 1, 1)),
            jnp.zeros((2, 28, 28, 1)),
            "UNet halves the image 3 times, but 28x28 is not divisible by 8; pad or resize it to 32x32, or give fewer "
            "multipliers",
        ),
        (
            lambda: UNet(8, attention_at=(2, 3)),
            IMAGE,
            "attention_at has 3, but the network's heights are [8, 4, 2]",
        ),
        (
            lambda: UNet(8, attention_at=(8,), num_heads=3),
            IMAGE,
            "attention has 8 channels, but needs a multiple of num_heads=3",
        ),
        (lambda: DiT(2, 8, 0, 2), IMAGE, "num_layers is 0"),
        (lambda: DiT(2, 8, 1, 3), IMAGE, "DiT has 8 channels, but needs a multiple of num_heads=3"),
        (lambda: DiT(2, 6, 1, 2), IMAGE, "DiT has 6 features, but needs a multiple of 4 for the positions"),
        (lambda: DiT(3, 8, 1, 2), IMAGE, "images have shape (2, 8, 8, 1), but patches of 3x3 pixels need"),
        (lambda: DiT(2, 8, 1, 2), jnp.zeros((2, 64)), "images have shape (2, 64), but patches of 2x2 pixels need"),
    ],
)
def test_errors_come_before_anything_compiles(make, x, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        jax.eval_shape(make().init, jax.random.key(0), x, jnp.zeros(2))


def test_levels_are_one_for_each_example():
    with pytest.raises(ValueError, match=re.escape("level has shape (2, 1), but must have shape (B,)")):
        jax.eval_shape(UNet(8).init, jax.random.key(0), IMAGE, jnp.zeros((2, 1)))
