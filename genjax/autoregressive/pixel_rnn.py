"""PixelRNN: LSTMs over an image, one row or one diagonal at a time.

A causal convolution over the pixels before (i, j), in rows i − r … i and columns j − r … j + r, gives the map u_0.
Layer l is an LSTM whose state h and cell c at (i, j) depend on the map below it and on states before (i, j),

    a = K ∗ u_{l−1} + U ∗ h + b,                  a = (a_i, a_f, a_o, a_g) and b linear in the label,             (1)
    c = σ(a_f + 1) c′ + σ(a_i) tanh(a_g),         h = σ(a_o) tanh(c),         u_l = u_{l−1} + R h,                (2)

and a perceptron maps the last map to logits. (The 1 lets cells remember from the start of training.) The

    Row LSTM              K reaches (i, j − 1) and (i, j),   U (i − 1, j − 1 … j + 1),         c′ = c_{i−1, j},   (3)
    Diagonal BiLSTM       K reaches (i, j),                  U (i, j − 1) and (i − 1, j),      c′ = c_{i, j−1};   (4)

The first computes a row per step and sees a triangle above the pixel. The second computes a diagonal per step: when
row i is shifted by i columns to the right, (4) leads from each of W + H − 1 columns to the next. It sees the pixels
above and to the left. A second LSTM, with states h̃, runs from right to left and sees the pixels above and to the right,

    ã = K̃ ∗ u_{l−1} + P x + Ũ ∗ h̃ + b̃,            u_l = u_{l−1} + R (h_ij + h̃_{i−1, j}),                          (5)

and is added one row late, so that it sees no later pixel. P is not in the paper. Without it, (i, j) would not see the
last pixel of the row above if j < W − 1 − r, because no position that h̃ depends on comes after that pixel.

During sampling, everything that a row receives from the row above (U ∗ h in the Row LSTM, h̃ in the other) is computed
when the row begins; a pixel costs only its own gates.

Aäron van den Oord, Nal Kalchbrenner and Koray Kavukcuoglu, 2016, arXiv:1601.06759.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from annotated_types import Ge

from genjax.arguments import DropoutRate, NumClasses, PositiveInt, Sizes, check_arguments
from genjax.autoregressive.causal import CausalModel, EmbeddingDim
from genjax.autoregressive.decoding import Step
from genjax.core import Array, PyTree
from genjax.nets import CausalConv, CausalConvCache, Conv, linear
from genjax.nets.causal_conv import shifted
from genjax.ops import Categorical, at_least_float32


@check_arguments
def pixel_rnn(
    *,
    shape: Sizes,
    num_values: Annotated[int, Ge(2)] = 2,
    kind: Literal["row", "diagonal"] = "diagonal",
    num_layers: PositiveInt = 2,
    features: PositiveInt = 16,
    head_features: PositiveInt = 32,
    reach: PositiveInt = 3,
    dropout: DropoutRate = 0.0,
    num_classes: NumClasses | None = None,
    embedding_dim: EmbeddingDim | None = None,
    dtype: Any = None,
) -> CausalModel:
    """Return a PixelRNN (Aäron van den Oord, Nal Kalchbrenner and Koray Kavukcuoglu 2016, arXiv:1601.06759).

    Args:
      shape: shape of an image, (H, W, 1), or of a grid of codes, (H, W).
      num_values: number of values of a pixel.
      kind: "row" for the Row LSTM, or "diagonal" for the Diagonal BiLSTM, which sees more and takes longer.
      num_layers: number of LSTM layers.
      features: number of channels of each LSTM's state; the maps between layers have twice as many.
      head_features: number of channels of the two layers before the logits.
      reach: number of rows above, and of columns to either side, that the first convolution sees, r; 3 in the paper.
      dropout: share of the channels of h that training drops between layers, in [0, 1).
      num_classes: see ``CausalModel``.
      embedding_dim: see ``CausalModel``.
      dtype: dtype of the computation; None follows the input. States are at least float32.

    >>> model = pixel_rnn(shape=(4, 4, 1), num_layers=1, features=4, reach=1)
    >>> variables = model.init(jax.random.key(0), {"x": jnp.zeros((3, 4, 4, 1), jnp.int32)})
    >>> model.sample(variables, jax.random.key(1), 2).shape
    (2, 4, 4, 1)
    """
    net = PixelRNNNet(num_values, kind, num_layers, features, head_features, reach, dropout, dtype)
    return CausalModel(
        shape=shape, net=net, distribution=Categorical(num_values), num_classes=num_classes, embedding_dim=embedding_dim
    )


@check_arguments
class PixelRNNNet(nn.Module):
    """The network of PixelRNN, equations 1 to 5; see ``CausalNet``.

    ``num_outputs`` is the number of values of a pixel, L. Other attributes: see ``pixel_rnn``.
    """

    num_axes = 2
    num_outputs: PositiveInt
    kind: Literal["row", "diagonal"]
    num_layers: PositiveInt
    features: PositiveInt
    head_features: PositiveInt
    reach: PositiveInt
    dropout: DropoutRate = 0.0
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
        self, params: PyTree, batch_size: int, size: tuple[int, ...], condition: Array | None
    ) -> tuple[_Cache, Step]:
        """See ``CausalNet``."""
        width, kind = size[1], _LAYERS[self.kind]
        layers = [kind.weights(params[f"layer_{i}"], condition, batch_size) for i in range(self.num_layers)]
        stacked = _stack(layers)

        def zeros(*shape: int) -> Array:
            return jnp.zeros((*shape[:-1], shape[-1] * self.features), jnp.float32)

        empty = _Cache(
            index=jnp.int32(0),
            first=CausalConvCache.start(params["first"], batch_size, width),
            above=[tuple(zeros(batch_size, width, size) for size in kind.ABOVE) for _ in layers],
            rows=[_States(*(zeros(batch_size, width, size) for size in (2, 1, 1))) for _ in layers],
            left=[_States(*(zeros(batch_size, size) for size in (2, 1, 1))) for _ in layers],
        )

        def next_row(cache: _Cache) -> _Cache:
            finished, past = cache.first.row[:, self.reach :], (_stack(cache.above), _stack(cache.rows))
            above = jax.vmap(kind.next_row, in_axes=(0, None, 0, 0))(stacked, finished, *past)
            above = [jax.tree.map(lambda a, i=i: a[i], above) for i in range(self.num_layers)]
            return cache._replace(first=cache.first.next_row(params["first"]), above=above)

        def step(cache: _Cache, pixel: Array) -> tuple[Array, _Cache]:
            index, column = cache.index, cache.index % width
            last = jnp.where(index > 0, pixel, 0.0)  # no pixel precedes the first
            cache = cache._replace(first=cache.first.put(last, (index - 1) % width))
            cache = jax.lax.cond((column == 0) & (index > 0), next_row, lambda same: same, cache)
            put = lambda row, x: jax.lax.dynamic_update_slice_in_dim(row, x[:, None], column, axis=1)  # noqa: E731
            u, rows, lefts = cache.first.outputs(params["first"], column), [], []
            for i, layer in enumerate(layers):
                above = [jax.lax.dynamic_index_in_dim(a, column, 1, keepdims=False) for a in cache.above[i]]
                left = jax.tree.map(lambda a: jnp.where(column > 0, a, 0.0), cache.left[i])
                hidden, states = kind.pixel(layer, u, *above, left)
                u = u + linear(params[f"residual_{i}"], hidden)
                rows.append(jax.tree.map(put, cache.rows[i], states))
                lefts.append(states)
            for name in ("head_0", "head_1", "logits"):
                u = linear(params[name], nn.relu(u))
            return u, cache._replace(index=index + 1, rows=rows, left=lefts)

        return empty, step


class _States(NamedTuple):
    """A layer's input u (..., 2 features), and its h and c (..., features)."""

    u: Array
    hidden: Array
    cell: Array


