"""What the flows for vectors share.

Each begins with actnorm and ends with an affine map of each element. Their common arguments are

* ``shape``: shape of one example; data that are no vectors are flattened.
* ``num_layers``: number of layers, at least 1; couplings come in pairs.
* ``hidden``: widths of the hidden layers of each network.
* ``activation``: activation of the hidden layers.
* ``preprocess_bijections``: bijections applied to the data first, such as ``Logit`` for data in [0, 1].
* ``num_classes``: number of classes, see ``Flow``; each class then also has a base of its own, by the last affine map.
* ``backward``: "store" or "invert", see ``Scan``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from genjax.flow.bijection import Bijection, Chain, Reshape
from genjax.flow.coupling import Coupling, check_pairs
from genjax.flow.elementwise import Elementwise
from genjax.flow.flow import Base, Flow, Normal
from genjax.flow.linear import ActNorm
from genjax.flow.scan import Scan
from genjax.flow.univariate import Affine, UnivariateTransform
from genjax.nets import MLP


def vector_flow(
    shape: Sequence[int],
    preprocess_bijections: Sequence[Bijection],
    layers: Sequence[Bijection],
    num_classes: int | None,
    base: Base | None = None,
) -> Flow:
    """Return the flow of some layers, between preprocessing and actnorm before them and an affine map after them."""
    flatten = () if len(shape) == 1 else (Reshape(tuple(shape), (math.prod(shape),)),)
    bijection = Chain((*preprocess_bijections, *flatten, ActNorm(), *layers, Elementwise(Affine())))
    return Flow(shape=tuple(shape), bijection=bijection, base=base or Normal(), num_classes=num_classes)


def coupling_pairs(
    transform: UnivariateTransform,
    hidden: Sequence[int],
    activation: Any,
    num_layers: int,
    *,
    before: tuple[Bijection, ...] = (),
    backward: Literal["store", "invert"] = "store",
) -> Scan:
    """Return couplings in pairs that transform either half, each pair after the bijections ``before``.

    Raises:
      ValueError: if the number of layers is odd.
    """
    check_pairs(num_layers)
    net = MLP(tuple(hidden), activation=activation, output_scale=0.0)
    halves = tuple(Coupling(transform=transform, net=net, flip=flip) for flip in (False, True))
    return Scan(Chain((*before, *halves)), num_layers // 2, backward)
