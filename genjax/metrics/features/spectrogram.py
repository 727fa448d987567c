"""Log-mel spectrograms: pictures of waveforms for a classifier, by time and pitch, whatever the loudness.

A waveform is cut into windows of 2 H samples, about 32 ms, which overlap by half and are weighted by Hann's w. With M
triangles m_b(f), equally spaced and equally wide in mel, 2595 log₁₀(1 + f / 700 Hz), the picture is

    P_{tb} = Σ_f m_b(f) |Σ_j w_j x_{tH+j} e^{−2πi f j}|²,        y_{tb} = max(0, 1 + log₁₀(P_{tb} / max P) / 5),   (1)

the power in decibels below the loudest, from 1 at 0 dB to 0 at −50 dB and below.
Mel scale: Douglas O'Shaughnessy 1987, "Speech communication".
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from genjax.core import Array

NUM_BANDS, RANGE = 40, 5.0  # bands, and decades of power
SECONDS = 0.032  # length of a window, which is rounded to a power of 2
SILENCE = 1e-12  # power below which a waveform counts as silent


def log_mel(x: Array, sample_rate: int) -> Array:
    """Return pictures (B, T / H − 1, M, 1) in [0, 1] of waveforms (B, T), equation 1; a silent one is 0.

    Raises:
      ValueError: if the waveforms are shorter than a window.

    >>> log_mel(jnp.zeros((2, 1024)), 8_000).shape
    (2, 7, 40, 1)
    """
    hop = window_length(sample_rate) // 2
    count = x.shape[1] // hop
    if count < 2:
        raise ValueError(f"waveforms have {x.shape[1]} samples, but a window has {2 * hop}; use longer ones")
    halves = x[:, : count * hop].reshape(-1, count, hop)
    windows = jnp.concatenate([halves[:, :-1], halves[:, 1:]], axis=-1)
    hann = jnp.asarray(np.hanning(2 * hop + 1)[:-1], jnp.float32)
    power = jnp.square(jnp.abs(jnp.fft.rfft(windows * hann[None, None]))) @ jnp.asarray(bands(sample_rate), jnp.float32)
    loudest = power.max(axis=(1, 2), keepdims=True)
    decades = jnp.log10(jnp.maximum(power, SILENCE)) - jnp.log10(jnp.maximum(loudest, SILENCE))
    y = jnp.where(loudest > SILENCE, jnp.maximum(1 + decades / RANGE, 0), 0)  # equation 1
    return y[..., None]


def window_length(sample_rate: int) -> int:
    """Return the number of samples of a window, 2 H, a power of 2.

    >>> window_length(8_000), window_length(16_000)
    (256, 512)
    """
    return 2 ** max(2, round(np.log2(SECONDS * sample_rate)))


def bands(sample_rate: int) -> np.ndarray:
    """Return the weights m_b(f) of frequencies f = 0 … sample_rate / 2 in bands b, (H + 1, M)."""
    length = window_length(sample_rate)
    pitch = _mel(np.arange(length // 2 + 1) * sample_rate / length)
    centers = np.linspace(0, _mel(np.asarray(sample_rate / 2)), NUM_BANDS + 2)
    return np.maximum(0, 1 - np.abs(pitch[:, None] - centers[None, 1:-1]) / (centers[1] - centers[0]))


def _mel(frequency: np.ndarray) -> np.ndarray:
    return 2595 * np.log10(1 + frequency / 700)