class _Cache(NamedTuple):
    """A half-drawn image.

    Attributes:
      index: number of the next pixel.
      first: cache of the first convolution.
      above: what each layer receives from the row above, two arrays (B, W, C).
      rows: states of each layer in the current row, (B, W, ...). A step only writes to them: XLA would copy a row that
        it both reads and writes.
      left: states of each layer at the last pixel, (B, ...).
    """

    index: Array
    first: CausalConvCache
    above: list[tuple[Array, ...]]
    rows: list[_States]
    left: list[_States]


class _RowLSTM(nn.Module):
    """The Row LSTM, equations 1 to 3."""

    features: int
    dtype: Any = None
    ABOVE: ClassVar = (4, 1)  # channels of ``next_row``, in multiples of ``features``

    @nn.compact
    def __call__(self, u: Array, x: Array, condition: Array | None) -> Array:
        """Map u (B, H, W, 2 features) to h (B, H, W, features)."""
        del x
        gates = Conv(4 * self.features, (1, 2), padding=((0, 0), (1, 0)), dtype=self.dtype, name="input")(u)
        gates = _add_label(gates, condition)
        shape = (3 * self.features, 4 * self.features)
        kernel = self.param("state", nn.initializers.lecun_normal(), shape, jnp.float32)
        return _scan_lstm(gates, kernel, 1, _neighbors)

    @staticmethod
    def weights(params: PyTree, condition: Array | None, batch_size: int) -> PyTree:
        """Return K, b and U of equation 1, for ``next_row`` and ``pixel``."""
        kernel = params["input"]["kernel"]
        return kernel.reshape(-1, kernel.shape[-1]), _bias(params, condition, batch_size), params["state"]

    @staticmethod
    def next_row(weights: PyTree, pixels: Array, above: tuple[Array, ...], row: _States) -> tuple[Array, ...]:
        """Return U ∗ h and c for a whole row, from the finished row above it."""
        del pixels, above
        return _neighbors(row.hidden) @ weights[2], row.cell

    @staticmethod
    def pixel(weights: PyTree, u: Array, above: Array, cell: Array, left: _States) -> tuple[Array, _States]:
        """Return h and the states of a pixel, from ``next_row`` at its column and the states to its left."""
        kernel, bias, _ = weights
        inputs = jnp.concatenate([left.u, u], axis=-1)
        hidden, cell = _lstm(above + bias, inputs, kernel, cell)
        return hidden, _States(u, hidden, cell)


