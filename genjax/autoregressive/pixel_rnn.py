"""PixelRNN: LSTMs that run over an image, a row or a diagonal at a time.

A causal convolution of the pixels before (i, j), in rows i − r … i and columns j − r … j + r, gives the map u_0. Layer
l is an LSTM whose states h and cells c at (i, j) come from the map below it and from states before (i, j),

    a = K ∗ u_{l−1} + U ∗ h + b,                  a = (a_i, a_f, a_o, a_g) and b linear in the label,             (1)
    c = σ(a_f + 1) c′ + σ(a_i) tanh(a_g),         h = σ(a_o) tanh(c),         u_l = u_{l−1} + R h,                (2)

and logits are a perceptron of the last map. (The 1 is there for cells to remember from the start of training.) The

    Row LSTM              K reaches (i, j − 1) and (i, j),   U (i − 1, j − 1 … j + 1),         c′ = c_{i−1, j},   (3)
    Diagonal BiLSTM       K reaches (i, j),                  U (i, j − 1) and (i − 1, j),      c′ = c_{i, j−1};   (4)

the first computes a row in one step, and sees a triangle above the pixel. The second computes a diagonal in one step:
once row i is moved by i places to the right, (4) reaches from a column to the next, of which there are W + H − 1. It
sees what is above to the left; what is above to the right is seen by a second one, with states h̃, from right to left,

    ã = K̃ ∗ u_{l−1} + P x + Ũ ∗ h̃ + b̃,            u_l = u_{l−1} + R (h_ij + h̃_{i−1, j}),                          (5)

which is added a row late, and so sees no pixel to come. P is not in the paper. Without it (i, j) does not see the last
pixel of the row above where j < W − 1 − r, since no place that h̃ comes from is after that pixel.

To draw an image, what the row above gives to all of a row (U ∗ h of the Row LSTM, h̃ of the other) is computed as the
row begins, and a pixel costs its own gates.

Aäron van den Oord, Nal Kalchbrenner and Koray Kavukcuoglu, 2016, arXiv:1601.06759.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from genjax.autoregressive.causal import CausalModel
from genjax.autoregressive.decoding import Step
from genjax.core import Array, PyTree
from genjax.nets import CausalConv, CausalConvCache, Conv, linear
from genjax.ops import Categorical, at_least_float32, check_at_least, check_dropout


def pixel_rnn(
    *,
    shape: tuple[int, ...],
    num_values: int = 2,
    kind: Literal["row", "diagonal"] = "diagonal",
    num_layers: int = 2,
    features: int = 16,
    head_features: int = 32,
    reach: int = 3,
    dropout: float = 0.0,
    num_classes: int | None = None,
    embedding_dim: int | None = None,
    dtype: Any = None,
) -> CausalModel:
    """Return a PixelRNN.

    Args:
      shape: (H, W, 1), or (H, W) of grids of codes.
      num_values: number of values of a pixel.
      kind: "row" for the Row LSTM, or "diagonal" for the Diagonal BiLSTM, which sees more and takes longer.
      num_layers: of LSTMs.
      features: channels of each LSTM's state; the maps between them have twice as many.
      head_features: channels of the two layers before the logits.
      reach: r of the first convolution, how many rows up and columns to either side it sees; 3 in the paper.
      dropout: share of the channels of h that training leaves out between layers, in [0, 1).
      num_classes: see ``CausalModel``.
      embedding_dim: see ``CausalModel``.
      dtype: what the network computes in; states are kept in float32 at least.

    Raises:
      ValueError: for another kind, and sizes below 1.

    >>> model = pixel_rnn(shape=(4, 4, 1), num_layers=1, features=4, reach=1)
    >>> variables = model.init(jax.random.key(0), {"x": jnp.zeros((3, 4, 4, 1), jnp.int32)})
    >>> model.sample(variables, jax.random.key(1), 2).shape
    (2, 4, 4, 1)
    """
    if kind not in _LAYERS:
        raise ValueError(f"kind is {kind!r}, but must be 'row' or 'diagonal'")
    sizes: dict[str, Any] = {
        "num_layers": num_layers,
        "features": features,
        "head_features": head_features,
        "reach": reach,
    }
    for name, value in sizes.items():
        check_at_least(name, value, 1)
    check_dropout(dropout)
    return CausalModel(
        shape=shape,
        net=PixelRNNNet(num_outputs=num_values, kind=kind, **sizes, dropout=dropout, dtype=dtype),
        distribution=Categorical(num_values),
        num_classes=num_classes,
        embedding_dim=embedding_dim,
    )


class PixelRNNNet(nn.Module):
    """The network: equations 1 to 5; see ``CausalNet``.

    Attributes:
      num_outputs: L.
      kind: "row" or "diagonal".
      num_layers: of LSTMs.
      features: channels of each LSTM's state.
      head_features: channels of the two layers before the logits.
      reach: r.
      dropout: share of the channels of h that training leaves out.
      dtype: what the layers compute in; None follows the input.
    """

    num_axes: ClassVar[int] = 2
    num_outputs: int
    kind: Literal["row", "diagonal"]
    num_layers: int
    features: int
    head_features: int
    reach: int
    dropout: float = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, condition: Array | None = None, train: bool = False) -> Array:
        """Map pixels (B, H, W, D) to logits (B, H, W, L); ``condition`` is (B, K)."""
        channels, settings = 2 * self.features, {"dtype": self.dtype}
        u = CausalConv(channels, self.reach, include_center=False, **settings, name="first")(x)
        for i in range(self.num_layers):
            hidden = _LAYERS[self.kind](self.features, **settings, name=f"layer_{i}")(u, x, condition)
            hidden = nn.Dropout(self.dropout, deterministic=not train)(hidden)
            u = u + nn.Dense(channels, **settings, name=f"residual_{i}")(hidden)
        for name in ("head_0", "head_1"):
            u = nn.Dense(self.head_features, dtype=self.dtype, name=name)(nn.relu(u))
        return nn.Dense(self.num_outputs, dtype=self.dtype, name="logits")(nn.relu(u))

    def decoder(
        self, params: PyTree, num_rows: int, size: tuple[int, ...], condition: Array | None
    ) -> tuple[_Cache, Step]:
        """See ``CausalNet``."""
        width, kind, numbers = size[1], _LAYERS[self.kind], range(self.num_layers)
        each = [_with_label(params[f"layer_{i}"], condition, num_rows) for i in numbers]
        residuals = [params[f"residual_{i}"] for i in numbers]
        layers, residuals = (jax.tree.map(lambda *a: jnp.stack(a), *parts) for parts in (each, residuals))

        def zeros(channels: int) -> Array:
            return jnp.zeros((self.num_layers, num_rows, width, channels), jnp.float32)

        empty = _Cache(
            index=jnp.int32(0),
            first=CausalConvCache.start(params["first"], num_rows, width),
            above=zeros(kind.ABOVE * self.features),
            row=_States(zeros(2 * self.features), zeros(self.features), zeros(self.features)),
        )

        def next_row(cache: _Cache) -> _Cache:
            finished = cache.first.row[:, self.reach :]
            above = jax.vmap(kind.next_row, in_axes=(0, None, 0, 0))(layers, finished, cache.above, cache.row)
            return cache._replace(first=cache.first.next_row(params["first"]), above=above)

        def layer(u: Array, own: tuple[PyTree, PyTree, Array, _States, _States]) -> tuple[Array, _States]:
            params, residual, *states = own
            hidden, new = kind.pixel(params, u, *states)
            return u + linear(residual, hidden), new

        def step(cache: _Cache, pixel: Array) -> tuple[Array, _Cache]:
            index, column = cache.index, cache.index % width
            last = jnp.where(index > 0, pixel, 0.0)  # there is no pixel before the first
            cache = cache._replace(first=cache.first.put(last, (index - 1) % width))
            cache = jax.lax.cond((column == 0) & (index > 0), next_row, lambda same: same, cache)
            u = cache.first.outputs(params["first"], column)
            above, here = jax.tree.map(lambda a: _take(a, column), (cache.above, cache.row))
            left = jax.tree.map(lambda a: jnp.where(column > 0, _take(a, column - 1), 0.0), cache.row)
            u, new = jax.lax.scan(layer, u, (layers, residuals, above, here, left))
            put = jax.lax.dynamic_update_slice_in_dim
            row = jax.tree.map(lambda a, b: put(a, b[:, :, None], column, 2), cache.row, new)
            for name in ("head_0", "head_1", "logits"):
                u = linear(params[name], nn.relu(u))
            return u, cache._replace(index=index + 1, row=row)

        return empty, step


class _States(NamedTuple):
    """A layer's input u (..., 2 features), and its h and c (..., features)."""

    u: Array
    hidden: Array
    cell: Array


