"""Normalizing flows: bijections, and the models built from them.

A bijection maps data to noise and back, with its log-determinant; ``Chain``, ``Scan`` and ``Inverse`` combine
bijections, and ``Flow`` turns one into a density. The models of the literature are functions that return a ``Flow``.
"""

from genjax.flow.autoregressive import MaskedAutoregressive
from genjax.flow.bijection import Bijection, Chain, Inverse, Reshape
from genjax.flow.continuous import Continuous
from genjax.flow.coupling import Coupling
from genjax.flow.dequantization import VariationalDequantization
from genjax.flow.elementwise import Elementwise, Logit
from genjax.flow.ffjord import FFJORD
from genjax.flow.flow import Flow, Logistic, Normal
from genjax.flow.glow import glow
from genjax.flow.linear import ActNorm, InvertibleLinear, Permutation, Reverse
from genjax.flow.masked_autoregressive_flow import inverse_autoregressive_flow, masked_autoregressive_flow
from genjax.flow.multiscale import MultiScale, Squeeze
from genjax.flow.neural_spline_flow import neural_spline_flow
from genjax.flow.nice import nice
from genjax.flow.real_nvp import real_nvp, real_nvp_image
from genjax.flow.scan import Scan
from genjax.flow.spline import RationalQuadraticSpline
from genjax.flow.univariate import Additive, Affine, UnivariateTransform

__all__ = [
    "FFJORD",
    "ActNorm",
    "Additive",
    "Affine",
    "Bijection",
    "Chain",
    "Continuous",
    "Coupling",
    "Elementwise",
    "Flow",
    "Inverse",
    "InvertibleLinear",
    "Logistic",
    "Logit",
    "MaskedAutoregressive",
    "MultiScale",
    "Normal",
    "Permutation",
    "RationalQuadraticSpline",
    "Reshape",
    "Reverse",
    "Scan",
    "Squeeze",
    "UnivariateTransform",
    "VariationalDequantization",
    "glow",
    "inverse_autoregressive_flow",
    "masked_autoregressive_flow",
    "neural_spline_flow",
    "nice",
    "real_nvp",
    "real_nvp_image",
]
