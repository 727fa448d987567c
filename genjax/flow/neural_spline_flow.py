"""The neural spline flow: rational-quadratic splines in coupling or autoregressive layers.

A spline with K bins is a flexible increasing map, where an affine map can only shift and scale; see
``genjax.flow.spline``. The coupling flow computes densities and samples in one pass. The autoregressive flow computes
densities in one pass and samples one dimension at a time, and fits better.

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
from genjax.flow.nice import preprocess_to_vectors
from genjax.flow.real_nvp import coupling_pairs
from genjax.flow.scan import Scan
from genjax.flow.spline import RationalQuadraticSpline
from genjax.flow.univariate import Affine
from genjax.nets import MLP
from genjax.ops import check_choice


def neural_spline_flow(
    *,
    shape: Sequence[int],
    kind: Literal["coupling", "autoregressive"] = "coupling",
    num_layers: int = 8,
    hidden: Sequence[int] = (128, 128),
    num_bins: int = 8,
    bound: float = 4.0,
    activation: Any = nn.relu,
    preprocess_bijections: Sequence[Bijection] = (),
    num_classes: int | None = None,
) -> Flow:
    """Return a neural spline flow for vectors: Durkan et al. (2019).

    Data of another shape are flattened.

    Args:
      shape: shape of one example.
      kind: type of the layers, "coupling" or "autoregressive".
      num_layers: number of layers; even for couplings.
      hidden: widths of the hidden layers of each network.
      num_bins: number of bins of each spline.
      bound: splines act on [-bound, bound] and are the identity outside. Actnorm first scales the data to variance 1.
      activation: activation of the hidden layers.
      preprocess_bijections: bijections applied to the data first, such as ``Logit`` for data in [0, 1].
      num_classes: number of classes, see ``Flow``; each class then also has a Gaussian base of its own.

    Raises:
      ValueError: if ``kind`` is unknown, or the number of couplings is odd.

    >>> from genjax import flow
    >>> model = flow.neural_spline_flow(shape=(2,), num_layers=2, hidden=(8,), num_bins=4)
    >>> model.shape
    (2,)
    """
    check_choice("kind", kind, ("coupling", "autoregressive"))
    spline = RationalQuadraticSpline(num_bins=num_bins, bound=bound)
    if kind == "coupling":
        layers = coupling_pairs(spline, MLP(tuple(hidden), activation=activation, output_scale=0.0), num_layers)
    elif kind == "autoregressive":
        layer = MaskedAutoregressive(transform=spline, features=tuple(hidden), activation=activation)
        layers = Scan(Chain((layer, Reverse())), num_layers)
    else:
        raise ValueError(f"kind is {kind!r}, but must be 'coupling' or 'autoregressive'")
    bijection = Chain((*preprocess_to_vectors(shape, preprocess_bijections), ActNorm(), layers, Elementwise(Affine())))
    return Flow(shape=tuple(shape), bijection=bijection, num_classes=num_classes)
