"""The neural spline flow: rational-quadratic splines in coupling or autoregressive layers.

A spline of K bins bends each dimension as it likes, where an affine map can only shift and stretch it; see ``spline``.
The coupling flow has density and samples in one pass. The autoregressive flow has the density in one pass, samples
dimension after dimension, and fits better.

Conor Durkan, Artur Bekasov, Iain Murray and George Papamakarios, 2019, arXiv:1906.04032.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import flax.linen as nn

from genjax.flow.autoregressive import MaskedAutoregressive
from genjax.flow.bijection import Bijection, Chain
from genjax.flow.elementwise import Elementwise
from genjax.flow.flow import Flow
from genjax.flow.linear import ActNorm, Reverse
from genjax.flow.nice import flat
from genjax.flow.real_nvp import coupling_pairs
from genjax.flow.scan import Scan
from genjax.flow.spline import RationalQuadraticSpline
from genjax.flow.transformers import Affine
from genjax.nets import MLP
from genjax.ops import check_choice


def nsf(
    *,
    shape: Sequence[int],
    kind: Literal["coupling", "autoregressive"] = "coupling",
    num_layers: int = 8,
    hidden: Sequence[int] = (128, 128),
    num_bins: int = 8,
    bound: float = 4.0,
    activation: Any = nn.relu,
    before: Sequence[Bijection] = (),
    num_classes: int | None = None,
) -> Flow:
    """Return a neural spline flow of vectors; data of other shapes is flattened.

    Args:
      shape: of one example.
      kind: "coupling" or "autoregressive".
      num_layers: of them; an even number of couplings.
      hidden: widths of the hidden layers of each one's network.
      num_bins: of each spline.
      bound: splines bend [-bound, bound]; actnorm first brings data to variance 1, beyond the bound it stays affine.
      activation: after each hidden layer.
      before: bijections that the data goes through first, such as ``Logit`` for data in [0, 1).
      num_classes: see ``Flow``; every class then also has a Gaussian of its own.

    Raises:
      ValueError: for another kind, or an odd number of couplings.
    """
    check_choice("kind", kind, ("coupling", "autoregressive"))
    spline = RationalQuadraticSpline(num_bins=num_bins, bound=bound)
    if kind == "coupling":
        layers = coupling_pairs(spline, MLP(tuple(hidden), activation=activation, output_scale=0.0), num_layers)
    else:
        layer = MaskedAutoregressive(transformer=spline, features=tuple(hidden), activation=activation)
        layers = Scan(Chain((layer, Reverse())), num_layers)
    bijection = Chain((*flat(shape, before), ActNorm(), layers, Elementwise(Affine())))
    return Flow(shape=tuple(shape), bijection=bijection, num_classes=num_classes)
