"""Sound in 16-bit wav files, cut into windows of equal length."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np

from genjax.data.dataset import Dataset
from genjax.data.folders import Files, find_splits
from genjax.data.source import ArraySource
from genjax.data.splitting import Size, last

SUFFIXES = (".wav",)


def wav(path: str | Path, *, length: int, validation: Size = 0, test: Size = 0) -> Dataset:
    """Read a wav file, or a folder of them whose subfolders are classes, as windows that do not overlap.

    ``x`` is float32 of shape (length,): the 16-bit sample divided by 2^15, in [-1, 1), channels averaged. Clips shorter
    than ``length`` are padded with silence; of longer ones what remains after the last whole window is left out.

    Args:
      path: file or folder; folders ``train``, ``validation`` and ``test`` at its top are splits.
      length: samples in one window.
      validation: number or fraction for validation: of a folder's files, evenly spaced over the sorted files; of a
        single file's windows, the last ones before those for test.
      test: the same for test.

    Raises:
      FileNotFoundError: when there is no such file or folder.
      ValueError: when a file is not 16-bit PCM or sampling rates differ.
    """
    if length < 1:
        raise ValueError(f"length is {length}, but a window holds at least 1 sample")
    path = Path(path)
    if path.is_dir():
        splits = find_splits(path, SUFFIXES, validation, test)
        rate = _read(splits["train"].paths[0])[1]
        sources = {name: _source(files, length, rate, splits["train"].paths[0]) for name, files in splits.items()}
        return Dataset(name=path.name, splits=sources, num_classes=len(splits["train"].classes) or None)
    if not path.is_file():
        raise FileNotFoundError(f"no file or folder {path}; check the path")
    x = _windows(_read(path)[0], length)
    parts = last(len(x), validation, test)
    return Dataset(name=path.stem, splits={name: ArraySource({"x": x[i]}) for name, i in parts.items()})


def _source(files: Files, length: int, rate: int, first: Path) -> ArraySource:
    clips = []
    for path in files.paths:
        samples, its_rate = _read(path)
        if its_rate != rate:
            raise ValueError(f"{path} has {its_rate} samples a second, but {first} has {rate}; resample one of them")
        clips.append(_windows(samples, length))
    arrays = {"x": np.concatenate(clips)}
    if files.label is not None:
        arrays["label"] = np.repeat(files.label, [len(clip) for clip in clips])
    return ArraySource(arrays)


def _windows(samples: np.ndarray, length: int) -> np.ndarray:
    padded = np.pad(samples, (0, max(length - len(samples), 0)))
    return padded[: len(padded) // length * length].reshape(-1, length)


def _read(path: Path) -> tuple[np.ndarray, int]:
    """Return the samples in [-1, 1) and the sampling rate."""
    try:
        with wave.open(str(path), "rb") as file:
            width, channels, rate = file.getsampwidth(), file.getnchannels(), file.getframerate()
            frames = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise ValueError(f"cannot read {path} ({error}); convert it to 16-bit PCM wav") from None
    if width != 2:
        raise ValueError(f"{path} has {8 * width}-bit samples; convert it to 16-bit PCM wav")
    samples = np.frombuffer(frames, "<i2").reshape(-1, channels).astype(np.float32)
    return samples.mean(axis=1) / 2**15, rate
