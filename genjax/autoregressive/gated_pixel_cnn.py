"""Gated PixelCNN: a vertical stack of convolutions sees the rows above, a horizontal one the pixels to the left.

Repeated masked convolutions have a blind spot: pixels above and to the right that no layer reaches. Two stacks have
none. From pixels x, shifted down by a row and right by a column,

    V_l = K_l ∗ v_{l−1}                     rows i − r … i, columns j − r … j + r,                                (1)
    H_l = k_l ∗ h_{l−1} + L_l V_l           row i, columns j − r … j,                                             (2)
    v_l = g(V_l + c),   g_l = g(H_l + c),   h_l = h_{l−1} + R_l g_l,        g(a, b) = tanh(a) σ(b),               (3)

and logits are computed from Σ_l S_l g_l, where c is linear in the label. Every v_l at row i depends only on the rows
above i. Sampling therefore computes V once per row, and H once per pixel: small products instead of a pass of the whole
network (Prajit Ramachandran et al. 2017, arXiv:1704.06001).

Aäron van den Oord, Nal Kalchbrenner, Oriol Vinyals, Lasse Espeholt, Alex Graves and Koray Kavukcuoglu, 2016,
arXiv:1606.05328.
"""

from __future__ import annotations

from typing import Annotated, Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from annotated_types import Ge

from genjax.arguments import DropoutRate, NumClasses, PositiveInt, Sizes, check_arguments
from genjax.autoregressive.causal import CausalModel, EmbeddingDim
from genjax.autoregressive.decoding import Step
from genjax.core import Array, PyTree
from genjax.nets import Conv, gated_tanh, linear
from genjax.nets.causal_conv import row_conv, shifted
from genjax.ops import Categorical


@check_arguments
def gated_pixel_cnn(
    *,
    shape: Sizes,
    num_values: Annotated[int, Ge(2)] = 2,
    num_layers: PositiveInt = 8,
    features: PositiveInt = 64,
    reach: PositiveInt = 2,
    dropout: DropoutRate = 0.0,
    num_classes: NumClasses | None = None,
    embedding_dim: EmbeddingDim | None = None,
    dtype: Any = None,
) -> CausalModel:
    """Return a gated PixelCNN (Aäron van den Oord et al. 2016, arXiv:1606.05328).

    Args:
      shape: shape of an image, (H, W, 1), or of a grid of codes, (H, W).
      num_values: number of values of a pixel.
      num_layers: number of layers of each stack.
      features: number of channels of each layer.
      reach: number of rows above, and of columns to either side, that a layer sees, r.
      dropout: share of a layer's inner channels that training drops, in [0, 1).
      num_classes: see ``CausalModel``.
      embedding_dim: see ``CausalModel``.
      dtype: dtype of the computation; None follows the input.

    >>> model = gated_pixel_cnn(shape=(4, 4, 1), num_layers=2, features=4, reach=1)
    >>> variables = model.init(jax.random.key(0), {"x": jnp.zeros((3, 4, 4, 1), jnp.int32)})
    >>> model.sample(variables, jax.random.key(1), 2).shape
    (2, 4, 4, 1)
    """
    net = GatedPixelCNNNet(num_values, num_layers, features, reach, dropout, dtype)
    return CausalModel(
        shape=shape, net=net, distribution=Categorical(num_values), num_classes=num_classes, embedding_dim=embedding_dim
    )


