"""The transformer: layers of attention and a perceptron over tokens, and a network of them that sees all tokens.

A layer maps features h (B, N, F) of N tokens to

    h ← h + W Attention(norm(h)),        h ← h + W₂ ρ(W₁ norm(h)),                                               (1)

where norm subtracts the mean over a token's channels and divides by their standard deviation. Queries and keys may be
rotated by angles that grow with the position, so that their products depend only on distances (RoPE; Jianlin Su et al.
2021, arXiv:2104.09864), and normalized, which bounds their products (Alex Henry et al. 2020, arXiv:2010.04245).

``autoregressive.GPT`` applies these layers with causal attention. ``TokenTransformer`` lets each token attend to all,
starting from

    h_i = E[x_i] + p_i + e,                                                                                      (2)

with the token embedding E, position embeddings p_i unless queries and keys are rotated, and the embedding e of noise
level and condition (``LevelEmbedding``).

Ashish Vaswani et al. 2017, arXiv:1706.03762; the norms come first as in Alec Radford et al. 2019, "Language models are
unsupervised multitask learners".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.arguments import DropoutRate, PositiveInt, check_arguments
from genjax.core import Array, PyTree
from genjax.nets.levels import LevelEmbedding
from genjax.nets.mlp import linear
from genjax.nets.tensor_parallel import split_axis
from genjax.ops import at_least_float32, full_attention

ROTARY_BASE = 10_000.0
LayerSettings = Any  # ``GPT`` or ``TokenTransformer``, whose attributes settle the shape of layers
Attention = Callable[[Array, Array, Array], Array]  # q, k and v (B, N, num_heads, D) -> outputs of the same shape

normal_init = nn.initializers.normal(0.02, jnp.float32)


@check_arguments
class TokenTransformer(nn.Module):
    """Transformer from tokens (B, ...) to logits of each, (B, ..., num_values): the denoiser of discrete diffusion.

    Attributes:
      num_values: number of values of the outputs, V; the inputs have one more, V, which stands for a masked token.
      num_layers: number of layers, equation 1 each.
      num_heads: number of attention heads, which split the features.
      features: number of channels of h.
      positions: "learned" for p_i of equation 2, or "rotary". Axes of x are flattened, row by row.
      embed_level: whether h starts with the embedding of the noise level. Masked tokens show it, so that a
        ``MaskedDiffusion`` needs none.
      activation: ρ; the hidden layer of the perceptron has four times as many channels as h.
      tied: whether the outputs share the token embedding.
      qk_norm: whether queries and keys are normalized.
      use_bias: whether linear maps and norms have biases.
      dropout: share of the channels of the embedding and of each residual branch that training drops, in [0, 1).
      remat: whether gradients recompute the activations of layers instead of storing them.
      unroll: number of layers per iteration of the loop over layers; more run faster, especially on CPUs, but compile
        longer.
      dtype: dtype of the computation.

    >>> net = TokenTransformer(num_values=5, num_layers=1, num_heads=2, features=8)
    >>> x, level = jnp.array([[0, 4, 5], [5, 5, 1]]), jnp.array([0.3, 0.7])
    >>> net.init_with_output(jax.random.key(0), x, level)[0].shape
    (2, 3, 5)
    """

    num_values: PositiveInt
    num_layers: PositiveInt
    num_heads: PositiveInt
    features: PositiveInt
    positions: Literal["learned", "rotary"] = "learned"
    embed_level: bool = True
    activation: Callable[[Array], Array] = nn.gelu
    tied: bool = True
    qk_norm: bool = False
    use_bias: bool = True
    dropout: DropoutRate = 0.0
    remat: bool = False
    unroll: PositiveInt = 4
    dtype: Any = None

    def __post_init__(self) -> None:
        check_heads(self)
        super().__post_init__()

    @nn.compact
    def __call__(self, x: Array, level: Array, condition: Array | None = None, train: bool = False) -> Array:
        """Map tokens (B, ...), noise levels (B,) and a condition (B, K) to logits (B, ..., V)."""
        tokens = x.reshape(x.shape[0], -1)
        embedding = self.param("embedding", normal_init, (self.num_values + 1, self.features))
        h, table = embedding[tokens], {}
        if self.positions == "learned":
            table["positions"] = self.param("positions", normal_init, (tokens.shape[1], self.features))
        if self.embed_level:
            h = h + LevelEmbedding(self.features, name="level")(level, condition)[:, None]
        elif condition is not None:
            h = h + nn.Dense(self.features, use_bias=False, name="condition")(condition)[:, None]
        h = add_positions(self, table, h, jnp.arange(tokens.shape[1]))  # equation 2
        layers = self.param("layers", lambda key: layer_params(self, iter(jax.random.split(key, 4))))
        dropout_key = self.make_rng("dropout") if train and self.dropout else None
        h = apply_layers(self, layers, h, full_attention, dropout_key)
        h = layer_norm(self.param("norm", lambda _: norm_params(self)), h)
        shape = (self.num_values, self.features)
        outputs = embedding[: self.num_values] if self.tied else self.param("output", normal_init, shape)
        return (h @ outputs.T.astype(h.dtype)).reshape(*x.shape, self.num_values)

    def tensor_axis(self, path: str) -> int | None:
        """Return the axis of a parameter that tensor parallelism splits; see ``transformer_axis``."""
        return transformer_axis(path)


def transformer_axis(path: str) -> int | None:
    """Return the axis, counted from the end, that tensor parallelism splits: heads, hidden channels and the vocabulary.

    >>> transformer_axis("net/layers/up/kernel"), transformer_axis("net/norm/scale")
    (-1, None)
    """
    if path.rpartition("/")[2] in ("embedding", "output"):
        return -2
    return split_axis(path, outputs={"qkv", "up"}, inputs={"attention", "down"})


def check_heads(settings: LayerSettings) -> None:
    """Raise ValueError if the heads cannot split the features."""
    parts = settings.num_heads * (2 if settings.positions == "rotary" else 1)
    if settings.features % parts:
        raise ValueError(
            f"features is {settings.features}, but num_heads={settings.num_heads} and "
            f"positions={settings.positions!r} need a multiple of {parts}"
        )


def layer_params(settings: LayerSettings, keys: Iterator[Array]) -> PyTree:
    """Return initial parameters, stacked over layers, from four keys; residual branches start with small weights."""
    width, num_layers = settings.features, settings.num_layers

    def dense(fan_in: int, fan_out: int, scale: float = 1.0) -> PyTree:
        kernel = {"kernel": scale * normal_init(next(keys), (num_layers, fan_in, fan_out))}
        return kernel | ({"bias": jnp.zeros((num_layers, fan_out), jnp.float32)} if settings.use_bias else {})

    residual_scale = (2 * num_layers) ** -0.5
    return {
        "norm_1": norm_params(settings, num_layers),
        "qkv": dense(width, 3 * width),
        "attention": dense(width, width, residual_scale),
        "norm_2": norm_params(settings, num_layers),
        "up": dense(width, 4 * width),
        "down": dense(4 * width, width, residual_scale),
    }


def norm_params(settings: LayerSettings, *layers: int) -> PyTree:
    """Return initial parameters of a norm, with leading axes of these sizes."""
    scale = {"scale": jnp.ones((*layers, settings.features), jnp.float32)}
    return scale | ({"bias": jnp.zeros((*layers, settings.features), jnp.float32)} if settings.use_bias else {})


def add_positions(settings: LayerSettings, params: PyTree, h: Array, positions: Array) -> Array:
    """Add p_i to embeddings (B, n, features) at positions (n,), and convert them to the dtype of the computation."""
    if settings.positions == "learned":
        h = h + params["positions"][positions][None]
    return h if settings.dtype is None else h.astype(settings.dtype)


def apply_layers(settings: LayerSettings, params: PyTree, h: Array, attention: Attention, key: Array | None) -> Array:
    """Apply all layers to h (B, N, features); the key is for dropout, None for none."""
    positions = jnp.arange(h.shape[1])

    def layer(h: Array, inputs: tuple[PyTree, Array | None]) -> tuple[Array, Any]:
        layer_params, layer_key = inputs
        return transformer_layer(settings, layer_params, h, positions, lambda *qkv: (attention(*qkv), None), layer_key)

    keys = None
    if key is not None and settings.dropout > 0:
        embedding_key, layers_key = jax.random.split(key)
        h, keys = _dropout(settings, h, embedding_key), jax.random.split(layers_key, settings.num_layers)
    layer = jax.checkpoint(layer) if settings.remat else layer
    return jax.lax.scan(layer, h, (params, keys), unroll=min(settings.unroll, settings.num_layers))[0]


def transformer_layer(
    settings: LayerSettings,
    params: PyTree,
    h: Array,
    positions: Array,
    attention: Callable[[Array, Array, Array], tuple[Array, Any]],
    key: Array | None = None,
) -> tuple[Array, Any]:
    """Apply a layer of equation 1 to h (B, n, features).

    ``attention`` maps q, k and v to outputs and a cache, which is returned beside h.
    """
    attention_key, mlp_key = (None, None) if key is None else jax.random.split(key)
    heads = (*h.shape[:2], settings.num_heads, -1)
    q, k, v = (a.reshape(heads) for a in jnp.split(linear(params["qkv"], layer_norm(params["norm_1"], h)), 3, axis=-1))
    if settings.qk_norm:
        q, k = _unit(q), _unit(k)
    if settings.positions == "rotary":
        q, k = _rotate(q, positions), _rotate(k, positions)
    attended, cache = attention(q, k, v)
    h = h + _dropout(settings, linear(params["attention"], attended.reshape(h.shape)), attention_key)
    hidden = linear(params["down"], settings.activation(linear(params["up"], layer_norm(params["norm_2"], h))))
    return h + _dropout(settings, hidden, mlp_key), cache


def layer_norm(params: PyTree, h: Array) -> Array:
    """Apply layer normalization, at least in float32."""
    wide = at_least_float32(h)
    wide = _unit(wide - jnp.mean(wide, axis=-1, keepdims=True)) * params["scale"][None, None]
    return (wide + params["bias"][None, None] if "bias" in params else wide).astype(h.dtype)


def _unit(a: Array) -> Array:
    """Normalize (..., D) to a mean square of 1."""
    wide = at_least_float32(a)
    return (wide * jax.lax.rsqrt(jnp.mean(jnp.square(wide), axis=-1, keepdims=True) + 1e-5)).astype(a.dtype)


def _rotate(a: Array, positions: Array) -> Array:
    """Rotate pairs of channels of (B, n, num_heads, D) by angles that grow with the positions (n,)."""
    half = a.shape[-1] // 2
    frequencies = ROTARY_BASE ** (-jnp.arange(half) / half)
    angles = (positions[:, None] * frequencies[None])[None, :, None]
    cos, sin = jnp.cos(angles).astype(a.dtype), jnp.sin(angles).astype(a.dtype)
    x, y = jnp.split(a, 2, axis=-1)
    return jnp.concatenate([x * cos - y * sin, x * sin + y * cos], axis=-1)


def _dropout(settings: LayerSettings, h: Array, key: Array | None) -> Array:
    if key is None or not settings.dropout:
        return h
    mask = jax.random.bernoulli(key, 1 - settings.dropout, h.shape)
    return jnp.where(mask, h / (1 - settings.dropout), jnp.zeros_like(h))
