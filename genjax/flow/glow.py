"""Glow: invertible 1×1 convolutions between affine couplings, over several scales.

One step of flow is actnorm, an invertible matrix on the channels of each pixel, and an affine coupling of their halves.
Every scale squeezes 2 × 2 pixels into channels, takes K such steps, and half of the channels leave. The K steps of a
scale are scanned, and so compile as one.

Durk Kingma and Prafulla Dhariwal, 2018, arXiv:1807.03039.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from genjax.flow.bijection import Bijection, Chain
from genjax.flow.coupling import Coupling
from genjax.flow.flow import Flow
from genjax.flow.linear import ActNorm, InvertibleLinear
from genjax.flow.multiscale import MultiScale, Squeeze
from genjax.flow.scan import Scan
from genjax.flow.transformers import Affine, Transformer
from genjax.nets import ResidualCNN
from genjax.ops import check_at_least


def glow(
    *,
    shape: tuple[int, int, int],
    num_scales: int = 2,
    num_steps: int = 16,
    features: int = 128,
    num_blocks: int = 1,
    transformer: Transformer | None = None,
    before: Sequence[Bijection] = (),
    num_classes: int | None = None,
    backward: Literal["store", "invert"] = "store",
) -> Flow:
    """Return Glow of images.

    Args:
      shape: (H, W, C); each scale halves H and W.
      num_scales: L of the paper.
      num_steps: K, steps of flow at each scale.
      features: channels of the networks.
      num_blocks: residual blocks of the networks.
      transformer: of the couplings; affine where it is None.
      before: bijections that the data goes through first: ``Logit`` for data in [0, 1), or none.
      num_classes: see ``Flow``.
      backward: "invert" trains in memory that does not grow with the steps, see ``Scan``.
    """
    check_at_least("num_scales", num_scales, 1)
    net = ResidualCNN(features=features, num_blocks=num_blocks, output_scale=0.0)
    step = Chain((ActNorm(), InvertibleLinear(), Coupling(transformer=transformer or Affine(), net=net)))
    pyramid = MultiScale(
        shape=shape,
        scales=(Chain((Squeeze(), Scan(step, num_steps, backward))),) * num_scales,
        net=ResidualCNN(features=features, num_blocks=0, output_scale=0.0),
    )
    return Flow(shape=shape, bijection=Chain((*before, pyramid)), num_classes=num_classes)
