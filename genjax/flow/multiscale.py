"""The multi-scale architecture for images: half of the channels are factored out after each scale.

``Squeeze`` turns each block of 2 × 2 pixels into one with four times the channels. ``MultiScale`` applies f_1 … f_L,

    h_0 = x,        (h_l, z_l) = split(f_l(h_{l−1}))    for l < L,        z_L = f_L(h_{L−1}),                     (1)

and returns z = (z_1, …, z_L) as one vector. An affine map normalizes z_l given h_l,

    z_l ← (z_l − μ(h_l)) exp(s(h_l)),                                                                            (2)

with a network that is initialized at zero. Laurent Dinh, Jascha Sohl-Dickstein and Samy Bengio, 2017, arXiv:1605.08803,
section 3.6; equation 2 is the learned prior of Durk Kingma and Prafulla Dhariwal, 2018, arXiv:1807.03039.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any, final

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import MinLen

from genjax.arguments import PositiveInt, check_arguments
from genjax.core import Array, Variables
from genjax.flow.bijection import Bijection, Chain, child_variables, collect_variables, zero_log_det
from genjax.flow.coupling import Coupling
from genjax.flow.univariate import Affine


@final
@check_arguments
@dataclass(frozen=True)
class Squeeze:
    """Space to depth: blocks of 2 × 2 pixels become channels, (B, H, W, C) to (B, H/2, W/2, 4C)."""

    def init(self, key: Array, x: Array, condition: Array | None = None) -> Variables:
        """See ``Bijection``; there are no parameters. Raises ValueError if the height or width is odd."""
        del key, condition
        if x.ndim != 4 or x.shape[1] % 2 or x.shape[2] % 2:
            raise ValueError(f"x has shape {x.shape}, but Squeeze needs images (B, H, W, C) of even height and width")
        return Variables({}, {})

    def forward(self, variables: Variables, x: Array, condition: Array | None = None) -> tuple[Array, Array]:
        """See ``Bijection``."""
        del variables, condition
        rows, height, width, channels = x.shape
        blocks = x.reshape(rows, height // 2, 2, width // 2, 2, channels).transpose(0, 1, 3, 2, 4, 5)
        return blocks.reshape(rows, height // 2, width // 2, 4 * channels), zero_log_det(x)

    def inverse(self, variables: Variables, y: Array, condition: Array | None = None) -> tuple[Array, Array]:
        """See ``Bijection``."""
        del variables, condition
        rows, height, width, channels = y.shape
        blocks = y.reshape(rows, height, width, 2, 2, channels // 4).transpose(0, 1, 3, 2, 4, 5)
        return blocks.reshape(rows, 2 * height, 2 * width, channels // 4), zero_log_det(y)


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class MultiScale:
    """A multi-scale flow from images to vectors: equation 1.

    Attributes:
      shape: shape of the images, (H, W, C).
      scales: bijections f_1 … f_L. All but the last must output an even number of channels, for example by ``Squeeze``.
      net: network of equation 2, as in ``Coupling``; None omits that equation.
    """

    shape: tuple[PositiveInt, PositiveInt, PositiveInt]
    scales: Annotated[tuple[Bijection, ...], MinLen(1)]
    net: Any = None

    def init(self, key: Array, x: Array, condition: Array | None = None) -> Variables:
        """See ``Bijection``.

        Raises:
          ValueError: if images have another shape, or the number of channels to split is odd.
        """
        if x.shape[1:] != self.shape:
            raise ValueError(f"x has shape {x.shape}, but this MultiScale has shape={self.shape} after the batch axis")
        layers = {}
        for i, scale in enumerate(self._scales):
            layers[i] = scale.init(jax.random.fold_in(key, i), x, condition)
            x, _ = self._split(i, scale.forward(layers[i], x, condition)[0])
        return collect_variables(layers)

    def forward(self, variables: Variables, x: Array, condition: Array | None = None) -> tuple[Array, Array]:
        """See ``Bijection``; y is (B, H · W · C)."""
        latents, log_det = self._latents(variables, x, condition)
        return jnp.concatenate([z.reshape(x.shape[0], -1) for z in latents], axis=1), log_det

    def inverse(self, variables: Variables, y: Array, condition: Array | None = None) -> tuple[Array, Array]:
        """See ``Bijection``."""
        example = jax.ShapeDtypeStruct((y.shape[0], *self.shape), y.dtype)
        shapes = [z.shape for z in jax.eval_shape(self._latents, variables, example, condition)[0]]
        ends = np.cumsum([math.prod(shape[1:]) for shape in shapes])
        latents = [z.reshape(shape) for z, shape in zip(jnp.split(y, ends[:-1], axis=1), shapes, strict=True)]
        total, x = zero_log_det(y), None
        for i, scale in reversed(tuple(enumerate(self._scales))):
            output = latents[i] if x is None else jnp.concatenate([x, latents[i]], axis=-1)
            x, log_det = scale.inverse(child_variables(variables, i), output, condition)
            total = total + log_det
        assert x is not None
        return x, total

    @property
    def _scales(self) -> tuple[Bijection, ...]:
        """The scales, each but the last followed by the coupling of equation 2."""
        if self.net is None:
            return self.scales
        coupling = Coupling(transform=Affine(), net=self.net)
        return (*(Chain((scale, coupling)) for scale in self.scales[:-1]), self.scales[-1])

    def _latents(self, variables: Variables, x: Array, condition: Array | None) -> tuple[list[Array], Array]:
        """Return z_1 … z_L and the log-determinant."""
        total, latents = zero_log_det(x), []
        for i, scale in enumerate(self._scales):
            x, log_det = scale.forward(child_variables(variables, i), x, condition)
            x, z = self._split(i, x)
            latents.append(z)
            total = total + log_det
        return latents, total

    def _split(self, i: int, x: Array) -> tuple[Array, Array]:
        """Return h_l and z_l of scale ``i``; for the last scale, z_L twice."""
        if i == len(self.scales) - 1:
            return x, x
        if x.shape[-1] % 2:
            raise ValueError(
                f"scale {i} outputs {x.shape[-1]} channels, but only an even number can be halved; add a Squeeze to it"
            )
        h, z = jnp.split(x, 2, axis=-1)
        return h, z
