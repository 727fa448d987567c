"""Music in several voices, step by step, such as Bach's chorales."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from genjax.data.corpora import windows
from genjax.data.dataset import Dataset
from genjax.data.deferred import opens_dataset
from genjax.data.sounds import Voices
from genjax.data.source import ArraySource
from genjax.data.tokenization import read

_SPLITS = {"train": "train", "valid": "validation", "validation": "validation", "test": "test"}
_KEYS = 12  # semitones of an octave
Piece = Sequence[Sequence[int]]  # the pitches of each step


@opens_dataset
def chorales(
    path: str | Path, *, length: int = 64, stride: int | None = None, all_keys: bool = False, num_voices: int = 4
) -> Dataset:
    """Read music from a ``.json`` or ``.json.gz`` file: splits of pieces of steps of pitches, in MIDI's numbers.

    ``x`` has shape (num_voices · length,), uint8: the voices of the first step, from the highest downwards, those of
    the second, and so on; steps of fewer notes end with silence. See ``Voices``. Pieces follow each other, a step of
    silence after each, and what remains after the last whole window is left out.

    Args:
      path: the file.
      length: steps in one window.
      stride: steps from the start of one training window to that of the next; None for ``length``, so that they do not
        overlap. Those for validation and test never do.
      all_keys: whether training pieces are there in all twelve keys, six semitones down to five up.
      num_voices: most notes of a step.

    Raises:
      FileNotFoundError: when there is no such file.
      ValueError: when it holds something else, or is shorter than one window.
    """
    path = Path(path)
    pieces = _pieces(path, num_voices)
    pitches = [pitch for split in pieces.values() for piece in split for step in piece for pitch in step]
    keys = range(-_KEYS // 2, _KEYS // 2) if all_keys else range(1)
    lowest, highest = min(pitches) + keys[0], max(pitches) + keys[-1]
    sound = Voices(num_voices, lowest, highest - lowest + 2)
    splits = {}
    for split, its in pieces.items():
        training = split == "train"
        tokens = np.concatenate([_tokens(piece, sound) for piece in its])
        moved = [np.where(tokens > 0, tokens + key, 0) for key in (keys if training else [0])]
        in_tokens = None if stride is None or not training else stride * num_voices
        tokens = np.concatenate(moved).astype(np.uint8)
        splits[split] = ArraySource({"x": windows(tokens, length * num_voices, f"{split} of {path}", in_tokens)})
    return Dataset(name=path.name.split(".")[0], splits=splits, levels=sound.num_tokens, sound=sound)


def _tokens(piece: Piece, sound: Voices) -> np.ndarray:
    """Return the tokens of a piece, and a step of silence."""
    tokens = np.zeros((len(piece) + 1, sound.num_voices), np.int64)
    for row, step in zip(tokens, piece, strict=False):
        row[: len(step)] = sorted((pitch - sound.lowest + 1 for pitch in step), reverse=True)
    return tokens.reshape(-1)


def _pieces(path: Path, num_voices: int) -> dict[str, Sequence[Piece]]:
    try:
        found = json.loads(read(path))
        pieces = {_SPLITS[split]: its for split, its in found.items()}
        notes = [len(step) for its in pieces.values() for piece in its for step in piece]
        pitches = {pitch for its in pieces.values() for piece in its for step in piece for pitch in step}
    except (UnicodeDecodeError, json.JSONDecodeError, AttributeError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} holds no splits {sorted(_SPLITS)} of pieces of steps of pitches ({error!r}); see data.chorales"
        ) from None
    wrong = [pitch for pitch in pitches if not isinstance(pitch, int) or not 0 <= pitch < 128]
    if wrong or not pitches:
        raise ValueError(f"{path} holds the pitches {wrong[:3]}, but MIDI's are integers 0 … 127; convert them")
    if max(notes) > num_voices:
        raise ValueError(f"a step of {path} has {max(notes)} notes, but num_voices is {num_voices}; give more")
    return pieces
