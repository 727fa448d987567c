"""GPT and the inputs of causal networks, computed again with numpy; dropout and initial weights by their moments."""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import erf, log_softmax, softmax

from genjax import autoregressive, ops
from genjax.autoregressive import gpt
from genjax.autoregressive.pixel_cnn_pp import PixelCNNPPNet, _inputs, _phi
from genjax.nets import transformer

RNG = np.random.default_rng(0)


def gelu(a):
    return 0.5 * a * (1 + erf(a / np.sqrt(2)))


def normalized(a):
    return a / np.sqrt((a**2).mean(axis=-1, keepdims=True) + 1e-5)


def norm(params, h):
    return normalized(h - h.mean(axis=-1, keepdims=True)) * params["scale"] + params.get("bias", 0.0)


def linear(params, h):
    return h @ params["kernel"] + params.get("bias", 0.0)


def rotated(a, base=10_000.0):
    """Rotate channels i and i + D/2 at position t by the angle t / base^(2i/D), by complex numbers."""
    half = a.shape[-1] // 2
    angles = np.arange(a.shape[1])[:, None] * base ** (-2 * np.arange(half) / a.shape[-1])
    pairs = (a[..., :half] + 1j * a[..., half:]) * np.exp(1j * angles)[None, :, None]
    return np.concatenate([pairs.real, pairs.imag], axis=-1)


def logits_of(model, params, x):
    batch, length = x.shape
    h = np.concatenate([np.tile(params["start"], (batch, 1, 1)), params["embedding"][x[:, :-1]]], axis=1)
    if model.positions == "learned":
        h = h + params["positions"][:length]
    for i in range(model.num_layers):
        layer = jax.tree.map(lambda a: a[i], params["layers"])  # noqa: B023
        qkv = linear(layer["qkv"], norm(layer["norm_1"], h))
        q, k, v = (a.reshape(batch, length, model.num_heads, -1) for a in np.split(qkv, 3, axis=-1))
        if model.qk_norm:
            q, k = normalized(q), normalized(k)
        if model.positions == "rotary":
            q, k = rotated(q), rotated(k)
        products = np.einsum("btnd,bsnd->bnts", q, k) / np.sqrt(q.shape[-1])
        products = np.where(np.tril(np.ones((length, length), bool)), products, -np.inf)
        attended = np.einsum("bnts,bsnd->btnd", softmax(products, axis=-1), v).reshape(h.shape)
        h = h + linear(layer["attention"], attended)
        h = h + linear(layer["down"], gelu(linear(layer["up"], norm(layer["norm_2"], h))))
    return norm(params["norm"], h) @ params["embedding" if model.tied else "output"].T


@pytest.mark.parametrize(
    "options",
    [{}, {"positions": "rotary", "qk_norm": True, "use_bias": False}, {"tied": False, "positions": "rotary"}],
    ids=["learned", "normalized", "untied"],
)
def test_logits_of_gpt_are_the_equations(options):
    settings = {"num_values": 5, "length": 6, "num_layers": 2, "num_heads": 2, "features": 8}
    model = autoregressive.GPT(**settings, activation=lambda a: nn.gelu(a, approximate=False), **options)
    x = RNG.integers(0, 5, (3, 6))
    variables = model.init(jax.random.key(0), {"x": jnp.asarray(x)})
    variables = jax.tree.map(lambda a: a + 0.5 * jnp.float32(RNG.normal(size=a.shape)), variables)
    params = jax.tree.map(lambda a: np.asarray(a, np.float64), variables.params["net"])
    expected = logits_of(model, params, x)
    np.testing.assert_allclose(model.logits(variables, jnp.asarray(x)), expected, rtol=2e-4, atol=2e-4)
    log_prob = np.take_along_axis(log_softmax(expected, axis=-1), x[..., None], axis=-1).sum(axis=(1, 2))
    np.testing.assert_allclose(model.log_prob(variables, jnp.asarray(x)), log_prob, rtol=1e-4)


def test_small_inputs_are_normalized_up_to_an_epsilon():
    a = np.float32(RNG.normal(size=(2, 8)) * 1e-3)
    np.testing.assert_allclose(transformer._unit(jnp.asarray(a)), normalized(a), rtol=1e-5)


def test_dropout_keeps_the_mean_and_scales_what_it_keeps():
    model = autoregressive.GPT(num_values=2, length=2, num_layers=1, num_heads=1, features=4, dropout=0.2)
    h = jnp.full((100, 20, 30), 3.0)
    dropped = np.asarray(transformer._dropout(model, h, jax.random.key(0)))
    np.testing.assert_allclose(np.unique(dropped), [0, 3 / 0.8], rtol=1e-6)
    assert (dropped == 0).mean() == pytest.approx(0.2, abs=0.01)


