"""What autoregressive models of images share: a likelihood by pixels, and samples pixel by pixel.

In raster order, rows from above and each from the left, channel by channel within a pixel,

    log p(x) = Σ_i log p(x_i | x_1, …, x_{i−1}),                                                                  (1)

where one pass of a causal network gives all conditionals of an image that is there, and its decoder those of an image
that is being drawn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, final

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

from genjax.autoregressive.decoding import Callback, Sampling, Step, generate
from genjax.core import Array, Batch, Metrics, Objective, PyTree, Variables
from genjax.nets import apply_net, init_net
from genjax.ops import (
    PixelDistribution,
    check_at_least,
    check_num_classes,
    condition,
    label_of,
    one_hot_label,
)
from genjax.ops.labels import Condition


class CausalNet(Protocol):
    """A Linen module that maps pixels (B, H, W, D) and a condition to outputs of each pixel, (B, H, W, P).

    Outputs of a pixel depend on the pixels before it alone.
    """

    @property
    def num_outputs(self) -> int:
        """P."""
        ...

    def decoder(
        self, params: PyTree, num_rows: int, size: tuple[int, int], condition: Array | None
    ) -> tuple[PyTree, Step]:
        """Return an empty cache and ``step(cache, pixel) -> (outputs, cache)``, in raster order.

        Pixels are (B, D), those before, and ignored at the first step; outputs are (B, P).
        """
        ...


@final
@dataclass(frozen=True, kw_only=True)
class PixelModel:
    """An autoregressive model of images, or of grids of codes, whose values are integers 0 … L − 1.

    Attributes:
      shape: (H, W, C) of images, or (H, W) of grids.
      net: the causal network.
      distribution: of a pixel, from what the network puts out; it says L.
      num_classes: None, or the number of labels; the one-hot label is the network's condition.
      embedding_dim: None where values are intensities, which reach the network as numbers in [0, 1]; otherwise the
        length of the vectors, learned, that stand for values without an order, such as codes. Only for one channel.

    Raises:
      ValueError: when the network does not put out what the distribution takes.
    """

    shape: tuple[int, ...]
    net: Any
    distribution: PixelDistribution
    num_classes: int | None = None
    embedding_dim: int | None = None

    def __post_init__(self) -> None:
        if len(self.shape) not in (2, 3) or min(self.shape) < 1:
            raise ValueError(f"shape is {self.shape}, but must be (H, W, C) of images, or (H, W) of grids")
        check_num_classes(self.num_classes)
        needed = self.distribution.num_outputs(self._channels)
        if self.net.num_outputs != needed:
            raise ValueError(f"net has num_outputs={self.net.num_outputs}, but {self.distribution} needs {needed}")
        if self.embedding_dim is not None:
            check_at_least("embedding_dim", self.embedding_dim, 1, "; None for intensities")
            if self._channels != 1:
                raise ValueError(f"embedding_dim is {self.embedding_dim}, but pixels of {self.shape} are no codes")

    @property
    def discrete(self) -> bool:
        """True: log p(x) is a log-mass."""
        return True

    @property
    def levels(self) -> int:
        """L, number of values of a channel."""
        return self.distribution.levels

    def init(self, key: Array, batch: Batch) -> Variables:
        """Make the variables for images like ``batch["x"]``.

        Raises:
          ValueError: for images of another shape, or values that are not 0 … L − 1.
        """
        x = self._pixels(batch["x"])
        context = condition(label_of(batch, self.num_classes), self.num_classes, len(x))
        params = {}
        if self.embedding_dim is not None:
            key, embedding_key = jax.random.split(key)
            params["embedding"] = jax.random.normal(embedding_key, (self.levels, self.embedding_dim))
        net, _ = init_net(self.net, key, self._inputs(params, x), *context)
        return Variables({"net": net, **params}, {})

    def objectives(self) -> tuple[Objective, ...]:
        """The one loss."""
        wrt = ("net",) if self.embedding_dim is None else ("net", "embedding")
        return (Objective(name="likelihood", wrt=wrt, loss=self.loss),)

    def loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """Negative log-mass in nats per example, averaged over the batch.

        Returns:
          The scalar, and the state as it was with the metric ``log_prob``.
        """
        del step
        x = self._pixels(batch["x"])
        context = condition(label_of(batch, self.num_classes), self.num_classes, len(x))
        log_prob = jnp.mean(self._log_prob(params, x, context, key=key, train=True))
        return -log_prob, (state, {"log_prob": log_prob})

    def log_prob(self, variables: Variables, x: Array, *, label: Array | int | None = None) -> Array:
        """Exact log p(x), nats, (B,)."""
        x = self._pixels(x)
        return self._log_prob(variables.params, x, condition(label, self.num_classes, len(x)))

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
          callback: see ``generate``; tokens are the channels of pixels, one after the other.

        Returns:
          int32 (N, *shape).
        """
        check_at_least("num_samples", num_samples, 1)
        context = one_hot_label(label, self.num_classes, num_samples)
        cache, step = self._decoder(variables.params, num_samples, context)
        tokens = generate(
            step,
            cache,
            key,
            num_rows=num_samples,
            length=math.prod(self.shape),
            sampling=Sampling(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p),
            **known_tokens(known, keep, self.shape, self.levels),
            callback=callback,
        )
        return tokens.reshape(num_samples, *self.shape)

    @property
    def _channels(self) -> int:
        return self.shape[2] if len(self.shape) == 3 else 1

    def _pixels(self, x: Array) -> Array:
        """Checked values, (B, H, W, C)."""
        x = checked_values(x, self.shape, self.levels)
        return x if len(self.shape) == 3 else x[..., None]

    def _inputs(self, params: PyTree, x: Array) -> Array:
        """What the network sees of values (..., C)."""
        if self.embedding_dim is not None:
            return params["embedding"][x[..., 0].astype(jnp.int32)]
        return x.astype(jnp.float32) / (self.levels - 1)

    def _log_prob(
        self, params: PyTree, x: Array, context: Condition, key: Array | None = None, train: bool = False
    ) -> Array:
        outputs, _ = apply_net(self.net, params["net"], {}, self._inputs(params, x), *context, key=key, train=train)
        return self.distribution.log_prob(outputs, x)  # equation 1

    def _decoder(self, params: PyTree, num_rows: int, context: Array | None) -> tuple[PyTree, Step]:
        """Return a cache and ``step(cache, token) -> (logits, cache)``.

        The network steps at each pixel's first channel. The cache is the network's, its outputs for the pixel being
        drawn, that pixel, and the number of the token.
        """
        channels = self._channels
        net_cache, net_step = self.net.decoder(params["net"], num_rows, self.shape[:2], context)

        def next_pixel(now: tuple[PyTree, Array], pixel: Array) -> tuple[PyTree, Array]:
            outputs, net_cache = net_step(now[0], self._inputs(params, pixel))
            return net_cache, outputs

        def step(cache: Any, token: Array) -> tuple[Array, Any]:
            now, pixel, number = cache
            channel = number % channels
            pixel = jax.lax.dynamic_update_slice_in_dim(pixel, token[:, None], (number - 1) % channels, axis=1)
            if channels == 1:
                now = next_pixel(now, pixel)
            else:
                now = jax.lax.cond(channel == 0, next_pixel, lambda now, _: now, now, pixel)
            of_channel = [partial(self.distribution.logits, channel=c) for c in range(channels)]
            return jax.lax.switch(channel, of_channel, now[1], pixel), (now, pixel, number + 1)

        pixel = jnp.zeros((num_rows, channels), jnp.int32)
        outputs = jax.eval_shape(net_step, net_cache, self._inputs(params, pixel))[0]
        return ((net_cache, jnp.zeros(outputs.shape, outputs.dtype)), pixel, jnp.int32(0)), step


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


def known_tokens(known: Array | None, keep: Array | None, shape: tuple[int, ...], levels: int) -> dict[str, Any]:
    """Return known values and where to keep them as ``generate`` takes them, in raster order."""
    length = math.prod(shape)
    flat = None if known is None else checked_values(known, shape, levels).astype(jnp.int32).reshape(-1, length)
    return {"known": flat, "keep": None if keep is None else jnp.asarray(keep).reshape(-1, length)}
