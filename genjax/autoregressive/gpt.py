"""GPT: a causal transformer over tokens.

Sequences of tokens x_1 … x_T in 0 … V − 1 have the mass

    p(x) = Π_t p(x_t | x_1, …, x_{t−1}),        logits of x_t:  E norm(h_t),                                      (1)

where h_t starts from the embedding e of the previous token (a learned start embedding at the first position) and the
position embedding p_t, and passes through layers of causal attention and a perceptron,

    h_t = e(x_{t−1}) + p_t,      h ← h + W Attention(norm(h)),      h ← h + W₂ ρ(W₁ norm(h)),                     (2)

and E is the token embedding or a matrix of its own. Instead of adding p_t, queries and keys may be rotated by angles
that grow with the position, so that their products depend only on distances (RoPE; Jianlin Su et al. 2021,
arXiv:2104.09864). They may also be normalized, which bounds their products (Alex Henry et al. 2020, arXiv:2010.04245).

With a stop token, tokens after it are ignored, and p is a mass over sequences of any length up to T; sequences of
length T need not end with it.

Sampling reads a prompt at once and caches the keys and values of all positions, so that a token costs one position of
each layer. The cache grows with the text, in at most four sizes.

Alec Radford, Jeffrey Wu, Rewon Child, David Luan, Dario Amodei and Ilya Sutskever, 2019, "Language models are
unsupervised multitask learners".
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, NamedTuple, final

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.arguments import DropoutRate, PositiveInt, check_arguments
from genjax.autoregressive.decoding import (
    Callback,
    MinP,
    RepetitionPenalty,
    Sampling,
    Step,
    Temperature,
    TopK,
    TopP,
    generate,
    prefix_length,
)
from genjax.capabilities import Condition
from genjax.core import Array, Batch, Metrics, Objective, PyTree, Variables
from genjax.nets import apply_net, init_net
from genjax.nets.transformer import (
    add_positions,
    apply_layers,
    check_heads,
    layer_norm,
    layer_params,
    norm_params,
    normal_init,
    transformer_axis,
    transformer_layer,
)
from genjax.ops import (
    at_least_float32,
    attend_to_first,
    causal_attention,
    check_stop_token,
    checked_tokens,
    prompt_tokens,
    token_mask,
)


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class GPT:
    """A causal transformer over sequences of T tokens (Alec Radford et al. 2019).

    Attributes:
      num_values: size of the vocabulary, V.
      length: maximum length of a sequence, T.
      num_layers: number of layers, each with attention and a perceptron.
      num_heads: number of attention heads, which split the features.
      features: number of channels of h.
      positions: "learned" for p_t of equation 2, or "rotary".
      activation: ρ; the hidden layer of the perceptron has four times as many channels as h.
      tied: whether E is the token embedding.
      qk_norm: whether queries and keys are normalized.
      use_bias: whether linear maps and norms have biases.
      dropout: share of the channels of the embedding and of each residual branch that training drops, in [0, 1).
      remat: whether gradients recompute the activations of layers instead of storing them.
      unroll: number of layers per iteration of the loop over layers; more run faster, especially on CPUs, but compile
        longer.
      stop_token: token that ends a sequence; None if all sequences have T tokens.
      dtype: dtype of the computation.

    >>> model = GPT(num_values=5, length=6, num_layers=1, num_heads=2, features=8)
    >>> variables = model.init(jax.random.key(0), {"x": jnp.zeros((3, 6), jnp.int32)})
    >>> model.sample(variables, jax.random.key(1), 2, prompt=jnp.array([4, 4])).shape
    (2, 6)
    """

    num_values: PositiveInt
    length: PositiveInt
    num_layers: PositiveInt
    num_heads: PositiveInt
    features: PositiveInt
    positions: Literal["learned", "rotary"] = "learned"
    activation: Callable[[Array], Array] = nn.gelu
    tied: bool = True
    qk_norm: bool = False
    use_bias: bool = True
    dropout: DropoutRate = 0.0
    remat: bool = False
    unroll: PositiveInt = 4
    stop_token: int | None = None
    dtype: Any = None
    discrete = True

    def __post_init__(self) -> None:
        check_heads(self)
        check_stop_token(self.stop_token, self.num_values)

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """The optional prompt of ``sample``, with which sequences begin."""
        prompt = Condition(
            name="prompt", kind="tokens", shape=(None,), num_values=self.num_values, optional=True, in_batch=False
        )
        return (prompt,)

    def init(self, key: Array, batch: Batch) -> Variables:
        """Initialize the variables for sequences like ``batch["x"]``, (B, T) or shorter, of integers 0 … V − 1."""
        checked_tokens(batch["x"], self.num_values, self.length)
        return Variables({"net": init_net(self._net, key)[0]}, {})

    def objectives(self) -> tuple[Objective, ...]:
        """Return the negative log-likelihood as the only objective."""
        return (Objective(name="likelihood", wrt=("net",), loss=self.loss),)

    def loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """Return the negative log-mass in nats per token, averaged over the batch's tokens up to the stop token.

        The metric is ``log_prob``, nats per example; the state does not change.
        """
        del step
        x = checked_tokens(batch["x"], self.num_values, self.length)
        total = jnp.sum(self._token_log_probs(params["net"], x, key))
        return -total / jnp.sum(token_mask(x, self.stop_token)), (state, {"log_prob": total / x.shape[0]})

    def log_prob(self, variables: Variables, x: Array) -> Array:
        """Return the exact log p(x) in nats, (B,)."""
        x = checked_tokens(x, self.num_values, self.length)
        return jnp.sum(self._token_log_probs(variables.params["net"], x), axis=1)

    def logits(self, variables: Variables, x: Array) -> Array:
        """Return the logits of tokens (B, T) given those before them, (B, T, V)."""
        x = checked_tokens(x, self.num_values, self.length)
        return at_least_float32(apply_net(self._net, variables.params["net"], {}, x)[0])

    def sample(
        self,
        variables: Variables,
        key: Array,
        num_samples: PositiveInt,
        *,
        prompt: Array | None = None,
        num_tokens: PositiveInt | None = None,
        temperature: Temperature = 1.0,
        top_k: TopK | None = None,
        top_p: TopP = 1.0,
        min_p: MinP = 0.0,
        repetition_penalty: RepetitionPenalty = 1.0,
        callback: Callback | None = None,
    ) -> Array:
        """Draw sequences, int32 (N, num_tokens), token by token.

        After T tokens the context slides: the second half of the last T tokens is read again as the beginning of T new
        ones. Each token beyond T depends on between T/2 and T − 1 tokens before it.

        Args:
          variables: variables from ``init`` or training.
          key: a typed key.
          num_samples: number of samples, N.
          prompt: tokens with which sequences begin, integers (P,) for all, or (N, P) for each; prompts of unequal
            length are padded with -1 at their ends.
          num_tokens: length of the samples, at least P; None for T. Sequences that end earlier are padded with
            ``stop_token``.
          temperature: temperature of the logits; see ``Sampling``.
          top_k: number of most probable tokens that may be drawn; see ``Sampling``.
          top_p: mass of the most probable tokens that may be drawn; see ``Sampling``.
          min_p: minimum relative probability of a token that may be drawn; see ``Sampling``.
          repetition_penalty: penalty for tokens that the sequence already contains; 1 for no penalty.
          callback: see ``generate``.

        Raises:
          ValueError: if the prompt exceeds T or ``num_tokens``, or has tokens beyond the vocabulary.
        """
        num_tokens = self.length if num_tokens is None else num_tokens
        sampling = Sampling(
            temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, repetition_penalty=repetition_penalty
        )
        length, overlap = min(num_tokens, self.length), self.length // 2
        callback = None if callback is None else _call_once(callback, num_tokens)
        draw = self._drawing(variables, num_samples, length, sampling)

        def window(key: Array, prompt: Array | None, position: Array | int) -> Array:
            tokens = prompt_tokens(prompt, num_samples, length, self.num_values)
            return draw(key, **tokens, callback=callback, position=position)

        def next_window(last: Array, number: Array) -> tuple[Array, Array]:
            new = length - overlap
            x = window(jax.random.fold_in(key, number), last, number * new)
            return x[:, new:], x[:, overlap:]

        if num_tokens <= self.length:
            return window(key, prompt, 0)
        first_key, key = jax.random.split(key)
        x = window(first_key, prompt, 0)
        num_windows = -(-(num_tokens - length) // (length - overlap))
        _, rest = jax.lax.scan(next_window, x[:, length - overlap :], jnp.arange(1, num_windows + 1))
        return jnp.concatenate([x, rest.swapaxes(0, 1).reshape(num_samples, -1)], axis=1)[:, :num_tokens]

    def extend(
        self,
        variables: Variables,
        key: Array,
        prompt: Array,
        *,
        num_new: PositiveInt = 16,
        temperature: Temperature = 1.0,
        top_k: TopK | None = None,
        top_p: TopP = 1.0,
        min_p: MinP = 0.0,
        repetition_penalty: RepetitionPenalty = 1.0,
    ) -> Array:
        """Draw the next tokens of prompts, int32 (B, T), in which -1 stands for tokens that are not drawn yet.

        Repeated with one key until no -1 is left, this draws what ``sample`` draws with that key, piece by piece.

        Args:
          variables: variables from ``init`` or training.
          key: a typed key, the same for all pieces of a sequence.
          prompt: tokens with which sequences begin, integers (B, P) with P ≤ T, padded with -1 at their ends.
          num_new: number of tokens drawn, counted from the end of the shortest prompt.
          temperature: temperature of the logits; see ``Sampling``.
          top_k: number of most probable tokens that may be drawn; see ``Sampling``.
          top_p: mass of the most probable tokens that may be drawn; see ``Sampling``.
          min_p: minimum relative probability of a token that may be drawn; see ``Sampling``.
          repetition_penalty: penalty for tokens that the sequence already contains; 1 for no penalty.

        Raises:
          ValueError: if the prompt exceeds T, or has tokens beyond the vocabulary.
        """
        sampling = Sampling(
            temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, repetition_penalty=repetition_penalty
        )
        prompt = jnp.atleast_2d(jnp.asarray(prompt))
        tokens = prompt_tokens(prompt, len(prompt), self.length, self.num_values)
        x = self._drawing(variables, len(prompt), self.length, sampling)(key, **tokens, num_new=num_new)
        is_drawn = jnp.arange(self.length) < prefix_length(prompt >= 0) + num_new
        padded = jnp.pad(prompt, ((0, 0), (0, self.length - prompt.shape[1])), constant_values=-1)
        return jnp.where(is_drawn[None], x, padded)

    def tensor_axis(self, path: str) -> int | None:
        """Return the axis of a parameter that tensor parallelism splits; see ``nets.transformer``."""
        return transformer_axis(path)

    @property
    def _net(self) -> _Net:
        return _Net(self, self.dtype, self.remat)

    def _token_log_probs(self, params: PyTree, x: Array, key: Array | None = None) -> Array:
        """Return the log-masses of tokens, (B, T), 0 after the stop token; the key is for dropout."""
        logits = at_least_float32(apply_net(self._net, params, {}, x, key=key)[0])
        logits_of_x = jnp.take_along_axis(logits, x[..., None], axis=-1)[..., 0]
        return (logits_of_x - jax.nn.logsumexp(logits, axis=-1)) * token_mask(x, self.stop_token)  # equation 1

    def _drawing(self, variables: Variables, batch_size: int, length: int, sampling: Sampling) -> Callable[..., Array]:
        """Return ``generate`` for sequences (B, length) of this model, a function of a key and known tokens."""
        cache, step = self._decoder(variables.params["net"], batch_size)
        return partial(
            generate,
            step,
            cache,
            batch_size=batch_size,
            length=length,
            sampling=sampling,
            stop_token=self.stop_token,
            grow=_Cache.grow,
            read=partial(self._read, variables.params["net"]),
        )

    def _read(self, params: PyTree, x: Array, count: Array) -> _Cache:
        """Return the cache before the token at position ``count`` of x (B, P)."""

        def attention(q: Array, k: Array, v: Array) -> tuple[Array, tuple[Array, Array]]:
            rows = (x.shape[0] * self.num_heads, x.shape[1], -1)
            return causal_attention(q, k, v), (k.swapaxes(1, 2).reshape(rows), v.swapaxes(1, 2).reshape(rows))

        def layer(h: Array, params: PyTree) -> tuple[Array, tuple[Array, Array]]:
            return transformer_layer(self, params, h, positions, attention)

        positions = jnp.arange(x.shape[1])
        _, (keys, values) = jax.lax.scan(layer, _embedded(self, params, x), params["layers"])
        return _Cache(count, list(keys), list(values))

    def _decoder(self, params: PyTree, batch_size: int) -> tuple[_Cache, Step]:
        """Return an empty cache and ``step(cache, token) -> (logits, cache)``."""
        shape = (batch_size * self.num_heads, 0, self.features // self.num_heads)
        nothing = [jnp.zeros(shape, self.dtype or jnp.float32)] * self.num_layers
        empty = _Cache(jnp.int32(0), keys=nothing, values=nothing)
        # Sliced here, outside of the loop over tokens, which would copy the weights of every layer for each token.
        layers = [jax.tree.map(lambda a, i=i: a[i], params["layers"]) for i in range(self.num_layers)]

        def step(cache: _Cache, token: Array) -> tuple[Array, _Cache]:
            position = cache.position
            last = jnp.where(position > 0, params["embedding"][token], params["start"][None])
            h = add_positions(self, params, last[:, None], position[None])
            caches = []
            for layer, keys, values in zip(layers, cache.keys, cache.values, strict=True):
                attention = partial(_attend_to_cache, keys, values, position)
                h, new = transformer_layer(self, layer, h, position[None], attention)
                caches.append(new)
            keys, values = map(list, zip(*caches, strict=True))
            return _logits(self, params, h)[:, 0], _Cache(position + 1, keys, values)

        return empty, step


def _call_once(callback: Callback, num_tokens: int) -> Callback:
    """Return a callback that leaves out the tokens that windows repeat, and those after the last one."""
    last = 0

    def call(number: Any, tokens: Any) -> None:
        nonlocal last
        last = 0 if number == 1 else last
        if last < number <= num_tokens:
            last = int(number)
            callback(number, tokens)

    return call


class _Cache(NamedTuple):
    """The position of the next token, and each layer's keys and values of earlier ones, (B num_heads, T, D)."""

    position: Array
    keys: list[Array]
    values: list[Array]

    def grow(self, length: int) -> _Cache:
        """Return a cache with room for more tokens."""
        padded = [[jnp.pad(a, ((0, 0), (0, length - a.shape[1]), (0, 0))) for a in part] for part in self[1:]]
        return _Cache(self.position, *padded)