class _Cache(NamedTuple):
    """What is known of a half-drawn image.

    ``first`` is of the convolution. The others are of all layers, (num_layers, B, W, ...): ``above`` has what the row
    above gives to the pixels of the current one, and ``row`` states of the current row to the left of the next pixel,
    and from there on of the row above.
    """

    index: Array
    first: CausalConvCache
    above: Array
    row: _States


class _RowLSTM(nn.Module):
    """Equations 1 to 3."""

    features: int
    dtype: Any = None
    ABOVE: ClassVar = 4  # channels of what ``next_row`` returns, in features

    @nn.compact
    def __call__(self, u: Array, x: Array, condition: Array | None) -> Array:
        """Map u (B, H, W, 2 features) to h (B, H, W, features)."""
        del x
        gates = Conv(4 * self.features, (1, 2), padding=((0, 0), (1, 0)), dtype=self.dtype, name="input")(u)
        gates = _add_label(gates, condition)
        kernel = self.param(
            "state", nn.initializers.lecun_normal(), (3 * self.features, 4 * self.features), jnp.float32
        )
        return _sweep(gates, kernel, 1, _beside)

    @staticmethod
    def next_row(params: PyTree, pixels: Array, above: Array, row: _States) -> Array:
        """U ∗ h of a whole row, from the finished one above it."""
        del pixels, above
        return _beside(row.hidden) @ params["state"]

    @staticmethod
    def pixel(params: PyTree, u: Array, above: Array, here: _States, left: _States) -> tuple[Array, _States]:
        """Return h and all of the pixel's states, from those above it (``here``) and to the left."""
        kernel = params["input"]["kernel"].reshape(-1, above.shape[-1])
        inputs = jnp.concatenate([left.u, u], axis=-1)
        hidden, cell = _lstm(above + params["label"], inputs, kernel, here.cell)
        return hidden, _States(u, hidden, cell)


