"""PixelCNN++: two streams of gated residual layers at several resolutions, and a mixture of discretized logistics.

One stream u sees the rows above a pixel, the other one v the pixels to its left as well, and u. With convolutions D of
rows i − 1 … i, columns j − 1 … j + 1, and R of rows i − 1 … i, columns j − 1 … j, and a, b the halves of channels,

    u⁰ = D ∗ x↓,                    v⁰ = D′ ∗ x↓ + R′ ∗ x→,                                                       (1)
    block(h, s): h + a σ(b),        (a, b) = K₂ ∗ φ(K₁ ∗ φ(h) + S φ(s)) + c,       φ(h) = (elu(h), elu(−h)),      (2)

where x↓ is x moved down by a row, x→ right by a column, c linear in the label, and K is D in the stream u, R in v. Each
resolution k is a walk of N blocks, then of the resolution k + 1 on half as many rows and columns, then of blocks back,
which s joins to those on the way in from the last to the first, and in v to the block of u in the same place as well.
The outputs of v are the parameters of ``ops.LogisticMixture``.

At resolution k a row of u stands for 2^k rows of pixels and is computed once for them, an entry of v once for 2^k × 2^k
pixels; each convolution keeps the two rows that it sees.

Tim Salimans, Andrej Karpathy, Xi Chen and Diederik Kingma, 2017, arXiv:1701.05517. Resolutions are joined upwards by
linear maps of one entry to 2 × 2, and weights are not normalized; in both it differs from the paper.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from genjax.autoregressive.causal import CausalModel
from genjax.autoregressive.decoding import Step
from genjax.core import Array, PyTree
from genjax.nets import Conv, linear, scaled_init
from genjax.ops import LogisticMixture, check_at_least, check_dropout

ZERO = np.int32(0)  # an index beside others of 32 bits, also where JAX has 64


def pixel_cnn_pp(
    *,
    shape: tuple[int, ...],
    levels: int = 256,
    num_components: int = 10,
    num_resolutions: int = 3,
    num_blocks: int = 5,
    features: int = 160,
    dropout: float = 0.5,
    num_classes: int | None = None,
    dtype: Any = None,
) -> CausalModel:
    """Return a PixelCNN++.

    Args:
      shape: (H, W, C); each resolution but the last halves H and W.
      levels: number of values of a channel.
      num_components: of the mixture.
      num_resolutions: full, half, a quarter, ….
      num_blocks: N, on the way in, and back.
      features: channels of the streams.
      dropout: share of the channels inside a block that training leaves out, in [0, 1).
      num_classes: see ``CausalModel``.
      dtype: what the network computes in.

    >>> model = pixel_cnn_pp(shape=(4, 4, 3), num_resolutions=2, num_blocks=1, features=4, num_components=2)
    >>> variables = model.init(jax.random.key(0), {"x": jnp.zeros((3, 4, 4, 3), jnp.int32)})
    >>> model.sample(variables, jax.random.key(1), 2).shape
    (2, 4, 4, 3)
    """
    for name, value in {"num_resolutions": num_resolutions, "num_blocks": num_blocks, "features": features}.items():
        check_at_least(name, value, 1)
    check_dropout(dropout)
    divisor = 2 ** (num_resolutions - 1)
    if any(side % divisor for side in shape[:2]):
        raise ValueError(
            f"shape is {shape}, but num_resolutions={num_resolutions} needs height and width that are divisible by "
            f"{divisor}; pad the images, or give fewer resolutions"
        )
    distribution = LogisticMixture(levels, num_components)
    net = PixelCNNPPNet(
        num_outputs=distribution.num_outputs(shape[2] if len(shape) == 3 else 1),
        num_resolutions=num_resolutions,
        num_blocks=num_blocks,
        features=features,
        dropout=dropout,
        dtype=dtype,
    )
    return CausalModel(shape=shape, net=net, distribution=distribution, num_classes=num_classes)


class PixelCNNPPNet(nn.Module):
    """The network: equations 1 and 2; see ``CausalNet``.

    Attributes:
      num_outputs: parameters of the distribution of a pixel.
      num_resolutions: full, half, a quarter, ….
      num_blocks: N.
      features: channels of the streams.
      dropout: share of the channels left out in training.
      dtype: what the layers compute in; None follows the input.
    """

    num_axes: ClassVar[int] = 2
    num_outputs: int
    num_resolutions: int
    num_blocks: int
    features: int
    dropout: float
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, condition: Array | None = None, train: bool = False) -> Array:
        """Map pixels (B, H, W, C) in [0, 1] to outputs (B, H, W, P); ``condition`` is (B, K)."""
        x = _inputs(x)
        down = jnp.pad(x, ((0, 0), (1, 0), (0, 0), (0, 0)))[:, :-1]
        right = jnp.pad(x, ((0, 0), (0, 0), (1, 0), (0, 0)))[:, :, :-1]
        u = _Images(self, "u", condition, train)
        v = _Images(self, "v", condition, train, u.made)
        _walk(u, u.conv("first", down, self.features))
        h = _walk(v, u.conv("above", down, self.features) + v.conv("first", right, self.features))
        return nn.Dense(self.num_outputs, dtype=self.dtype, name="outputs")(nn.elu(h))

    def decoder(
        self, params: PyTree, num_rows: int, size: tuple[int, ...], condition: Array | None
    ) -> tuple[_Cache, Step]:
        """See ``CausalNet``."""
        width, channels = size[1], params["u_first"]["kernel"].shape[2]
        of_u, of_v = ({name[2:]: layer for name, layer in params.items() if name[:2] == s} for s in ("u_", "v_"))

        def next_row(cache: _Cache, row: Array) -> _Cache:
            u = _Row(self, of_u, condition, (row,), dict(cache.u))
            above = u.conv("above", cache.line, self.features)
            _walk(u, u.conv("first", cache.line, self.features))
            return cache._replace(u=u.cache, above=above)

        def next_pixel(cache: _Cache, x: Array, row: Array, column: Array) -> tuple[Array, _Cache]:
            v = _Pixel(self, of_v, condition, (row, column), dict(cache.v), cache.u)
            left = v.conv("first", jnp.where(column > 0, x, 0.0), self.features)
            h = _walk(v, jax.lax.dynamic_index_in_dim(cache.above, column, 1, keepdims=False) + left)
            return linear(params["outputs"], nn.elu(h)), cache._replace(index=cache.index + 1, v=v.cache)

        def step(cache: _Cache, pixel: Array) -> tuple[Array, _Cache]:
            row, column = cache.index // width, cache.index % width
            x = jnp.where(cache.index > 0, _inputs(pixel), 0.0)  # there is no pixel before the first
            line = jax.lax.dynamic_update_slice_in_dim(cache.line, x[:, None], (cache.index - 1) % width, axis=1)
            cache = jax.lax.cond(column == 0, next_row, lambda same, _: same, cache._replace(line=line), row)
            return next_pixel(cache, x, row, column)

        def first(index: Array) -> _Cache:
            """The cache as the first pixel leaves it, which begins as nothing."""
            line = jnp.zeros((num_rows, width, channels), jnp.float32)
            cache = next_row(_Cache(index, line, line, {}, {}), index)
            return next_pixel(cache, line[:, 0], index, index)[1]

        shapes = jax.eval_shape(first, jnp.int32(0))
        return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes), step


def _walk(stream: _Images | _Steps, h: Array) -> Array:
    """One resolution: blocks on the way in, what is below, and blocks on the way back."""
    kept = [h]
    for n in range(stream.net.num_blocks):
        h = _block(stream, f"in_{stream.level}_{n}", h, None)
        kept.append(h)
    if stream.level == stream.net.num_resolutions - 1:
        kept.pop()  # it is h
    else:
        h = stream.below(h)
    for n, skip in enumerate(reversed(kept)):
        h = _block(stream, f"back_{stream.level}_{n}", h, skip)
    return h


def _block(stream: _Images | _Steps, name: str, h: Array, skip: Array | None) -> Array:
    """Equation 2."""
    features = stream.net.features
    hidden = stream.conv(f"{name}_conv_1", _phi(h), features)
    for kind, other in (("skip", skip), ("link", stream.link(name))):
        if other is not None:
            hidden = hidden + stream.dense(f"{name}_{kind}", _phi(other), features)
    hidden = stream.dropout(f"{name}_dropout", _phi(hidden))
    both = stream.conv(f"{name}_conv_2", hidden, 2 * features, scale=0.1)
    a, b = jnp.split(both + stream.label(f"{name}_label", 2 * features), 2, axis=-1)
    return stream.keep(name, h + a * nn.sigmoid(b))


def _phi(h: Array) -> Array:
    return nn.elu(jnp.concatenate([h, -h], axis=-1))


def _inputs(x: Array) -> Array:
    """Values in [-1, 1], and a channel of ones that tells pixels from what lies beyond the border."""
    return jnp.concatenate([2 * x - 1, jnp.ones_like(x[..., :1])], axis=-1)


@dataclass
class _Images:
    """Whole images, (B, H, W, C), by modules of the network."""

    net: PixelCNNPPNet
    stream: str
    condition: Array | None
    train: bool
    u: dict[str, Array] | None = None
    level: int = 0
    made: dict[str, Array] = field(default_factory=dict)

    def conv(self, name: str, x: Array, features: int, *, scale: float = 1.0, stride: int = 1) -> Array:
        """D, or R in v; ``scale`` is that of the first weights."""
        columns = 3 if self.stream == "u" else 2
        settings = {"padding": ((1, 0), (1, columns - 2)), "kernel_init": scaled_init(scale)} | self._named(name)
        return Conv(features, (2, columns), stride, **settings)(x)

    def dense(self, name: str, x: Array, features: int) -> Array:
        """A linear map of each entry."""
        return nn.Dense(features, **self._named(name))(x)

    def label(self, name: str, features: int) -> Array | float:
        """The term c."""
        if self.condition is None:
            return 0.0
        return nn.Dense(features, use_bias=False, **self._named(name))(self.condition)[:, None, None]

    def dropout(self, name: str, x: Array) -> Array:
        """In training."""
        return nn.Dropout(self.net.dropout, deterministic=not self.train, name=f"{self.stream}_{name}")(x)

    def below(self, h: Array) -> Array:
        """Through the next resolution, and back to this one."""
        features, level = self.net.features, self.level
        h = _walk(replace(self, level=level + 1), self.conv(f"down_{level}", h, features, stride=2))
        rows, height, width, _ = h.shape
        h = self.dense(f"up_{level}", h, 4 * features).reshape(rows, height, width, 2, 2, features)
        return h.swapaxes(2, 3).reshape(rows, 2 * height, 2 * width, features)

    def keep(self, name: str, h: Array) -> Array:
        """Return what a block put out, and keep it for the other stream."""
        self.made[name] = h
        return h

    def link(self, name: str) -> Array | None:
        """What the block of u in the same place put out; None in u itself."""
        return None if self.u is None else self.u[name]

    def _named(self, name: str) -> dict[str, Any]:
        return {"dtype": self.net.dtype, "name": f"{self.stream}_{name}"}


class _Cache(NamedTuple):
    """The number of the pixel, the row being drawn, what its pixels have from ``above``, and caches of both streams."""

    index: Array
    line: Array
    above: Array
    u: dict[str, Any]
    v: dict[str, Any]


@dataclass
class _Steps:
    """One step of a stream at a place, with a cache of what this resolution keeps.

    It has by its name what each convolution saw last and what each block of u put out, and of the resolution below its
    cache, "below", and what came from there, "raised". Before the first step it is empty.
    """

    net: PixelCNNPPNet
    params: PyTree
    condition: Array | None
    place: tuple[Array, ...]
    cache: dict[str, Any]
    u: Any = None  # cache of u, for v
    level: int = 0

    def conv(self, name: str, x: Array, features: int, *, scale: float = 1.0) -> Array:
        del features, scale
        self.enter(name, x)
        return self.seen(name)

    def dense(self, name: str, x: Array, features: int) -> Array:
        del features
        return linear(self.params[name], x)

    def label(self, name: str, features: int) -> Array | float:
        del features
        return 0.0 if self.condition is None else linear(self.params[name], self.condition)

    def dropout(self, name: str, x: Array) -> Array:
        del name
        return x

    def below(self, h: Array) -> Array:
        """The resolution below steps where the place is even, and what it gave stands for the neighbours."""
        name, level = f"down_{self.level}", self.level
        self.enter(name, h)

        def step(cache: dict[str, Any]) -> dict[str, Any]:
            here, half = replace(self, cache=dict(cache)), tuple(index // 2 for index in self.place)
            options = {"u": self.u and self.u["below"], "level": level + 1}
            inner = replace(self, place=half, cache=dict(cache.get("below", {})), **options)
            here.rise(self.dense(f"up_{level}", _walk(inner, here.seen(name, stride=2)), 0))
            return here.cache | {"below": inner.cache}

        if "below" in self.cache:
            even = jnp.all(jnp.stack(self.place) % 2 == 0)
            self.cache = jax.lax.cond(even, step, lambda same: same, self.cache)
        else:
            self.cache = step(self.cache)
        return self.raised()

    def enter(self, name: str, x: Array) -> None:
        """Give a convolution its newest input."""
        raise NotImplementedError

    def seen(self, name: str, stride: int = 1) -> Array:
        """Convolve what was entered."""
        raise NotImplementedError

    def rise(self, x: Array) -> None:
        """Keep what came from below, 2 x 2 entries in 4F channels."""
        raise NotImplementedError

    def raised(self) -> Array:
        """Return what came from below for this place."""
        raise NotImplementedError

    def keep(self, name: str, h: Array) -> Array:
        return h

    def link(self, name: str) -> Array | None:
        return None


class _Row(_Steps):
    """A row of u, (B, W, C), and its number as the place. A convolution keeps two rows."""

    def enter(self, name: str, x: Array) -> None:
        before = self.cache[name][:, 1] if name in self.cache else jnp.zeros_like(x)
        self.cache[name] = jnp.stack([before, x], axis=1)

    def seen(self, name: str, stride: int = 1) -> Array:
        layer, numbers, padding = self.params[name], ("NHWC", "HWIO", "NHWC"), ((0, 0), (1, 1))
        rows = self.cache[name]
        outputs = jax.lax.conv_general_dilated(rows, layer["kernel"], (1, stride), padding, dimension_numbers=numbers)
        return jnp.asarray(outputs)[:, 0] + layer["bias"][None, None]

    def label(self, name: str, features: int) -> Array | float:
        label = super().label(name, features)
        return label[:, None] if isinstance(label, Array) else label

    def rise(self, x: Array) -> None:
        self.cache["raised"] = x.reshape(*x.shape[:2], 2, 2, x.shape[2] // 4)

    def raised(self) -> Array:
        x = jax.lax.dynamic_index_in_dim(self.cache["raised"], self.place[0] % 2, axis=2, keepdims=False)
        return x.reshape(len(x), -1, x.shape[-1])

    def keep(self, name: str, h: Array) -> Array:
        self.cache[name] = h
        return h


class _Pixel(_Steps):
    """An entry of v, (B, C), its row and column as the place. A convolution keeps two rows, a column of zeros first."""

    def enter(self, name: str, x: Array) -> None:
        row, column = self.place
        before = self.cache.get(name, jnp.zeros((len(x), 2, 1 + self.width, x.shape[1]), x.dtype))
        self.cache[name] = jax.lax.dynamic_update_slice(before, x[:, None, None], (ZERO, row % 2, 1 + column, ZERO))

    def seen(self, name: str, stride: int = 1) -> Array:
        del stride
        row, column = self.place
        window = jax.lax.dynamic_slice_in_dim(self.cache[name], column, 2, axis=2)
        window = jnp.where(row % 2 == 1, window, window[:, ::-1])  # the row above comes first
        kernel, bias = self.params[name]["kernel"], self.params[name]["bias"]
        return window.reshape(len(window), -1) @ kernel.reshape(-1, len(bias)) + bias[None]

    def rise(self, x: Array) -> None:
        x = x.reshape(len(x), 1, 2, 2, x.shape[1] // 4)
        before = self.cache.get("raised", jnp.zeros((len(x), self.width // 2, *x.shape[2:]), x.dtype))
        self.cache["raised"] = jax.lax.dynamic_update_slice_in_dim(before, x, self.place[1] // 2, axis=1)

    def raised(self) -> Array:
        row, column = self.place
        at = (ZERO, column // 2, row % 2, column % 2, ZERO)
        x = self.cache["raised"]
        return jax.lax.dynamic_slice(x, at, (len(x), 1, 1, 1, x.shape[-1])).reshape(len(x), -1)

    def link(self, name: str) -> Array | None:
        return jax.lax.dynamic_index_in_dim(self.u[name], self.place[1], axis=1, keepdims=False)

    @property
    def width(self) -> int:
        """Columns at this resolution."""
        return self.u[f"in_{self.level}_0"].shape[1]
