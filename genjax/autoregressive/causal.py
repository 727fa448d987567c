"""Autoregressive models of images and sequences: an exact likelihood, and samples value by value.

In raster order (rows from the top, each from the left, and channels within a pixel),

    log p(x | c) = Σ_i log p(x_i | x_1, …, x_{i−1}, c).                                                           (1)

One pass of a causal network gives all conditionals of given data; the network's decoder gives them one after the other
during sampling. The condition c is a label for all of x, or features for each part of a sequence, or both.

A sequence is an image with one axis: its pixels have one channel and positions (T,) instead of (H, W).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, NamedTuple, Protocol, final, runtime_checkable

import jax
import jax.numpy as jnp
from annotated_types import Ge

from genjax.arguments import Cure, NumClasses, PositiveInt, Sizes, check_arguments
from genjax.autoregressive.decoding import Callback, MinP, Sampling, Step, Temperature, TopK, TopP, generate
from genjax.capabilities import Condition, label_condition
from genjax.core import Array, Batch, Metrics, Objective, PyTree, Variables
from genjax.nets import Net, apply_net, init_net
from genjax.ops import (
    PixelDistribution,
    broadcast_prefix,
    checked_values,
    condition_inputs,
    label_of,
)
from genjax.ops.labels import NetCondition

LocalDim = Annotated[int, Ge(1), Cure("; None for no local condition")]
EmbeddingDim = Annotated[int, Ge(1), Cure("; None for intensities")]


@runtime_checkable
class CausalNet(Net, Protocol):
    """A Linen module that maps pixels (B, *positions, D) and a condition to outputs (B, *positions, P).

    The outputs of a pixel depend on the pixels before it and on the condition: (B, K), or (B, F, K) for sequences, with
    F frames for equally many positions each.
    """

    @property
    def num_axes(self) -> int:
        """Number of axes of the positions: 1 for sequences (T,), 2 for images (H, W)."""
        ...

    @property
    def num_outputs(self) -> int:
        """Number of outputs of a pixel, P."""
        ...

    def decoder(
        self, params: PyTree, batch_size: int, size: tuple[int, ...], condition: Array | None
    ) -> tuple[PyTree, Step]:
        """Return an empty cache and ``step(cache, pixel) -> (outputs, cache)`` for positions of shape ``size``.

        Steps are in raster order. Each maps the pixel before, (B, D), which the first step ignores, to outputs (B, P).
        """
        ...


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class CausalModel:
    """An autoregressive model of images, grids of codes or sequences, whose values are integers 0 … L − 1.

    Attributes:
      shape: shape of an example: (H, W, C) for images, (H, W) for grids, (T,) for sequences.
      net: causal network, see ``CausalNet``.
      distribution: distribution of a pixel given the network's outputs; its ``num_values`` is L.
      num_classes: number of classes, or None for an unconditional model; the network's condition is the one-hot label.
      local_dim: number of local features of a sequence, K, or None. A batch holds them under ``"local"``, as floats
        (B, F, K), whose F frames cover T / F positions each. A one-hot label is appended to every frame.
      embedding_dim: length of learned vectors that represent values without an order, such as codes, for one channel;
        None for intensities, which the network receives as numbers in [0, 1].

    Raises:
      ValueError: if the network does not take the shape, or its outputs do not fit the distribution.

    >>> from genjax.autoregressive import WaveNetNet
    >>> from genjax.ops import Categorical
    >>> net = WaveNetNet(num_outputs=5, num_layers=2, num_stacks=1, features=4, skip_features=4)
    >>> model = CausalModel(shape=(8,), net=net, distribution=Categorical(5))
    >>> variables = model.init(jax.random.key(0), {"x": jnp.zeros((3, 8), jnp.int32)})
    >>> model.log_prob(variables, jnp.zeros((3, 8), jnp.int32)).shape
    (3,)
    """

    shape: Sizes
    net: CausalNet
    distribution: PixelDistribution
    num_classes: NumClasses | None = None
    local_dim: LocalDim | None = None
    embedding_dim: EmbeddingDim | None = None
    discrete = True

    def __post_init__(self) -> None:
        allowed = {1: "(T,) for sequences", 2: "(H, W, C) for images, or (H, W) for grids"}[self.net.num_axes]
        if not 1 <= len(self.shape) <= 3 or len(self.shape[:2]) != self.net.num_axes:
            raise ValueError(f"shape is {self.shape}, but must be {allowed}")
        if self.local_dim is not None and len(self.shape) != 1:
            raise ValueError(f"local_dim is {self.local_dim}, but shape={self.shape} is not that of a sequence, (T,)")
        num_outputs = self.distribution.num_outputs(self._channels)
        if self.net.num_outputs != num_outputs:
            raise ValueError(f"net has num_outputs={self.net.num_outputs}, but {self.distribution} needs {num_outputs}")
        if self.embedding_dim is not None and self._channels != 1:
            raise ValueError(
                f"embedding_dim is {self.embedding_dim}, but pixels of shape={self.shape} have {self._channels} "
                "channels; embed values of one channel"
            )

    @property
    def num_values(self) -> int:
        """Number of values of a channel, L."""
        return self.distribution.num_values

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """The label if the model has classes, local features if it has any, and known values of a sample."""
        local = () if self.local_dim is None else (Condition(name="local", kind="array", shape=(None, self.local_dim)),)
        return *label_condition(self.num_classes), *local, *known_conditions(self.shape, self.num_values)

    def init(self, key: Array, batch: Batch) -> Variables:
        """Initialize the variables for data like ``batch["x"]``; ValueError if these or a condition do not fit."""
        x, condition = self._pixels(batch["x"]), self._condition_of(batch)
        params = {}
        if self.embedding_dim is not None:
            key, embedding_key = jax.random.split(key)
            params["embedding"] = jax.random.normal(embedding_key, (self.num_values, self.embedding_dim), jnp.float32)
        net, _ = init_net(self.net, key, self._inputs(params, x), *condition)
        return Variables({"net": net, **params}, {})

    def objectives(self) -> tuple[Objective, ...]:
        """Return the negative log-likelihood as the only objective."""
        wrt = ("net",) if self.embedding_dim is None else ("net", "embedding")
        return (Objective(name="likelihood", wrt=wrt, loss=self.loss),)

    def loss(
        self, params: dict[str, PyTree], state: PyTree, key: Array, batch: Batch, step: Array
    ) -> tuple[Array, tuple[PyTree, Metrics]]:
        """Return the batch's mean negative log-mass in nats, the unchanged state, and the metric ``log_prob``."""
        del step
        x, condition = self._pixels(batch["x"]), self._condition_of(batch)
        log_prob = jnp.mean(self._log_prob(params, x, condition, key=key, train=True))
        return -log_prob, (state, {"log_prob": log_prob})

    def log_prob(
        self, variables: Variables, x: Array, *, label: Array | int | None = None, local: Array | None = None
    ) -> Array:
        """Return the exact log p(x | label, local) in nats, (B,)."""
        x = self._pixels(x)
        return self._log_prob(variables.params, x, self._condition(label, local, x.shape[0]))

    def sample(
        self,
        variables: Variables,
        key: Array,
        num_samples: PositiveInt,
        *,
        label: Array | int | None = None,
        local: Array | None = None,
        temperature: Temperature = 1.0,
        top_k: TopK | None = None,
        top_p: TopP = 1.0,
        min_p: MinP = 0.0,
        known: Array | None = None,
        keep: Array | None = None,
        callback: Callback | None = None,
    ) -> Array:
        """Draw samples, int32 (N, *shape), pixel by pixel, with cached computations instead of a pass for each pixel.

        Args:
          variables: variables from ``init`` or training.
          key: a typed key.
          num_samples: number of samples, N.
          label: class of all samples, or of each, int32 (N,); only for conditional models.
          local: local features, (N, F, local_dim), or (1, F, local_dim) for all samples; only with ``local_dim``.
          temperature: temperature of the logits; see ``Sampling``.
          top_k: number of most probable values that may be drawn; see ``Sampling``.
          top_p: mass of the most probable values that may be drawn; see ``Sampling``.
          min_p: minimum relative probability of a value that may be drawn; see ``Sampling``.
          known: known pixels, (N, *shape) or (1, *shape), used where ``keep`` is true; see ``generate``.
          keep: where pixels are known, bool, with the shape of one example or of all samples.
          callback: see ``generate``; tokens are the channels of pixels, one after the other.
        """
        condition = self._condition(label, local, num_samples)
        cache, step = self._decoder(variables.params, num_samples, *(condition or (None,)))
        tokens = generate(
            step,
            cache,
            key,
            batch_size=num_samples,
            length=math.prod(self.shape),
            sampling=Sampling(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p),
            **known_tokens(known, keep, self.shape, self.num_values),
            callback=callback,
        )
        return tokens.reshape(num_samples, *self.shape)

    def impute(self, variables: Variables, key: Array, x: Array, mask: Array, **options: Any) -> Array:
        """Draw the unknown values of x (B, *shape) given the known ones, which precede them in raster order.

        ``mask``, bool and broadcastable to x, is True where x is known. Other arguments are those of ``sample``.

        Raises:
          ValueError: if the mask has another shape or dtype, or, outside compiled code, a value is known after an
            unknown one.
        """
        return impute(self.sample, variables, key, x, mask, **options)

    @property
    def _channels(self) -> int:
        return self.shape[2] if len(self.shape) == 3 else 1

    def _pixels(self, x: Array) -> Array:
        """Check values and return them as (B, *positions, C)."""
        x = checked_values(x, self.shape, self.num_values)
        return x if len(self.shape) == 3 else x[..., None]

    def _condition_of(self, batch: Batch) -> NetCondition:
        """Return the network's condition for a batch, whose labels and features this model may not use."""
        if self.local_dim is not None and "local" not in batch:
            raise ValueError(f"the batch has {sorted(batch)}, but local_dim={self.local_dim} needs 'local'; add it")
        local = None if self.local_dim is None else batch["local"]
        return self._condition(label_of(batch, self.num_classes), local, batch["x"].shape[0])

    def _condition(self, label: Array | int | None, local: Array | None, batch_size: int) -> NetCondition:
        """Return the network's condition: none, the one-hot label (B, K), or frames (B, F, K)."""
        labels = condition_inputs(label, self.num_classes, batch_size)
        if self.local_dim is None:
            if local is not None:
                raise ValueError("local is given, but this model has local_dim=None; leave it out or set local_dim")
            return labels
        local = checked_frames(local, self.local_dim, self.shape[0], batch_size)
        repeated = [jnp.broadcast_to(label[:, None], (*local.shape[:2], label.shape[1])) for label in labels]
        return (jnp.concatenate([local, *repeated], axis=-1),)

    def _inputs(self, params: PyTree, x: Array) -> Array:
        """Return the network's inputs for values (..., C)."""
        if self.embedding_dim is not None:
            return params["embedding"][x[..., 0].astype(jnp.int32)]
        return x.astype(jnp.float32) / (self.num_values - 1)

    def _log_prob(
        self, params: PyTree, x: Array, condition: NetCondition, key: Array | None = None, train: bool = False
    ) -> Array:
        outputs, _ = apply_net(self.net, params["net"], {}, self._inputs(params, x), *condition, key=key, train=train)
        return self.distribution.log_prob(outputs, x)  # equation 1

    def _decoder(self, params: PyTree, batch_size: int, condition: Array | None) -> tuple[_Cache, Step]:
        """Return a cache and ``step(cache, token) -> (logits, cache)``; the network steps once per pixel."""
        channels = self._channels
        net_cache, net_step = self.net.decoder(params["net"], batch_size, self.shape[:2], condition)

        def next_pixel(cache: _Cache) -> _Cache:
            outputs, net_cache = net_step(cache.net, self._inputs(params, cache.pixel))
            return cache._replace(net=net_cache, outputs=outputs)

        def step(cache: _Cache, token: Array) -> tuple[Array, _Cache]:
            channel, last = cache.index % channels, (cache.index - 1) % channels
            pixel = jax.lax.dynamic_update_slice_in_dim(cache.pixel, token[:, None], last, axis=1)
            cache = cache._replace(pixel=pixel)
            if channels == 1:
                cache = next_pixel(cache)
            else:
                cache = jax.lax.cond(channel == 0, next_pixel, lambda same: same, cache)
            logits = [partial(self.distribution.logits, channel=c) for c in range(channels)]
            return jax.lax.switch(channel, logits, cache.outputs, pixel), cache._replace(index=cache.index + 1)

        pixel = jnp.zeros((batch_size, channels), jnp.int32)
        outputs = jax.eval_shape(net_step, net_cache, self._inputs(params, pixel))[0]
        return _Cache(net_cache, jnp.zeros(outputs.shape, outputs.dtype), pixel, jnp.int32(0)), step


