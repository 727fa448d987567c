"""NICE: non-linear independent components estimation.

Additive couplings alternate the halves that they keep, and keep volumes; a learned scale for each dimension does not,

    log p(x) = Σ_i [log p_Z(z_i) + s_i],        z = f(exp(s) x).                                                 (1)

Laurent Dinh, David Krueger and Yoshua Bengio, 2015, arXiv:1410.8516. Dimensions are shuffled once, where the paper
takes the even and the odd ones: neighbours then come to lie in different halves in either case. The scale is before the
couplings, not after them, so that their networks see data of one size.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn

from genjax.flow.bijection import Bijection, Chain, Reshape
from genjax.flow.coupling import Coupling, check_pairs
from genjax.flow.elementwise import Elementwise
from genjax.flow.flow import Base, Flow, Logistic
from genjax.flow.linear import ActNorm, Permutation
from genjax.flow.scan import Scan
from genjax.flow.transformers import Additive, Affine
from genjax.nets import MLP


def nice(
    *,
    shape: Sequence[int],
    num_layers: int = 4,
    hidden: Sequence[int] = (128, 128),
    activation: Any = nn.relu,
    before: Sequence[Bijection] = (),
    base: Base | None = None,
    num_classes: int | None = None,
) -> Flow:
    """Return NICE of vectors; data of other shapes is flattened.

    Args:
      shape: of one example.
      num_layers: couplings, an even number.
      hidden: widths of the hidden layers of each coupling's network.
      activation: after each of them.
      before: bijections that the data goes through first, such as ``Logit`` for data in [0, 1).
      base: density of the noise; the paper's logistic one where it is None.
      num_classes: see ``Flow``.

    Raises:
      ValueError: for an odd number of layers.
    """
    check_pairs(num_layers)
    net = MLP(tuple(hidden), activation=activation, output_scale=0.0)
    pair = Chain(tuple(Coupling(transformer=Additive(), net=net, flip=flip) for flip in (False, True)))
    layers = (*flat(shape, before), ActNorm(), Permutation(), Scan(pair, num_layers // 2), Elementwise(Affine()))
    return Flow(shape=tuple(shape), bijection=Chain(layers), base=base or Logistic(), num_classes=num_classes)


def flat(shape: Sequence[int], before: Sequence[Bijection]) -> tuple[Bijection, ...]:
    """Return ``before``, and a reshape to vectors where data are none."""
    return tuple(before) if len(shape) == 1 else (*before, Reshape(tuple(shape), (math.prod(shape),)))
