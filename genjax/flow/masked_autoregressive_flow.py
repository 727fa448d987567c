"""The masked autoregressive flow (MAF) and the inverse autoregressive flow (IAF).

MAF stacks masked autoregressive layers and reverses the order of the dimensions between them:

    z_i = (x_i − μ_i(x_{<i})) exp(s_i(x_{<i})),                                                                  (1)

one pass for the density, one dimension at a time for samples. IAF uses the same layers in the opposite direction:

    x_i = (z_i − μ_i(z_{<i})) exp(s_i(z_{<i})),                                                                  (2)

one pass for samples and their density, one dimension at a time for the density of given data.

MAF: George Papamakarios, Theo Pavlakou and Iain Murray, 2017, arXiv:1705.07057. IAF: Durk Kingma et al., 2016,
arXiv:1606.04934. Actnorm (arXiv:1807.03039) replaces the batch normalization of MAF.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import flax.linen as nn

from genjax.arguments import NumClasses, PositiveInt, Widths, check_arguments
from genjax.core import Array
from genjax.flow.autoregressive import MaskedAutoregressive
from genjax.flow.bijection import Bijection, Chain, Inverse
from genjax.flow.flow import Flow
from genjax.flow.linear import Reverse
from genjax.flow.scan import Scan
from genjax.flow.univariate import Affine
from genjax.flow.vectors import vector_flow


@check_arguments
def masked_autoregressive_flow(
    *,
    shape: Widths,
    num_layers: PositiveInt = 5,
    hidden: Widths = (128, 128),
    activation: Callable[[Array], Array] = nn.relu,
    inversion: Literal["sequential", "jacobi"] = "sequential",
    preprocess_bijections: Sequence[Bijection] = (),
    num_classes: NumClasses | None = None,
) -> Flow:
    """Return a masked autoregressive flow for vectors: Papamakarios, Pavlakou & Murray (2017).

    ``inversion`` is the algorithm for samples, see ``MaskedAutoregressive``. Other arguments: see
    ``genjax.flow.vectors``.

    >>> from genjax import flow
    >>> model = flow.masked_autoregressive_flow(shape=(3,), num_layers=2, hidden=(8,))
    >>> model.shape
    (3,)
    """
    layer = MaskedAutoregressive(transform=Affine(), features=tuple(hidden), activation=activation, inversion=inversion)
    steps = Scan(Chain((layer, Reverse())), num_layers)
    return vector_flow(shape, preprocess_bijections, (steps,), num_classes)


@check_arguments
def inverse_autoregressive_flow(
    *,
    shape: Widths,
    num_layers: PositiveInt = 5,
    hidden: Widths = (128, 128),
    activation: Callable[[Array], Array] = nn.relu,
    preprocess_bijections: Sequence[Bijection] = (),
    num_classes: NumClasses | None = None,
) -> Flow:
    """Return an inverse autoregressive flow for vectors: Kingma et al. (2016).

    Arguments are those of ``masked_autoregressive_flow``, except ``inversion``.

    >>> from genjax import flow
    >>> model = flow.inverse_autoregressive_flow(shape=(3,), num_layers=2, hidden=(8,))
    >>> model.shape
    (3,)
    """
    layer = MaskedAutoregressive(transform=Affine(), features=tuple(hidden), activation=activation)
    steps = Scan(Chain((Inverse(layer), Reverse())), num_layers)
    return vector_flow(shape, preprocess_bijections, (steps,), num_classes)
