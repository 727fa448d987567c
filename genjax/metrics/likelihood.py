"""Units of log-likelihood: nats, bits per dimension, byte or character, perplexity, and which of them a run may claim.

With log p(x) in nats and D dimensions, all of them on discrete values,

    bits per dimension = −log₂ p(x) / D,        perplexity = p(x)^(−1/D),

the first called bits per character where the dimensions are the characters of a text. Texts, and the tokens of which
they are made, may differ in length: with n_i tokens, bytes or characters of text x_i up to its end,

    bits per byte = −Σ_i log₂ p(x_i) / Σ_i n_i,        perplexity = exp(−Σ_i log p(x_i) / Σ_i n_i),               (1)

of which bits per byte can be compared between tokenizers. Where many sequences of tokens spell a text, that of the
tokenizer has only a part of the text's mass, and bits per byte are an upper bound. A model with a density has such
numbers only for integers k spread evenly over bins of width w, of which it is the bound

    log P(k) = log ∫_bin p(x) dx ≥ E_x[log p(x)] + D log w                                                      (2)

(Lucas Theis, Aäron van den Oord and Matthias Bethge, 2016, arXiv:1511.01844). It does not depend on the scale of
the data: x → ax takes D log a off the density and gives it back by the width. A density of data on discrete values that
were not spread has no upper limit, and one of continuous data counts no bits: neither has any of these units.

Means and standard errors over examples stream with ``genjax.metrics.metric.Mean``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, final

import jax
import jax.numpy as jnp
import numpy as np

from genjax.capabilities import IsDiscrete, stop_token
from genjax.core import Array
from genjax.data import Bytes, Characters, Dataset, Source, Tokenizer
from genjax.data.transforms import Preprocess, bin_width
from genjax.ops import check_choice, check_positive

Nats = TypeVar("Nats", float, Array, np.ndarray)

# Of what falls when the likelihood rises, where the likelihood is exact, bounded, estimated.
_FALLING = {"exact": "exact", "lower bound": "upper bound", "estimate": "estimate"}


def bits_per_dim(log_prob: Nats, num_dims: int, *, bin_width: float | None = None) -> Nats:
    """Convert nats per example to bits per dimension.

    Args:
      log_prob: a log-mass of discrete values, or a log-density of dequantized data; of any shape.
      num_dims: D, the number of dimensions of an example, for images H · W · C.
      bin_width: None for a log-mass. For a log-density w, the width that one integer was spread over, in the units that
        the model sees: 1/256 for (k + u)/256, 2/256 for the same data on [-1, 1), 1 for k + u.

    Returns:
      Bits per dimension, of the same shape. From a log-density they are an upper bound on those of the discrete data.

    Raises:
      ValueError: for fewer than one dimension, or a width that is not positive.

    Example:
      The uniform density on [-1, 1)³ has 8 bits per dimension of 8-bit data, as the uniform mass has.

      >>> bits_per_dim(-3 * math.log(2), 3, bin_width=2 / 256), bits_per_dim(-3 * math.log(256), 3)
      (8.0, 8.0)
    """
    _check_at_least_one("num_dims", num_dims)
    if bin_width is not None:
        check_positive("bin_width", bin_width, "; use None for a log-mass of discrete values")
    return -log_prob / (num_dims * math.log(2)) - math.log2(bin_width or 1)  # equation 2, divided by −D log 2


def bits_per_character(log_prob: Nats, num_characters: int) -> Nats:
    """Convert the log-mass of texts, nats per example, to bits per character; see ``bits_per_dim``.

    >>> round(bits_per_character(-math.log(27), 1), 3)  # any of 26 letters or a space
    4.755
    """
    _check_at_least_one("num_characters", num_characters)
    return bits_per_dim(log_prob, num_characters)


def perplexity(log_prob: Array | np.ndarray | float, num_tokens: int) -> Array:
    """Convert the log-mass of sequences, nats per example, to perplexity per token.

    Perplexities do not average: give the mean of the log-masses for that of a data set.

    Args:
      log_prob: a log-mass, of any shape.
      num_tokens: how many tokens each example has.

    Returns:
      The number of equally likely tokens that would be as hard to guess, at least 1; float32, infinite beyond it.

    Raises:
      ValueError: for fewer than one token.

    >>> round(float(perplexity(-1.4697 * 1024, 1024)), 3)
    4.348
    """
    _check_at_least_one("num_tokens", num_tokens)
    return jnp.exp(-jnp.asarray(log_prob, jnp.float32) / num_tokens)


def _check_at_least_one(name: str, value: int) -> None:
    if value < 1:
        raise ValueError(f"{name} is {value}, but must be at least 1; count the dimensions of one example")


@final
@dataclass(frozen=True, kw_only=True)
class LikelihoodUnits:
    """What the log-likelihoods of a model on a data set are numbers of, and so the units that they may be told in.

    Attributes:
      num_dims: D, dimensions of one example as the model sees it.
      discrete: whether they are log-masses; None where the model does not say.
      levels: number of values of the integers that the data is; None for continuous data.
      bin_width: width over which each integer was spread, see ``bits_per_dim``; None where it was not.
      text: how many each text has up to its end, float64 (N,): of "byte", "token" and, where these are characters, of
        "character"; None where the data is no text.
      one_spelling: whether no two sequences of tokens are the same text, as with bytes and characters.
    """

    num_dims: int
    discrete: bool | None
    levels: int | None = None
    bin_width: float | None = None
    text: Mapping[str, np.ndarray] | None = None
    one_spelling: bool = True

    @property
    def obstacle(self) -> str | None:
        """Why nats cannot be converted to bits; None where they can."""
        if self.discrete is None:
            return "the model does not say whether its likelihoods are masses or densities; give it `discrete`"
        if self.levels is None:
            return (
                "the data is continuous; if its values are discrete, store integers and say how many levels they have"
            )
        if self.discrete and self.bin_width is not None:
            return "the data is dequantized, but the model has a mass on discrete values; leave data.dequantize out"
        if not self.discrete and self.bin_width is None:
            return (
                f"a density of data on {self.levels} values is unbounded; "
                f"end the preprocessing with data.dequantize(levels={self.levels})"
            )
        return None

    def convert(self, log_likelihoods: np.ndarray, guarantee: str) -> dict[str, dict[str, Any]]:
        """Tell log-likelihoods in every unit.

        Args:
          log_likelihoods: of the examples, in nats, shape (N,).
          guarantee: "exact", "lower bound" or "estimate".

        Returns:
          ``nats``, their mean, and, for texts, ``bits_per_byte``, for those of characters ``bits_per_character``, and
          ``perplexity``, for all else ``bits_per_dim``: each with ``value``, ``standard_error`` and ``guarantee``,
          which for what falls as the likelihood rises may be "upper bound"; or with a ``value`` of None and the
          ``reason``.

        Raises:
          ValueError: for another guarantee.
        """
        check_choice("guarantee", guarantee, tuple(_FALLING))
        mean, error = _per(log_likelihoods, 1)
        units: dict[str, dict[str, Any]] = {"nats": {"value": mean, "standard_error": error, "guarantee": guarantee}}
        for symbol, count in ({"dim": self.num_dims} if self.text is None else self.text).items():
            name = "perplexity" if symbol == "token" else f"bits_per_{symbol}"
            if self.obstacle is not None:
                units[name] = {"value": None, "reason": self.obstacle}
                continue
            nats, error = _per(log_likelihoods, count)
            if symbol == "token":
                value = float(perplexity(nats, 1))
                error *= value  # to first order
            else:
                value = bits_per_dim(nats, 1, bin_width=self.bin_width)
                error /= math.log(2)
            exact = self.discrete and (self.one_spelling or symbol != "byte")
            falling = _FALLING[guarantee if exact or guarantee != "exact" else "lower bound"]
            units[name] = {"value": value, "standard_error": error, "guarantee": falling}
        return units


def _per(nats: np.ndarray, counts: np.ndarray | int) -> tuple[float, float]:
    """Return Σ nats / Σ counts, as in equation 1, and its standard error to first order; infinite nats have none."""
    nats = np.asarray(nats, np.float64)
    counts = np.broadcast_to(np.asarray(counts, np.float64), nats.shape)
    ratio, average = nats.mean() / counts.mean(), counts.mean()
    finite = nats.size > 1 and np.isfinite(nats).all()
    spread = (nats - ratio * counts).std(ddof=1) if finite else math.nan  # of what the ratio does not explain
    return float(ratio), float(spread / math.sqrt(nats.size) / average)


def likelihood_units(model: object, dataset: Dataset, preprocess: Preprocess, split: str = "train") -> LikelihoodUnits:
    """Find out what log-likelihoods of a model on a data set are numbers of.

    Args:
      model: says whether it is ``genjax.capabilities.IsDiscrete``; its ``stop``, if it has one, ends texts.
      dataset: has the levels, and of texts the tokenizer.
      preprocess: what the model sees of it, ``(key, batch) -> batch``; only its shapes are computed. Texts whose shape
        it changes count as dimensions.
      split: of which the likelihoods are; texts are counted there.
    """
    batch = {name: jax.ShapeDtypeStruct((1, *spec.shape), spec.dtype) for name, spec in dataset.spec(split).items()}
    x = jax.eval_shape(preprocess, jax.eval_shape(jax.random.key, 0), batch)["x"]
    text = None
    if dataset.tokenizer is not None and x.shape == batch["x"].shape:
        text = _counts(dataset.tokenizer, dataset.splits[split], stop_token(model))
    return LikelihoodUnits(
        num_dims=math.prod(x.shape[1:]),
        discrete=model.discrete if isinstance(model, IsDiscrete) else None,
        levels=dataset.levels,
        bin_width=bin_width(preprocess),
        text=text,
        one_spelling=dataset.tokenizer is None or isinstance(dataset.tokenizer, Bytes | Characters),
    )


def _counts(tokenizer: Tokenizer, source: Source, stop: int | None) -> dict[str, np.ndarray]:
    """Count each text up to its end, which is scored too."""
    found = []
    for start in range(0, len(source), 4096):
        x = source.take(np.arange(start, min(start + 4096, len(source))))["x"]
        ends = x == stop
        inside = np.cumsum(ends, axis=1) - ends == 0
        found.append((np.sum(tokenizer.num_bytes[x], axis=1, where=inside), inside.sum(axis=1)))
    num_bytes, num_tokens = (np.concatenate(part).astype(np.float64) for part in zip(*found, strict=True))
    characters = {"character": num_tokens} if isinstance(tokenizer, Characters) else {}
    return {"byte": num_bytes, **characters, "token": num_tokens}
