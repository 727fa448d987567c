"""The masked autoregressive flow and the inverse autoregressive flow.

MAF stacks masked autoregressive layers, in orders of the dimensions that alternate:

    z_i = (x_i − μ_i(x_{<i})) exp(s_i(x_{<i})),                                                                  (1)

one pass for the density, dimension after dimension for samples. IAF has the same layers in the opposite direction:

    x_i = (z_i − μ_i(z_{<i})) exp(s_i(z_{<i})),                                                                  (2)

one pass for samples and their density, dimension after dimension for the density of given data.

MAF: George Papamakarios, Theo Pavlakou and Iain Murray, 2017, arXiv:1705.07057. IAF: Durk Kingma et al., 2016,
arXiv:1606.04934. Actnorm (arXiv:1807.03039) stands where MAF has batch normalization.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import flax.linen as nn

from genjax.flow.autoregressive import MaskedAutoregressive
from genjax.flow.bijection import Bijection, Chain, Inverse
from genjax.flow.elementwise import Elementwise
from genjax.flow.flow import Flow
from genjax.flow.linear import ActNorm, Reverse
from genjax.flow.nice import flat
from genjax.flow.scan import Scan
from genjax.flow.transformers import Affine


def maf(
    *,
    shape: Sequence[int],
    num_layers: int = 5,
    hidden: Sequence[int] = (128, 128),
    activation: Any = nn.relu,
    inversion: Literal["sequential", "jacobi"] = "sequential",
    before: Sequence[Bijection] = (),
    num_classes: int | None = None,
) -> Flow:
    """Return a masked autoregressive flow of vectors; data of other shapes is flattened.

    Args:
      shape: of one example.
      num_layers: masked autoregressive layers.
      hidden: widths of the hidden layers of each one's network.
      activation: after each of them.
      inversion: how samples are found, see ``MaskedAutoregressive``.
      before: bijections that the data goes through first, such as ``Logit`` for data in [0, 1).
      num_classes: see ``Flow``; every class then also has a Gaussian of its own.
    """
    layer = MaskedAutoregressive(
        transformer=Affine(), features=tuple(hidden), activation=activation, inversion=inversion
    )
    layers = (*flat(shape, before), ActNorm(), Scan(Chain((layer, Reverse())), num_layers), Elementwise(Affine()))
    return Flow(shape=tuple(shape), bijection=Chain(layers), num_classes=num_classes)


def iaf(
    *,
    shape: Sequence[int],
    num_layers: int = 5,
    hidden: Sequence[int] = (128, 128),
    activation: Any = nn.relu,
    before: Sequence[Bijection] = (),
    num_classes: int | None = None,
) -> Flow:
    """Return an inverse autoregressive flow; its arguments are those of ``maf``, but ``inversion``."""
    layer = MaskedAutoregressive(transformer=Affine(), features=tuple(hidden), activation=activation)
    steps = Scan(Chain((Inverse(layer), Reverse())), num_layers)
    bijection = Chain((*flat(shape, before), ActNorm(), steps, Elementwise(Affine())))
    return Flow(shape=tuple(shape), bijection=bijection, num_classes=num_classes)
