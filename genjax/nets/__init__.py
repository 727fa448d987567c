"""Shared Flax Linen modules, and the functions through which models initialize and apply networks.

``dtype`` is the dtype of a module's computation; None follows the input. Parameters are always float32. ``computing``
sets the dtype of all networks of a program, and what is kept for its gradient.
"""

from genjax.nets.adapter import Net as Net
from genjax.nets.adapter import NetSpec as NetSpec
from genjax.nets.adapter import apply_net as apply_net
from genjax.nets.adapter import apply_part as apply_part
from genjax.nets.adapter import check_part as check_part
from genjax.nets.adapter import init_net as init_net
from genjax.nets.adapter import init_parts as init_parts
from genjax.nets.adapter import output_shape as output_shape
from genjax.nets.attention import Context as Context
from genjax.nets.attention import SelfAttention2D as SelfAttention2D
from genjax.nets.causal_conv import CausalConv as CausalConv
from genjax.nets.causal_conv import CausalConvCache as CausalConvCache
from genjax.nets.computation import computing as computing
from genjax.nets.conv import Conv as Conv
from genjax.nets.conv import ConvDecoder as ConvDecoder
from genjax.nets.conv import ConvEncoder as ConvEncoder
from genjax.nets.conv import ResidualCNN as ResidualCNN
from genjax.nets.conv import check_images as check_images
from genjax.nets.conv import check_output_images as check_output_images
from genjax.nets.conv import upsample as upsample
from genjax.nets.denoising_mlp import DenoisingMLP as DenoisingMLP
from genjax.nets.diff_wave import DiffWave as DiffWave
from genjax.nets.dit import DiT as DiT
from genjax.nets.foreign import from_equinox as from_equinox
from genjax.nets.foreign import from_nnx as from_nnx
from genjax.nets.fourier import FourierFeatures as FourierFeatures
from genjax.nets.group_norm import GroupNorm as GroupNorm
from genjax.nets.levels import LevelEmbedding as LevelEmbedding
from genjax.nets.masked_mlp import MaskedMLP as MaskedMLP
from genjax.nets.mlp import MLP as MLP
from genjax.nets.mlp import concat_condition as concat_condition
from genjax.nets.mlp import gated_tanh as gated_tanh
from genjax.nets.mlp import linear as linear
from genjax.nets.mlp import scaled_init as scaled_init
from genjax.nets.mlp import squared_relu as squared_relu
from genjax.nets.normalization import ConditionalBatchNorm as ConditionalBatchNorm
from genjax.nets.normalization import SpectralNorm as SpectralNorm
from genjax.nets.normalization import apply_layer as apply_layer
from genjax.nets.normalization import apply_norm as apply_norm
from genjax.nets.periodic import PeriodicFeatures as PeriodicFeatures
from genjax.nets.resampling import blur as blur
from genjax.nets.resampling import smooth_downsample as smooth_downsample
from genjax.nets.resampling import smooth_upsample as smooth_upsample
from genjax.nets.text_encoder import EncodesText as EncodesText
from genjax.nets.text_encoder import TextEncoder as TextEncoder
from genjax.nets.transformer import TokenTransformer as TokenTransformer
from genjax.nets.unet import UNet as UNet
