"""What autoregressive models of images share: a likelihood by pixels, and samples pixel by pixel.

In raster order, rows from above and each from the left,

    log p(x) = Σ_i log p(x_i | x_1, …, x_{i−1}),                                                                  (1)

where one pass of a causal network gives all conditionals of an image that is there, and its decoder those of an image
that is being drawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, final

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from genjax.autoregressive.decoding import Callback, Sampling, Step, generate
from genjax.core import Array, Batch, Metrics, Objective, PyTree, Variables
from genjax.ops import (
    at_least_float32,
    check_at_least,
    check_num_classes,
    label_of,
    one_hot_label,
)


class CausalNet(Protocol):
    """A Linen module that maps pixels in [0, 1], (B, H, W, 1), and a condition to logits of each, (B, H, W, L).

    Logits of a pixel depend on the pixels before it alone.
    """

    @property
    def num_outputs(self) -> int:
        """L."""
        ...

    def decoder(
        self, params: PyTree, num_rows: int, size: tuple[int, int], condition: Array | None
    ) -> tuple[PyTree, Step]:
        """Return an empty cache and ``step(cache, value) -> (logits, cache)``, in raster order.

        Values are (B,), in [0, 1], of the pixel before, and ignored at the first one; logits are (B, L).
        """
        ...


@final
@dataclass(frozen=True, kw_only=True)
class PixelModel:
    """An autoregressive model of images of one channel, whose pixels are integers 0 … L − 1.

    Attributes:
      shape: (H, W, 1).
      net: the causal network; it says L.
      num_classes: None, or the number of labels; the one-hot label is the network's condition.
    """

    shape: tuple[int, int, int]
    net: Any
    num_classes: int | None = None

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or min(self.shape) < 1 or self.shape[2] != 1:
            raise ValueError(f"shape is {self.shape}, but must be (H, W, 1): images of one channel")
        check_num_classes(self.num_classes)

    @property
    def discrete(self) -> bool:
        """True: log p(x) is a log-mass."""
        return True

    @property
    def levels(self) -> int:
        """L, number of values of a pixel."""
        return self.net.num_outputs

    def init(self, key: Array, batch: Batch) -> Variables:
        """Make the variables for images like ``batch["x"]``.

        Raises:
          ValueError: for images of another shape, or values that are not 0 … L − 1.
        """
        x = checked_values(batch["x"], self.shape, self.levels)
        context = one_hot_label(label_of(batch, self.num_classes), self.num_classes, len(x))
        return Variables({"net": self.net.init(key, self._inputs(x), context)["params"]}, {})

    def objectives(self) -> tuple[Objective, ...]:
        """The one loss."""
        return (Objective(name="likelihood", wrt=("net",), loss=self.loss),)

    def loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """Negative log-mass in nats per example, averaged over the batch.

        Returns:
          The scalar, and the state as it was with the metric ``log_prob``.
        """
        del key, step
        x = checked_values(batch["x"], self.shape, self.levels)
        context = one_hot_label(label_of(batch, self.num_classes), self.num_classes, len(x))
        log_prob = jnp.mean(self._log_prob(params["net"], x, context))
        return -log_prob, (state, {"log_prob": log_prob})

    def log_prob(self, variables: Variables, x: Array, *, label: Array | int | None = None) -> Array:
        """Exact log p(x), nats, (B,)."""
        x = checked_values(x, self.shape, self.levels)
        return self._log_prob(variables.params["net"], x, one_hot_label(label, self.num_classes, len(x)))

    def sample(
        self,
        variables: Variables,
        key: Array,
        num_samples: int,
        *,
        label: Array | int | None = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float = 1.0,
        min_p: float = 0.0,
        known: Array | None = None,
        keep: Array | None = None,
        callback: Callback | None = None,
    ) -> Array:
        """Draw images pixel by pixel; a pixel costs what is new in the network, and not a pass of it.

        Args:
          variables: what ``init`` or training returned.
          key: a typed key.
          num_samples: N.
          label: class of all samples, or int32 (N,) for each; only for conditional models.
          temperature: see ``Sampling``, as are ``top_k``, ``top_p`` and ``min_p``.
          top_k: how many of the most probable values may be drawn.
          top_p: mass of the most probable values that may be drawn.
          min_p: least probability of a value that may be drawn, as a share of the greatest.
          known: pixels (N, *shape) or (1, *shape) to be kept where ``keep`` is true; see ``generate``.
          keep: bool, of the shape of one example or of all.
          callback: see ``generate``.

        Returns:
          int32 (N, *shape).
        """
        check_at_least("num_samples", num_samples, 1)
        length = self.shape[0] * self.shape[1]
        context = one_hot_label(label, self.num_classes, num_samples)
        cache, step = self.net.decoder(variables.params["net"], num_samples, self.shape[:2], context)
        tokens = generate(
            lambda cache, token: step(cache, self._inputs(token)),
            cache,
            key,
            num_rows=num_samples,
            length=length,
            sampling=Sampling(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p),
            **known_tokens(known, keep, self.shape, self.levels),
            callback=callback,
        )
        return tokens.reshape(num_samples, *self.shape)

    def _inputs(self, x: Array) -> Array:
        """Values in [0, 1]."""
        return x.astype(jnp.float32) / (self.levels - 1)

    def _log_prob(self, params: PyTree, x: Array, context: Array | None) -> Array:
        logits = at_least_float32(jnp.asarray(self.net.apply({"params": params}, self._inputs(x), context)))
        return log_mass(logits, x[..., 0], axis=3)  # equation 1


def log_mass(logits: Array, x: Array, axis: int) -> Array:
    """Return the log-masses of values x (B, ...), added up, (B,); ``logits`` have the L values along one axis more."""
    chosen = jnp.expand_dims(x, axis) == jax.lax.broadcasted_iota(x.dtype, logits.shape, axis)
    each = jnp.where(chosen, jax.nn.log_softmax(logits, axis=axis), 0.0)
    return jnp.sum(each.reshape(len(x), -1), axis=1)


def checked_values(x: Array, shape: tuple[int, ...], levels: int) -> Array:
    """Return x; refuse other shapes, and values that are no integers 0 … levels − 1 where they are known."""
    x = jnp.asarray(x)
    if x.shape[1:] != shape:
        raise ValueError(f"x has shape {x.shape}, but must be (B, *shape) with shape={shape}")
    if not isinstance(x, Tracer):
        values = np.asarray(x)
        wrong = values[(values < 0) | (values >= levels) | (values != np.round(values))]
        if wrong.size:
            raise ValueError(
                f"x holds {wrong.flat[0]}, but levels={levels} takes 0 … {levels - 1}; leave scaling and "
                "dequantization out, or set levels"
            )
    return x


def known_tokens(
    known: Array | None, keep: Array | None, shape: tuple[int, ...], levels: int
) -> Mapping[str, Array | None]:
    """Return known values and where to keep them as ``generate`` takes them, in raster order."""
    length = int(np.prod(shape))
    flat = None if known is None else checked_values(known, shape, levels).astype(jnp.int32).reshape(-1, length)
    return {"known": flat, "keep": None if keep is None else jnp.asarray(keep).reshape(-1, length)}
