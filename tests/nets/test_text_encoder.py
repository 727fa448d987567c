"""Cross-attention and the text encoder against plain NumPy, and what padding must not do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import nets
from genjax.nets.dit import DiTLayer
from genjax.nets.unet import AttentionBlock
from tests.nets.test_unet import applied, normalized, randomized

RANDOM = np.random.default_rng(3)
VECTORS = RANDOM.normal(size=(2, 3, 5))
MASK = np.array([[True, True, False], [True, True, True]])
CONTEXT = nets.Context(np.float32(VECTORS), MASK)
ENCODER = nets.TextEncoder(num_tokens=6, length=4, features=8, num_layers=2, num_heads=2, mlp_ratio=2.0)
TOKENS = np.array([[3, 1, 0, 0], [2, 5, 4, 1]])


def attended(rows, q, k, v, mask):
    """Attention of two heads with two channels each, of rows (B, N, 4)."""
    heads = []
    for head in (slice(0, 2), slice(2, 4)):
        weights = np.exp(q[..., head] @ k[..., head].swapaxes(1, 2) / np.sqrt(2)) * mask[:, None]
        heads.append(weights / weights.sum(axis=-1, keepdims=True) @ v[..., head])
    return np.concatenate(heads, axis=-1)


def affine(x, params):
    return x @ params["kernel"] + params["bias"]


def crossed(rows, params):
    """Cross-attention from rows (B, N, 4) to the context, without the output."""
    k, v = np.split(affine(VECTORS, params["key_value"]), 2, axis=-1)
    return attended(rows, affine(rows, params["query"]), k, v, MASK)


def test_cross_attention_of_pixels_against_its_formula():
    x = RANDOM.normal(size=(2, 2, 3, 4))
    net = AttentionBlock(num_heads=2, num_groups=2)
    params = randomized(net, x, CONTEXT)
    rows = normalized(x, params["GroupNorm_0"]).reshape(2, 6, 4)
    outputs = affine(crossed(rows, params), params["output"])
    np.testing.assert_allclose(applied(net, params, np.float32(x), CONTEXT), x + outputs.reshape(x.shape), atol=1e-5)


def test_cross_attention_of_patches_against_its_formula():
    """With modulations of 0, only the context moves the tokens."""
    h, embedded = RANDOM.normal(size=(2, 3, 4)), RANDOM.normal(size=(2, 6))
    net = DiTLayer(num_heads=2, mlp_ratio=1.0, activation=nets.squared_relu, output_scale=0.0)
    params = randomized(net, h, embedded, CONTEXT)
    params["modulation"] = jax.tree.map(np.zeros_like, params["modulation"])
    rows = (h - h.mean(axis=-1, keepdims=True)) / np.sqrt(h.var(axis=-1, keepdims=True) + 1e-6)
    outputs = affine(crossed(rows, params), params["context"])
    np.testing.assert_allclose(
        applied(net, params, np.float32(h), np.float32(embedded), CONTEXT)[0], h + outputs, atol=1e-5
    )


@pytest.mark.parametrize(
    "net",
    [
        nets.UNet(8, multipliers=(1,), num_blocks=1, attention_at=(4,), num_heads=2, output_scale=1.0),
        nets.DiT(patch_size=2, features=8, num_layers=2, num_heads=2, output_scale=1.0),
        nets.DenoisingMLP((8,), embedding_features=8, output_scale=1.0),
    ],
    ids=["unet", "dit", "mlp"],
)
def test_networks_read_the_context_but_not_its_padding(net):
    x, level = np.float32(RANDOM.normal(size=(2, 4, 4, 1))), jnp.array([0.2, 0.7])
    params = randomized(net, x, level, None, CONTEXT)
    run = jax.jit(lambda vectors: applied(net, params, x, level, None, nets.Context(vectors, MASK)))
    outputs, padding, words = (np.asarray(run(v)) for v in (np.float32(VECTORS), changed(0, 2), changed(1, 0)))
    np.testing.assert_array_equal(padding, outputs)
    np.testing.assert_array_equal(words[0], outputs[0])
    assert np.abs(words[1] - outputs[1]).max() > 1e-3


def changed(row, position):
    vectors = np.float32(VECTORS)
    vectors[row, position] += 10
    return vectors


@pytest.mark.parametrize(
    "net",
    [nets.UNet(8, multipliers=(1,), num_blocks=1, attention_at=(4,)), nets.DiT(2, 8, 2, 2), nets.DenoisingMLP((8,))],
    ids=["unet", "dit", "mlp"],
)
def test_networks_without_a_context_have_no_parameters_for_it(net):
    x, level = jnp.zeros((2, 4, 4, 1)), jnp.zeros(2)
    without, with_context = (
        sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(net.init, jax.random.key(0), x, level, None, c)))
        for c in (None, CONTEXT)
    )
    plain = sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(net.init, jax.random.key(0), x, level)))
    assert without == plain < with_context


@pytest.fixture(scope="module")
def params():
    return randomized(ENCODER, TOKENS)


class TestTextEncoder:
    def test_a_layer_against_its_formula(self):
        h = RANDOM.normal(size=(2, 3, 4))
        net = nets.text_encoder.TextLayer(num_heads=2, mlp_ratio=2.0, activation=nets.squared_relu)
        params = randomized(net, h, MASK)

        def norm(h, params):
            centred = (h - h.mean(axis=-1, keepdims=True)) / np.sqrt(h.var(axis=-1, keepdims=True) + 1e-6)
            return centred * params["scale"] + params["bias"]

        rows = norm(h, params["LayerNorm_0"])
        q, k, v = np.split(affine(rows, params["query_key_value"]), 3, axis=-1)
        expected = h + affine(attended(rows, q, k, v, MASK), params["attended"])
        inner = np.square(np.maximum(affine(norm(expected, params["LayerNorm_1"]), params["up"]), 0))
        expected = expected + affine(inner, params["down"])
        np.testing.assert_allclose(applied(net, params, np.float32(h), MASK), expected, atol=1e-4)

    def test_the_mask_is_that_of_the_words_and_of_the_start(self, params):
        context = applied(ENCODER, params, TOKENS)
        np.testing.assert_array_equal(context.mask, [[True, True, True, False, False], [True] * 5])

    def test_padding_has_no_influence_and_words_and_their_order_have(self, params):
        """A longer encoder with the same weights gives the same vectors of the same words."""
        context = applied(ENCODER, params, TOKENS)
        short = nets.TextEncoder(num_tokens=6, length=2, features=8, num_layers=2, num_heads=2, mlp_ratio=2.0)
        cut = {**params, "positions": params["positions"][:2]}
        np.testing.assert_allclose(applied(short, cut, TOKENS[:1, :2]).vectors, context.vectors[:1, :3], atol=1e-5)
        other = applied(ENCODER, params, np.array([[1, 3, 0, 0], [2, 5, 4, 3]])).vectors
        assert (np.abs(np.asarray(other - context.vectors))[:, 0].max(axis=-1) > 1e-3).all()

    def test_texts_of_another_length_are_refused(self):
        with pytest.raises(ValueError, match=r"tokens have shape \(2, 3\), but this text encoder takes \(B, 4\)"):
            ENCODER.init(jax.random.key(0), TOKENS[:, :3])
