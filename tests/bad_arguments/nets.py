"""Networks."""

from functools import partial

import flax.linen as nn

from genjax import nets

PACKAGES = (nets,)
EXCEPT = (nets.Conv,)  # Linen's own
CASES = (
    partial(nets.CausalConv, features=4, reach=1),
    partial(nets.ConditionalBatchNorm),
    partial(nets.ConvDecoder, features=(4,), output_shape=(8, 8, 1)),
    partial(nets.ConvEncoder, features=(4,), output_features=2),
    partial(nets.DenoisingMLP, features=(4,)),
    partial(nets.DiffWave, features=4),
    partial(nets.DiT, patch_size=2, features=8, num_layers=1, num_heads=2),
    partial(nets.FourierFeatures, num_features=4),
    partial(nets.GroupNorm, num_groups=2),
    partial(nets.LevelEmbedding, features=4),
    partial(nets.MLP, features=(4,)),
    partial(nets.MaskedMLP, features=(4,)),
    partial(nets.PeriodicFeatures, net=nets.DenoisingMLP((4,)), num_values=8),
    partial(nets.ResidualCNN, features=4),
    partial(nets.SelfAttention2D),
    partial(nets.SpectralNorm, layer=nn.Dense(2)),
    partial(nets.TokenTransformer, num_values=3, num_layers=1, num_heads=1, features=4),
    partial(nets.TextEncoder, num_tokens=5, length=3),
    partial(nets.UNet, features=8),
)
