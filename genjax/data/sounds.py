"""Sound and music: encodings of waveforms and notes, audio files and pictures."""

from __future__ import annotations

import itertools
import wave
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, final, runtime_checkable

import numpy as np

from genjax.arguments import NonNegativeInt, PositiveInt, check_arguments

Encoding = Literal["float", "mu_law", "linear"]
_LEVELS: dict[str, int | None] = {"float": None, "mu_law": 256, "linear": 2**16}
PICTURE_SHAPE = (48, 128)  # rows, columns of a waveform
TICKS_PER_STEP, STEPS_PER_BEAT = 120, 4
BEATS_PER_MINUTE = 80


@runtime_checkable
class Sound(Protocol):
    """Converts examples to audio files and pictures."""

    @property
    def suffix(self) -> str:
        """Suffix of the audio files, such as ".wav"."""
        ...

    def save(self, path: str | Path, x: np.ndarray) -> None:
        """Write one example (T,) as an audio file."""
        ...

    def draw(self, x: np.ndarray) -> np.ndarray:
        """Return pictures of examples (N, T), uint8 (N, H, W, 1)."""
        ...


@check_arguments
@final
@dataclass(frozen=True)
class Waveform:
    """A waveform: amplitudes a in [−1, 1) as real numbers, or quantized to integers 0 … L − 1.

    Bins have equal width in a, or with the µ-law in sgn(a) ln(1 + µ|a|) / ln(1 + µ), µ = L − 1, which is finer at low
    amplitudes (ITU-T recommendation G.711; with 256 levels, Aäron van den Oord et al. 2016, arXiv:1609.03499, section
    2.2). Integers decode to the center of their bin.

    Attributes:
      sample_rate: samples per second.
      encoding: "float", "mu_law" or "linear".
      levels: number of levels, L, in 2 … 65,536. None is 256 for the µ-law, and 65,536 for "linear", which is lossless
        for 16 bits; "float" has no levels.

    >>> sound = Waveform(8_000, "mu_law")
    >>> sound.encode(np.array([-1.0, -0.1, 0.0, 0.01, 0.99])).tolist()
    [0, 52, 128, 157, 255]
    """

    sample_rate: PositiveInt
    encoding: Encoding = "float"
    levels: PositiveInt | None = None
    suffix = ".wav"  # 16-bit PCM

    def __post_init__(self) -> None:
        if self.levels is None:
            object.__setattr__(self, "levels", _LEVELS[self.encoding])
        elif self.encoding == "float" or not 2 <= self.levels <= 2**16:
            raise ValueError(
                f"levels is {self.levels}, but must be in 2 … 65536 for 'mu_law' and 'linear', and None for 'float'; "
                f"encoding is {self.encoding!r}"
            )

    def encode(self, samples: np.ndarray) -> np.ndarray:
        """Encode samples in [−1, 1) as float32, uint8 (up to 256 levels) or int32."""
        if self.levels is None:
            return samples.astype(np.float32)
        if self.encoding == "mu_law":
            mu = self.levels - 1
            samples = np.sign(samples) * np.log1p(mu * np.abs(samples)) / np.log1p(mu)
        bins = np.floor((samples + 1) / 2 * self.levels).clip(0, self.levels - 1)
        return bins.astype(np.uint8 if self.levels <= 256 else np.int32)

    def decode(self, x: np.ndarray) -> np.ndarray:
        """Decode to samples in [−1, 1), float64."""
        x = np.asarray(x, np.float64)
        if self.levels is None:
            return x.clip(-1, 1 - 2**-15)
        middle = (2 * x + 1) / self.levels - 1
        if self.encoding == "linear":
            return middle
        mu = self.levels - 1
        return np.sign(middle) * np.expm1(np.abs(middle) * np.log1p(mu)) / mu

    def save(self, path: str | Path, x: np.ndarray) -> None:
        """Write one example (T,) as a wav file."""
        pcm = np.floor(self.decode(x) * 2**15).astype("<i2")
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(self.sample_rate)
            file.writeframes(pcm.tobytes())

    def draw(self, x: np.ndarray) -> np.ndarray:
        """Return oscillograms: each column is white from the minimum to the maximum of its samples."""
        rows, columns = PICTURE_SHAPE
        samples = self.decode(x)
        edges = np.linspace(0, samples.shape[1], min(columns, samples.shape[1]) + 1).astype(int)[:-1]
        low, high = np.minimum.reduceat(samples, edges, axis=1), np.maximum.reduceat(samples, edges, axis=1)
        from_above = np.arange(rows)[None, :, None]
        top, bottom = ((1 - a[:, None]) / 2 * (rows - 1) for a in (high, low))
        lit = (from_above >= np.floor(top)) & (from_above <= np.ceil(bottom))
        return (255 * lit).astype(np.uint8)[..., None]


