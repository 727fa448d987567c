"""PixelCNN++: two streams of gated residual blocks at several resolutions, and a mixture of discretized logistics.

Stream u sees the rows above a pixel; stream v also sees the pixels to its left, and u. With convolutions D of rows
i − 1 … i, columns j − 1 … j + 1, and R of rows i − 1 … i, columns j − 1 … j, and a, b the two halves of the channels,

    u⁰ = D ∗ x↓,                    v⁰ = D′ ∗ x↓ + R′ ∗ x→,                                                       (1)
    block(h, s): h + a σ(b),        (a, b) = K₂ ∗ φ(K₁ ∗ φ(h) + Σ S φ(s)) + c,     φ(h) = (elu(h), elu(−h)),      (2)

where x↓ is x shifted down by a row, x→ is x shifted right by a column, c is linear in the label, and K is D in u and R
in v. Resolution k has N blocks, then the coarser resolution k + 1 on half as many rows and columns, then blocks back:

    u ─▸ block ─▸ … ─▸ block ─▸ down ─▸ resolution k + 1 ─▸ up ─▸ block ─▸ … ─▸ block ─▸
           │             │                                          │             │        links: u to v
           ▾             ▾                                          ▾             ▾
    v ─▸ block ─▸ … ─▸ block ─▸ down ─▸ resolution k + 1 ─▸ up ─▸ block ─▸ … ─▸ block ─▸ outputs
           └─────────────┴──────────── skips, last to first ────────┴─────────────┘

The inputs s of equation 2 are the skip, which each stream has on the way back, and in v the link, which is the output
of the same block of u. The outputs of v are the parameters of ``ops.LogisticMixture``.

When an image is drawn, u steps once a row and v once a pixel. At resolution k a row of u covers 2^k rows of pixels, and
an entry of v covers 2^k × 2^k pixels; each is computed once. Every convolution keeps the two rows that it sees.

Tim Salimans, Andrej Karpathy, Xi Chen and Diederik Kingma, 2017, arXiv:1701.05517. Two things differ from the paper:
upsampling is a linear map from one entry to 2 × 2, and weights are not normalized.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge

from genjax.arguments import DropoutRate, NumClasses, PositiveInt, Sizes, check_arguments
from genjax.autoregressive.causal import CausalModel
from genjax.autoregressive.decoding import Step
from genjax.core import Array, PyTree
from genjax.nets import Conv, linear, scaled_init
from genjax.nets.causal_conv import row_conv, shifted
from genjax.ops import LogisticMixture

ZERO = np.int32(0)  # beside 32-bit indices, also where JAX uses 64 bits


@check_arguments
def pixel_cnn_pp(
    *,
    shape: Sizes,
    num_values: Annotated[int, Ge(2)] = 256,
    num_components: PositiveInt = 10,
    num_resolutions: PositiveInt = 3,
    num_blocks: PositiveInt = 5,
    features: PositiveInt = 160,
    dropout: DropoutRate = 0.5,
    num_classes: NumClasses | None = None,
    dtype: Any = None,
) -> CausalModel:
    """Return a PixelCNN++ (Tim Salimans et al. 2017, arXiv:1701.05517).

    Args:
      shape: shape of an image, (H, W, C); each resolution but the last halves H and W.
      num_values: number of values of a channel.
      num_components: number of components of the mixture.
      num_resolutions: number of resolutions: full, half, a quarter, ….
      num_blocks: number of blocks on the way in at each resolution, N.
      features: number of channels of both streams, F.
      dropout: share of a block's channels that training drops, in [0, 1).
      num_classes: see ``CausalModel``.
      dtype: dtype of the computation; None follows the input.

    >>> model = pixel_cnn_pp(shape=(4, 4, 3), num_resolutions=2, num_blocks=1, features=4, num_components=2)
    >>> variables = model.init(jax.random.key(0), {"x": jnp.zeros((3, 4, 4, 3), jnp.int32)})
    >>> model.sample(variables, jax.random.key(1), 2).shape
    (2, 4, 4, 3)
    """
    divisor = 2 ** (num_resolutions - 1)
    if any(side % divisor for side in shape[:2]):
        raise ValueError(
            f"shape is {shape}, but num_resolutions={num_resolutions} needs height and width divisible by {divisor}; "
            "pad the images, or use fewer resolutions"
        )
    distribution = LogisticMixture(num_values, num_components)
    num_outputs = distribution.num_outputs(shape[2] if len(shape) == 3 else 1)
    net = PixelCNNPPNet(num_outputs, num_resolutions, num_blocks, features, dropout, dtype)
    return CausalModel(shape=shape, net=net, distribution=distribution, num_classes=num_classes)


@check_arguments
class PixelCNNPPNet(nn.Module):
    """The network of PixelCNN++, equations 1 and 2; see ``CausalNet``.

    ``num_outputs`` is the number of parameters of a pixel's distribution, P. Other attributes: see ``pixel_cnn_pp``.
    """

    num_axes = 2
    num_outputs: PositiveInt
    num_resolutions: PositiveInt
    num_blocks: PositiveInt
    features: PositiveInt
    dropout: DropoutRate
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, condition: Array | None = None, train: bool = False) -> Array:
        """Map pixels (B, H, W, C) in [0, 1] to outputs (B, H, W, P); ``condition`` is (B, K)."""
        x = _inputs(x)
        down, right = shifted(x, axis=1), shifted(x, axis=2)
        links: dict[str, Array] = {}

        def block(stream: str, name: str, h: Array, skip: Array | None = None) -> Array:
            link = None if stream == "u" else links[name]
            h = self._block(f"{stream}_{name}", h, skip, link, condition, train)
            if stream == "u":
                links[name] = h
            return h

        def resolution(stream: str, h: Array, k: int) -> Array:
            def coarser(h: Array) -> Array:
                h = self._conv(f"{stream}_down_{k}", h, self.features, stride=2)
                return self._upsample(f"{stream}_up_{k}", resolution(stream, h, k + 1))

            return _in_and_back(self, h, k, partial(block, stream), coarser)

        resolution("u", self._conv("u_first", down, self.features), 0)
        v = self._conv("u_above", down, self.features) + self._conv("v_first", right, self.features)  # equation 1
        v = resolution("v", v, 0)
        return nn.Dense(self.num_outputs, dtype=self.dtype, name="outputs")(nn.elu(v))

    def decoder(
        self, params: PyTree, batch_size: int, size: tuple[int, ...], condition: Array | None
    ) -> tuple[_Cache, Step]:
        """See ``CausalNet``."""
        width, channels = size[1], params["u_first"]["kernel"].shape[2]
        decoder = _Decoder(self, params, condition)
        empty = _Cache(
            index=jnp.int32(0),
            pixels=jnp.zeros((batch_size, 2, width, channels), jnp.float32),
            above=jnp.zeros((batch_size, width, self.features), jnp.float32),
            left=jnp.zeros((batch_size, 2, 1 + width, channels), jnp.float32),
            u=decoder.empty("u", batch_size, width),
            v=decoder.empty("v", batch_size, width),
        )

        def next_row(cache: _Cache, row: Array) -> _Cache:
            _, u = decoder.step_row(cache.u, _row_conv(params["u_first"], cache.pixels), row)
            above = _row_conv(params["u_above"], cache.pixels)
            return cache._replace(pixels=_push_row(cache.pixels, cache.pixels[:, 1]), above=above, u=u)

        def step(cache: _Cache, pixel: Array) -> tuple[Array, _Cache]:
            index, row, column = cache.index, cache.index // width, cache.index % width
            x = jnp.where(index > 0, _inputs(pixel), 0.0)  # no pixel precedes the first
            at = (ZERO, ZERO + 1, (index - 1) % width, ZERO)
            cache = cache._replace(pixels=jax.lax.dynamic_update_slice(cache.pixels, x[:, None, None], at))
            cache = jax.lax.cond(column == 0, next_row, lambda same, _: same, cache, row)
            left = _push_entry(cache.left, jnp.where(column > 0, x, 0.0), row, column)
            above = jax.lax.dynamic_index_in_dim(cache.above, column, 1, keepdims=False)
            h = above + _entry_conv(params["v_first"], left, row, column)
            h, v = decoder.step_entry(cache.v, cache.u, h, row, column)
            return linear(params["outputs"], nn.elu(h)), cache._replace(index=index + 1, left=left, v=v)

        return empty, step

    def _conv(self, name: str, x: Array, features: int, *, scale: float = 1.0, stride: int = 1) -> Array:
        """D in stream u, R in stream v; ``scale`` multiplies the initial weights."""
        columns = 3 if name.startswith("u_") else 2
        settings = {"padding": ((1, 0), (1, columns - 2)), "kernel_init": scaled_init(scale), "dtype": self.dtype}
        return Conv(features, (2, columns), stride, **settings, name=name)(x)

    def _block(
        self, name: str, h: Array, skip: Array | None, link: Array | None, condition: Array | None, train: bool
    ) -> Array:
        """Equation 2."""
        hidden = self._conv(f"{name}_conv_1", _phi(h), self.features)
        for kind, other in (("skip", skip), ("link", link)):
            if other is not None:
                hidden = hidden + nn.Dense(self.features, dtype=self.dtype, name=f"{name}_{kind}")(_phi(other))
        hidden = nn.Dropout(self.dropout, deterministic=not train, name=f"{name}_dropout")(_phi(hidden))
        both = self._conv(f"{name}_conv_2", hidden, 2 * self.features, scale=0.1)
        if condition is not None:
            label = nn.Dense(2 * self.features, use_bias=False, dtype=self.dtype, name=f"{name}_label")
            both = both + label(condition)[:, None, None]
        return h + _gated(both)

    def _upsample(self, name: str, h: Array) -> Array:
        """Map (B, H, W, F) to (B, 2 H, 2 W, F)."""
        batch_size, height, width, features = h.shape
        h = nn.Dense(4 * features, dtype=self.dtype, name=name)(h).reshape(batch_size, height, width, 2, 2, features)
        return h.swapaxes(2, 3).reshape(batch_size, 2 * height, 2 * width, features)


class _StreamCache(NamedTuple):
    """One stream of a half-drawn image at one resolution, of W columns.

    Attributes:
      inputs: the last two rows of the inputs of each convolution, (B, 2, W, C) in u. In v (B, 2, 1 + W, C): row i is at
        i mod 2, and the first column is zero.
      blocks: outputs of each block of u in the current row, (B, W, F), which v links to; empty in v.
      coarse: outputs of the coarser resolution in the current row, for 2 × 2 entries each, (B, W / 2, 2, 2, F); None at
        the coarsest resolution.
    """

    inputs: dict[str, Array]
    blocks: dict[str, Array]
    coarse: Array | None


_Caches = tuple[_StreamCache, ...]  # from the finest resolution to the coarsest


class _Cache(NamedTuple):
    """A half-drawn image.

    Attributes:
      index: number of the next pixel.
      pixels: inputs of the row above and of the current one, (B, 2, W, C + 1).
      above: D′ ∗ x↓ of equation 1 in the current row, (B, W, F).
      left: the last two rows of x→, as in ``_StreamCache.inputs``.
      u: caches of stream u.
      v: caches of stream v.
    """

    index: Array
    pixels: Array
    above: Array
    left: Array
    u: _Caches
    v: _Caches


class _Decoder:
    """Steps of both streams, with the same layers as ``PixelCNNPPNet``."""

    def __init__(self, net: PixelCNNPPNet, params: PyTree, condition: Array | None) -> None:
        self.net, self.params = net, params
        labels = [name for name in params if name.endswith("_label")]
        self.labels = {} if condition is None else {name: linear(params[name], condition) for name in labels}

    def empty(self, stream: str, batch_size: int, width: int) -> _Caches:
        """Return the caches of a stream before the first step."""
        return tuple(self._empty(stream, k, batch_size, width // 2**k) for k in range(self.net.num_resolutions))

    def step_row(self, caches: _Caches, h: Array, row: Array) -> tuple[Array, _Caches]:
        """Step u to a row, at the resolution of the first cache and all coarser ones: map (B, W, F) to (B, W, F)."""
        k, cache, coarser = self.net.num_resolutions - len(caches), caches[0], caches[1:]
        inputs, blocks, coarse = dict(cache.inputs), {}, None

        def conv(name: str, x: Array) -> Array:
            inputs[name] = _push_row(inputs[name], x)
            return _row_conv(self.params[name], inputs[name])

        def block(name: str, h: Array, skip: Array | None = None) -> Array:
            blocks[name] = self._block(f"u_{name}", conv, h, {"skip": skip})
            return blocks[name]

        def coarser_row() -> tuple[Array, _Caches]:
            h = _row_conv(self.params[f"u_down_{k}"], inputs[f"u_down_{k}"], stride=2)
            h, caches = self.step_row(coarser, h, row // 2)
            return linear(self.params[f"u_up_{k}"], h).reshape(*h.shape[:2], 2, 2, -1), caches

        def step_coarser(h: Array) -> Array:
            nonlocal coarse, coarser
            inputs[f"u_down_{k}"] = _push_row(inputs[f"u_down_{k}"], h)
            coarse, coarser = jax.lax.cond(row % 2 == 0, coarser_row, lambda: (cache.coarse, coarser))
            return jax.lax.dynamic_index_in_dim(coarse, row % 2, axis=2, keepdims=False).reshape(h.shape)

        h = _in_and_back(self.net, h, k, block, step_coarser)
        return h, (_StreamCache(inputs, blocks, coarse), *coarser)

    def step_entry(self, caches: _Caches, u: _Caches, h: Array, row: Array, column: Array) -> tuple[Array, _Caches]:
        """Step v to an entry, at the resolution of the first cache and all coarser ones: map (B, F) to (B, F)."""
        k, cache, coarser = self.net.num_resolutions - len(caches), caches[0], caches[1:]
        inputs, coarse = dict(cache.inputs), None

        def conv(name: str, x: Array) -> Array:
            inputs[name] = _push_entry(inputs[name], x, row, column)
            return _entry_conv(self.params[name], inputs[name], row, column)

        def block(name: str, h: Array, skip: Array | None = None) -> Array:
            link = jax.lax.dynamic_index_in_dim(u[0].blocks[name], column, axis=1, keepdims=False)
            return self._block(f"v_{name}", conv, h, {"skip": skip, "link": link})

        def coarser_entry() -> tuple[Array, _Caches]:
            h = _entry_conv(self.params[f"v_down_{k}"], inputs[f"v_down_{k}"], row, column)
            h, caches = self.step_entry(coarser, u[1:], h, row // 2, column // 2)
            return linear(self.params[f"v_up_{k}"], h).reshape(h.shape[0], 1, 2, 2, -1), caches

        def step_coarser(h: Array) -> Array:
            nonlocal coarse, coarser
            inputs[f"v_down_{k}"] = _push_entry(inputs[f"v_down_{k}"], h, row, column)
            assert cache.coarse is not None
            even, at = (row % 2 == 0) & (column % 2 == 0), column // 2
            # Only the entry passes through the branches; XLA would copy the whole row.
            last = jax.lax.dynamic_slice_in_dim(cache.coarse, at, 1, axis=1)
            entry, coarser = jax.lax.cond(even, coarser_entry, lambda: (last, coarser))
            coarse = jax.lax.dynamic_update_slice_in_dim(cache.coarse, entry, at, axis=1)
            here = (ZERO, ZERO, row % 2, column % 2, ZERO)
            return jax.lax.dynamic_slice(entry, here, (h.shape[0], 1, 1, 1, h.shape[1])).reshape(h.shape)

        h = _in_and_back(self.net, h, k, block, step_coarser)
        return h, (_StreamCache(inputs, {}, coarse), *coarser)

    def _block(self, name: str, conv: Callable[[str, Array], Array], h: Array, others: dict[str, Any]) -> Array:
        """Equation 2, where ``conv`` applies a convolution and remembers its inputs."""
        hidden = conv(f"{name}_conv_1", _phi(h))
        for kind, other in others.items():
            if other is not None:
                hidden = hidden + linear(self.params[f"{name}_{kind}"], _phi(other))
        both = conv(f"{name}_conv_2", _phi(hidden))
        label = self.labels.get(f"{name}_label")
        if label is not None:
            both = both + label.reshape(label.shape[0], *[1] * (both.ndim - 2), -1)
        return h + _gated(both)

    def _empty(self, stream: str, k: int, batch_size: int, width: int) -> _StreamCache:
        net, coarsest = self.net, k == self.net.num_resolutions - 1
        num_back = net.num_blocks + (0 if coarsest else 1)
        blocks = [f"in_{k}_{n}" for n in range(net.num_blocks)] + [f"back_{k}_{n}" for n in range(num_back)]
        convs = [f"{stream}_{name}_conv_{i}" for name in blocks for i in (1, 2)]
        if not coarsest:
            convs.append(f"{stream}_down_{k}")
        columns = width if stream == "u" else 1 + width
        channels = {name: self.params[name]["kernel"].shape[2] for name in convs}
        inputs = {name: jnp.zeros((batch_size, 2, columns, c), jnp.float32) for name, c in channels.items()}
        outputs = jnp.zeros((batch_size, width, net.features), jnp.float32)
        coarse = None if coarsest else jnp.zeros((batch_size, width // 2, 2, 2, net.features), jnp.float32)
        return _StreamCache(inputs, dict.fromkeys(blocks, outputs) if stream == "u" else {}, coarse)


def _in_and_back(
    net: PixelCNNPPNet, h: Array, k: int, block: Callable[..., Array], coarser: Callable[[Array], Array]
) -> Array:
    """Pass h through a stream's blocks at resolution k, and through the coarser resolution between both ways.

    ``block`` maps a block's name, its input and, on the way back, the skip to its output.
    """
    skips = [h]
    for n in range(net.num_blocks):
        h = block(f"in_{k}_{n}", h)
        skips.append(h)
    if k < net.num_resolutions - 1:
        h = coarser(h)
    else:
        skips.pop()  # the last one is h itself
    for n, skip in enumerate(reversed(skips)):
        h = block(f"back_{k}_{n}", h, skip)
    return h


def _push_row(rows: Array, x: Array) -> Array:
    """Append a row (B, W, C) of u to the last one, (B, 2, W, C)."""
    return jnp.stack([rows[:, 1], x], axis=1)


def _row_conv(layer: PyTree, rows: Array, stride: int = 1) -> Array:
    """Return D for a row of u, (B, W / stride, F), from the two rows that it sees."""
    return row_conv(layer["kernel"], rows, stride) + layer["bias"][None, None]


def _push_entry(rows: Array, x: Array, row: Array, column: Array) -> Array:
    """Write an entry (B, C) of v into the last two rows, (B, 2, 1 + W, C)."""
    return jax.lax.dynamic_update_slice(rows, x[:, None, None], (ZERO, row % 2, 1 + column, ZERO))


def _entry_conv(layer: PyTree, rows: Array, row: Array, column: Array) -> Array:
    """Return R for an entry of v, (B, F), from the last two rows."""
    window = jax.lax.dynamic_slice_in_dim(rows, column, 2, axis=2)
    window = jnp.where(row % 2 == 1, window, window[:, ::-1])  # the row above comes first
    kernel, bias = layer["kernel"], layer["bias"]
    return window.reshape(window.shape[0], -1) @ kernel.reshape(-1, bias.shape[0]) + bias[None]


def _gated(both: Array) -> Array:
    """Return a σ(b) of halves a and b."""
    a, b = jnp.split(both, 2, axis=-1)
    return a * nn.sigmoid(b)


def _phi(h: Array) -> Array:
    return nn.elu(jnp.concatenate([h, -h], axis=-1))


def _inputs(x: Array) -> Array:
    """Return values in [-1, 1] and a channel of ones, which tells pixels from the padding."""
    return jnp.concatenate([2 * x - 1, jnp.ones_like(x[..., :1])], axis=-1)
