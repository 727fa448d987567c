"""Diffusion models."""

from __future__ import annotations

from typing import Any

from genjax import diffusion, nets
from tests.contract.batches import (
    NUM_FEATURES,
    captioned_batch,
    code_batch,
    grey_batch,
    level_batch,
    real_batch,
    token_batch,
)
from tests.contract.case import Case


def _diffusion() -> diffusion.Diffusion:
    net = nets.DenoisingMLP((8, 8), embedding_features=8, fourier_features=4, output_scale=1.0)
    return diffusion.Diffusion(
        shape=(NUM_FEATURES,),
        net=net,
        process=diffusion.processes.EDM(),
        parametrization=diffusion.parametrizations.Preconditioned(),
        times=diffusion.times.LogNormal(),
        grid=diffusion.grids.Karras(),
        num_steps=3,
    )


def _conditional_diffusion() -> diffusion.Diffusion:
    net = nets.DenoisingMLP((8,), embedding_features=8, fourier_features=0, output_scale=1.0)
    return diffusion.Diffusion(
        shape=(4, 4, 1), net=net, num_classes=3, sampler=diffusion.samplers.Ancestral(), num_steps=3
    )


def _waveform_diffusion() -> diffusion.Diffusion:
    net = nets.DiffWave(4, num_layers=2, patch_size=2, output_scale=1.0)
    return diffusion.Diffusion(
        shape=(NUM_FEATURES,),
        net=net,
        process=diffusion.processes.EDM(),
        parametrization=diffusion.parametrizations.Preconditioned(),
        times=diffusion.times.LogNormal(),
        num_steps=3,
    )


def _token_transformer(**options: Any) -> nets.TokenTransformer:
    return nets.TokenTransformer(num_values=5, num_layers=1, num_heads=1, features=8, **options)


def _masked_diffusion() -> diffusion.MaskedDiffusion:
    net = _token_transformer(embed_level=False, dropout=0.1)
    return diffusion.MaskedDiffusion(shape=(6,), num_values=5, net=net, stop_token=0)


def _conditional_uniform_diffusion() -> diffusion.UniformDiffusion:
    net = _token_transformer(positions="rotary", qk_norm=True, use_bias=False)
    return diffusion.UniformDiffusion(shape=(2, 3), num_values=5, net=net, num_classes=3)


def _variational_diffusion() -> diffusion.VariationalDiffusion:
    net = nets.PeriodicFeatures(nets.DenoisingMLP((8,), embedding_features=8, fourier_features=0), num_values=8)
    return diffusion.VariationalDiffusion(shape=(4, 4, 1), net=net, num_values=8, num_classes=3, num_steps=3)


def _mean_flow() -> diffusion.MeanFlow:
    net = nets.DenoisingMLP((8,), embedding_features=8, fourier_features=0, output_scale=1.0)
    return diffusion.MeanFlow(shape=(4, 4, 1), net=net, num_classes=3, max_guidance=3.0)


def _consistency() -> diffusion.ConsistencyModel:
    return diffusion.ConsistencyModel(denoiser=_diffusion(), gap=diffusion.GridGap(), num_steps=2)


def _conditional_consistency() -> diffusion.ConsistencyModel:
    return diffusion.ConsistencyModel(denoiser=_conditional_diffusion(), huber=0.1)


def _text_diffusion() -> diffusion.Diffusion:
    """A model with both conditions."""
    encoder = nets.TextEncoder(num_tokens=5, length=3, features=4, num_layers=1, num_heads=2)
    net = nets.DiT(patch_size=2, features=8, num_layers=1, num_heads=2, mlp_ratio=1.0, output_scale=1.0)
    return diffusion.Diffusion(
        shape=(4, 4, 1), net=net, num_classes=3, text_encoder=encoder, self_conditioning=True, num_steps=3
    )


CASES = (
    Case("diffusion", _diffusion, batch=real_batch),
    Case("conditional_diffusion", _conditional_diffusion, batch=grey_batch),
    Case("waveform_diffusion", _waveform_diffusion, batch=real_batch),
    Case("masked_diffusion", _masked_diffusion, batch=token_batch),
    Case("conditional_uniform_diffusion", _conditional_uniform_diffusion, batch=code_batch),
    Case("variational_diffusion", _variational_diffusion, batch=level_batch),
    Case("mean_flow", _mean_flow, batch=grey_batch),
    Case("consistency", _consistency, batch=real_batch),
    Case("conditional_consistency", _conditional_consistency, batch=grey_batch),
    Case("text_diffusion", _text_diffusion, batch=captioned_batch),
)

OWN_METHODS = {
    "VariationalDiffusion": ("bound_loss", "gamma", "variance_loss"),
    "MeanFlow": ("mean_velocity",),
    "ConsistencyModel": ("num_classes",),
    "Diffusion": (
        "denoiser",
        "embed",
        "levels",
        "network_output",
        "noise_batch",
        "noise_level",
        "predict",
        "predict_embedded",
        "sample_trajectory",
        "score",
        "training_condition",
    ),
}