class _DiagonalBiLSTM(nn.Module):
    """The Diagonal BiLSTM, equations 1, 2, 4 and 5; the first half of K, b and U runs from left to right."""

    features: int
    dtype: Any = None
    ABOVE: ClassVar = (1, 1)

    @nn.compact
    def __call__(self, u: Array, x: Array, condition: Array | None) -> Array:
        """Map u (B, H, W, 2 features) and pixels (B, H, W, D) to the sum of h and h̃ in equation 5."""
        gates = _add_label(nn.Dense(8 * self.features, dtype=self.dtype, name="input")(u), condition)
        initial = nn.initializers.lecun_normal(batch_axis=0)
        kernels = self.param("state", initial, (2, 2 * self.features, 4 * self.features), jnp.float32)
        gates, reverse = jnp.split(gates, 2, axis=-1)
        reverse = reverse + nn.Dense(4 * self.features, use_bias=False, dtype=self.dtype, name="pixel")(x)
        hidden, reverse = jax.vmap(_diagonals)(jnp.stack([gates, jnp.flip(reverse, axis=2)]), kernels)
        return hidden + shifted(jnp.flip(reverse, axis=2), axis=1)

    @staticmethod
    def weights(params: PyTree, condition: Array | None, batch_size: int) -> PyTree:
        """Return K, b and U of equation 1, and K̃, P, b̃ and the two halves of Ũ of equation 5."""
        kernel, reverse_kernel = jnp.split(params["input"]["kernel"], 2, axis=-1)
        bias, reverse_bias = jnp.split(_bias(params, condition, batch_size), 2, axis=-1)
        state, reverse_state = params["state"]
        reverse = (reverse_kernel, params["pixel"]["kernel"], reverse_bias, *jnp.split(reverse_state, 2))
        return (kernel, bias, state), reverse

    @staticmethod
    def next_row(weights: PyTree, pixels: Array, above: tuple[Array, ...], row: _States) -> tuple[Array, ...]:
        """Return h̃ and h of the finished row, from h̃ of the row above it."""
        kernel, pixel_kernel, bias, from_right, from_above = weights[1]
        gates = row.u @ kernel + pixels @ pixel_kernel + bias[:, None] + above[0] @ from_above
        return _scan_lstm(gates, from_right, 1, lambda h: h, reverse=True), row.hidden

    @staticmethod
    def pixel(weights: PyTree, u: Array, reverse: Array, above: Array, left: _States) -> tuple[Array, _States]:
        """Return h + h̃ of equation 5, and the states of a pixel in the direction from left to right."""
        kernel, bias, state = weights[0]
        previous = jnp.concatenate([left.hidden, above], axis=-1)
        hidden, cell = _lstm(u @ kernel + bias, previous, state, left.cell)
        return hidden + reverse, _States(u, hidden, cell)


