"""PixelCNN: residual layers of masked convolutions, which see only earlier pixels.

A convolution with mask A sees the pixels before its own; with mask B it also sees its own pixel:

    (A_r ∗ x)_ij      rows i − r … i − 1, columns j − r … j + r;  row i, columns j − r … j − 1,                   (1)
    (B_r ∗ h)_ij      rows i − r … i − 1, columns j − r … j + r;  row i, columns j − r … j.

From pixels x,

    h_0 = A_r ∗ x,     h_l = h_{l−1} + W_l ρ(B_1 ∗ ρ(V_l ρ(h_{l−1}))),     ρ(a) = max(a, 0),                      (2)

and two 1 × 1 layers map h_L to logits. For each row up, a layer reaches at most one column further to the right, so
pixels above and far to the right are never seen. The gated PixelCNN has no such blind spot.

Images are drawn row by row: each layer convolves the rows above once per row, and a pixel costs only the second parts
of equation 1.

Aäron van den Oord, Nal Kalchbrenner and Koray Kavukcuoglu, 2016, arXiv:1601.06759.
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
from genjax.nets import CausalConv, CausalConvCache, linear
from genjax.ops import Categorical


@check_arguments
def pixel_cnn(
    *,
    shape: Sizes,
    num_values: Annotated[int, Ge(2)] = 2,
    num_layers: PositiveInt = 7,
    features: PositiveInt = 32,
    reach: PositiveInt = 3,
    dropout: DropoutRate = 0.0,
    num_classes: NumClasses | None = None,
    embedding_dim: EmbeddingDim | None = None,
    dtype: Any = None,
) -> CausalModel:
    """Return a PixelCNN (Aäron van den Oord, Nal Kalchbrenner and Koray Kavukcuoglu 2016, arXiv:1601.06759).

    Args:
      shape: shape of an image, (H, W, 1), or of a grid of codes, (H, W).
      num_values: number of values of a pixel.
      num_layers: number of residual layers.
      features: number of channels of the convolutions with mask B; layers are connected by twice as many.
      reach: r of the first convolution.
      dropout: share of a layer's inner channels that training drops, in [0, 1).
      num_classes: see ``CausalModel``.
      embedding_dim: see ``CausalModel``.
      dtype: dtype of the computation; None follows the input.

    >>> model = pixel_cnn(shape=(4, 4, 1), num_layers=2, features=4, reach=1)
    >>> variables = model.init(jax.random.key(0), {"x": jnp.zeros((3, 4, 4, 1), jnp.int32)})
    >>> model.sample(variables, jax.random.key(1), 2).shape
    (2, 4, 4, 1)
    """
    net = PixelCNNNet(num_values, num_layers, features, reach, dropout, dtype)
    return CausalModel(
        shape=shape, net=net, distribution=Categorical(num_values), num_classes=num_classes, embedding_dim=embedding_dim
    )


@check_arguments
class PixelCNNNet(nn.Module):
    """The network of PixelCNN, equations 1 and 2; see ``CausalNet``.

    ``num_outputs`` is the number of values of a pixel, L. Other attributes: see ``pixel_cnn``.
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
        width, dtype = self.features, self.dtype
        h = CausalConv(2 * width, self.reach, include_center=False, dtype=dtype, name="first")(x)
        for i in range(self.num_layers):
            inner = nn.relu(nn.Dense(width, dtype=dtype, name=f"in_{i}")(nn.relu(h)))
            inner = CausalConv(width, 1, dtype=dtype, name=f"conv_{i}")(inner)
            if condition is not None:
                label = nn.Dense(width, use_bias=False, dtype=dtype, name=f"condition_{i}")(condition)
                inner = inner + label[:, None, None]
            inner = nn.Dropout(self.dropout, deterministic=not train)(nn.relu(inner))
            h = h + nn.Dense(2 * width, dtype=dtype, name=f"out_{i}")(inner)
        hidden = nn.relu(nn.Dense(2 * width, dtype=dtype, name="head")(nn.relu(h)))
        return nn.Dense(self.num_outputs, dtype=dtype, name="logits")(hidden)

    def decoder(
        self, params: PyTree, batch_size: int, size: tuple[int, ...], condition: Array | None
    ) -> tuple[_Cache, Step]:
        """See ``CausalNet``."""
        width, layers = size[1], range(self.num_layers)
        label = [linear(params[f"condition_{i}"], condition) if condition is not None else 0.0 for i in layers]
        empty = _Cache(
            index=jnp.int32(0),
            first=CausalConvCache.start(params["first"], batch_size, width),
            convs=[CausalConvCache.start(params[f"conv_{i}"], batch_size, width) for i in layers],
        )

        def next_row(cache: _Cache) -> _Cache:
            return cache._replace(
                first=cache.first.next_row(params["first"]),
                convs=[cache.convs[i].next_row(params[f"conv_{i}"]) for i in layers],
            )

        def step(cache: _Cache, pixel: Array) -> tuple[Array, _Cache]:
            column = cache.index % width
            last = jnp.where(cache.index > 0, pixel, 0.0)  # no pixel precedes the first
            cache = cache._replace(first=cache.first.put(last, (cache.index - 1) % width))
            cache = jax.lax.cond(column == 0, next_row, lambda same: same, cache)
            h, convs = cache.first.outputs(params["first"], column), []
            for i in layers:
                inner = nn.relu(linear(params[f"in_{i}"], nn.relu(h)))
                convs.append(cache.convs[i].put(inner, column))
                inner = convs[i].outputs(params[f"conv_{i}"], column) + label[i]
                h = h + linear(params[f"out_{i}"], nn.relu(inner))  # equation 2
            hidden = nn.relu(linear(params["head"], nn.relu(h)))
            return linear(params["logits"], hidden), cache._replace(index=cache.index + 1, convs=convs)

        return empty, step


class _Cache(NamedTuple):
    """A half-drawn image: number of the next pixel, and caches of the first and the other convolutions."""

    index: Array
    first: CausalConvCache
    convs: list[CausalConvCache]