class _DiagonalBiLSTM(nn.Module):
    """Equations 1, 2, 4 and 5; the first half of K, b and U is of the direction from left to right."""

    features: int
    dtype: Any = None
    ABOVE: ClassVar = 1

    @nn.compact
    def __call__(self, u: Array, x: Array, condition: Array | None) -> Array:
        """Map u (B, H, W, 2 features) and pixels (B, H, W, D) to h and h̃ of equation 5, added up."""
        gates = _add_label(nn.Dense(8 * self.features, dtype=self.dtype, name="input")(u), condition)
        initial = nn.initializers.lecun_normal(batch_axis=0)
        kernels = self.param("state", initial, (2, 2 * self.features, 4 * self.features), jnp.float32)
        gates, other = jnp.split(gates, 2, axis=-1)
        other = other + nn.Dense(4 * self.features, use_bias=False, dtype=self.dtype, name="pixel")(x)
        hidden, other = jax.vmap(_diagonals)(jnp.stack([gates, jnp.flip(other, axis=2)]), kernels)
        return hidden + _down(jnp.flip(other, axis=2))

    @staticmethod
    def next_row(params: PyTree, pixels: Array, above: Array, row: _States) -> Array:
        """h̃ of the finished row, from that of the row above it."""
        kernel, label, state = _direction(params, 1)
        from_right, from_above = jnp.split(state, 2)
        gates = row.u @ kernel + pixels @ params["pixel"]["kernel"] + label[:, None] + above @ from_above
        return _sweep(gates, from_right, 1, lambda h: h, reverse=True)

    @staticmethod
    def pixel(params: PyTree, u: Array, above: Array, here: _States, left: _States) -> tuple[Array, _States]:
        """Return h + h̃ of equation 5, and the pixel's states from left to right."""
        kernel, label, state = _direction(params, 0)
        earlier = jnp.concatenate([left.hidden, here.hidden], axis=-1)
        hidden, cell = _lstm(u @ kernel + label, earlier, state, left.cell)
        return hidden + above, _States(u, hidden, cell)