@check_arguments
class GatedPixelCNNNet(nn.Module):
    """The network of gated PixelCNN, equations 1 to 3; see ``CausalNet``.

    ``num_outputs`` is the number of values of a pixel, L. Other attributes: see ``gated_pixel_cnn``.
    """

    num_axes = 2
    num_outputs: PositiveInt
    num_layers: PositiveInt
    features: PositiveInt
    reach: PositiveInt
    dropout: DropoutRate = 0.0
    dtype: Any = None

    @nn.compact
    def __call__(self, x: Array, condition: Array | None = None, train: bool = False) -> Array:
        """Map pixels (B, H, W, D) to logits (B, H, W, L); ``condition`` is (B, K)."""
        v, h, skip = shifted(x, axis=1), shifted(x, axis=2), 0.0
        for i in range(self.num_layers):
            settings = {"first": i == 0, "last": i == self.num_layers - 1, "dtype": self.dtype}
            layer = _Layer(self.features, self.reach, self.dropout, **settings, name=f"layer_{i}")
            v, h, layer_skip = layer(v, h, condition, train)
            skip = skip + layer_skip
        hidden = nn.relu(nn.Dense(self.features, dtype=self.dtype, name="head")(nn.relu(skip)))
        return nn.Dense(self.num_outputs, dtype=self.dtype, name="logits")(hidden)

    def decoder(
        self, params: PyTree, batch_size: int, size: tuple[int, ...], condition: Array | None
    ) -> tuple[_Cache, Step]:
        """See ``CausalNet``."""
        width, r = size[1], self.reach
        layers = [params[f"layer_{i}"] for i in range(self.num_layers)]
        inputs = params["layer_0"]["vertical"]["kernel"].shape[2]
        channels = [inputs] + [self.features] * (self.num_layers - 1)
        labels = [linear(layer["condition"], condition)[:, None] if condition is not None else 0.0 for layer in layers]
        empty = _Cache(
            index=jnp.int32(0),
            row=jnp.zeros((batch_size, width, inputs), jnp.float32),
            above=[jnp.zeros((batch_size, r + 1, width, c), jnp.float32) for c in channels],
            linked=[jnp.zeros((batch_size, width, 2 * self.features), jnp.float32) for _ in layers],
            left=[jnp.zeros((batch_size, r + width, c), jnp.float32) for c in channels],
        )

        def next_row(cache: _Cache) -> _Cache:
            """Compute equation 1 for a whole row, from the finished row above it."""
            v, above, linked = cache.row, [], []
            for layer, past, c in zip(layers, cache.above, labels, strict=True):
                above.append(jnp.concatenate([past[:, 1:], v[:, None]], axis=1))  # i - r … i
                both = row_conv(layer["vertical"]["kernel"], above[-1]) + layer["vertical"]["bias"][None, None]
                linked.append(linear(layer["link"], both) + c)
                v = gated_tanh(both + c)
            return cache._replace(above=above, linked=linked)

        def step(cache: _Cache, pixel: Array) -> tuple[Array, _Cache]:
            column = cache.index % width
            last = jnp.where(cache.index > 0, pixel, 0.0)  # no pixel precedes the first
            row = jax.lax.dynamic_update_slice_in_dim(cache.row, last[:, None], (cache.index - 1) % width, axis=1)
            cache = jax.lax.cond(column == 0, next_row, lambda same: same, cache._replace(row=row))
            h, left, skip = jnp.where(column > 0, last, 0.0), [], 0.0
            for layer, past, linked in zip(layers, cache.left, cache.linked, strict=True):
                left.append(jax.lax.dynamic_update_slice_in_dim(past, h[:, None], r + column, axis=1))
                columns = jax.lax.dynamic_slice_in_dim(left[-1], column, r + 1, axis=1)  # j - r … j
                kernel = layer["horizontal"]["kernel"][0]
                both = columns.reshape(batch_size, -1) @ kernel.reshape(-1, kernel.shape[-1])  # equation 2
                both += layer["horizontal"]["bias"][None] + jax.lax.dynamic_index_in_dim(
                    linked, column, 1, keepdims=False
                )
                gated = gated_tanh(both)
                if "residual" in layer:
                    h = linear(layer["residual"], gated) + (0.0 if layer is layers[0] else h)
                skip = skip + linear(layer["skip"], gated)
            hidden = nn.relu(linear(params["head"], nn.relu(skip)))
            return linear(params["logits"], hidden), cache._replace(index=cache.index + 1, left=left)

        return empty, step


class _Cache(NamedTuple):
    """A half-drawn image.

    Attributes:
      index: number of the next pixel.
      row: pixels of the current row, (B, W, D).
      above: rows of v that the vertical convolution of each layer sees, (B, r + 1, W, C).
      linked: second term of equation 2, and c, in the current row for each layer, (B, W, 2 F).
      left: inputs h of the horizontal convolution of each layer in the current row, after r columns of zeros,
        (B, r + W, C).
    """

    index: Array
    row: Array
    above: list[Array]
    linked: list[Array]
    left: list[Array]


class _Layer(nn.Module):
    """One layer of both stacks, equations 1 to 3, which returns v, h and its term of the sum over layers."""

    features: int
    reach: int
    dropout: float
    first: bool  # h still has the channels of the pixels, so nothing is added to it
    last: bool  # v and h are not used any more
    dtype: Any = None

    @nn.compact
    def __call__(self, v: Array, h: Array, condition: Array | None, train: bool) -> tuple[Array, Array, Array]:
        r, both = self.reach, 2 * self.features
        vertical = Conv(both, (r + 1, 2 * r + 1), padding=((r, 0), (r, r)), dtype=self.dtype, name="vertical")(v)
        horizontal = Conv(both, (1, r + 1), padding=((0, 0), (r, 0)), dtype=self.dtype, name="horizontal")(h)
        horizontal = horizontal + nn.Dense(both, dtype=self.dtype, name="link")(vertical)
        if condition is not None:
            c = nn.Dense(both, use_bias=False, dtype=self.dtype, name="condition")(condition)[:, None, None]
            vertical, horizontal = vertical + c, horizontal + c
        gated = nn.Dropout(self.dropout, deterministic=not train)(gated_tanh(horizontal))
        skip = nn.Dense(self.features, dtype=self.dtype, name="skip")(gated)
        if self.last:
            return v, h, skip
        residual = nn.Dense(self.features, dtype=self.dtype, name="residual")(gated)
        return gated_tanh(vertical), residual if self.first else h + residual, skip
