"""Embeddings, attention, normalization and initial weights, computed again with numpy."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, softmax

from genjax import nets
from genjax.nets.attention import multi_head_attention
from genjax.nets.dit import modulate, sincos_positions
from genjax.nets.levels import sinusoids
from genjax.nets.unet import ResidualBlock

RNG = np.random.default_rng(0)


def silu(a):
    return a * expit(a)


def dense(params, x):
    return x @ np.asarray(params["kernel"]) + np.asarray(params.get("bias", 0.0))


def test_levels_are_embedded_at_frequencies_down_to_a_ten_thousandth():
    level = np.array([0.0, 0.3, 1.0])
    angles = 1_000 * level[:, None] * 10_000.0 ** (-np.arange(6) / 6)
    expected = np.concatenate([np.cos(angles), np.sin(angles)], axis=1)
    np.testing.assert_allclose(sinusoids(jnp.float32(level), 6), expected, atol=2e-4)


def test_positions_of_patches_row_first():
    positions = sincos_positions(2, 3, 8)
    for index, (row, column) in enumerate((r, c) for r in range(2) for c in range(3)):
        expected = [f(p * w) for p in (row, column) for f in (np.sin, np.cos) for w in (1.0, 0.01)]
        np.testing.assert_allclose(positions[index], expected, atol=1e-6)


def test_modulation_scales_the_normalized_tokens():
    h, gain, bias = RNG.normal(size=(2, 3, 4)), RNG.normal(size=(2, 1, 4)), RNG.normal(size=(2, 1, 4))
    centred = h - h.mean(axis=-1, keepdims=True)
    expected = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-6) * (1 + gain) + bias
    np.testing.assert_allclose(modulate(*map(jnp.float32, (h, gain, bias))), expected, rtol=1e-4, atol=1e-5)


def test_a_transformer_has_four_times_as_many_inner_channels():
    net = nets.DiT(patch_size=2, features=8, num_layers=1, num_heads=2)
    shapes = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 4, 4, 1)), jnp.zeros(1))["params"]
    assert shapes["layers"]["up"]["kernel"].shape == (1, 8, 32)


def test_a_denoiser_of_points_is_the_equation():
    net = nets.DenoisingMLP((5, 5), embedding_features=4, fourier_features=3, output_scale=1.0)
    x, level = RNG.normal(size=(6, 2)).astype(np.float32), np.float32(np.linspace(0.1, 0.9, 6))
    params = net.init(jax.random.key(0), x, level)["params"]
    params = jax.tree.map(lambda a: a + 0.3 * jnp.float32(RNG.normal(size=a.shape)), params)
    embedding = params["LevelEmbedding_0"]
    e = dense(embedding["Dense_1"], silu(dense(embedding["Dense_0"], np.asarray(sinusoids(jnp.asarray(level), 32)))))
    e = silu(e)
    angle = x @ np.asarray(params["frequencies"]["kernel"])
    h = np.concatenate([x, np.sin(angle), np.cos(angle)], axis=1)
    for i in range(2):
        gain, bias = np.split(dense(params[f"Dense_{2 * i}"], e), 2, axis=1)
        outputs = silu((1 + gain) * dense(params[f"Dense_{2 * i + 1}"], h) + bias)
        h = outputs if h.shape != outputs.shape else h + outputs
    np.testing.assert_allclose(
        net.apply({"params": params}, x, level), dense(params["Dense_4"], h), rtol=1e-3, atol=1e-4
    )


def test_attention_between_pixels_has_an_eighth_of_the_channels_and_no_scale():
    net, x = nets.SelfAttention2D(), RNG.normal(size=(2, 2, 3, 16)).astype(np.float32)
    params = net.init(jax.random.key(0), x)["params"]
    params = params | {"gamma": jnp.float32(0.7)}
    matrices = {name: np.asarray(params[name]["kernel"])[0, 0] for name in ("query", "key", "value", "output")}
    assert matrices["query"].shape == (16, 2)
    rows = x.reshape(2, 6, 16)
    q, k, v = (rows @ matrices[name] for name in ("query", "key", "value"))
    attended = softmax(q @ k.swapaxes(1, 2), axis=-1) @ v
    expected = rows + 0.7 * attended @ matrices["output"]
    np.testing.assert_allclose(net.apply({"params": params}, x).reshape(2, 6, 16), expected, rtol=1e-4, atol=1e-5)


def test_attention_of_several_heads():
    class Attention(nn.Module):
        @nn.compact
        def __call__(self, rows):
            return multi_head_attention(rows, num_tokens=3, num_heads=2)

    rows = RNG.normal(size=(6, 8)).astype(np.float32)
    params = Attention().init(jax.random.key(0), rows)["params"]
    qkv = dense(params["query_key_value"], rows).reshape(2, 3, 24)
    q, k, v = (a.reshape(2, 3, 2, 4) for a in np.split(qkv, 3, axis=-1))
    weights = softmax(np.einsum("btnd,bsnd->bnts", q, k) / 2, axis=-1)
    expected = np.einsum("bnts,bsnd->btnd", weights, v).reshape(6, 8)
    np.testing.assert_allclose(Attention().apply({"params": params}, rows), expected, rtol=1e-4, atol=1e-5)


def test_conditional_batch_normalization_and_its_moving_averages():
    net = nets.ConditionalBatchNorm(kernel_init=nn.initializers.normal(1.0))
    x, label = RNG.normal(3.0, 2.0, (8, 3)).astype(np.float32), jnp.asarray(np.eye(2, dtype=np.float32)[[0, 1] * 4])
    variables = net.init(jax.random.key(0), x, label)
    gain, bias = (np.asarray(label) @ np.asarray(variables["params"][name]["kernel"]) for name in ("gain", "bias"))
    outputs, updated = net.apply(variables, x, label, train=True, mutable=["batch_stats"])
    normalized = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-5)
    np.testing.assert_allclose(outputs, (1 + gain) * normalized + bias, rtol=1e-4, atol=1e-4)
    (averages,) = updated["batch_stats"].values()
    np.testing.assert_allclose(averages["mean"], 0.1 * x.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(averages["var"], 0.9 + 0.1 * x.var(axis=0), rtol=1e-4)
    fixed = net.apply(variables, x, label)
    np.testing.assert_allclose(fixed, (1 + gain) * x / np.sqrt(1 + 1e-5) + bias, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_initial_weights_are_scaled_by_the_factor(scale):
    kernel = nets.scaled_init(scale)(jax.random.key(0), (100, 200), jnp.float32)
    assert float(jnp.std(kernel)) == pytest.approx(scale / 10, rel=0.03)


def test_initial_weights_of_masked_layers_depend_on_the_inputs_that_are_seen():
    net = nets.MaskedMLP((400,))
    kernel = np.asarray(net.init(jax.random.key(0), jnp.zeros((1, 5)))["params"]["layer_0"]["kernel"])
    degrees = 1 + np.arange(400) * 4 // 400
    for degree in (1, 4):
        assert kernel[:degree, degrees == degree].std() == pytest.approx(degree**-0.5, rel=0.1)


def test_frequencies_have_the_standard_deviation_of_the_scale():
    net = nets.FourierFeatures(2_000, scale=3.0)
    kernel = net.init(jax.random.key(0), jnp.zeros((1, 2)))["params"]["kernel"]
    assert float(jnp.std(kernel)) == pytest.approx(3, rel=0.05)
    assert nets.DenoisingMLP((4,)).fourier_scale == 4


def test_gates_are_the_second_half():
    a, b = RNG.normal(size=(2, 5, 3))
    both = jnp.float32(np.concatenate([a, b], axis=1))
    np.testing.assert_allclose(nets.gated_tanh(both), np.tanh(a) * expit(b), rtol=1e-5)


def test_blocks_of_a_residual_network_add_to_their_input():
    net = nets.ResidualCNN(features=4, num_blocks=2, output_shape=(3, 3, 1))
    x = jnp.asarray(RNG.normal(size=(2, 3, 3, 1)), jnp.float32)
    params = net.init(jax.random.key(0), x)["params"]
    without = {
        name: jax.tree.map(jnp.zeros_like, p) if p["kernel"].shape[:2] == (1, 1) else p for name, p in params.items()
    }
    first, last = (params[name] for name in ("Conv_0", "Conv_5"))
    shallow = nets.ResidualCNN(features=4, num_blocks=0, output_shape=(3, 3, 1))
    expected = shallow.apply({"params": {"Conv_0": first, "Conv_1": last}}, x)
    np.testing.assert_allclose(net.apply({"params": without}, x), expected, rtol=1e-5, atol=1e-6)


def test_a_residual_block_drops_whole_channels_and_scales_the_others():
    """With an identity as the last convolution, the block adds what dropout leaves."""
    block = ResidualBlock(8, num_groups=2, dropout=0.4)
    x, embedded = RNG.normal(size=(5, 3, 3, 8)).astype(np.float32), jnp.ones((5, 4))
    params = block.init(jax.random.key(0), x, embedded)["params"]
    kernel = jnp.zeros((3, 3, 8, 8)).at[1, 1].set(jnp.eye(8))
    params = params | {"Conv_1": params["Conv_1"] | {"kernel": kernel}}
    fixed = block.apply({"params": params}, x, embedded) - x
    trained = block.apply({"params": params}, x, embedded, train=True, rngs={"dropout": jax.random.key(1)}) - x
    kept = np.abs(np.asarray(trained)).max(axis=(1, 2), keepdims=True) > 0
    np.testing.assert_allclose(trained, np.where(kept, fixed / 0.6, 0), rtol=1e-3, atol=1e-5)
    assert 0 < kept.mean() < 1
