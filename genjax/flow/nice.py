"""NICE: non-linear independent components estimation.

Additive couplings, which preserve volume, alternate between the halves of the data; a learned scale for each dimension
changes it:

    log p(x) = Σ_i [log p_Z(z_i) + s_i],        z = f(exp(s) x).                                                 (1)

Laurent Dinh, David Krueger and Yoshua Bengio, 2015, arXiv:1410.8516. Dimensions are shuffled once, where the paper
separates even and odd ones; either way, neighbouring dimensions come to lie in different halves. The scale precedes the
couplings instead of following them, so that their networks see inputs of unit variance.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import flax.linen as nn

from genjax.arguments import NumClasses, Widths, check_arguments
from genjax.core import Array
from genjax.flow.bijection import Bijection
from genjax.flow.flow import Base, Flow, Logistic
from genjax.flow.linear import Permutation
from genjax.flow.univariate import Additive
from genjax.flow.vectors import coupling_pairs, vector_flow


@check_arguments
def nice(
    *,
    shape: Widths,
    num_layers: int = 4,
    hidden: Widths = (128, 128),
    activation: Callable[[Array], Array] = nn.relu,
    preprocess_bijections: Sequence[Bijection] = (),
    base: Base | None = None,
    num_classes: NumClasses | None = None,
) -> Flow:
    """Return NICE for vectors: Dinh, Krueger & Bengio (2015).

    The number of couplings, ``num_layers``, is even. ``base=None`` stands for the logistic distribution of the paper.
    Other arguments: see ``genjax.flow.vectors``.

    >>> from genjax import flow
    >>> model = flow.nice(shape=(4,), num_layers=2, hidden=(8,))
    >>> model.base
    Logistic()
    """
    couplings = coupling_pairs(Additive(), hidden, activation, num_layers)
    return vector_flow(shape, preprocess_bijections, (Permutation(), couplings), num_classes, base or Logistic())
