"""Examples of runs and of their data, as browsers show them."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from genjax.capabilities import stop_token
from genjax.core import Array, stream_key
from genjax.data import decode_texts
from genjax.evaluation.samples import example_conditions
from genjax.experiment import Experiment
from genjax.figures.images import to_png, to_rgb
from genjax.figures.pages import data_uri
from genjax.judging.page import Medium
from genjax.runner import Run


def draw(run: Run, key: Array, count: int, batch_size: int) -> np.ndarray:
    """Return samples (N, ...) of the first replica, as pictures of the run show them, of all classes in turn."""
    experiment = run.experiment
    condition: dict[str, Any] = example_conditions(run.model, experiment.data, count, experiment.preprocess)
    settings = {**experiment.preview_kwargs, **condition}
    return np.asarray(run.sample(stream_key(key, "samples"), count, batch_size=batch_size, **settings))


def real_examples(
    experiment: Experiment, split: str, count: int, key: Array, random: np.random.Generator
) -> np.ndarray:
    """Return preprocessed examples (N, ...) of a split, at random and each at most once.

    Raises:
      ValueError: if the data lack the split, or it has too few examples.
    """
    splits = experiment.data.splits
    if split not in splits:
        raise ValueError(f"split is {split!r}, but {experiment.data.name!r} has {sorted(splits)}; use one of these")
    if count > len(splits[split]):
        raise ValueError(
            f"{count} different examples are needed, but split {split!r} has {len(splits[split])}; ask fewer questions "
            "with --num-trials"
        )
    rows = random.choice(len(splits[split]), count, replace=False)
    batch = jax.tree.map(jnp.asarray, splits[split].take(rows))
    return np.asarray(experiment.preprocess(stream_key(key, "examples"), batch)["x"])


def to_media(x: np.ndarray, experiment: Experiment) -> list[Medium]:
    """Return examples (N, ...) as images, sounds or texts.

    Raises:
      ValueError: if browsers show no such data.
    """
    dataset = experiment.data
    if dataset.tokenizer is not None:
        return [Medium("text", text) for text in decode_texts(dataset.tokenizer, x, stop_token(experiment.model))]
    if dataset.sound is not None:
        if dataset.sound.suffix != ".wav":
            raise ValueError(f"browsers play no {dataset.sound.suffix} files; judge images, texts or .wav sounds")
        return [Medium("sound", data_uri("audio/wav", _wav(example, experiment))) for example in x]
    shown = experiment.to_display(x)
    if shown.ndim != 4 or shown.shape[-1] not in (1, 3):
        raise ValueError(
            f"examples have shape {x.shape[1:]}, which raters cannot look at; judge images, texts or .wav sounds"
        )
    return [Medium("image", data_uri("image/png", to_png(pixels))) for pixels in to_rgb(shown)]


def _wav(example: np.ndarray, experiment: Experiment) -> bytes:
    sound = experiment.data.sound
    assert sound is not None
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "example.wav"
        sound.save(path, example)
        return path.read_bytes()
