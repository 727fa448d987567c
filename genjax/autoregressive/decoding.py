"""Drawing from autoregressive models, one token after the other.

A model of tokens x_1 … x_D in 0 … L − 1 factors as p(x) = Π_i p(x_i | x_1, …, x_{i−1}). Every member of the family
gives its conditionals as a step

    step(cache, token) -> (logits, cache)

from the token drawn last (ignored at the first step) to the logits of the next one, with what the network has computed
so far in a cache of fixed shape: a step costs what is new, and not the whole network. ``generate`` repeats it.

Logits may be sharpened and cut off before a token is drawn. In this order, as is usual: temperature T, p ∝ exp(l / T);
the k most probable tokens; the least set of the most probable tokens whose mass reaches p (Ari Holtzman et al. 2020,
arXiv:1904.09751); tokens of at least m times the probability of the most probable one (Nguyen Minh et al. 2024,
arXiv:2407.01082). Before all that, tokens that are there already may be made less probable: positive logits are divided
by a penalty and negative ones multiplied by it (after Nitish Shirish Keskar et al. 2019, arXiv:1909.05858).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, final

import jax
import jax.numpy as jnp

from genjax.core import Array, PyTree
from genjax.ops import check_at_least, tempered_logits

Step = Callable[[Any, Array], tuple[Array, Any]]
Callback = Callable[[Any, Any], None]  # (number of tokens so far, the newest tokens (B,))


@final
@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How tokens are drawn from their logits; as it stands, from the model itself.

    Attributes:
      temperature: T; 0 takes the most probable token, always.
      top_k: how many of the most probable tokens may be drawn; None for all.
      top_p: mass of the most probable tokens that may be drawn, in (0, 1]; the one that reaches it is among them.
      min_p: least probability that may be drawn, as a share of the greatest one, in [0, 1].
      repetition_penalty: at least 1, which is none, for tokens that the sequence has already.

    Raises:
      ValueError: for values beyond these limits.

    >>> logits = jnp.log(jnp.array([0.5, 0.3, 0.15, 0.05]))
    >>> [round(p, 3) for p in jnp.exp(Sampling(top_p=0.7).log_probs(logits)).tolist()]
    [0.625, 0.375, 0.0, 0.0]
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        check_at_least("temperature", self.temperature, 0, "; 0 takes the most probable token")
        if self.top_k is not None:
            check_at_least("top_k", self.top_k, 1, "; None allows all tokens")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p is {self.top_p}, but must be in (0, 1]; 1 allows all tokens")
        if not 0 <= self.min_p <= 1:
            raise ValueError(f"min_p is {self.min_p}, but must be in [0, 1]; 0 allows all tokens")
        check_at_least("repetition_penalty", self.repetition_penalty, 1, ", which is none")

    def penalized(self, logits: Array, seen: Array) -> Array:
        """Return logits (..., L) after the penalty for tokens that were seen, bool (..., L)."""
        lowered = jnp.where(logits > 0, logits / self.repetition_penalty, logits * self.repetition_penalty)
        return jnp.where(seen, lowered, logits)

    def log_probs(self, logits: Array) -> Array:
        """Return the log-probabilities that tokens are drawn with, (..., L); −∞ for those that are not."""
        if self.temperature == 0:
            return jnp.log(jax.nn.one_hot(jnp.argmax(logits, axis=-1), logits.shape[-1]))
        logits = tempered_logits(logits, self.temperature)
        if self.top_k is not None and self.top_k < logits.shape[-1]:
            least = jax.lax.top_k(logits, self.top_k)[0][..., -1:]
            logits = jnp.where(logits >= least, logits, -jnp.inf)
        if self.top_p < 1:
            ordered = jnp.flip(jnp.sort(logits, axis=-1), axis=-1)
            probs = jax.nn.softmax(ordered, axis=-1)
            before = jnp.cumsum(probs, axis=-1) - probs  # mass of the tokens that are more probable
            least = jnp.min(jnp.where(before < self.top_p, ordered, jnp.inf), axis=-1, keepdims=True)
            logits = jnp.where(logits >= least, logits, -jnp.inf)
        if self.min_p > 0:
            logits = jnp.where(logits >= jnp.log(self.min_p), logits, -jnp.inf)  # the largest is 0
        return jax.nn.log_softmax(logits, axis=-1)

    def draw(self, logits: Array, uniform: Array) -> Array:
        """Return tokens, int32 (...), from logits (..., L) and numbers (...) uniform on [0, 1): by inversion."""
        probs = jnp.exp(self.log_probs(logits))
        cumulative = jnp.cumsum(probs, axis=-1)
        reached = cumulative > uniform[..., None] * cumulative[..., -1:]
        possible = probs > 0
        last = probs.shape[-1] - 1 - jnp.argmax(jnp.flip(possible, axis=-1), axis=-1)
        # Where rounding leaves the sum below the uniform number it is the last possible token.
        found = jnp.where(jnp.any(reached & possible, axis=-1), jnp.argmax(reached & possible, axis=-1), last)
        return found.astype(jnp.int32)


def generate(
    step: Step,
    cache: PyTree,
    key: Array,
    *,
    num_rows: int,
    length: int,
    sampling: Sampling | None = None,
    known: Array | None = None,
    keep: Array | None = None,
    stop: int | None = None,
    callback: Callback | None = None,
) -> Array:
    """Draw sequences of tokens.

    Args:
      step: see above.
      cache: before the first token.
      key: a typed key.
      num_rows: B.
      length: D.
      sampling: how; None for draws from the model itself.
      known: tokens (B, D) or (1, D) to be kept where ``keep`` is true. Draws after them depend on them. Where they are
        a prefix, the rest is drawn from its conditional distribution; draws before known tokens do not know them.
      keep: bool (D,) or (B, D).
      stop: the token that ends a sequence, which it then is filled up with; drawing ends with the last sequence.
      callback: called on the host after each token, in order, with the number of tokens so far and the newest ones;
        only where all arrays are on one device.

    Returns:
      Tokens, int32 (B, D).

    Raises:
      ValueError: where only one of known and keep is given, or their shapes do not fit.
    """
    check_at_least("num_rows", num_rows, 1)
    sampling = sampling or Sampling()
    known, keep = _checked(known, keep, num_rows, length)
    uniforms = jax.random.uniform(key, (length, num_rows))  # in bulk, which is cheaper
    tokens = jnp.full((length, num_rows), 0 if stop is None else stop, jnp.int32)
    penalized = sampling.repetition_penalty != 1
    num_values = jax.eval_shape(step, cache, tokens[0])[0].shape[-1]
    seen = jnp.zeros((num_rows, num_values if penalized else 0), bool)
    ended = jnp.zeros(num_rows, bool)

    def unfinished(carry: tuple[Array, ...]) -> Array:
        return (carry[0] < length) & ~jnp.all(carry[-1])

    def token(carry: tuple[Any, ...]) -> tuple[Any, ...]:
        number, cache, last, tokens, seen, ended = carry
        logits, cache = step(cache, last)
        if penalized:
            logits = sampling.penalized(logits, seen)
        drawn = sampling.draw(logits, uniforms[number])
        drawn = jnp.where(keep[:, number], known[:, number], drawn)
        if stop is not None:
            drawn = jnp.where(ended, stop, drawn)
            ended = ended | (drawn == stop)
        if penalized:
            seen = seen | jax.nn.one_hot(drawn, num_values, dtype=bool)
        if callback is not None:
            jax.debug.callback(callback, number + 1, drawn, ordered=True)
        return number + 1, cache, drawn, tokens.at[number].set(drawn), seen, ended

    start = (jnp.int32(0), cache, jnp.zeros(num_rows, jnp.int32), tokens, seen, ended)
    return jax.lax.while_loop(unfinished, token, start)[3].T


def _checked(known: Array | None, keep: Array | None, num_rows: int, length: int) -> tuple[Array, Array]:
    """Return known tokens and where to keep them, (B, D) each."""
    if (known is None) != (keep is None):
        given = "known" if keep is None else "keep"
        raise ValueError(f"{given} is given alone, but known tokens need both: known, and keep where to keep them")
    if known is None or keep is None:
        return jnp.zeros((num_rows, length), jnp.int32), jnp.zeros((num_rows, length), bool)
    if known.shape not in ((num_rows, length), (1, length)) or not jnp.issubdtype(known.dtype, jnp.integer):
        raise ValueError(
            f"known has dtype {known.dtype} and shape {known.shape}, but must be integers ({num_rows}, {length})"
        )
    if keep.shape not in ((length,), (num_rows, length), (1, length)) or keep.dtype != bool:
        raise ValueError(f"keep has dtype {keep.dtype} and shape {keep.shape}, but must be bool ({length},)")
    shape = (num_rows, length)
    return jnp.broadcast_to(known.astype(jnp.int32), shape), jnp.broadcast_to(keep.reshape(-1, length), shape)
