"""Previews: samples drawn during training, written to the run folder as pictures, texts or sounds."""

from __future__ import annotations

import functools
import warnings
from typing import final

import jax
import numpy as np

from genjax.capabilities import stop_token
from genjax.compilation import jit
from genjax.core import Variables, step_key
from genjax.data import random_examples
from genjax.evaluation.samples import check_drawn, example_conditions
from genjax.experiment import Experiment
from genjax.figures.audio import save_sounds
from genjax.figures.images import class_picture, save_picture
from genjax.figures.texts import save_texts
from genjax.runner.folder import RunFolder
from genjax.runner.loop import root_keys
from genjax.sharding import Placement, replica

NUM_PICTURES, NUM_SOUNDS = 64, 16
LATEST = ("samples.png", "samples.txt")  # copies of the newest preview


@final
class Previews:
    """Draws samples of the first replica and writes them into the run folder."""

    def __init__(self, experiment: Experiment, folder: RunFolder, seeds: tuple[int, ...], placement: Placement) -> None:
        self._experiment, self._folder, self._seeds, self._placement = experiment, folder, seeds, placement
        sample = functools.partial(experiment.model.sample, **experiment.preview_kwargs)
        self._sample = jit(sample, static_argnums=2, out_shardings=placement.replicated)

    def save_examples(self) -> None:
        """Write some training examples of sounds for comparison; formats that cannot be written raise here."""
        dataset = self._experiment.data
        if dataset.sound is not None:
            examples = random_examples(jax.random.key(0), dataset.splits["train"], NUM_SOUNDS)
            save_sounds(self._folder / "samples" / "data", dataset.sound, np.asarray(examples["x"]))

    def __call__(self, step: int, variables: Variables) -> None:
        """Draw and write the preview of a step."""
        key = step_key(root_keys(self._seeds[:1], "pictures"), step)
        x, label = self._draw(variables, key)
        if not self._placement.is_writer:
            return
        try:
            check_drawn(self._experiment.model, x)
        except FloatingPointError as error:
            warnings.warn(f"no samples are written at step {step}: {error}", stacklevel=2)
            return
        name, dataset = f"step_{step:08d}", self._experiment.data
        if dataset.tokenizer is not None:
            for path in (self._folder / "samples" / f"{name}.txt", self._folder / "samples.txt"):
                save_texts(path, dataset.tokenizer, x, stop_token(self._experiment.model))
            return
        picture = class_picture(self._experiment.to_display(x), label, dataset)
        for path in (self._folder / "samples" / f"{name}.png", self._folder / "samples.png"):
            save_picture(path, picture)
        if dataset.sound is not None:
            save_sounds(self._folder / "samples" / name, dataset.sound, x[:NUM_SOUNDS])

    def _draw(self, variables: Variables, key: jax.Array) -> tuple[np.ndarray, np.ndarray | None]:
        """Return samples, and their labels if the model has classes."""
        if len(self._seeds) > 1:
            variables = replica(variables, 0)
        model, dataset, preprocess = self._experiment.model, self._experiment.data, self._experiment.preprocess
        condition = example_conditions(model, dataset, NUM_PICTURES, preprocess)
        arrays = {name: jax.numpy.asarray(values) for name, values in condition.items()}
        x = self._sample(variables, key, NUM_PICTURES, **arrays)
        return np.asarray(x), condition.get("label")
