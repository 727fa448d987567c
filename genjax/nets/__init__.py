"""Shared Flax Linen building blocks, and the two functions through which families touch a network."""

from genjax.nets.causal import CausalCache, CausalConv
from genjax.nets.conv import Conv, ConvDecoder, ConvEncoder, PixelNet
from genjax.nets.made import MADE
from genjax.nets.mlp import MLP, gated_tanh, linear, scaled_init, squared_relu
from genjax.nets.seam import Net, apply_net, init_net, output_shape

__all__ = [
    "MADE",
    "MLP",
    "CausalCache",
    "CausalConv",
    "Conv",
    "ConvDecoder",
    "ConvEncoder",
    "Net",
    "PixelNet",
    "apply_net",
    "gated_tanh",
    "init_net",
    "linear",
    "output_shape",
    "scaled_init",
    "squared_relu",
]
