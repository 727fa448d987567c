"""Normalizing flows."""

from __future__ import annotations

import jax.numpy as jnp

from genjax import flow, nets
from tests.contract.batches import NUM_FEATURES, byte_batch, grey_batch, real_batch
from tests.contract.case import Case


def _nsf(**options) -> flow.Flow:
    return flow.neural_spline_flow(shape=(NUM_FEATURES,), num_layers=2, hidden=(8,), num_bins=4, **options)


def _glow() -> flow.Flow:
    return flow.glow(
        shape=(4, 4, 1),
        num_steps=2,
        features=4,
        preprocess_bijections=(flow.Logit(),),
        num_classes=3,
        backward="invert",
    )


def _ffjord() -> flow.FFJORD:
    net = nets.MLP((8,), activation=jnp.tanh)
    return flow.FFJORD(shape=(NUM_FEATURES,), net=net, kinetic_weight=0.1, jacobian_weight=0.1)


def _dequantized() -> flow.VariationalDequantization:
    net = nets.ResidualCNN(features=4, num_blocks=0)
    checkerboard = {"transform": flow.Affine(), "net": net, "parts": "checkerboard"}
    board = (flow.Coupling(**checkerboard, flip=flip) for flip in (False, True))
    density = flow.real_nvp(
        shape=(4, 4, 1), num_layers=2, hidden=(8,), preprocess_bijections=(flow.Logit(),), num_classes=3
    )
    return flow.VariationalDequantization(flow=density, num_values=8, dequantizer=flow.Chain(tuple(board)))


CASES = (
    Case("nice", lambda: flow.nice(shape=(4, 4, 1), num_layers=2, hidden=(8,)), batch=grey_batch),
    Case("real_nvp", lambda: flow.real_nvp(shape=(NUM_FEATURES,), num_layers=2, hidden=(8,)), batch=real_batch),
    Case(
        "maf",
        lambda: flow.masked_autoregressive_flow(shape=(NUM_FEATURES,), num_layers=2, hidden=(8,)),
        batch=real_batch,
    ),
    Case(
        "iaf",
        lambda: flow.inverse_autoregressive_flow(shape=(NUM_FEATURES,), num_layers=2, hidden=(8,)),
        batch=real_batch,
    ),
    Case("nsf_coupling", _nsf, batch=real_batch),
    Case("nsf_autoregressive", lambda: _nsf(kind="autoregressive"), batch=real_batch),
    Case("glow", _glow, batch=grey_batch, scale=2.0),  # ten times the logarithms of a matrix's diagonal are singular
    Case("ffjord", _ffjord, batch=real_batch),
    Case("variational_dequantization", _dequantized, batch=byte_batch),
)

OWN_METHODS = {
    "Flow": ("sample_and_log_prob",),
    "FFJORD": ("sample_and_log_prob_estimate",),
    "VariationalDequantization": ("dequantize", "num_classes"),
}
