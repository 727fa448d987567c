"""Sampling from autoregressive models, one token after the other.

A model of tokens x_1 … x_D in 0 … L − 1 factors as p(x) = Π_i p(x_i | x_1, …, x_{i−1}). Every autoregressive model
provides these conditionals as a step

    step(cache, token) -> (logits, cache)

which maps the last token (ignored at the first step) to the logits of the next one. The cache holds what the network
has computed so far, so that a step costs only what is new; a step keeps its shape. ``generate`` repeats the step.

Logits may be sharpened and truncated before a token is drawn, in the usual order: temperature T, p ∝ exp(l / T); the k
most probable tokens; the smallest set of most probable tokens whose mass reaches p (Ari Holtzman et al. 2020,
arXiv:1904.09751); tokens of at least m times the probability of the most probable one (Nguyen Minh et al. 2024,
arXiv:2407.01082). Of equally probable tokens, lower ones come first. Before that, a penalty may make tokens less
probable that the sequence already contains: it divides positive logits and multiplies negative ones (after Nitish
Shirish Keskar et al. 2019, arXiv:1909.05858).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, final

import jax
import jax.numpy as jnp
from annotated_types import Ge, Gt, Interval, Le

from genjax.arguments import Cure, PositiveInt, check_arguments
from genjax.core import Array, PyTree
from genjax.ops import check_values, tempered_logits

Step = Callable[[Any, Array], tuple[Array, Any]]
Temperature = Annotated[float, Ge(0), Cure("; 0 takes the most probable token")]
TopK = Annotated[int, Ge(1), Cure("; None allows all tokens")]
TopP = Annotated[float, Gt(0), Le(1), Cure("; 1 allows all tokens")]
MinP = Annotated[float, Interval(ge=0, le=1), Cure("; 0 allows all tokens")]
RepetitionPenalty = Annotated[float, Ge(1), Cure("; 1 applies no penalty")]
Grow = Callable[[Any, int], Any]
Read = Callable[[Array, Array], Any]
Callback = Callable[[Any, Any], None]  # (number of tokens so far, the newest tokens (B,))

MIN_CACHE_SIZE = 64  # positions


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How tokens are drawn from logits; the defaults sample from the model itself.

    Attributes:
      temperature: T ≥ 0; 0 always takes the most probable token.
      top_k: number of most probable tokens that may be drawn, at least 1; None for all.
      top_p: mass of the most probable tokens that may be drawn, in (0, 1]; the token that reaches it is included.
      min_p: minimum probability of a token that may be drawn, relative to the most probable one, in [0, 1].
      repetition_penalty: penalty for tokens that the sequence already contains, at least 1; 1 for no penalty.

    >>> logits = jnp.log(jnp.array([0.5, 0.3, 0.15, 0.05]))
    >>> [round(p, 3) for p in jnp.exp(Sampling(top_p=0.7).log_probs(logits)).tolist()]
    [0.625, 0.375, 0.0, 0.0]
    """

    temperature: Temperature = 1.0
    top_k: TopK | None = None
    top_p: TopP = 1.0
    min_p: MinP = 0.0
    repetition_penalty: RepetitionPenalty = 1.0

    def penalize(self, logits: Array, present: Array) -> Array:
        """Apply the penalty to logits (..., L) of tokens that are present, bool (..., L)."""
        lowered = jnp.where(logits > 0, logits / self.repetition_penalty, logits * self.repetition_penalty)
        return jnp.where(present, lowered, logits)

    def log_probs(self, logits: Array) -> Array:
        """Return the log-probabilities with which tokens are drawn, (..., L); −∞ for excluded tokens."""
        if self.temperature == 0:
            return jnp.log(jax.nn.one_hot(jnp.argmax(logits, axis=-1), logits.shape[-1]))
        logits = tempered_logits(logits, self.temperature)
        if self.top_k is not None and self.top_k < logits.shape[-1]:
            logits = _only(logits, jax.lax.top_k(logits, self.top_k)[1], True)
        if self.top_p < 1:
            order = jnp.argsort(logits, axis=-1, descending=True)
            probs = jnp.take_along_axis(jax.nn.softmax(logits, axis=-1), order, axis=-1)
            mass_before = jnp.cumsum(probs, axis=-1) - probs
            logits = _only(logits, order, mass_before < self.top_p)
        if self.min_p > 0:
            logits = jnp.where(logits >= jnp.log(self.min_p), logits, -jnp.inf)  # the largest logit is 0
        return jax.nn.log_softmax(logits, axis=-1)

    def draw(self, logits: Array, uniform: Array) -> Array:
        """Draw tokens, int32 (...), from logits (..., L) by inversion of numbers (...) uniform on [0, 1).

        Where the largest logit is not finite, as after a diverged training, the token is −1.
        """
        probs = jnp.exp(self.log_probs(logits))
        cumulative = jnp.cumsum(probs, axis=-1)
        possible = probs > 0
        reached = (cumulative > uniform[..., None] * cumulative[..., -1:]) & possible
        # Where rounding leaves the sum below the uniform number, the last possible token is drawn.
        last = probs.shape[-1] - 1 - jnp.argmax(jnp.flip(possible, axis=-1), axis=-1)
        token = jnp.where(jnp.any(reached, axis=-1), jnp.argmax(reached, axis=-1), last)
        return jnp.where(jnp.isfinite(jnp.max(logits, axis=-1)), token, -1).astype(jnp.int32)