@check_arguments
@final
@dataclass(frozen=True)
class Voices:
    """Notes of several voices: tokens are the voices of the first step, then those of the second, and so on.

    Token 0 is silence; token k ≥ 1 is the pitch lowest + k − 1, a MIDI note number (middle C is 60). A voice that
    repeats its pitch holds the note.

    Attributes:
      num_voices: number of voices, which is that of tokens per step.
      lowest: pitch of token 1.
      num_tokens: number of tokens, including silence.

    >>> Voices(2, 60, 13).pitches(np.array([1, 5, 1, 0])).tolist()
    [[60, 64], [60, -1]]
    """

    num_voices: PositiveInt
    lowest: NonNegativeInt
    num_tokens: PositiveInt
    suffix = ".mid"

    def pitches(self, x: np.ndarray) -> np.ndarray:
        """Return the pitches (T / num_voices, num_voices) of tokens (T,); −1 for silence."""
        x = np.asarray(x, np.int64)
        steps = x[: len(x) // self.num_voices * self.num_voices].reshape(-1, self.num_voices)
        return np.where(steps > 0, steps + self.lowest - 1, -1)

    def save(self, path: str | Path, x: np.ndarray) -> None:
        """Write one example (T,) as MIDI: a track for each voice, steps of a sixteenth, 80 beats per minute."""
        mido = _mido()
        file = mido.MidiFile(ticks_per_beat=TICKS_PER_STEP * STEPS_PER_BEAT)
        pitches = self.pitches(x)
        for voice in range(self.num_voices):
            track = mido.MidiTrack()
            if voice == 0:
                track.append(mido.MetaMessage("set_tempo", tempo=mido.bpm2tempo(BEATS_PER_MINUTE)))
            last = 0
            for start, end, pitch in _notes(pitches[:, voice]):
                note = {"note": pitch, "velocity": 72, "channel": voice}
                track.append(mido.Message("note_on", **note, time=(start - last) * TICKS_PER_STEP))
                track.append(mido.Message("note_off", **note, time=(end - start) * TICKS_PER_STEP))
                last = end
            file.tracks.append(track)
        file.save(str(path))

    def draw(self, x: np.ndarray) -> np.ndarray:
        """Return piano rolls: one pixel per step and pitch, high notes at the top, one grey level per voice."""
        x = np.asarray(x)
        rolls = np.zeros((len(x), self.num_tokens - 1, x.shape[1] // self.num_voices, 1), np.uint8)
        for roll, tokens in zip(rolls, x, strict=True):
            for voice, pitches in enumerate(self.pitches(tokens).T):
                steps = np.flatnonzero(pitches >= 0)
                roll[self.num_tokens - 2 - (pitches[steps] - self.lowest), steps] = 255 - 40 * (voice % 4)
        return rolls


def _notes(pitches: np.ndarray) -> list[tuple[int, int, int]]:
    """Return (first step, last step + 1, pitch) of each note of a voice."""
    changes = np.flatnonzero(np.diff(pitches)) + 1
    spans = itertools.pairwise([0, *changes.tolist(), len(pitches)])
    return [(start, end, int(pitches[start])) for start, end in spans if start < end and pitches[start] >= 0]


def _mido() -> Any:
    try:
        import mido
    except ImportError:
        raise ImportError('MIDI files need mido; pip install "genjax-models[music]"') from None
    return mido
