"""RealNVP: affine couplings with real-valued, non-volume-preserving transformations.

Couplings y = (x − μ) exp(s), with μ and s functions of the kept part, alternate the part that they keep. Vectors are
halved, in an order of dimensions that is drawn anew for each pair of layers. Images have, at every scale, couplings
along a checkerboard, then a squeeze and couplings along the channels, half of which then leave: see ``multiscale``.

Laurent Dinh, Jascha Sohl-Dickstein and Samy Bengio, 2017, arXiv:1605.08803. The paper's batch normalization between
layers, which ties the examples of a batch together, is actnorm here (arXiv:1807.03039).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import flax.linen as nn

from genjax.flow.bijection import Bijection, Chain
from genjax.flow.coupling import Coupling, check_pairs
from genjax.flow.elementwise import Elementwise
from genjax.flow.flow import Flow
from genjax.flow.linear import ActNorm, Permutation
from genjax.flow.multiscale import MultiScale, Squeeze
from genjax.flow.nice import flat
from genjax.flow.scan import Scan
from genjax.flow.transformers import Affine, Transformer
from genjax.nets import MLP, ResidualCNN
from genjax.ops import check_at_least


def real_nvp(
    *,
    shape: Sequence[int],
    num_layers: int = 8,
    hidden: Sequence[int] = (128, 128),
    activation: Any = nn.relu,
    before: Sequence[Bijection] = (),
    num_classes: int | None = None,
    backward: Literal["store", "invert"] = "store",
) -> Flow:
    """Return RealNVP of vectors; data of other shapes is flattened.

    Args:
      shape: of one example.
      num_layers: couplings, an even number.
      hidden: widths of the hidden layers of each coupling's network.
      activation: after each of them.
      before: bijections that the data goes through first, such as ``Logit`` for data in [0, 1).
      num_classes: see ``Flow``; every class then also has a Gaussian of its own.
      backward: see ``Scan``.

    Raises:
      ValueError: for an odd number of layers.
    """
    net = MLP(tuple(hidden), activation=activation, output_scale=0.0)
    bijection = coupling_pairs(Affine(), net, num_layers, backward)
    layers = (*flat(shape, before), ActNorm(), bijection, Elementwise(Affine()))
    return Flow(shape=tuple(shape), bijection=Chain(layers), num_classes=num_classes)


def coupling_pairs(
    transformer: Transformer, net: Any, num_layers: int, backward: Literal["store", "invert"] = "store"
) -> Scan:
    """Return couplings of vectors in pairs that change either half, each pair in an order of its own.

    Raises:
      ValueError: for an odd number of layers.
    """
    check_pairs(num_layers)
    halves = tuple(Coupling(transformer=transformer, net=net, flip=flip) for flip in (False, True))
    return Scan(Chain((Permutation(), *halves)), num_layers // 2, backward)


def real_nvp_image(
    *,
    shape: tuple[int, int, int],
    num_scales: int = 3,
    num_layers: int = 4,
    features: int = 64,
    num_blocks: int = 4,
    before: Sequence[Bijection] = (),
    num_classes: int | None = None,
    backward: Literal["store", "invert"] = "store",
) -> Flow:
    """Return RealNVP of images, over several scales.

    Args:
      shape: (H, W, C); each scale but the last halves H and W.
      num_scales: how many; the last has the checkerboard alone.
      num_layers: couplings along the checkerboard of each scale, an even number; after the squeeze there are as many
        along the channels.
      features: channels of the networks.
      num_blocks: residual blocks of the networks.
      before: bijections that the data goes through first: ``Logit`` for data in [0, 1).
      num_classes: see ``Flow``.
      backward: see ``Scan``.

    Raises:
      ValueError: for an odd number of layers, or fewer than two scales.
    """
    check_at_least("num_scales", num_scales, 2, "; use real_nvp for one scale")
    check_pairs(num_layers)
    net = ResidualCNN(features=features, num_blocks=num_blocks, output_scale=0.0)

    def couplings(parts: Literal["halves", "checkerboard"]) -> Scan:
        one, other = (Coupling(transformer=Affine(), net=net, parts=parts, flip=flip) for flip in (False, True))
        return Scan(Chain((ActNorm(), one, ActNorm(), other)), num_layers // 2, backward)

    scale = Chain((couplings("checkerboard"), Squeeze(), couplings("halves")))
    pyramid = MultiScale(shape=shape, scales=(*[scale] * (num_scales - 1), couplings("checkerboard")))
    return Flow(shape=shape, bijection=Chain((*before, pyramid)), num_classes=num_classes)
