"""Units of log-likelihood: nats, bits per dimension, byte or character, perplexity, and when each is valid.

For discrete data with D dimensions and log p(x) in nats,

    bits per dimension = −log₂ p(x) / D,        perplexity = p(x)^(−1/D);

the first is called bits per character if the dimensions are the characters of a text. Texts may differ in length. With
n_i tokens, bytes or characters of text x_i up to its end,

    bits per byte = −Σ_i log₂ p(x_i) / Σ_i n_i,        perplexity = exp(−Σ_i log p(x_i) / Σ_i n_i).               (1)

Bits per byte can be compared between tokenizers. If several token sequences spell the same text, the tokenizer's
sequence has only a part of the text's probability, and bits per byte are an upper bound. For a density these units
exist only if the integers k were dequantized uniformly over bins of width w, where

    log P(k) = log ∫_bin p(x) dx ≥ E_x[log p(x)] + D log w                                                      (2)

(Lucas Theis, Aäron van den Oord and Matthias Bethge, 2016, arXiv:1511.01844). The bound does not depend on the scale of
the data: x → ax subtracts D log a from the log-density and adds it through the width. The density of discrete data that
was not dequantized is unbounded, and the density of continuous data corresponds to no number of bits: these units exist
for neither.

``genjax.metrics.metric.Mean`` streams means and standard errors over examples.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, final

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge, Gt

from genjax.arguments import Cure, Infinite, PositiveInt, check_arguments
from genjax.capabilities import IsDiscrete, stop_token
from genjax.core import Array
from genjax.data import Bytes, Characters, Dataset, Source, Tokenizer
from genjax.data.transforms import Preprocess, bin_width
from genjax.metrics.progress import chunks
from genjax.ops import check_choice

Nats = TypeVar("Nats", float, Array, np.ndarray)

# The guarantee of a number that falls as the likelihood rises, by the guarantee of the likelihood.
_REVERSED_GUARANTEES = {"exact": "exact", "lower bound": "upper bound", "estimate": "estimate"}
Count = Annotated[int, Ge(1), Cure("; count the dimensions of one example")]
BinWidth = Annotated[float, Gt(0), Cure("; use None for a log-mass of discrete values")]


@check_arguments
def bits_per_dim(log_prob: Nats, num_dims: Count, *, bin_width: BinWidth | None = None) -> Nats:
    """Convert nats per example to bits per dimension.

    Args:
      log_prob: log-mass of discrete values or log-density of dequantized data, any shape.
      num_dims: number of dimensions of an example, D, at least 1; for images H · W · C.
      bin_width: None for a log-mass. For a log-density, the width w > 0 of the bin of one integer, in the units that
        the model sees: 1/256 for (k + u)/256, 2/256 for the same data on [-1, 1), 1 for k + u.

    Returns:
      Bits per dimension, same shape as ``log_prob``. From a log-density, an upper bound on the bits of the discrete
      data.

    Example:
      For 8-bit data, the uniform density on [-1, 1)³ and the uniform mass both have 8 bits per dimension.

      >>> bits_per_dim(-3 * math.log(2), 3, bin_width=2 / 256), bits_per_dim(-3 * math.log(256), 3)
      (8.0, 8.0)
    """
    return -log_prob / (num_dims * math.log(2)) - math.log2(bin_width or 1)  # equation 2, divided by −D log 2


@check_arguments
def bits_per_character(log_prob: Nats, num_characters: Count) -> Nats:
    """Convert the log-mass of texts, in nats per example, to bits per character; see ``bits_per_dim``.

    >>> round(bits_per_character(-math.log(27), 1), 3)  # any of 26 letters or a space
    4.755
    """
    return bits_per_dim(log_prob, num_characters)


@check_arguments
def perplexity(log_prob: Array | np.ndarray | Annotated[float, Infinite()], num_tokens: Count) -> Array:
    """Convert the log-mass of sequences of ``num_tokens`` tokens, in nats per example, to perplexity per token.

    It is the number of equally likely tokens that would be as hard to predict, at least 1; float32, infinite on
    overflow. Perplexities must not be averaged: for a data set, pass the mean of its log-masses.

    >>> round(float(perplexity(-1.4697 * 1024, 1024)), 3)
    4.348
    """
    return jnp.exp(-jnp.asarray(log_prob, jnp.float32) / num_tokens)


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class LikelihoodUnits:
    """Units in which the log-likelihoods of a model on a data set can be expressed.

    Attributes:
      num_dims: number of dimensions of one example as the model sees it, D.
      discrete: whether the log-likelihoods are log-masses; None if the model does not say.
      num_values: number of values of the integer data; None for continuous data.
      bin_width: width over which each integer was dequantized, see ``bits_per_dim``; None if it was not.
      counts: for texts, the length of each up to its end, float64 of shape (N,), by unit: "byte", "token" and, if the
        tokens are characters, "character"; None for other data.
      unique_tokenization: whether each text has one token sequence only, as with bytes and characters.
    """

    num_dims: Count
    discrete: bool | None
    num_values: PositiveInt | None = None
    bin_width: BinWidth | None = None
    counts: Mapping[str, np.ndarray] | None = None
    unique_tokenization: bool = True

    @property
    def unavailable_reason(self) -> str | None:
        """Reason why nats cannot be converted to bits; None if they can."""
        if self.discrete is None:
            return "the model does not say whether its likelihoods are masses or densities; give it `discrete`"
        if self.num_values is None:
            return (
                "the data is continuous; if its values are discrete, store integers and declare their number of levels"
            )
        if self.discrete and self.bin_width is not None:
            return "the data is dequantized, but the model is a mass on discrete values; leave data.dequantize out"
        if not self.discrete and self.bin_width is None:
            return (
                f"the density of data with {self.num_values} discrete values is unbounded; "
                f"end the preprocessing with data.dequantize(levels={self.num_values})"
            )
        return None

    def convert(self, log_likelihoods: np.ndarray, guarantee: str) -> dict[str, dict[str, Any]]:
        """Convert log-likelihoods in nats (N,) with a guarantee, "exact", "lower bound" or "estimate", to every unit.

        Returns:
          Entries by unit: ``nats``, the mean; for texts ``bits_per_byte``, ``bits_per_character`` (if tokens are
          characters) and ``perplexity``; for other data ``bits_per_dim``. Each has ``value``, ``standard_error`` and
          ``guarantee``, where a lower bound on the likelihood becomes an "upper bound"; or a ``value`` of None and a
          ``reason``.
        """
        check_choice("guarantee", guarantee, tuple(_REVERSED_GUARANTEES))
        reason = self.unavailable_reason
        mean, error = mean_per(log_likelihoods)
        units: dict[str, dict[str, Any]] = {"nats": {"value": mean, "standard_error": error, "guarantee": guarantee}}
        for symbol, count in ({"dim": self.num_dims} if self.counts is None else self.counts).items():
            name = "perplexity" if symbol == "token" else f"bits_per_{symbol}"
            if reason is not None:
                units[name] = {"value": None, "reason": reason}
                continue
            nats, error = mean_per(log_likelihoods, count)
            if symbol == "token":
                value = float(perplexity(np.asarray(nats), 1))
                error *= value  # to first order
            else:
                value = bits_per_dim(nats, 1, bin_width=self.bin_width)
                error /= math.log(2)
            exact = self.discrete and (self.unique_tokenization or symbol != "byte")
            reversed_guarantee = _REVERSED_GUARANTEES[guarantee if exact or guarantee != "exact" else "lower bound"]
            units[name] = {"value": value, "standard_error": error, "guarantee": reversed_guarantee}
        return units


def mean_per(scores: np.ndarray, counts: np.ndarray | int = 1) -> tuple[float, float]:
    """Return Σ scores / Σ counts, as in equation 1, and its standard error to first order.

    The error is NaN if there is one score only, or one is not finite. With counts of 1 these are the mean of the scores
    and its error.
    """
    scores = np.asarray(scores, np.float64)
    counts = np.broadcast_to(np.asarray(counts, np.float64), scores.shape)
    ratio, average = scores.mean() / counts.mean(), counts.mean()
    finite = scores.size > 1 and np.isfinite(scores).all()
    spread = (scores - ratio * counts).std(ddof=1) if finite else math.nan  # residuals of the ratio
    return float(ratio), float(spread / math.sqrt(scores.size) / average)


@check_arguments
def likelihood_units(model: object, dataset: Dataset, preprocess: Preprocess, split: str = "train") -> LikelihoodUnits:
    """Return the units in which log-likelihoods of a model on a data set can be expressed.

    ``genjax.capabilities.IsDiscrete`` says whether the model has masses; its stop token, if any, ends texts, whose
    lengths are counted on the split that is scored. Only the shapes of the preprocessing are evaluated; texts whose
    shape it changes are treated as dimensions.
    """
    batch = dataset.batch_spec(1, split=split)
    x = jax.eval_shape(preprocess, jax.eval_shape(jax.random.key, 0), batch)["x"]
    counts = None
    if dataset.tokenizer is not None and x.shape == batch["x"].shape:
        counts = _counts(dataset.tokenizer, dataset.splits[split], stop_token(model))
    return LikelihoodUnits(
        num_dims=math.prod(x.shape[1:]),
        discrete=model.discrete if isinstance(model, IsDiscrete) else None,
        num_values=dataset.levels,
        bin_width=bin_width(preprocess),
        counts=counts,
        unique_tokenization=dataset.tokenizer is None or isinstance(dataset.tokenizer, Bytes | Characters),
    )


def _counts(tokenizer: Tokenizer, source: Source, stop: int | None) -> dict[str, np.ndarray]:
    """Count bytes, characters and tokens of each text up to and including its end."""
    lengths = []
    for part in chunks(len(source), 4096):
        x = source.take(np.arange(part.start, part.stop))["x"]
        ends = x == stop
        inside = np.cumsum(ends, axis=1) - ends == 0
        lengths.append((np.sum(tokenizer.num_bytes[x], axis=1, where=inside), inside.sum(axis=1)))
    num_bytes, num_tokens = (np.concatenate(part).astype(np.float64) for part in zip(*lengths, strict=True))
    characters = {"character": num_tokens} if isinstance(tokenizer, Characters) else {}
    return {"byte": num_bytes, **characters, "token": num_tokens}
