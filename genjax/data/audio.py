"""Sound from 16-bit wav files, or concatenated in an npz file, cut into windows of equal length."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from genjax.arguments import PositiveInt
from genjax.data.dataset import Dataset, count_classes
from genjax.data.deferred import opens_dataset
from genjax.data.folders import Files, find_splits
from genjax.data.io import open_npz, read_entry
from genjax.data.sounds import Encoding, Waveform
from genjax.data.source import ArraySource, Source
from genjax.data.splitting import Size, split_evenly, split_last, split_source

SUFFIXES = (".wav",)


@opens_dataset
def wav(
    path: str | Path,
    *,
    length: PositiveInt,
    encoding: Encoding = "float",
    levels: PositiveInt | None = None,
    validation: Size = 0,
    test: Size = 0,
) -> Dataset:
    """Read a wav file, or a folder of wav files whose subfolders are classes, as windows that do not overlap.

    ``x`` has shape (length,): 16-bit samples divided by 2^15, in [-1, 1), averaged over channels, float32 or encoded as
    integers. Clips shorter than ``length`` are padded with silence; the remainder after the last whole window of a
    longer clip is dropped.

    Args:
      path: 16-bit PCM file, or folder of such files with one sampling rate; its folders ``train``, ``validation`` and
        ``test`` are splits if they exist.
      length: samples per window.
      encoding: "float", or "mu_law" or "linear" for integers; see ``Waveform``.
      levels: number of integer values; None for the default of the encoding.
      validation: number or fraction for validation: of a folder's files, evenly spaced over the sorted files; of a
        single file's windows, the last ones before those for test.
      test: number or fraction for test, as ``validation``.
    """
    path = Path(path)
    if path.is_dir():
        files = find_splits(path, SUFFIXES, validation, test)
        first = files["train"].paths[0]
        sound = Waveform(_read(first)[1], encoding, levels)
        sources = {split: _source(split_files, length, sound, first) for split, split_files in files.items()}
        classes = files["train"].classes or None
        return Dataset(name=path.name, splits=sources, levels=sound.levels, class_names=classes, sound=sound)
    if not path.is_file():
        raise FileNotFoundError(f"no file or folder {path}; check the path")
    samples, sample_rate = _read(path)
    sound = Waveform(sample_rate, encoding, levels)
    source = ArraySource({"x": sound.encode(_windows(samples, length))})
    return _dataset(path.stem, split_source(source, split_last(len(source), validation, test)), sound, None)


@opens_dataset
def clips(
    path: str | Path,
    *,
    sample_rate: PositiveInt,
    length: PositiveInt,
    label: str | Sequence[str] = (),
    encoding: Encoding = "float",
    levels: PositiveInt | None = None,
    decimation: PositiveInt = 1,
    first_window_only: bool = False,
    validation: Size = 0,
    test: Size = 0,
) -> Dataset:
    """Read M clips from an npz file: ``audio``, int16 (N,), all clips concatenated, and ``length`` of each, int (M,).

    ``x`` holds windows of the clips, as for ``wav``.

    Args:
      path: path of the file.
      sample_rate: samples per second of the file.
      length: samples per window, after decimation.
      label: name of the entry, or of several, with the class of each clip, int (M,). Several entries are combined: each
        combination is a class, and the last entry varies fastest.
      encoding: see ``wav``.
      levels: see ``wav``.
      decimation: number of samples of the file for each of a window, which a low-pass filter makes smooth beforehand.
      first_window_only: whether to keep only the first window of each clip.
      validation: number or fraction of clips for validation, evenly spaced.
      test: number or fraction of clips for test, evenly spaced.
    """
    path = Path(path)
    names = (label,) if isinstance(label, str) else tuple(label)
    entries = _entries(path, ("audio", "length", *names))
    if sample_rate % decimation:
        raise ValueError(
            f"sample_rate={sample_rate} is not a multiple of decimation={decimation}; use one of its divisors"
        )
    sound = Waveform(sample_rate // decimation, encoding, levels)
    lengths = entries["length"]
    if lengths.dtype.kind not in "iu" or not lengths.size or lengths.min() < 1:
        raise ValueError(f"length of {path} is {lengths.dtype}{list(lengths.shape)}, but must be integers above 0")
    if entries["audio"].dtype != np.int16 or lengths.sum() != len(entries["audio"]):
        raise ValueError(
            f"audio of {path} is {entries['audio'].dtype}[{len(entries['audio'])}], but must be int16, and as long as "
            f"the sum of length, {lengths.sum()}"
        )
    ends = np.cumsum(lengths)
    samples = entries["audio"].astype(np.float32) / 2**15
    whole = (samples[end - size : end] for size, end in zip(lengths, ends, strict=True))
    cut = [_windows(_decimated(clip, decimation), length) for clip in whole]
    cut = [sound.encode(clip[:1] if first_window_only else clip) for clip in cut]
    classes, num_classes = _classes(path, {name: entries[name] for name in names}, len(lengths))
    sources = {}
    for split, indices in split_evenly(len(cut), validation, test).items():
        arrays = {"x": np.concatenate([cut[i] for i in indices])}
        if classes is not None:
            arrays["label"] = np.repeat(classes[indices], [len(cut[i]) for i in indices])
        sources[split] = ArraySource(arrays)
    return _dataset(path.stem, sources, sound, num_classes)


def _dataset(name: str, sources: Mapping[str, Source], sound: Waveform, num_classes: int | None) -> Dataset:
    return Dataset(name=name, splits=sources, levels=sound.levels, num_classes=num_classes, sound=sound)


def _classes(path: Path, labels: Mapping[str, np.ndarray], count: int) -> tuple[np.ndarray | None, int | None]:
    """Return the class of each clip, int64 (M,), and the number of classes; None if there are no labels."""
    if not labels:
        return None, None
    for name, values in labels.items():
        if values.shape != (count,) or values.dtype.kind not in "iu" or values.min() < 0:
            raise ValueError(
                f"{name} of {path} is {values.dtype}{list(values.shape)}, but must be non-negative integers "
                f"of shape ({count},)"
            )
    sizes = tuple(count_classes(f"{name} of {path}", values) for name, values in labels.items())
    combined = np.ravel_multi_index([values.astype(np.int64) for values in labels.values()], sizes)
    return np.asarray(combined), int(np.prod(sizes))


def _entries(path: Path, names: tuple[str, ...]) -> dict[str, np.ndarray]:
    with open_npz(path) as file:
        missing = [name for name in names if name not in file.files]
        if missing:
            raise ValueError(f"{path} holds {sorted(file.files)}, but not {missing}")
        return {name: read_entry(path, file, name) for name in names}


def _source(files: Files, length: int, sound: Waveform, first: Path) -> ArraySource:
    windows = []
    for path in files.paths:
        samples, sample_rate = _read(path)
        if sample_rate != sound.sample_rate:
            raise ValueError(
                f"{path} has {sample_rate} samples per second, but {first} has {sound.sample_rate}; resample one"
            )
        windows.append(sound.encode(_windows(samples, length)))
    arrays = {"x": np.concatenate(windows)}
    if files.label is not None:
        arrays["label"] = np.repeat(files.label, [len(clip) for clip in windows])
    return ArraySource(arrays)


def _decimated(samples: np.ndarray, factor: int) -> np.ndarray:
    if factor == 1:
        return samples
    from scipy.signal import resample_poly

    return resample_poly(samples, 1, factor).clip(-1, 1 - 2**-15)  # the filter overshoots


def _windows(samples: np.ndarray, length: int) -> np.ndarray:
    padded = np.pad(samples, (0, max(length - len(samples), 0)))
    return padded[: len(padded) // length * length].reshape(-1, length)


def _check_whole(path: Path) -> None:
    """Raise ValueError if a file is shorter than its header says; streams say the largest number instead."""
    with path.open("rb") as file:
        kind, size = file.read(4), int.from_bytes(file.read(4), "little") + 8
    actual = path.stat().st_size
    if kind == b"RIFF" and actual < size < 2**32:
        raise ValueError(f"{path} has {actual:,} bytes, but {size:,} by its header; it was cut off, so get it again")


def _read(path: Path) -> tuple[np.ndarray, int]:
    """Return the samples in [-1, 1) and the sampling rate."""
    from scipy.io import wavfile

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wavfile.WavFileWarning)  # of chunks beside the samples
            rate, samples = wavfile.read(path)
    except Exception as error:  # damaged files raise anything
        raise ValueError(f"cannot read {path} ({error}); convert it to 16-bit PCM wav") from None
    _check_whole(path)
    if samples.dtype != np.int16:
        raise ValueError(f"{path} has {8 * samples.itemsize}-bit samples; convert it to 16-bit PCM wav")
    if not samples.size:
        raise ValueError(f"{path} has no samples; remove it")
    return samples.reshape(len(samples), -1).astype(np.float32).mean(axis=1) / 2**15, rate
