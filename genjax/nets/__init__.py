"""Shared Flax Linen modules, and the functions through which models initialize and apply networks."""

from genjax.nets.adapter import Net, NetSpec, apply_net, apply_part, check_part, init_net, init_parts, output_shape
from genjax.nets.attention import SelfAttention2D
from genjax.nets.causal_conv import CausalConv, CausalConvCache
from genjax.nets.conv import Conv, ConvDecoder, ConvEncoder, ResidualCNN, check_images, check_output_images, upsample
from genjax.nets.denoising_mlp import DenoisingMLP
from genjax.nets.dit import DiT
from genjax.nets.fourier import FourierFeatures
from genjax.nets.group_norm import GroupNorm
from genjax.nets.levels import LevelEmbedding
from genjax.nets.masked_mlp import MaskedMLP
from genjax.nets.mlp import MLP, concat_condition, gated_tanh, linear, scaled_init, squared_relu
from genjax.nets.normalization import ConditionalBatchNorm, SpectralNorm, apply_layer, apply_norm
from genjax.nets.unet import UNet

__all__ = [
    "MLP",
    "CausalConv",
    "CausalConvCache",
    "ConditionalBatchNorm",
    "Conv",
    "ConvDecoder",
    "ConvEncoder",
    "DenoisingMLP",
    "DiT",
    "FourierFeatures",
    "GroupNorm",
    "LevelEmbedding",
    "MaskedMLP",
    "Net",
    "NetSpec",
    "ResidualCNN",
    "SelfAttention2D",
    "SpectralNorm",
    "UNet",
    "apply_layer",
    "apply_net",
    "apply_norm",
    "apply_part",
    "check_images",
    "check_output_images",
    "check_part",
    "concat_condition",
    "gated_tanh",
    "init_net",
    "init_parts",
    "linear",
    "output_shape",
    "scaled_init",
    "squared_relu",
    "upsample",
]