@check_arguments
def generate(
    step: Step,
    cache: PyTree,
    key: Array,
    *,
    batch_size: PositiveInt,
    length: PositiveInt,
    sampling: Sampling | None = None,
    known: Array | None = None,
    keep: Array | None = None,
    stop_token: int | None = None,
    grow: Grow | None = None,
    read: Read | None = None,
    callback: Callback | None = None,
    position: Array | int = 0,
    num_new: PositiveInt | None = None,
) -> Array:
    """Draw sequences of tokens, int32 (B, D).

    Args:
      step: function from a cache and the last token to logits and a cache; see the module's docstring.
      cache: cache before the first token.
      key: a typed key.
      batch_size: number of sequences, B.
      length: length of the sequences, D.
      sampling: how tokens are drawn; None for samples from the model itself.
      known: known tokens of the first P ≤ D positions, (B, P) or (1, P), used where ``keep`` is true. Later draws
        depend on them: after a known prefix, the rest is drawn from its conditional distribution. Draws before a known
        token do not depend on it.
      keep: where tokens are known, bool (P,) or (B, P).
      stop_token: token that ends a sequence and fills its remaining positions; sampling ends when all sequences have.
      grow: function from a cache and n that makes room for the first n tokens, so that early steps read short caches;
        None for a cache of one size. Each of at most four sizes compiles a loop of its own.
      read: function from known tokens (B, P) and n to the cache after the first n, computed at once; None to step
        through them.
      callback: function that is called on the host after each token, in order, with the number of tokens so far and
        the newest ones. All arrays must be on one device. Under ``vmap`` it receives those of the first batch alone.
      position: number of tokens before these sequences, which the callback adds to its number.
      num_new: number of tokens drawn after the first ones that all sequences know; None for all. Those that are not
        drawn are undefined.

    Raises:
      ValueError: if only one of ``known`` and ``keep`` is given, or their shapes do not fit; outside compiled code also
        if logits are NaN or infinite, which compiled code marks by tokens of −1.
    """
    sampling = sampling or Sampling()
    known, keep = _checked_known(known, keep, batch_size, length)
    num_known = known.shape[1]
    first, last, ended = jnp.int32(0), jnp.zeros(batch_size, jnp.int32), jnp.zeros(batch_size, bool)
    if read is not None and num_known:
        first, known, ended = _beginning(known, keep, stop_token)
        cache, last = read(known, first), known[:, jnp.maximum(first - 1, 0)]
    known, keep = (jnp.pad(a, ((0, 0), (0, length - num_known))) for a in (known, keep))
    is_read = (jnp.arange(length) < first)[:, None]
    tokens = jnp.where(is_read, known.T, 0 if stop_token is None else stop_token)
    uniforms = jax.random.uniform(key, (length, batch_size))  # all at once, which is cheaper
    sizes = [length] if grow is None else [size for size in _cache_sizes(length) if size >= num_known]
    grow = grow or (lambda cache, size: cache)
    num_values = jax.eval_shape(lambda cache: step(grow(cache, length), last)[0], cache).shape[-1]
    penalizes = sampling.repetition_penalty != 1
    present = jnp.zeros((batch_size, num_values if penalizes else 0), bool)
    if penalizes and num_known:
        present = present.at[jnp.arange(batch_size), tokens].max(is_read)

    def tell(index: Array, token: Array) -> None:
        if callback is not None:
            jax.debug.callback(callback, position + index + 1, _first(token), ordered=True)

    def unfinished(carry: tuple[Any, ...], size: int) -> Array:
        return (carry[0] < size) & ~_all(carry[-1])

    def next_token(carry: tuple[Any, ...]) -> tuple[Any, ...]:
        index, cache, last, tokens, present, ended = carry
        logits, cache = step(cache, last)
        if penalizes:
            logits = sampling.penalize(logits, present)
        token = sampling.draw(logits, uniforms[index])
        if num_known:
            token = jnp.where(keep[:, index], known[:, index], token)
        if stop_token is not None:
            token = jnp.where(ended, stop_token, token)
            ended = ended | (token == stop_token)
        if penalizes:
            present = present | jax.nn.one_hot(token, num_values, dtype=bool)
        tell(index, token)
        return index + 1, cache, token, tokens.at[index].set(token), present, ended

    if callback is not None and num_known:
        jax.lax.fori_loop(0, first, lambda index, _: tell(index, tokens[index]), None)
    carry = (first, cache, last, tokens, present, ended)
    if num_new is not None:  # a loop of fixed length, which stays one loop under vmap; tokens beyond D are dropped
        carry = (first, grow(cache, length), last, tokens, present, ended)
        return jax.lax.fori_loop(0, num_new, lambda _, carry: next_token(carry), carry)[3].T
    for size in sizes:
        index, cache, *rest = carry
        carry = jax.lax.while_loop(partial(unfinished, size=size), next_token, (index, grow(cache, size), *rest))
    tokens = carry[3].T
    cure = "its logits are NaN or infinite; the parameters have diverged, so train with a lower learning rate"
    check_values(tokens, lambda x: x < 0, cure, name="a token")
    return tokens


