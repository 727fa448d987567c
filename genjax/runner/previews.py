"""Previews: samples drawn during training, written to the run folder as pictures, texts or sounds.

Samples of a model that is conditioned on an image appear below the images that they were drawn from, in rows of y,
samples given y, and the x of the same examples; a model that also translates x adds the translations.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping
from typing import Any, cast, final

import jax
import numpy as np

from genjax.capabilities import Translates, conditions, stop_token
from genjax.compilation import jit
from genjax.core import Variables, step_key
from genjax.data import random_examples
from genjax.evaluation.samples import check_drawn, example_conditions, example_rows
from genjax.experiment import Experiment
from genjax.figures.audio import save_sounds
from genjax.figures.images import condition_picture, row_picture, save_picture
from genjax.figures.texts import save_texts
from genjax.runner.folder import RunFolder
from genjax.runner.loop import root_keys
from genjax.sharding import Placement, replica

NUM_PICTURES, NUM_SOUNDS = 64, 16
NUM_COMPARED = 16  # pictures with the images that they were drawn from
LATEST = ("samples.png", "samples.txt")  # copies of the newest preview


@final
class Previews:
    """Draws samples of the first replica and writes them into the run folder."""

    def __init__(self, experiment: Experiment, folder: RunFolder, seeds: tuple[int, ...], placement: Placement) -> None:
        self._experiment, self._folder, self._seeds, self._placement = experiment, folder, seeds, placement
        sample = functools.partial(experiment.model.sample, **experiment.preview_kwargs)
        self._sample = jit(sample, static_argnums=2, out_shardings=placement.replicated)
        images = [c.name for c in conditions(experiment.model) if c.kind == "image" and c.in_batch]
        self._image = images[0] if images else None

    def save_examples(self) -> None:
        """Write some training examples of sounds for comparison; formats that cannot be written raise here."""
        dataset = self._experiment.data
        if dataset.sound is not None:
            examples = random_examples(jax.random.key(0), dataset.splits["train"], NUM_SOUNDS)
            save_sounds(self._folder / "samples" / "data", dataset.sound, np.asarray(examples["x"]))

    def __call__(self, step: int, variables: Variables) -> None:
        """Draw and write the preview of a step."""
        key = step_key(root_keys(self._seeds[:1], "pictures"), step)
        if len(self._seeds) > 1:
            variables = replica(variables, 0)
        x, condition = self._draw(variables, key)
        rows = self._beside(variables, key, x, condition)
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
        picture = row_picture(rows) if rows else condition_picture(self._experiment.to_display(x), condition, dataset)
        for path in (self._folder / "samples" / f"{name}.png", self._folder / "samples.png"):
            save_picture(path, picture)
        if dataset.sound is not None:
            save_sounds(self._folder / "samples" / name, dataset.sound, x[:NUM_SOUNDS])

    def _draw(self, variables: Variables, key: jax.Array) -> tuple[np.ndarray, dict[str, Any]]:
        """Return samples and their conditions."""
        model, data, preprocess = self._experiment.model, self._experiment.data, self._experiment.preprocess
        condition = example_conditions(model, data, NUM_PICTURES, preprocess)
        arrays = {name: jax.numpy.asarray(values) for name, values in condition.items()}
        x = self._sample(variables, key, NUM_PICTURES, **arrays)
        return np.asarray(x), condition

    def _beside(
        self, variables: Variables, key: jax.Array, x: np.ndarray, condition: Mapping[str, Any]
    ) -> list[np.ndarray]:
        """Return the rows of a picture with the images that samples were drawn from; none if there are no such images.

        Images of another size than the samples, or of channels that no picture has, are left to plain pictures.
        """
        if self._image is None:
            return []
        y, model, to_display = np.asarray(condition[self._image]), self._experiment.model, self._experiment.to_display
        if y.ndim != 4 or y.shape[-1] not in (1, 3) or x.shape[:3] != y.shape[:3] or x.shape[-1] not in (1, 3):
            return []
        source, numbers = example_rows(self._experiment.data, NUM_PICTURES)
        real = jit(self._experiment.preprocess)(jax.random.key(0), source.take(numbers))["x"]
        rows = [y, to_display(x), to_display(np.asarray(real))]
        if isinstance(model, Translates) and "x_to_y" in model.directions:
            rows.append(np.asarray(self._translate_back(variables, key, real)))
        return [row[:NUM_COMPARED] for row in rows]

    @functools.cached_property
    def _translate_back(self) -> Callable[..., jax.Array]:
        translate = functools.partial(cast(Translates, self._experiment.model).translate, direction="x_to_y")
        return jit(translate, out_shardings=self._placement.replicated)
