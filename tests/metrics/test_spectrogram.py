"""Log-mel spectrograms against their formula in NumPy, and on tones."""

import jax.numpy as jnp
import numpy as np
import pytest

from genjax.metrics.features.spectrogram import NUM_BANDS, bands, log_mel, window_length

RATE = 4_000


def test_against_the_formula():
    x = np.random.default_rng(0).normal(size=(2, 300)) * np.array([[1.0], [0.01]])
    window = window_length(RATE)
    assert window == 128
    hann = np.sin(np.pi * np.arange(window) / window) ** 2
    j, f = np.arange(window), np.arange(window // 2 + 1)
    waves = np.exp(-2j * np.pi * np.outer(j, f) / window)
    power = np.zeros((2, 3, NUM_BANDS))
    for t in range(3):  # windows that begin at 0, 64 and 128; 300 samples hold no fourth half
        power[:, t] = np.abs((hann * x[:, 64 * t : 64 * t + window]) @ waves) ** 2 @ bands(RATE)
    decibels = 10 * np.log10(power / power.max(axis=(1, 2), keepdims=True))
    expected = np.maximum(0, 1 + decibels / 50)
    np.testing.assert_allclose(log_mel(jnp.float32(x), RATE)[..., 0], expected, atol=1e-4)


@pytest.mark.parametrize("rate", [4_000, 8_000, 11_025, 16_000, 44_100])
def test_every_band_hears_a_frequency_and_none_beyond_its_neighbours(rate):
    weights = bands(rate)
    assert weights.min() >= 0
    assert (weights.max(axis=0) > 0).all()
    mel = 2595 * np.log10(1 + np.arange(len(weights)) * rate / window_length(rate) / 700)
    step = 2595 * np.log10(1 + rate / 2 / 700) / (NUM_BANDS + 1)
    inside = (mel >= step) & (mel <= NUM_BANDS * step)
    np.testing.assert_allclose(weights[inside].sum(axis=1), 1)  # neighbouring triangles share a frequency
    assert (weights[mel == 0] == 0).all()


def test_a_tone_is_in_its_own_band_at_all_times_and_silence_is_black():
    tone = np.sin(2 * np.pi * 1_000 * np.arange(512) / RATE)
    pictures = np.asarray(log_mel(jnp.float32(np.stack([tone, 1e-3 * tone, 0 * tone])), RATE)[..., 0])
    band = round(2595 * np.log10(1 + 1_000 / 700) / (2595 * np.log10(1 + 2_000 / 700) / (NUM_BANDS + 1))) - 1
    assert (pictures[:2].argmax(axis=2) == band).all()
    np.testing.assert_allclose(pictures[0], pictures[1], atol=1e-4)  # loudness does not matter
    np.testing.assert_array_equal(pictures[2], 0)


def test_waveforms_shorter_than_a_window_are_refused():
    with pytest.raises(ValueError, match="waveforms have 100 samples, but a window has 128; use longer ones"):
        log_mel(jnp.zeros((1, 100)), RATE)
