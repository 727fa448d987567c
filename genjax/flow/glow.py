"""Glow: invertible 1×1 convolutions and affine couplings, over several scales.

One step of flow is actnorm, an invertible matrix on the channels of each pixel, and an affine coupling of their halves.
Each scale squeezes 2 × 2 pixels into channels and takes K such steps; half of the channels are then factored out. The
K steps of a scale run in one scan and compile as one.

Durk Kingma and Prafulla Dhariwal, 2018, arXiv:1807.03039.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from genjax.arguments import NonNegativeInt, NumClasses, PositiveInt, check_arguments
from genjax.flow.bijection import Bijection, Chain
from genjax.flow.coupling import Coupling
from genjax.flow.flow import Flow
from genjax.flow.linear import ActNorm, InvertibleLinear
from genjax.flow.multiscale import MultiScale, Squeeze
from genjax.flow.scan import Scan
from genjax.flow.univariate import Affine, UnivariateTransform
from genjax.nets import ResidualCNN


@check_arguments
def glow(
    *,
    shape: tuple[PositiveInt, PositiveInt, PositiveInt],
    num_scales: PositiveInt = 2,
    num_steps: PositiveInt = 16,
    features: PositiveInt = 128,
    num_blocks: NonNegativeInt = 1,
    transform: UnivariateTransform | None = None,
    preprocess_bijections: Sequence[Bijection] = (),
    num_classes: NumClasses | None = None,
    backward: Literal["store", "invert"] = "store",
) -> Flow:
    """Return Glow for images: Kingma & Dhariwal (2018).

    Args:
      shape: shape of the images, (H, W, C); each scale halves H and W.
      num_scales: number of scales, L in the paper.
      num_steps: number of steps of flow per scale, K in the paper.
      features: number of channels of the networks.
      num_blocks: number of residual blocks of the networks.
      transform: univariate transformation of the couplings; None for ``Affine``.
      preprocess_bijections: bijections applied to the data first, such as ``Logit`` for data in [0, 1].
      num_classes: number of classes, see ``Flow``.
      backward: "invert" trains with memory that does not grow with ``num_steps``, see ``Scan``.

    >>> from genjax import flow
    >>> model = flow.glow(shape=(4, 4, 1), num_steps=2, features=4, preprocess_bijections=(flow.Logit(),))
    >>> model.shape
    (4, 4, 1)
    """
    net = ResidualCNN(features=features, num_blocks=num_blocks, output_scale=0.0)
    step = Chain((ActNorm(), InvertibleLinear(), Coupling(transform=transform or Affine(), net=net)))
    multi_scale = MultiScale(
        shape=shape,
        scales=(Chain((Squeeze(), Scan(step, num_steps, backward))),) * num_scales,
        net=ResidualCNN(features=features, num_blocks=0, output_scale=0.0),
    )
    return Flow(shape=shape, bijection=Chain((*preprocess_bijections, multi_scale)), num_classes=num_classes)