_LAYERS = {"row": _RowLSTM, "diagonal": _DiagonalBiLSTM}


def _sweep(gates: Array, kernel: Array, axis: int, earlier: Callable[[Array], Array], reverse: bool = False) -> Array:
    """Return the states h (B, ..., features) of an LSTM that steps along an axis of its gates (B, ..., 4 features).

    U, the kernel, takes what ``earlier`` makes of the states of the step before.
    """

    def step(states: tuple[Array, Array], gates: Array) -> tuple[tuple[Array, Array], Array]:
        hidden, cell = _lstm(gates, earlier(states[0]), kernel, states[1])
        return (hidden, cell), hidden

    gates = jnp.moveaxis(gates, axis, 0)
    zeros = jnp.zeros_like(at_least_float32(jnp.split(gates[0], 4, axis=-1)[0]))
    return jnp.moveaxis(jax.lax.scan(step, (zeros, zeros), gates, reverse=reverse)[1], 0, axis)


def _lstm(gates: Array, inputs: Array, kernel: Array, cell: Array) -> tuple[Array, Array]:
    """Return the next h and c, equation 2; ``gates`` is a without the product of inputs and kernel."""
    gates = gates + inputs.astype(gates.dtype) @ kernel.astype(gates.dtype)
    i, f, o, g = jnp.split(at_least_float32(gates), 4, axis=-1)
    cell = nn.sigmoid(f + 1) * cell + nn.sigmoid(i) * jnp.tanh(g)
    return nn.sigmoid(o) * jnp.tanh(cell), cell


def _diagonals(gates: Array, kernel: Array) -> Array:
    """Return the states (B, H, W, features) of one direction, whose row i is moved by i places on the way."""
    num, height, width, _ = gates.shape
    # Rows of W + H places, read as rows of W + H - 1, begin a place later each; before, gates and states are 0.
    wide = jnp.pad(gates, ((0, 0), (0, 0), (0, height), (0, 0)))
    skewed = wide.reshape(num, height * (width + height), -1)[:, :-height].reshape(num, height, width + height - 1, -1)
    hidden = _sweep(skewed, kernel, 2, lambda h: jnp.concatenate([h, _down(h)], axis=-1))
    wide = jnp.pad(hidden.reshape(num, height * (width + height - 1), -1), ((0, 0), (0, height), (0, 0)))
    return wide.reshape(num, height, width + height, -1)[:, :, :width]


def _direction(layer: PyTree, which: int) -> tuple[Array, Array, Array]:
    """Return the K, the label's b and the U of one direction."""
    kernel, label = (jnp.split(a, 2, axis=-1)[which] for a in (layer["input"]["kernel"], layer["label"]))
    return kernel, label, layer["state"][which]


def _add_label(gates: Array, condition: Array | None) -> Array:
    """Add a linear map of the condition, a layer of the module that calls this."""
    if condition is None:
        return gates
    dense = nn.Dense(gates.shape[-1], use_bias=False, dtype=gates.dtype, name="condition")
    return gates + dense(condition)[:, None, None]


def _with_label(layer: PyTree, condition: Array | None, num_rows: int) -> PyTree:
    """Return a layer's parameters, with b of equation 1, (B, ...), among them as ``label``."""
    bias = layer["input"]["bias"][None]
    label = bias if condition is None else bias + condition @ layer["condition"]["kernel"]
    return {**layer, "label": jnp.broadcast_to(label, (num_rows, bias.shape[1]))}


def _beside(a: Array) -> Array:
    """Return columns j - 1 … j + 1 of (B, W, C) in the channels of column j."""
    wide = jnp.pad(a, ((0, 0), (1, 1), (0, 0)))
    return jnp.concatenate([wide[:, :-2], a, wide[:, 2:]], axis=-1)


def _down(a: Array) -> Array:
    """Move rows of (B, H, ...) down by one."""
    return jnp.concatenate([jnp.zeros_like(a[:, :1]), a[:, :-1]], axis=1)


def _take(a: Array, column: Array) -> Array:
    return jax.lax.dynamic_index_in_dim(a, column, 2, keepdims=False)
