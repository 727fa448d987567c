"""Formats of samples: numbers for any data, pictures, and what else its kind of data can be written as; evaluations."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from genjax.capabilities import stop_token
from genjax.data import Dataset
from genjax.data.io import replace_file
from genjax.experiment import Experiment
from genjax.runner.folder import RunFolder


def default_suffix(experiment: Experiment) -> str:
    """Return the suffix of a text, a picture, or "" for a folder of sounds."""
    if experiment.data.tokenizer is not None:
        return ".txt"
    return ".png" if experiment.data.sound is None else ""


def check_out(out: Path, num_samples: int, experiment: Experiment) -> None:
    """Raise ValueError if the samples of an experiment cannot be written in the format that a path asks for."""
    sound = experiment.data.sound
    suffixes = _suffixes(experiment)
    if out.suffix not in suffixes:
        *names, last = [suffix or "nothing, for a folder" for suffix in suffixes]
        raise ValueError(f"--out is {out}, but must end in {', '.join(names)} or {last}")
    if sound is not None and out.suffix == sound.suffix and num_samples > 1:
        raise ValueError(
            f"--out is {out}, but {num_samples} samples take a folder; leave {sound.suffix} out, or "
            "draw one sample with -n 1"
        )
    if out.exists() and out.is_dir() != (out.suffix == ""):
        raise ValueError(f"--out is {out}, which is {'a folder' if out.is_dir() else 'a file'}; choose another name")


def check_memory(num_samples: int | None, dataset: Dataset, *, name: str = "num_samples") -> None:
    """Raise ValueError for samples that exceed the memory of this machine."""
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    needed = (num_samples or 0) * math.prod(dataset.spec()["x"].shape) * 4
    if needed > available / 2:
        raise ValueError(
            f"{name} is {num_samples}, which takes {needed / 1e9:.3g} GB, but this machine has "
            f"{available / 1e9:.3g} GB of memory; draw fewer, or several times with other seeds"
        )


def _suffixes(experiment: Experiment) -> list[str]:
    sound, shape = experiment.data.sound, experiment.data.spec()["x"].shape
    suffixes = [".txt" if experiment.data.tokenizer is not None else ".png", ".npz", ".npy"]
    if sound is not None:
        return [*suffixes, sound.suffix, ""]
    if experiment.data.tokenizer is not None:
        return suffixes
    suffixes += [".csv"] if len(shape) <= 1 else []
    return suffixes + ([""] if _are_images(experiment.to_display(np.zeros((1, *shape), np.float32))) else [])


def write_samples(out: Path, x: np.ndarray, labels: np.ndarray | None, experiment: Experiment) -> None:
    """Write samples (N, ...), and their labels (N,) if each has its own, in the format of a path's suffix."""
    from genjax.figures.audio import save_sounds
    from genjax.figures.images import class_picture, save_picture
    from genjax.figures.texts import save_texts

    dataset = experiment.data
    sound, tokenizer = dataset.sound, dataset.tokenizer
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == ".npz":
        arrays: dict[str, Any] = {"x": x} | ({} if labels is None else {"label": labels})
        np.savez(out, **arrays)
    elif out.suffix == ".npy":
        np.save(out, x)
    elif out.suffix == ".csv":
        _save_table(out, x.reshape(len(x), -1), labels)
    elif tokenizer is not None:
        save_texts(out, tokenizer, x, stop_token(experiment.model))
    elif out.suffix == ".png":
        save_picture(out, class_picture(experiment.to_display(x), labels, dataset))
    elif sound is not None and out.suffix:
        sound.save(out, x[0])
    elif sound is not None:
        save_sounds(out, sound, x)
    else:
        _save_images(out, experiment.to_display(x))


def _save_images(folder: Path, shown: np.ndarray) -> None:
    """Write images (N, H, W, 1 or 3), in [0, 1] or uint8, as ``00000.png`` and so on, at their own size."""
    from genjax.figures.images import save_picture, to_rgb

    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(to_rgb(shown)):
        save_picture(folder / f"{number:05d}.png", image)


def _save_table(path: Path, table: np.ndarray, labels: np.ndarray | None) -> None:
    """Write rows (N, D) as comma-separated values with a header, and labels as the last column."""
    header = [f"x{column}" for column in range(table.shape[1])] + ([] if labels is None else ["label"])
    columns = [*table.T] + ([] if labels is None else [labels])
    lines = [",".join(header), *(",".join(map(str, row)) for row in zip(*columns, strict=True))]
    replace_file(path, ("\n".join(lines) + "\n").encode())


def _are_images(shown: np.ndarray) -> bool:
    return shown.ndim == 4 and shown.shape[-1] in (1, 3)


def write_evaluation(folder: RunFolder, report: Mapping[str, Any], out: Path | None) -> Path:
    """Write the results of an evaluation, and return the file."""
    if out is not None:
        replace_file(out, (json.dumps(report, indent=2) + "\n").encode())
        return out
    try:
        folder.write_json("evaluation.json", report)
        with (folder / "evaluations.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(report) + "\n")
    except OSError as error:
        raise OSError(f"cannot write evaluation.json ({error}); pass --out FILE to write elsewhere") from error
    return folder / "evaluation.json"
