"""GPT: a causal transformer over tokens.

Sequences of tokens x_1 … x_T in 0 … V − 1 have the mass

    p(x) = Π_t p(x_t | x_1, …, x_{t−1}),        logits of x_t:  E norm(h_t),                                      (1)

where h_t is made of the embedding e of the token before, of a learned start for the first one, and of its position p_t
by layers of causal attention and a perceptron,

    h_t = e(x_{t−1}) + p_t,      h ← h + W Attention(norm(h)),      h ← h + W₂ ρ(W₁ norm(h)),                     (2)

and E is the embedding itself, or a matrix of its own. In place of p_t, queries and keys may be turned by angles that
grow with the position, so that their products know distances alone (Jianlin Su et al. 2021, arXiv:2104.09864); they may
also be normalized, which bounds these products (Alex Henry et al. 2020, arXiv:2010.04245).

Where one of the tokens ends sequences, what comes after it counts for nothing, and p is a mass over sequences of any
length up to T; those of length T may have no end.

Drawing keeps the keys and values of all positions, so that a token costs one position of each layer.

Alec Radford, Jeffrey Wu, Rewon Child, David Luan, Dario Amodei and Ilya Sutskever, 2019, "Language models are
unsupervised multitask learners".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, final

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.autoregressive.decoding import Callback, Sampling, Step, generate
from genjax.autoregressive.tokens import checked_tokens, prompt_tokens, scored
from genjax.capabilities import Condition
from genjax.core import Array, Batch, Metrics, Objective, PyTree, Variables
from genjax.nets import linear
from genjax.ops import at_least_float32, causal_attention, check_at_least, check_dropout

ROTARY_BASE = 10_000.0


@final
@dataclass(frozen=True, kw_only=True)
class GPT:
    """A transformer over sequences of T tokens.

    Attributes:
      num_values: V.
      length: T.
      num_layers: of attention and perceptron each.
      num_heads: of attention, which share the features.
      features: channels of h.
      positions: "learned", p_t of equation 2, or "rotary".
      activation: ρ; its layer has four times as many channels.
      tied: whether E is the embedding.
      qk_norm: whether queries and keys are normalized.
      use_bias: of linear maps and norms.
      dropout: share of the channels that training leaves out of the embedding and of what layers add, in [0, 1).
      remat: whether gradients compute layers again, in place of keeping what is inside them.
      unroll: layers in one turn of the loop over them; more run faster, above all on CPUs, and compile longer.
      stop_token: the token that ends sequences; None where all have T tokens.
      dtype: what the network computes in.

    >>> model = GPT(num_values=5, length=6, num_layers=1, num_heads=2, features=8)
    >>> variables = model.init(jax.random.key(0), {"x": jnp.zeros((3, 6), jnp.int32)})
    >>> model.sample(variables, jax.random.key(1), 2, prompt=jnp.array([4, 4])).shape
    (2, 6)
    """

    num_values: int
    length: int
    num_layers: int
    num_heads: int
    features: int
    positions: Literal["learned", "rotary"] = "learned"
    activation: Callable[[Array], Array] = nn.gelu
    tied: bool = True
    qk_norm: bool = False
    use_bias: bool = True
    dropout: float = 0.0
    remat: bool = False
    unroll: int = 4
    stop_token: int | None = None
    dtype: Any = None

    def __post_init__(self) -> None:
        sizes = ("num_values", "length", "num_layers", "num_heads", "features", "unroll")
        for name in sizes:
            check_at_least(name, getattr(self, name), 1)
        check_dropout(self.dropout)
        if self.positions not in ("learned", "rotary"):
            raise ValueError(f"positions is {self.positions!r}, but must be 'learned' or 'rotary'")
        parts = self.num_heads * (2 if self.positions == "rotary" else 1)
        if self.features % parts:
            raise ValueError(
                f"features is {self.features}, but num_heads={self.num_heads} and positions={self.positions!r} need a "
                f"multiple of {parts}"
            )
        if self.stop_token is not None and not 0 <= self.stop_token < self.num_values:
            raise ValueError(
                f"stop_token is {self.stop_token}, but must be a token, 0 … {self.num_values - 1}; None for no end"
            )

    @property
    def discrete(self) -> bool:
        """True: log p(x) is a log-mass."""
        return True

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """What ``sample`` can be conditioned on: the prompt, with which sequences begin."""
        prompt = Condition(
            name="prompt", kind="tokens", shape=(None,), num_values=self.num_values, optional=True, in_batch=False
        )
        return (prompt,)

    @property
    def num_values(self) -> int:
        """Size of the vocabulary."""
        return self.num_values

    def init(self, key: Array, batch: Batch) -> Variables:
        """Make the variables for sequences like ``batch["x"]``, integers (B, T).

        Raises:
          ValueError: for sequences longer than T, or tokens that are not 0 … V - 1.
        """
        checked_tokens(batch["x"], self.num_values, self.length)
        return Variables({"net": _parameters(self, key)}, {})

    def objectives(self) -> tuple[Objective, ...]:
        """The one loss."""
        return (Objective(name="likelihood", wrt=("net",), loss=self.loss),)

    def loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """Negative log-mass in nats per token, averaged over the tokens of the batch that count.

        Returns:
          The scalar, and the state as it was with the metric ``log_prob``, nats per example.
        """
        del step
        x = checked_tokens(batch["x"], self.num_values, self.length)
        each = self._each(params["net"], x, key)
        log_prob = jnp.sum(each) / len(x)
        return -jnp.sum(each) / jnp.sum(scored(x, self.stop_token)), (state, {"log_prob": log_prob})

    def log_prob(self, variables: Variables, x: Array) -> Array:
        """Exact log p(x), nats, (B,)."""
        x = checked_tokens(x, self.num_values, self.length)
        return jnp.sum(self._each(variables.params["net"], x), axis=1)

    def logits(self, variables: Variables, x: Array) -> Array:
        """Logits (B, T, V) of tokens (B, T), each from those before it."""
        x = checked_tokens(x, self.num_values, self.length)
        return at_least_float32(_forward(self, variables.params["net"], x, None))

    def sample(
        self,
        variables: Variables,
        key: Array,
        num_samples: int,
        *,
        prompt: Array | None = None,
        length: int | None = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float = 1.0,
        min_p: float = 0.0,
        repetition_penalty: float = 1.0,
        callback: Callback | None = None,
    ) -> Array:
        """Draw sequences token by token.

        Args:
          variables: what ``init`` or training returned.
          key: a typed key.
          num_samples: N.
          prompt: what sequences begin with, integers (P,) for all, or (N, P) for each; prompts of unequal length are
            filled up with -1 at their ends.
          length: of what is returned, P … T; None for T. Sequences that end before are filled up with ``stop``.
          temperature: see ``Sampling``, as are the following four.
          top_k: how many of the most probable tokens may be drawn.
          top_p: mass of the most probable tokens that may be drawn.
          min_p: least probability of a token that may be drawn, as a share of the greatest.
          repetition_penalty: of tokens that are there already; 1 for none.
          callback: see ``generate``.

        Returns:
          int32 (N, length).

        Raises:
          ValueError: where the prompt, or length, is longer than T, or the prompt has other tokens.
        """
        check_at_least("num_samples", num_samples, 1)
        length = self.length if length is None else length
        if not 1 <= length <= self.length:
            raise ValueError(f"length is {length}, but must be in 1 … {self.length}, the length of the model")
        cache, step = self._decoder(variables.params["net"], num_samples, length)
        return generate(
            step,
            cache,
            key,
            num_rows=num_samples,
            length=length,
            sampling=Sampling(
                temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, repetition_penalty=repetition_penalty
            ),
            **prompt_tokens(prompt, num_samples, length, self.num_values),
            stop=self.stop_token,
            callback=callback,
        )

    def _each(self, params: PyTree, x: Array, key: Array | None = None) -> Array:
        """Log-masses of tokens, (B, T), 0 for those after the end; the key is that of dropout."""
        logits = at_least_float32(_forward(self, params, x, key))
        chosen = jnp.take_along_axis(logits, x[..., None], axis=-1)[..., 0]
        return (chosen - jax.nn.logsumexp(logits, axis=-1)) * scored(x, self.stop_token)  # equation 1

    def _decoder(self, params: PyTree, num_rows: int, length: int) -> tuple[_Cache, Step]:
        """Return an empty cache and ``step(cache, token) -> (logits, cache)``."""
        shape = (self.num_layers, num_rows, length, self.num_heads, self.features // self.num_heads)
        dtype = self.dtype or jnp.float32
        empty = _Cache(jnp.int32(0), jnp.zeros(shape, dtype), jnp.zeros(shape, dtype))

        zero = jnp.int32(0)  # beside other indices of 32 bits, also where JAX has 64

        def step(cache: _Cache, token: Array) -> tuple[Array, _Cache]:
            position = cache.position
            before = jnp.where(position > 0, params["embedding"][token], params["start"][None])
            h = _placed(self, params, before[:, None], position[None])
            lengths = jnp.full(num_rows, position + 1, jnp.int32)

            def layer(carry: tuple[Array, Array, Array], own: tuple[Array, PyTree]) -> tuple[Any, None]:
                (h, *kept), (index, layer) = carry, own

                def attention(q: Array, *new: Array) -> Array:
                    at = (index, zero, position, zero, zero)
                    kept[:] = [jax.lax.dynamic_update_slice(a, b[None], at) for a, b in zip(kept, new, strict=True)]
                    k, v = (jax.lax.dynamic_index_in_dim(a, index, keepdims=False) for a in kept)
                    return jax.nn.dot_product_attention(q, k, v, key_value_seq_lengths=lengths)

                h = _layer(self, layer, h, position[None], attention)
                return (h, *kept), None

            layers = (jnp.arange(self.num_layers, dtype=jnp.int32), params["layers"])
            (h, keys, values), _ = jax.lax.scan(layer, (h, cache.keys, cache.values), layers)
            return _logits(self, params, h)[:, 0], _Cache(position + 1, keys, values)

        return empty, step


class _Cache(NamedTuple):
    """The number of the token, and keys and values of those before, (num_layers, B, T, num_heads, D)."""

    position: Array
    keys: Array
    values: Array


def _parameters(model: GPT, key: Array) -> PyTree:
    """Return parameters, those of all layers in one array each; what layers add begins small."""
    width, num_layers = model.features, model.num_layers
    normal = nn.initializers.normal(0.02, jnp.float32)
    keys = iter(jax.random.split(key, 8))

    def dense(fan_in: int, fan_out: int, scale: float = 1.0) -> PyTree:
        kernel = {"kernel": scale * normal(next(keys), (num_layers, fan_in, fan_out))}
        return kernel | ({"bias": jnp.zeros((num_layers, fan_out), jnp.float32)} if model.use_bias else {})

    def norm(*layers: int) -> PyTree:
        scale = {"scale": jnp.ones((*layers, width), jnp.float32)}
        return scale | ({"bias": jnp.zeros((*layers, width), jnp.float32)} if model.use_bias else {})

    added = (2 * num_layers) ** -0.5
    params = {
        "embedding": normal(next(keys), (model.num_values, width)),
        "start": normal(next(keys), (width,)),
        "layers": {
            "norm_1": norm(num_layers),
            "qkv": dense(width, 3 * width),
            "attention": dense(width, width, added),
            "norm_2": norm(num_layers),
            "up": dense(width, 4 * width),
            "down": dense(4 * width, width, added),
        },
        "norm": norm(),
    }
    if model.positions == "learned":
        params["positions"] = normal(next(keys), (model.length, width))
    if not model.tied:
        params["output"] = normal(next(keys), (model.num_values, width))
    return params


def _forward(model: GPT, params: PyTree, x: Array, key: Array | None) -> Array:
    """Return logits (B, T, V) of tokens (B, T), each from those before it."""
    positions = jnp.arange(x.shape[1])
    start = jnp.broadcast_to(params["start"], (len(x), 1, model.features))
    h = jnp.concatenate([start, params["embedding"][x[:, :-1]]], axis=1)
    h = _placed(model, params, h, positions)

    def layer(h: Array, own: tuple[PyTree, Array | None]) -> tuple[Array, None]:
        return _layer(model, own[0], h, positions, causal_attention, own[1]), None

    keys = None
    if key is not None and model.dropout > 0:
        first, others = jax.random.split(key)
        h, keys = _dropped(model, h, first), jax.random.split(others, model.num_layers)
    layer_or_again = jax.checkpoint(layer) if model.remat else layer
    h, _ = jax.lax.scan(layer_or_again, h, (params["layers"], keys), unroll=min(model.unroll, model.num_layers))
    return _logits(model, params, h)


def _placed(model: GPT, params: PyTree, h: Array, positions: Array) -> Array:
    """Add p_t to embeddings (B, n, features) at positions (n,)."""
    if model.positions == "learned":
        h = h + params["positions"][positions][None]
    return h if model.dtype is None else h.astype(model.dtype)


def _layer(
    model: GPT,
    params: PyTree,
    h: Array,
    positions: Array,
    attention: Callable[[Array, Array, Array], Array],
    key: Array | None = None,
) -> Array:
    """Equation 2 for h (B, n, features); ``attention`` knows which keys there are."""
    first, second = (None, None) if key is None else jax.random.split(key)
    heads = (*h.shape[:2], model.num_heads, -1)
    q, k, v = (a.reshape(heads) for a in jnp.split(linear(params["qkv"], _norm(params["norm_1"], h)), 3, axis=-1))
    if model.qk_norm:
        q, k = _unit(q), _unit(k)
    if model.positions == "rotary":
        q, k = _turned(q, positions), _turned(k, positions)
    attended = linear(params["attention"], attention(q, k, v).reshape(h.shape))
    h = h + _dropped(model, attended, first)
    hidden = linear(params["down"], model.activation(linear(params["up"], _norm(params["norm_2"], h))))
    return h + _dropped(model, hidden, second)


def _logits(model: GPT, params: PyTree, h: Array) -> Array:
    table = params["embedding"] if model.tied else params["output"]
    return _norm(params["norm"], h) @ table.T.astype(h.dtype)


def _norm(params: PyTree, h: Array) -> Array:
    """Layer normalization, in float32 at least."""
    wide = at_least_float32(h)
    wide = wide - jnp.mean(wide, axis=-1, keepdims=True)
    wide = wide * jax.lax.rsqrt(jnp.mean(jnp.square(wide), axis=-1, keepdims=True) + 1e-5)
    wide = wide * params["scale"][None, None]
    return (wide + params["bias"][None, None] if "bias" in params else wide).astype(h.dtype)


def _unit(a: Array) -> Array:
    """Normalize (..., D) to a mean square of one."""
    wide = at_least_float32(a)
    return (wide * jax.lax.rsqrt(jnp.mean(jnp.square(wide), axis=-1, keepdims=True) + 1e-5)).astype(a.dtype)


def _turned(a: Array, positions: Array) -> Array:
    """Turn pairs of channels of (B, n, num_heads, D) by angles that grow with the position (n,)."""
    half = a.shape[-1] // 2
    speeds = ROTARY_BASE ** (-jnp.arange(half) / half)
    angles = (positions[:, None] * speeds[None])[None, :, None]
    cos, sin = jnp.cos(angles).astype(a.dtype), jnp.sin(angles).astype(a.dtype)
    x, y = jnp.split(a, 2, axis=-1)
    return jnp.concatenate([x * cos - y * sin, x * sin + y * cos], axis=-1)


def _dropped(model: GPT, h: Array, key: Array | None) -> Array:
    if key is None or not model.dropout:
        return h
    kept = jax.random.bernoulli(key, 1 - model.dropout, h.shape)
    return jnp.where(kept, h / (1 - model.dropout), jnp.zeros_like(h))
