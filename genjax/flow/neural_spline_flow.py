"""The neural spline flow: rational-quadratic splines in coupling or autoregressive layers.

A spline with K bins is a flexible increasing map, where an affine map can only shift and scale; see
``genjax.flow.spline``. The coupling flow computes densities and samples in one pass. The autoregressive flow computes
densities in one pass and samples one dimension at a time, and fits better.

Conor Durkan, Artur Bekasov, Iain Murray and George Papamakarios, 2019, arXiv:1906.04032.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import flax.linen as nn

from genjax.arguments import NumClasses, PositiveFloat, PositiveInt, Widths, check_arguments
from genjax.core import Array
from genjax.flow.autoregressive import MaskedAutoregressive
from genjax.flow.bijection import Bijection, Chain
from genjax.flow.flow import Flow
from genjax.flow.linear import Permutation, Reverse
from genjax.flow.scan import Scan
from genjax.flow.spline import RationalQuadraticSpline
from genjax.flow.vectors import coupling_pairs, vector_flow


@check_arguments
def neural_spline_flow(
    *,
    shape: Widths,
    kind: Literal["coupling", "autoregressive"] = "coupling",
    num_layers: int = 8,
    hidden: Widths = (128, 128),
    num_bins: PositiveInt = 8,
    bound: PositiveFloat = 4.0,
    activation: Callable[[Array], Array] = nn.relu,
    preprocess_bijections: Sequence[Bijection] = (),
    num_classes: NumClasses | None = None,
) -> Flow:
    """Return a neural spline flow for vectors: Durkan et al. (2019).

    Splines with ``num_bins`` bins act on [-bound, bound] and are the identity outside. Actnorm first scales the data to
    variance 1. The number of layers is even for couplings. Other arguments: see ``genjax.flow.vectors``.

    >>> from genjax import flow
    >>> model = flow.neural_spline_flow(shape=(2,), num_layers=2, hidden=(8,), num_bins=4)
    >>> model.shape
    (2,)
    """
    spline = RationalQuadraticSpline(num_bins=num_bins, bound=bound)
    if kind == "coupling":
        layers = coupling_pairs(spline, hidden, activation, num_layers, before=(Permutation(),))
    else:
        layer = MaskedAutoregressive(transform=spline, features=tuple(hidden), activation=activation)
        layers = Scan(Chain((layer, Reverse())), num_layers)
    return vector_flow(shape, preprocess_bijections, (layers,), num_classes)
