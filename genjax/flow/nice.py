"""NICE: non-linear independent components estimation.

Additive couplings, which preserve volume, alternate between the halves of the data; a learned scale for each dimension
changes it:

    log p(x) = Σ_i [log p_Z(z_i) + s_i],        z = f(exp(s) x).                                                 (1)

Laurent Dinh, David Krueger and Yoshua Bengio, 2015, arXiv:1410.8516. Dimensions are shuffled once, where the paper
separates even and odd ones; either way, neighbouring dimensions come to lie in different halves. The scale precedes the
couplings instead of following them, so that their networks see inputs of unit variance.
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
from genjax.flow.univariate import Additive, Affine
from genjax.nets import MLP


def nice(
    *,
    shape: Sequence[int],
    num_layers: int = 4,
    hidden: Sequence[int] = (128, 128),
    activation: Any = nn.relu,
    preprocess_bijections: Sequence[Bijection] = (),
    base: Base | None = None,
    num_classes: int | None = None,
) -> Flow:
    """Return NICE for vectors: Dinh, Krueger & Bengio (2015).

    Data of another shape are flattened.

    Args:
      shape: shape of one example.
      num_layers: number of couplings, even.
      hidden: widths of the hidden layers of each network.
      activation: activation of the hidden layers.
      preprocess_bijections: bijections applied to the data first, such as ``Logit`` for data in [0, 1].
      base: base density; None for the logistic distribution of the paper.
      num_classes: number of classes, see ``Flow``.

    Raises:
      ValueError: if the number of layers is odd.

    >>> from genjax import flow
    >>> model = flow.nice(shape=(4,), num_layers=2, hidden=(8,))
    >>> model.base
    Logistic()
    """
    check_pairs(num_layers)
    net = MLP(tuple(hidden), activation=activation, output_scale=0.0)
    pair = Chain(tuple(Coupling(transform=Additive(), net=net, flip=flip) for flip in (False, True)))
    layers = (
        *preprocess_to_vectors(shape, preprocess_bijections),
        ActNorm(),
        Permutation(),
        Scan(pair, num_layers // 2),
        Elementwise(Affine()),
    )
    return Flow(shape=tuple(shape), bijection=Chain(layers), base=base or Logistic(), num_classes=num_classes)


def preprocess_to_vectors(shape: Sequence[int], bijections: Sequence[Bijection]) -> tuple[Bijection, ...]:
    """Return the bijections, followed by a reshape to vectors if the data are not vectors."""
    return tuple(bijections) if len(shape) == 1 else (*bijections, Reshape(tuple(shape), (math.prod(shape),)))