_LAYERS = {"row": _RowLSTM, "diagonal": _DiagonalBiLSTM}


def _scan_lstm(
    gates: Array, kernel: Array, axis: int, gather: Callable[[Array], Array], reverse: bool = False
) -> Array:
    """Run an LSTM along an axis of its gates (B, ..., 4 features) and return its states h (B, ..., features).

    The kernel U is applied to ``gather(h)``, where h are the states of the previous step.
    """

    def step(states: tuple[Array, Array], gates: Array) -> tuple[tuple[Array, Array], Array]:
        hidden, cell = _lstm(gates, gather(states[0]), kernel, states[1])
        return (hidden, cell), hidden

    gates = jnp.moveaxis(gates, axis, 0)
    zeros = jnp.zeros_like(at_least_float32(jnp.split(gates[0], 4, axis=-1)[0]))
    return jnp.moveaxis(jax.lax.scan(step, (zeros, zeros), gates, reverse=reverse)[1], 0, axis)


def _lstm(gates: Array, inputs: Array, kernel: Array, cell: Array) -> tuple[Array, Array]:
    """Return the next h and c, equation 2, where a is the sum of the gates and of inputs times kernel."""
    gates = gates + inputs.astype(gates.dtype) @ kernel.astype(gates.dtype)
    i, f, o, g = jnp.split(at_least_float32(gates), 4, axis=-1)
    cell = nn.sigmoid(f + 1) * cell + nn.sigmoid(i) * jnp.tanh(g)
    return nn.sigmoid(o) * jnp.tanh(cell), cell


def _diagonals(gates: Array, kernel: Array) -> Array:
    """Return the states (B, H, W, features) of one direction, computed with row i shifted by i columns."""
    num, height, width, _ = gates.shape
    # Rows of length W + H, reshaped to rows of length W + H - 1, are each shifted by one more; the padding is 0.
    wide = jnp.pad(gates, ((0, 0), (0, 0), (0, height), (0, 0)))
    skewed = wide.reshape(num, height * (width + height), -1)[:, :-height].reshape(num, height, width + height - 1, -1)
    hidden = _scan_lstm(skewed, kernel, 2, lambda h: jnp.concatenate([h, shifted(h, axis=1)], axis=-1))
    wide = jnp.pad(hidden.reshape(num, height * (width + height - 1), -1), ((0, 0), (0, height), (0, 0)))
    return wide.reshape(num, height, width + height, -1)[:, :, :width]


def _add_label(gates: Array, condition: Array | None) -> Array:
    """Add a linear map of the condition, inside a compact method."""
    if condition is None:
        return gates
    dense = nn.Dense(gates.shape[-1], use_bias=False, dtype=gates.dtype, name="condition")
    return gates + dense(condition)[:, None, None]


def _bias(layer: PyTree, condition: Array | None, batch_size: int) -> Array:
    """Return b of equation 1 for each example, (B, ...), with the linear map of its condition."""
    bias = layer["input"]["bias"][None]
    if condition is not None:
        bias = bias + condition @ layer["condition"]["kernel"]
    return jnp.broadcast_to(bias, (batch_size, bias.shape[1]))


def _stack(layers: list[PyTree]) -> PyTree:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *layers)


def _neighbors(a: Array) -> Array:
    """Concatenate the channels of columns j - 1 … j + 1 of (B, W, C) at column j."""
    wide = jnp.pad(a, ((0, 0), (1, 1), (0, 0)))
    return jnp.concatenate([wide[:, :-2], a, wide[:, 2:]], axis=-1)
