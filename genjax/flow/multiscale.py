"""Multi-scale flows of images: space becomes channels, and half of the channels leave after each scale.

``Squeeze`` turns every block of 2 × 2 pixels into one of four times the channels. ``MultiScale`` runs scales f_1 … f_L,

    h_0 = x,        (h_l, z_l) = halves of f_l(h_{l−1})    for l < L,        z_L = f_L(h_{L−1}),                  (1)

and gives z = (z_1, …, z_L) as one vector. What leaves early is made standard normal given what stays, by an affine map

    z_l ← (z_l − μ(h_l)) exp(s(h_l)),                                                                            (2)

whose network starts at zero. Laurent Dinh, Jascha Sohl-Dickstein and Samy Bengio, 2017, arXiv:1605.08803, section 3.6;
equation 2 is the learned prior of Durk Kingma and Prafulla Dhariwal, 2018, arXiv:1807.03039.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, final

import jax
import jax.numpy as jnp

from genjax.core import Array, Variables
from genjax.flow.bijection import Bijection, Chain, joined, no_log_det, part
from genjax.flow.coupling import Coupling
from genjax.flow.transformers import Affine
from genjax.ops import check_at_least


@final
@dataclass(frozen=True)
class Squeeze:
    """Blocks of 2 × 2 pixels to four times the channels, (B, H, W, C) to (B, H/2, W/2, 4C)."""

    def init(self, key: Array, x: Array, context: Array | None = None) -> Variables:
        """See ``Bijection``; nothing is learned.

        Raises:
          ValueError: for images of odd height or width.
        """
        del key, context
        if x.ndim != 4 or x.shape[1] % 2 or x.shape[2] % 2:
            raise ValueError(f"x has shape {x.shape}, but only images (B, H, W, C) of even height and width squeeze")
        return Variables({}, {})

    def forward(self, variables: Variables, x: Array, context: Array | None = None) -> tuple[Array, Array]:
        """See ``Bijection``."""
        del variables, context
        rows, height, width, channels = x.shape
        blocks = x.reshape(rows, height // 2, 2, width // 2, 2, channels).transpose(0, 1, 3, 2, 4, 5)
        return blocks.reshape(rows, height // 2, width // 2, 4 * channels), no_log_det(x)

    def inverse(self, variables: Variables, y: Array, context: Array | None = None) -> tuple[Array, Array]:
        """See ``Bijection``."""
        del variables, context
        rows, height, width, channels = y.shape
        blocks = y.reshape(rows, height, width, 2, 2, channels // 4).transpose(0, 1, 3, 2, 4, 5)
        return blocks.reshape(rows, 2 * height, 2 * width, channels // 4), no_log_det(y)


@final
@dataclass(frozen=True, kw_only=True)
class MultiScale:
    """A flow of images over several scales, to vectors: equation 1.

    Attributes:
      shape: (H, W, C) of the images.
      scales: f_1 … f_L; all but the last give an even number of channels, by a ``Squeeze`` of theirs for example.
      net: of equation 2, as ``Coupling`` has it; None leaves the parts as they are.
    """

    shape: tuple[int, int, int]
    scales: tuple[Bijection, ...]
    net: Any = None

    def __post_init__(self) -> None:
        check_at_least("the number of scales", len(self.scales), 1)

    def init(self, key: Array, x: Array, context: Array | None = None) -> Variables:
        """See ``Bijection``.

        Raises:
          ValueError: for images of another shape, or where channels that are to be halved are an odd number.
        """
        if x.shape[1:] != self.shape:
            raise ValueError(f"x has shape {x.shape}, but this MultiScale has shape={self.shape} after the batch axis")
        parts = []
        for i, scale in enumerate(self._scales):
            parts.append(scale.init(jax.random.fold_in(key, i), x, context))
            x, _ = self._split(i, scale.forward(parts[-1], x, context)[0])
        return joined(parts)

    def forward(self, variables: Variables, x: Array, context: Array | None = None) -> tuple[Array, Array]:
        """See ``Bijection``; y is (B, H · W · C)."""
        total, leaving = no_log_det(x), []
        for i, scale in enumerate(self._scales):
            x, log_det = scale.forward(part(variables, i), x, context)
            x, leaves = self._split(i, x)
            leaving.append(leaves.reshape(len(x), -1))
            total = total + log_det
        return jnp.concatenate(leaving, axis=1), total

    def inverse(self, variables: Variables, y: Array, context: Array | None = None) -> tuple[Array, Array]:
        """See ``Bijection``."""
        total, x, end = no_log_det(y), None, y.shape[1]
        shapes = self._leaving(variables, y.dtype, context)
        for i, scale in reversed(tuple(enumerate(self._scales))):
            size = math.prod(shapes[i])
            leaves = y[:, end - size : end].reshape(len(y), *shapes[i])
            end -= size
            joined = leaves if x is None else jnp.concatenate([x, leaves], axis=-1)
            x, log_det = scale.inverse(part(variables, i), joined, context)
            total = total + log_det
        assert x is not None
        return x, total

    @property
    def _scales(self) -> tuple[Bijection, ...]:
        """The scales, all but the last followed by the map of equation 2, whose changed half leaves."""
        if self.net is None:
            return self.scales
        end = Coupling(transformer=Affine(), net=self.net)
        return (*(Chain((scale, end)) for scale in self.scales[:-1]), self.scales[-1])

    def _split(self, i: int, x: Array) -> tuple[Array, Array]:
        """Return what stays after scale ``i`` and what leaves; after the last all leaves."""
        if i == len(self.scales) - 1:
            return x, x
        if x.shape[-1] % 2:
            raise ValueError(
                f"scale {i} gives {x.shape[-1]} channels, but half of them are to leave; let it contain a Squeeze"
            )
        stays, leaves = jnp.split(x, 2, axis=-1)
        return stays, leaves

    def _leaving(self, variables: Variables, dtype: Any, context: Any) -> list[tuple[int, ...]]:
        """Shapes of what leaves after each scale, found without computing anything."""
        x = jax.ShapeDtypeStruct((1, *self.shape), dtype)
        context = None if context is None else jax.ShapeDtypeStruct((1, *context.shape[1:]), context.dtype)
        shapes = []
        for i, scale in enumerate(self._scales):
            x, _ = jax.eval_shape(scale.forward, part(variables, i), x, context)
            x, leaves = jax.eval_shape(lambda x, i=i: self._split(i, x), x)
            shapes.append(leaves.shape[1:])
        return shapes