def test_layers_drop_different_channels(monkeypatch):
    """Layers without weights pass what the embedding keeps; their branches are biases, dropped independently."""
    model = autoregressive.GPT(num_values=2, length=1, num_layers=2, num_heads=1, features=64, dropout=0.5)
    params = model.init(jax.random.key(0), {"x": jnp.zeros((1, 1), jnp.int32)}).params["net"]
    params = jax.tree.map(jnp.zeros_like, params)
    params["layers"]["attention"]["bias"] = jnp.array([[1.0] * 64, [10.0] * 64])
    params["norm"] = {"scale": jnp.ones(64), "bias": jnp.zeros(64)}
    params["embedding"] = jnp.eye(2, 64)
    outputs = []
    monkeypatch.setattr(gpt, "_logits", lambda model, params, h: outputs.append(h))
    gpt._Net(model, None, False).apply(
        {"params": params}, jnp.zeros((1, 1), jnp.int32), rngs={"dropout": jax.random.key(1)}
    )
    values = np.round(np.asarray(outputs[0]).ravel()).astype(int)
    assert set(values.tolist()) == {0, 2, 20, 22}  # all four combinations of two layers


def test_initial_weights_of_gpt():
    """N(0, 0.02²), and 1 / √(2 L) of that where a layer adds to h."""
    model = autoregressive.GPT(
        num_values=50, length=40, num_layers=8, num_heads=2, features=32, tied=False, positions="learned"
    )
    params = model.init(jax.random.key(0), {"x": jnp.zeros((1, 40), jnp.int32)}).params["net"]
    layers = params["layers"]
    small, full = (
        (layers[name]["kernel"] for name in ("attention", "down")),
        (layers[n]["kernel"] for n in ("qkv", "up")),
    )
    for kernel in small:
        assert float(jnp.std(kernel)) == pytest.approx(0.02 / 4, rel=0.05)
    for weights in (*full, params["embedding"], params["positions"], params["output"]):
        assert float(jnp.std(weights)) == pytest.approx(0.02, rel=0.06)
    assert all(float(jnp.abs(layer["bias"]).max()) == 0 for name, layer in layers.items() if "norm" not in name)


class Reads(nn.Module):
    """A network whose logits of the value k are k times the input, and which records its flag."""

    num_axes: ClassVar[int] = 1
    flags: ClassVar[list] = []
    num_outputs: int = 5

    @nn.compact
    def __call__(self, x, condition=None, train=False):
        self.flags.append(train)
        return x * jnp.arange(self.num_outputs, dtype=jnp.float32)[None, None]

    def decoder(self, params, batch_size, size, condition):
        raise NotImplementedError


def test_causal_networks_get_numbers_from_0_to_1_and_know_whether_they_are_trained():
    model = autoregressive.CausalModel(shape=(7,), net=Reads(), distribution=ops.Categorical(5))
    x = RNG.integers(0, 5, (3, 7))
    x[0] = 4
    log_probs = log_softmax(x[..., None] / 4 * np.arange(5), axis=-1)
    expected = np.take_along_axis(log_probs, x[..., None], axis=-1).sum(axis=(1, 2))
    params = {"net": {}}
    Reads.flags.clear()
    np.testing.assert_allclose(model._log_prob(params, jnp.asarray(x)[..., None], ()), expected, rtol=1e-5)
    assert Reads.flags == [False]
    loss, _ = model.loss(params, {}, jax.random.key(0), {"x": jnp.asarray(x)}, jnp.int32(0))
    np.testing.assert_allclose(loss, -expected.mean(), rtol=1e-5)
    assert Reads.flags == [False, True]


def test_inputs_and_activation_of_pixel_cnn_pp():
    np.testing.assert_allclose(_inputs(jnp.array([[0.0, 0.75]])), [[-1.0, 0.5, 1.0]])
    expected = [1, np.exp(-2) - 1, np.exp(-1) - 1, 2]
    np.testing.assert_allclose(_phi(jnp.array([[1.0, -2.0]]))[0], expected, rtol=1e-5)


def test_blocks_of_pixel_cnn_pp_start_near_the_identity():
    net = PixelCNNPPNet(5, num_resolutions=1, num_blocks=1, features=32, dropout=0.0)
    params = net.init(jax.random.key(0), jnp.zeros((1, 4, 4, 1)))["params"]
    for name, factor in (("u_in_0_0_conv_1", 1.0), ("u_in_0_0_conv_2", 0.1)):
        kernel = params[name]["kernel"]
        fan_in = np.prod(kernel.shape[:-1])
        assert float(jnp.std(kernel)) == pytest.approx(factor / np.sqrt(fan_in), rel=0.05)
