"""What autoregressive models of images and of sequences share: an exact likelihood, and samples value by value.

In order, which in images is rows from above and each from the left, channel by channel within a pixel,

    log p(x | c) = Σ_i log p(x_i | x_1, …, x_{i−1}, c),                                                           (1)

where one pass of a causal network gives all conditionals of data that is there, and its decoder those of data that is
being drawn. The condition c is a label, the same for all of x, or numbers for each part of a sequence, or both.

Sequences are images of one axis: their pixels have one channel, and positions (T,) in place of rows and columns (H, W).
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
from genjax.capabilities import Condition, label_condition
from genjax.core import Array, Batch, Metrics, Objective, PyTree, Variables
from genjax.nets import apply_net, init_net
from genjax.ops import (
    PixelDistribution,
    check_at_least,
    check_num_classes,
    condition_inputs,
    label_of,
)
from genjax.ops.labels import NetCondition


class CausalNet(Protocol):
    """A Linen module that maps pixels (B, *positions, D) and a condition to outputs of each pixel, (B, *positions, P).

    Outputs of a pixel depend on the pixels before it, and on the condition: (B, K), or (B, F, K) of sequences in F
    parts of equal length.
    """

    @property
    def num_axes(self) -> int:
        """How many there are of positions: 1 for sequences (T,), 2 for images (H, W)."""
        ...

    @property
    def num_outputs(self) -> int:
        """P."""
        ...

    def decoder(
        self, params: PyTree, num_rows: int, size: tuple[int, ...], condition: Array | None
    ) -> tuple[PyTree, Step]:
        """Return an empty cache and ``step(cache, pixel) -> (outputs, cache)``, in order, for positions of a size.

        Pixels are (B, D), those before, and ignored at the first step; outputs are (B, P).
        """
        ...


@final
@dataclass(frozen=True, kw_only=True)
class CausalModel:
    """An autoregressive model of images, grids of codes, or sequences, whose values are integers 0 … L − 1.

    Attributes:
      shape: (H, W, C) of images, (H, W) of grids, or (T,) of sequences.
      net: the causal network.
      distribution: of a pixel, from what the network puts out; it says L.
      num_classes: None, or the number of labels; the one-hot label is the network's condition.
      local_dim: None, or K where a sequence has a condition for each of its parts: floats (B, F, K), in batches under
        ``"local"``, whose F frames stand for T / F positions each. A one-hot label follows them in every frame.
      embedding_dim: None where values are intensities, which reach the network as numbers in [0, 1]; otherwise the
        length of the vectors, learned, that stand for values without an order, such as codes. Only for one channel.

    Raises:
      ValueError: for a shape that the network does not take, and when it does not put out what the distribution takes.
    """

    shape: tuple[int, ...]
    net: Any
    distribution: PixelDistribution
    num_classes: int | None = None
    local_dim: int | None = None
    embedding_dim: int | None = None

    def __post_init__(self) -> None:
        allowed = {1: "(T,) of sequences", 2: "(H, W, C) of images, or (H, W) of grids"}[self.net.num_axes]
        if not 1 <= len(self.shape) <= 3 or len(self.shape[:2]) != self.net.num_axes or min(self.shape) < 1:
            raise ValueError(f"shape is {self.shape}, but must be {allowed}")
        check_num_classes(self.num_classes)
        if self.local_dim is not None:
            check_at_least("local_dim", self.local_dim, 1, "; None for no local condition")
            if len(self.shape) != 1:
                raise ValueError(f"local_dim is {self.local_dim}, but {self.shape} is no shape (T,) of sequences")
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
    def num_values(self) -> int:
        """L, number of values of a channel."""
        return self.distribution.num_values

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """What the model is conditioned on: the label, where it has classes, and local features, where it has any."""
        if self.local_dim is None:
            return label_condition(self.num_classes)
        local = Condition(name="local", kind="array", shape=(None, self.local_dim))
        return (*label_condition(self.num_classes), local)

    def init(self, key: Array, batch: Batch) -> Variables:
        """Make the variables for data like ``batch["x"]``.

        Raises:
          ValueError: for data of another shape, values that are not 0 … L − 1, and conditions that do not fit.
        """
        x = self._pixels(batch["x"])
        context = self._context(*self._conditions(batch), len(x))
        params = {}
        if self.embedding_dim is not None:
            key, embedding_key = jax.random.split(key)
            params["embedding"] = jax.random.normal(embedding_key, (self.num_values, self.embedding_dim), jnp.float32)
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
        context = self._context(*self._conditions(batch), len(x))
        log_prob = jnp.mean(self._log_prob(params, x, context, key=key, train=True))
        return -log_prob, (state, {"log_prob": log_prob})

    def log_prob(
        self, variables: Variables, x: Array, *, label: Array | int | None = None, local: Array | None = None
    ) -> Array:
        """Exact log p(x | label, local), nats, (B,)."""
        x = self._pixels(x)
        return self._log_prob(variables.params, x, self._context(label, local, len(x)))

    def sample(
        self,
        variables: Variables,
        key: Array,
        num_samples: int,
        *,
        label: Array | int | None = None,
        local: Array | None = None,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float = 1.0,
        min_p: float = 0.0,
        known: Array | None = None,
        keep: Array | None = None,
        callback: Callback | None = None,
    ) -> Array:
        """Draw pixel by pixel; a pixel costs what is new in the network, and not a pass of it.

        Args:
          variables: what ``init`` or training returned.
          key: a typed key.
          num_samples: N.
          label: class of all samples, or int32 (N,) for each; only for conditional models.
          local: floats (N, F, local_dim), or (1, F, local_dim) for all samples; only for models with ``local_dim``.
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
        context = self._context(label, local, num_samples)
        cache, step = self._decoder(variables.params, num_samples, *(context or (None,)))
        tokens = generate(
            step,
            cache,
            key,
            num_rows=num_samples,
            length=math.prod(self.shape),
            sampling=Sampling(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p),
            **known_tokens(known, keep, self.shape, self.num_values),
            callback=callback,
        )
        return tokens.reshape(num_samples, *self.shape)

    @property
    def _channels(self) -> int:
        return self.shape[2] if len(self.shape) == 3 else 1

    def _pixels(self, x: Array) -> Array:
        """Checked values, (B, *positions, C)."""
        x = checked_values(x, self.shape, self.num_values)
        return x if len(self.shape) == 3 else x[..., None]

    def _conditions(self, batch: Batch) -> tuple[Array | None, Array | None]:
        """A batch's labels and local conditions, where this model wants them."""
        label = label_of(batch, self.num_classes)
        if self.local_dim is None:
            return label, None
        if "local" not in batch:
            raise ValueError(f"the batch has {sorted(batch)}, but local_dim={self.local_dim} needs 'local'; add it")
        return label, batch["local"]

    def _context(self, label: Array | int | None, local: Array | None, num_rows: int) -> NetCondition:
        """The network's condition: none, the one-hot label (B, K), or frames (B, F, K)."""
        of_all = condition_inputs(label, self.num_classes, num_rows)
        if self.local_dim is None:
            if local is not None:
                raise ValueError("local is given, but this model has local_dim=None; leave it out or set local_dim")
            return of_all
        local = checked_frames(local, self.local_dim, self.shape[0], num_rows)
        repeated = [jnp.broadcast_to(one[:, None], (*local.shape[:2], one.shape[1])) for one in of_all]
        return (jnp.concatenate([local, *repeated], axis=-1),)

    def _inputs(self, params: PyTree, x: Array) -> Array:
        """What the network sees of values (..., C)."""
        if self.embedding_dim is not None:
            return params["embedding"][x[..., 0].astype(jnp.int32)]
        return x.astype(jnp.float32) / (self.num_values - 1)

    def _log_prob(
        self, params: PyTree, x: Array, context: NetCondition, key: Array | None = None, train: bool = False
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


def checked_values(x: Array, shape: tuple[int, ...], num_values: int) -> Array:
    """Return x; refuse other shapes, and values that are no integers 0 … num_values − 1 where they are known."""
    x = jnp.asarray(x)
    if x.shape[1:] != shape:
        raise ValueError(f"x has shape {x.shape}, but must be (B, *shape) with shape={shape}")
    if not isinstance(x, Tracer):
        values = np.asarray(x)
        wrong = values[(values < 0) | (values >= num_values) | (values != np.round(values))]
        if wrong.size:
            raise ValueError(
                f"x holds {wrong.flat[0]}, but num_values={num_values} takes 0 … {num_values - 1}; leave scaling and "
                "dequantization out, or set num_values"
            )
    return x


def checked_frames(local: Array | None, local_dim: int, length: int, num_rows: int) -> Array:
    """Return local conditions (num_rows, F, local_dim); refuse other shapes, and F that does not divide the length."""
    wanted = f"floats ({num_rows}, F, {local_dim})"
    if local is None:
        raise ValueError(f"local is None, but this model has local_dim={local_dim}; give {wanted}")
    local = jnp.asarray(local)
    if local.ndim != 3 or local.shape[0] not in (1, num_rows) or local.shape[2] != local_dim:
        raise ValueError(f"local has shape {local.shape}, but must be {wanted}, or (1, F, {local_dim}) for all")
    frames = local.shape[1]
    if frames < 1 or length % frames:
        raise ValueError(
            f"local has {frames} frames, but their number must divide the length {length}; resample them, or cut x so "
            "that every frame stands for as many positions"
        )
    return jnp.broadcast_to(local.astype(jnp.float32), (num_rows, *local.shape[1:]))


def known_tokens(known: Array | None, keep: Array | None, shape: tuple[int, ...], num_values: int) -> dict[str, Any]:
    """Return known values and where to keep them as ``generate`` takes them, in raster order."""
    length = math.prod(shape)
    flat = None if known is None else checked_values(known, shape, num_values).astype(jnp.int32).reshape(-1, length)
    return {"known": flat, "keep": None if keep is None else jnp.asarray(keep).reshape(-1, length)}
