"""Autoregressive models, their networks and how they are sampled."""

from functools import partial

import jax
import jax.numpy as jnp

from genjax import autoregressive, ops
from genjax.core import Variables

PACKAGES = (autoregressive,)
IMAGE = {"shape": (4, 4, 1), "num_layers": 1, "features": 4}
NET = {"num_outputs": 2, "num_layers": 1, "features": 4, "dropout": 0.0}
GPT = {"num_values": 3, "length": 6, "num_layers": 1, "num_heads": 1, "features": 4}
SAMPLE = {"variables": Variables({}, {}), "key": jax.random.key(0), "num_samples": 2}
CAUSAL = autoregressive.pixel_cnn(**IMAGE)
CASES = (
    partial(autoregressive.CausalModel, shape=(4, 4, 1), net=CAUSAL.net, distribution=ops.Categorical(2)),
    partial(autoregressive.GPT, **GPT),
    partial(autoregressive.MADE, shape=(4,), features=(4,)),
    partial(autoregressive.Sampling),
    partial(autoregressive.GatedPixelCNNNet, reach=1, **NET),
    partial(autoregressive.PixelCNNNet, reach=1, **NET),
    partial(autoregressive.PixelCNNPPNet, num_outputs=2, num_resolutions=1, num_blocks=1, features=4, dropout=0.0),
    partial(autoregressive.PixelRNNNet, reach=1, kind="row", head_features=4, **NET),
    partial(autoregressive.WaveNetNet, num_stacks=1, skip_features=4, **NET),
    partial(autoregressive.gated_pixel_cnn, **IMAGE),
    partial(autoregressive.pixel_cnn, **IMAGE),
    partial(autoregressive.pixel_cnn_pp, shape=(4, 4, 1), num_resolutions=1, num_blocks=1, features=4),
    partial(autoregressive.pixel_rnn, **IMAGE),
    partial(autoregressive.wavenet, shape=(8,), num_layers=1, features=4),
    partial(
        autoregressive.generate,
        step=lambda cache, token: (jnp.zeros((2, 3)), cache),
        cache=(),
        key=SAMPLE["key"],
        batch_size=2,
        length=3,
    ),
    partial(autoregressive.GPT(**GPT).sample, **SAMPLE),
    partial(autoregressive.MADE(shape=(4,), features=(4,)).sample, **SAMPLE),
    partial(CAUSAL.sample, **SAMPLE),
    partial(autoregressive.load_gpt2, path="model.safetensors"),
)