def _attend_to_cache(
    keys: Array, values: Array, position: Array, q: Array, k: Array, v: Array
) -> tuple[Array, tuple[Array, Array]]:
    """Return attention at a position to all up to it, (B, 1, num_heads, D), and the cache with its key and value."""
    rows = (keys.shape[0], 1, -1)
    keys = jax.lax.dynamic_update_slice_in_dim(keys, k.reshape(rows), position, axis=1)
    values = jax.lax.dynamic_update_slice_in_dim(values, v.reshape(rows), position, axis=1)
    return attend_to_first(q, keys, values, position + 1), (keys, values)


@dataclass(frozen=True)
class _Net:
    """The network of a model, with its own ``dtype`` and ``remat``: logits of tokens given those before them."""

    model: GPT
    dtype: Any
    remat: bool

    def init(self, key: Array) -> dict[str, PyTree]:
        """Return initial parameters."""
        model, keys = self.model, iter(jax.random.split(key, 8))
        params = {
            "embedding": normal_init(next(keys), (model.num_values, model.features)),
            "start": normal_init(next(keys), (model.features,)),
            "layers": layer_params(model, keys),
            "norm": norm_params(model),
        }
        if model.positions == "learned":
            params["positions"] = normal_init(next(keys), (model.length, model.features))
        if not model.tied:
            params["output"] = normal_init(next(keys), (model.num_values, model.features))
        return {"params": params}

    def apply(self, variables: dict[str, PyTree], x: Array, *, rngs: dict[str, Array] | None = None) -> Array:
        """Return the logits (B, T, V) of tokens (B, T); ``rngs`` has a key for dropout, None for none."""
        model, params = replace(self.model, dtype=self.dtype, remat=self.remat), variables["params"]
        key = None if rngs is None else rngs["dropout"]
        h = apply_layers(model, params["layers"], _embedded(model, params, x), causal_attention, key)
        return _logits(model, params, h)


def _embedded(model: GPT, params: PyTree, x: Array) -> Array:
    """Return h before the first layer, (B, T, features), for tokens (B, T)."""
    start = jnp.broadcast_to(params["start"], (x.shape[0], 1, model.features))
    h = jnp.concatenate([start, params["embedding"][x[:, :-1]]], axis=1)
    return add_positions(model, params, h, jnp.arange(x.shape[1]))


def _logits(model: GPT, params: PyTree, h: Array) -> Array:
    table = params["embedding"] if model.tied else params["output"]
    return layer_norm(params["norm"], h) @ table.T.astype(h.dtype)