def _cache_sizes(length: int) -> list[int]:
    """Return at most four sizes in ascending order, the last of them D; texts that end early need only the first.

    >>> _cache_sizes(1024), _cache_sizes(256), _cache_sizes(100)
    ([64, 256, 512, 1024], [64, 128, 256], [100])
    """
    return [-(-length // part) for part in (16, 4, 2) if length >= part * MIN_CACHE_SIZE] + [length]


def _only(logits: Array, tokens: Array, kept: Array | bool) -> Array:
    """Return the logits (..., L) of the tokens (..., K) that are kept, (..., K), and −∞ for all others."""
    is_kept = jnp.put_along_axis(jnp.zeros(logits.shape, bool), tokens, kept, axis=-1, inplace=False)
    return jnp.where(is_kept, logits, -jnp.inf)


@jax.custom_batching.custom_vmap
def _all(ended: Array) -> Array:
    """Return whether all sequences have ended, in all batches under ``vmap``, so that their loop stays one loop."""
    return jnp.all(ended)


@_all.def_vmap
def _all_batches(axis_size: int, in_batched: Sequence[bool], ended: Array) -> tuple[Array, bool]:
    del axis_size, in_batched
    return _all(ended), False


@jax.custom_batching.custom_vmap
def _first(token: Array) -> Array:
    """Return tokens (B,), of the first batch under ``vmap``, where each call of a callback has to be one call."""
    return token


@_first.def_vmap
def _first_batch(axis_size: int, in_batched: Sequence[bool], token: Array) -> tuple[Array, bool]:
    del axis_size, in_batched
    return _first(token[0]), False


def prefix_length(keep: Array) -> Array:
    """Return the number of first tokens that all sequences know, where bool (B, P) says which each knows.

    >>> int(prefix_length(jnp.array([[True, True, False], [True, False, True]])))
    1
    """
    return jnp.min(jnp.sum(jnp.cumprod(keep, axis=1, dtype=jnp.int32), axis=1, dtype=jnp.int32))


def _beginning(known: Array, keep: Array, stop_token: int | None) -> tuple[Array, Array, Array]:
    """Return the number of first tokens that all sequences know, the tokens up to their ends, and which have ended."""
    count = prefix_length(keep)
    if stop_token is None:
        return count, known, jnp.zeros(known.shape[0], bool)
    stops = (known == stop_token) & (jnp.arange(known.shape[1]) < count)[None]
    return count, jnp.where(jnp.cumsum(stops, axis=1) > 0, stop_token, known), jnp.any(stops, axis=1)


def _checked_known(known: Array | None, keep: Array | None, batch_size: int, length: int) -> tuple[Array, Array]:
    """Return known tokens and where to keep them, (B, P) each."""
    if (known is None) != (keep is None):
        name, missing = ("known", "keep") if keep is None else ("keep", "known")
        raise ValueError(f"{name} is set, but {missing} is None; pass both, or neither")
    if known is None or keep is None:
        return jnp.zeros((batch_size, 0), jnp.int32), jnp.zeros((batch_size, 0), bool)
    size = known.shape[-1]
    if known.shape not in ((batch_size, size), (1, size)) or not jnp.issubdtype(known.dtype, jnp.integer):
        raise ValueError(
            f"known has dtype {known.dtype} and shape {known.shape}, but must be integers ({batch_size}, {length})"
        )
    if size > length:
        raise ValueError(f"known has {size} tokens, but sequences have length={length}; shorten it")
    if keep.shape not in ((size,), (batch_size, size), (1, size)) or keep.dtype != bool:
        raise ValueError(f"keep has dtype {keep.dtype} and shape {keep.shape}, but must be bool ({size},)")
    shape = (batch_size, size)
    return jnp.broadcast_to(known.astype(jnp.int32), shape), jnp.broadcast_to(keep.reshape(-1, size), shape)
