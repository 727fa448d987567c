"""Polyphonic music in discrete time steps, such as Bach's chorales."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from genjax.arguments import PositiveInt
from genjax.data.corpora import cut_windows
from genjax.data.dataset import SPLITS, Dataset
from genjax.data.deferred import opens_dataset
from genjax.data.sounds import Voices
from genjax.data.source import ArraySource
from genjax.data.splitting import SPLIT_NAMES
from genjax.data.tokenization import read_file

_KEYS = 12  # semitones of an octave
Piece = Sequence[Sequence[int]]  # pitches of each step


@opens_dataset
def chorales(
    path: str | Path,
    *,
    length: PositiveInt = 64,
    stride: PositiveInt | None = None,
    all_keys: bool = False,
    num_voices: PositiveInt = 4,
) -> Dataset:
    """Read music from a ``.json`` or ``.json.gz`` file: for each split a list of pieces, each a list of steps.

    A step is a list of pitches (MIDI note numbers). ``x`` is uint8, shape (num_voices · length,): the voices of the
    first step from high to low, then those of the second, and so on; steps with fewer notes end with silence. See
    ``Voices``. Pieces are concatenated, each followed by one step of silence, and cut into windows; the remainder after
    the last whole window is dropped.

    Args:
      path: path of the file.
      length: steps per window, at most those of the shortest split.
      stride: steps between the starts of successive training windows; None for ``length``, so that they do not overlap.
        Windows for validation and test never overlap.
      all_keys: whether to transpose training pieces to all twelve keys, six semitones down to five up.
      num_voices: maximum number of notes per step.
    """
    path = Path(path)
    pieces = _pieces(path, num_voices)
    pitches = [pitch for split in pieces.values() for piece in split for step in piece for pitch in step]
    keys = range(-_KEYS // 2, _KEYS // 2) if all_keys else range(1)
    lowest, highest = min(pitches) + keys[0], max(pitches) + keys[-1]
    sound = Voices(num_voices, lowest, highest - lowest + 2)
    splits = {}
    for split, split_pieces in pieces.items():
        training = split == "train"
        tokens = np.concatenate([_tokens(piece, sound) for piece in split_pieces])
        transposed = [np.where(tokens > 0, tokens + key, 0) for key in (keys if training else [0])]
        in_tokens = None if stride is None or not training else stride * num_voices
        tokens = np.concatenate(transposed).astype(np.uint8)
        splits[split] = ArraySource({"x": cut_windows(tokens, length * num_voices, f"{split} of {path}", in_tokens)})
    return Dataset(name=path.name.split(".")[0], splits=splits, levels=sound.num_tokens, sound=sound)


def _tokens(piece: Piece, sound: Voices) -> np.ndarray:
    """Return the tokens of a piece, followed by one step of silence."""
    tokens = np.zeros((len(piece) + 1, sound.num_voices), np.int64)
    for row, step in zip(tokens, piece, strict=False):
        row[: len(step)] = sorted((pitch - sound.lowest + 1 for pitch in step), reverse=True)
    return tokens.reshape(-1)


def _pieces(path: Path, num_voices: int) -> dict[str, Sequence[Piece]]:
    try:
        pieces = {SPLIT_NAMES[split]: split_pieces for split, split_pieces in json.loads(read_file(path)).items()}
        steps = [step for split_pieces in pieces.values() for piece in split_pieces for step in piece]
        notes = [len(step) for step in steps]
        pitches = {pitch for step in steps for pitch in step}
    except (UnicodeDecodeError, json.JSONDecodeError, AttributeError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} must hold splits {list(SPLITS)}, each a list of pieces of steps of pitches ({error!r}); "
            "see data.chorales"
        ) from None
    wrong = [pitch for pitch in pitches if not isinstance(pitch, int) or not 0 <= pitch < 128]
    if wrong or not pitches:
        raise ValueError(f"{path} holds the pitches {wrong[:3]}, but MIDI's are integers 0 … 127; convert them")
    if max(notes) > num_voices:
        raise ValueError(f"a step of {path} has {max(notes)} notes, but num_voices is {num_voices}; increase it")
    return pieces
