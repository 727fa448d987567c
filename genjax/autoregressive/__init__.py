"""Autoregressive models: every value is drawn given the values before it.

Their likelihoods are exact, and ``decoding`` samples from all of them, one cached step after the other.
"""

from genjax.autoregressive.causal import CausalModel, CausalNet
from genjax.autoregressive.decoding import Sampling, generate
from genjax.autoregressive.gated_pixel_cnn import GatedPixelCNNNet, gated_pixel_cnn
from genjax.autoregressive.gpt import GPT
from genjax.autoregressive.gpt2 import load_gpt2, save_gpt2
from genjax.autoregressive.made import MADE
from genjax.autoregressive.pixel_cnn import PixelCNNNet, pixel_cnn
from genjax.autoregressive.pixel_cnn_pp import PixelCNNPPNet, pixel_cnn_pp
from genjax.autoregressive.pixel_rnn import PixelRNNNet, pixel_rnn
from genjax.autoregressive.wavenet import WaveNetNet, wavenet

__all__ = [
    "GPT",
    "MADE",
    "CausalModel",
    "CausalNet",
    "GatedPixelCNNNet",
    "PixelCNNNet",
    "PixelCNNPPNet",
    "PixelRNNNet",
    "Sampling",
    "WaveNetNet",
    "gated_pixel_cnn",
    "generate",
    "load_gpt2",
    "pixel_cnn",
    "pixel_cnn_pp",
    "pixel_rnn",
    "save_gpt2",
    "wavenet",
]
