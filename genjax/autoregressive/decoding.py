"""Sampling from autoregressive models, one token after the other.

A model of tokens x_1 … x_D in 0 … L − 1 factors as p(x) = Π_i p(x_i | x_1, …, x_{i−1}). Every autoregressive model
provides these conditionals as a step

    step(cache, token) -> (logits, cache)

which maps the last token (ignored at the first step) to the logits of the next one. The cache has a fixed shape and
holds what the network has computed so far, so that a step costs only what is new. ``generate`` repeats the step.

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
Callback = Callable[[Any, Any], None]  # (number of tokens so far, the newest tokens (B,))


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
    callback: Callback | None = None,
    position: Array | int = 0,
) -> Array:
    """Draw sequences of tokens, int32 (B, D).

    Args:
      step: function from a cache and the last token to logits and a cache; see the module's docstring.
      cache: cache before the first token.
      key: a typed key.
      batch_size: number of sequences, B.
      length: length of the sequences, D.
      sampling: how tokens are drawn; None for samples from the model itself.
      known: known tokens, (B, D) or (1, D), used where ``keep`` is true. Later draws depend on them: after a known
        prefix, the rest is drawn from its conditional distribution. Draws before a known token do not depend on it.
      keep: where tokens are known, bool (D,) or (B, D).
      stop_token: token that ends a sequence and fills its remaining positions; sampling ends when all sequences have.
      callback: function that is called on the host after each token, in order, with the number of tokens so far and
        the newest ones. All arrays must be on one device. Under ``vmap`` it receives those of the first batch alone.
      position: number of tokens before these sequences, which the callback adds to its number.

    Raises:
      ValueError: if only one of ``known`` and ``keep`` is given, or their shapes do not fit; outside compiled code also
        if logits are NaN or infinite, which compiled code marks by tokens of −1.
    """
    sampling = sampling or Sampling()
    known, keep = _checked_known(known, keep, batch_size, length)
    uniforms = jax.random.uniform(key, (length, batch_size))  # all at once, which is cheaper
    tokens = jnp.full((length, batch_size), 0 if stop_token is None else stop_token, jnp.int32)
    penalizes = sampling.repetition_penalty != 1
    num_values = jax.eval_shape(step, cache, tokens[0])[0].shape[-1]
    present = jnp.zeros((batch_size, num_values if penalizes else 0), bool)
    ended = jnp.zeros(batch_size, bool)

    def unfinished(carry: tuple[Array, ...]) -> Array:
        return (carry[0] < length) & ~_all(carry[-1])

    def next_token(carry: tuple[Any, ...]) -> tuple[Any, ...]:
        index, cache, last, tokens, present, ended = carry
        logits, cache = step(cache, last)
        if penalizes:
            logits = sampling.penalize(logits, present)
        token = sampling.draw(logits, uniforms[index])
        token = jnp.where(keep[:, index], known[:, index], token)
        if stop_token is not None:
            token = jnp.where(ended, stop_token, token)
            ended = ended | (token == stop_token)
        if penalizes:
            present = present | jax.nn.one_hot(token, num_values, dtype=bool)
        if callback is not None:
            jax.debug.callback(callback, position + index + 1, _first(token), ordered=True)
        return index + 1, cache, token, tokens.at[index].set(token), present, ended

    carry = (jnp.int32(0), cache, jnp.zeros(batch_size, jnp.int32), tokens, present, ended)
    tokens = jax.lax.while_loop(unfinished, next_token, carry)[3].T
    cure = "its logits are NaN or infinite; the parameters have diverged, so train with a lower learning rate"
    check_values(tokens, lambda x: x < 0, cure, name="a token")
    return tokens


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


def _checked_known(known: Array | None, keep: Array | None, batch_size: int, length: int) -> tuple[Array, Array]:
    """Return known tokens and where to keep them, (B, D) each."""
    if (known is None) != (keep is None):
        name, missing = ("known", "keep") if keep is None else ("keep", "known")
        raise ValueError(f"{name} is set, but {missing} is None; pass both, or neither")
    shape = (batch_size, length)
    if known is None or keep is None:
        return jnp.zeros(shape, jnp.int32), jnp.zeros(shape, bool)
    if known.shape not in (shape, (1, length)) or not jnp.issubdtype(known.dtype, jnp.integer):
        raise ValueError(f"known has dtype {known.dtype} and shape {known.shape}, but must be integers {shape}")
    if keep.shape not in ((length,), shape, (1, length)) or keep.dtype != bool:
        raise ValueError(f"keep has dtype {keep.dtype} and shape {keep.shape}, but must be bool ({length},)")
    return jnp.broadcast_to(known.astype(jnp.int32), shape), jnp.broadcast_to(keep.reshape(-1, length), shape)
