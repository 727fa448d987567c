"""RealNVP: affine couplings, real-valued and non-volume-preserving.

Couplings y = (x − μ) exp(s), with μ and s functions of the other part, alternate between the two parts of the data.
Vectors are halved, after a random permutation for each pair of layers. For images, each scale has couplings with
checkerboard masks, then a squeeze and couplings of channel halves, and half of the channels are then factored out: see
``genjax.flow.multiscale``.

Laurent Dinh, Jascha Sohl-Dickstein and Samy Bengio, 2017, arXiv:1605.08803. Actnorm (arXiv:1807.03039) replaces the
paper's batch normalization, which makes the examples of a batch interact.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Literal

import flax.linen as nn
from annotated_types import Ge

from genjax.arguments import Cure, NonNegativeInt, NumClasses, PositiveInt, Widths, check_arguments
from genjax.core import Array
from genjax.flow.bijection import Bijection, Chain
from genjax.flow.coupling import Coupling, check_pairs
from genjax.flow.flow import Flow
from genjax.flow.linear import ActNorm, Permutation
from genjax.flow.multiscale import MultiScale, Squeeze
from genjax.flow.scan import Scan
from genjax.flow.univariate import Affine
from genjax.flow.vectors import coupling_pairs, vector_flow
from genjax.nets import ResidualCNN


@check_arguments
def real_nvp(
    *,
    shape: Widths,
    num_layers: int = 8,
    hidden: Widths = (128, 128),
    activation: Callable[[Array], Array] = nn.relu,
    preprocess_bijections: Sequence[Bijection] = (),
    num_classes: NumClasses | None = None,
    backward: Literal["store", "invert"] = "store",
) -> Flow:
    """Return RealNVP for vectors: Dinh, Sohl-Dickstein & Bengio (2017).

    The number of couplings, ``num_layers``, is even. Other arguments: see ``genjax.flow.vectors``.

    >>> from genjax import flow
    >>> model = flow.real_nvp(shape=(3,), num_layers=2, hidden=(8,))
    >>> model.shape
    (3,)
    """
    couplings = coupling_pairs(Affine(), hidden, activation, num_layers, before=(Permutation(),), backward=backward)
    return vector_flow(shape, preprocess_bijections, (couplings,), num_classes)


@check_arguments
def real_nvp_image(
    *,
    shape: tuple[PositiveInt, PositiveInt, PositiveInt],
    num_scales: Annotated[int, Ge(2), Cure("; use real_nvp for one scale")] = 3,
    num_layers: int = 4,
    features: PositiveInt = 64,
    num_blocks: NonNegativeInt = 4,
    preprocess_bijections: Sequence[Bijection] = (),
    num_classes: NumClasses | None = None,
    backward: Literal["store", "invert"] = "store",
) -> Flow:
    """Return RealNVP for images, over several scales: Dinh, Sohl-Dickstein & Bengio (2017).

    Args:
      shape: shape of the images, (H, W, C); each scale but the last halves H and W.
      num_scales: number of scales, at least 2; the last has checkerboard couplings only.
      num_layers: number of checkerboard couplings per scale, even; as many channel couplings follow the squeeze.
      features: number of channels of the networks.
      num_blocks: number of residual blocks of the networks.
      preprocess_bijections: bijections applied to the data first, such as ``Logit`` for data in [0, 1].
      num_classes: number of classes, see ``Flow``.
      backward: "store" or "invert", see ``Scan``.

    >>> from genjax import flow
    >>> model = flow.real_nvp_image(shape=(4, 4, 1), num_scales=2, num_layers=2, features=4, num_blocks=0)
    >>> model.shape
    (4, 4, 1)
    """
    check_pairs(num_layers)
    net = ResidualCNN(features=features, num_blocks=num_blocks, output_scale=0.0)

    def couplings(parts: Literal["halves", "checkerboard"]) -> Scan:
        first, second = (Coupling(transform=Affine(), net=net, parts=parts, flip=flip) for flip in (False, True))
        return Scan(Chain((ActNorm(), first, ActNorm(), second)), num_layers // 2, backward)

    scale = Chain((couplings("checkerboard"), Squeeze(), couplings("halves")))
    multi_scale = MultiScale(shape=shape, scales=(*[scale] * (num_scales - 1), couplings("checkerboard")))
    return Flow(shape=shape, bijection=Chain((*preprocess_bijections, multi_scale)), num_classes=num_classes)
