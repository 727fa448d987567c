"""Flows, their bijections and recipes."""

from functools import partial

import jax
import jax.numpy as jnp

from genjax import flow, nets
from genjax.core import Variables

PACKAGES = (flow,)
AFFINE, NET = flow.Affine(), nets.MLP((4,))
FLOW = flow.Flow(shape=(4,), bijection=flow.ActNorm())
FFJORD = flow.FFJORD(shape=(4,), net=NET)
INTEGERS = flow.VariationalDequantization(flow=FLOW)
SAMPLE = {"variables": Variables({}, {}), "key": jax.random.key(0), "num_samples": 2}
SMALL = {"shape": (4,), "num_layers": 2, "hidden": (4,)}
CASES = (
    partial(flow.Chain, bijections=(flow.ActNorm(),)),
    partial(flow.Inverse, bijection=flow.ActNorm()),
    partial(flow.Reshape, from_shape=(4,), to_shape=(2, 2)),
    partial(flow.Scan, bijection=flow.ActNorm(), num_layers=2),
    partial(flow.Coupling, transform=AFFINE, net=NET),
    partial(flow.MaskedAutoregressive, transform=AFFINE, features=(4,)),
    partial(flow.Elementwise, transform=AFFINE),
    partial(flow.Logit),
    partial(flow.InvertibleLinear),
    partial(flow.MultiScale, shape=(4, 4, 1), scales=(flow.Squeeze(),)),
    partial(flow.Continuous, net=NET),
    partial(flow.RationalQuadraticSpline),
    partial(flow.Flow, shape=(4,), bijection=flow.ActNorm()),
    partial(flow.FFJORD, shape=(4,), net=NET),
    partial(flow.VariationalDequantization, flow=FLOW),
    partial(flow.nice, **SMALL),
    partial(flow.real_nvp, **SMALL),
    partial(flow.neural_spline_flow, **SMALL),
    partial(flow.masked_autoregressive_flow, **SMALL),
    partial(flow.inverse_autoregressive_flow, **SMALL),
    partial(flow.real_nvp_image, shape=(4, 4, 1), num_layers=2),
    partial(flow.glow, shape=(4, 4, 1)),
    partial(FLOW.sample, **SAMPLE),
    partial(FLOW.log_prob, variables=SAMPLE["variables"], x=jnp.zeros((2, 4))),
    partial(FFJORD.log_prob_estimate, x=jnp.zeros((2, 4)), **SAMPLE),
    partial(INTEGERS.log_prob_estimate, x=jnp.zeros((2, 4), jnp.uint8), **SAMPLE),
)
