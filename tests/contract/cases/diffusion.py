"""Diffusion models."""

from __future__ import annotations

from typing import Any

from genjax import diffusion, nets
from tests.contract.batches import NUM_FEATURES, code_batch, grey_batch, real_batch, token_batch
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


def _token_transformer(**options: Any) -> nets.TokenTransformer:
    return nets.TokenTransformer(num_values=5, num_layers=1, num_heads=1, features=8, **options)


def _masked_diffusion() -> diffusion.MaskedDiffusion:
    net = _token_transformer(embed_level=False, dropout=0.1)
    return diffusion.MaskedDiffusion(shape=(6,), num_values=5, net=net, stop_token=0)


def _conditional_uniform_diffusion() -> diffusion.UniformDiffusion:
    net = _token_transformer(positions="rotary", qk_norm=True, use_bias=False)
    return diffusion.UniformDiffusion(shape=(2, 3), num_values=5, net=net, num_classes=3)


CASES = (
    Case("diffusion", _diffusion, batch=real_batch),
    Case("conditional_diffusion", _conditional_diffusion, batch=grey_batch),
    Case("masked_diffusion", _masked_diffusion, batch=token_batch),
    Case("conditional_uniform_diffusion", _conditional_uniform_diffusion, batch=code_batch),
)

OWN_METHODS = {
    "Diffusion": ("denoiser", "levels", "noise_level", "predict", "sample_trajectory", "score"),
}