class _Cache(NamedTuple):
    """A half-drawn example.

    Attributes:
      net: cache of the network.
      outputs: outputs of the network for the current pixel, (B, P).
      pixel: values of the last C channels, (B, C).
      index: number of the next channel.
    """

    net: PyTree
    outputs: Array
    pixel: Array
    index: Array


def checked_frames(local: Array | None, local_dim: int, length: int, batch_size: int) -> Array:
    """Return local features (batch_size, F, local_dim); ValueError if they are missing or do not fit the length."""
    expected = f"floats ({batch_size}, F, {local_dim})"
    if local is None:
        raise ValueError(f"local is None, but this model has local_dim={local_dim}; give {expected}")
    local = jnp.asarray(local)
    if local.ndim != 3 or local.shape[0] not in (1, batch_size) or local.shape[2] != local_dim:
        raise ValueError(f"local has shape {local.shape}, but must be {expected}, or (1, F, {local_dim}) for all")
    frames = local.shape[1]
    if frames < 1 or length % frames:
        raise ValueError(
            f"local has {frames} frames, but their number must divide the length {length}; resample them, or cut x so "
            "that every frame covers equally many positions"
        )
    return jnp.broadcast_to(local.astype(jnp.float32), (batch_size, *local.shape[1:]))


def known_conditions(shape: tuple[int, ...], num_values: int) -> tuple[Condition, ...]:
    """Return the conditions of samples of which some values are known: the values, and where to keep them."""
    values = Condition(name="known", kind="array", shape=shape, num_values=num_values, optional=True, in_batch=False)
    mask = Condition(name="keep", kind="array", shape=shape, num_values=2, optional=True, in_batch=False)
    return values, mask


def impute(
    sample: Callable[..., Array], variables: Variables, key: Array, x: Array, mask: Array, **options: Any
) -> Array:
    """Draw examples by ``sample`` with the first values of x (B, ...) known, as the mask says."""
    keep = broadcast_prefix(mask, x.shape)
    return sample(variables, key, x.shape[0], known=jnp.where(keep, x, 0), keep=keep, **options)


def known_tokens(known: Array | None, keep: Array | None, shape: tuple[int, ...], num_values: int) -> dict[str, Any]:
    """Return known values in raster order, as the arguments ``known`` and ``keep`` of ``generate``."""
    length = math.prod(shape)
    flat = None if known is None else checked_values(known, shape, num_values).astype(jnp.int32).reshape(-1, length)
    return {"known": flat, "keep": None if keep is None else jnp.asarray(keep).reshape(-1, length)}
