"""Image files that a diffusion model edits: masks, results, and a picture of images beside their results."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

import jax.numpy as jnp
import numpy as np

from genjax.cli.conditions import class_number
from genjax.cli.image_files import ImageResult, Size, target_of
from genjax.cli.options import EditOptions
from genjax.core import Array, Variables
from genjax.data.images import read_image
from genjax.data.io import require_file
from genjax.evaluation.editing import EditTask, ImageEdit, check_mask, check_model, editor, refusal
from genjax.experiment import Experiment
from genjax.figures.images import row_picture, save_picture, to_rgb

MAX_PAIRS = 64  # in the picture of images beside their results
COLUMNS = 8
UNKNOWN = 0.5  # grey, which pictures show for unknown pixels


class Editor:
    """A task, its settings and its mask, for one experiment."""

    def __init__(self, experiment: Experiment, options: EditOptions) -> None:
        if options.task is None:
            raise ValueError(f"--task is missing; use one of {', '.join(get_args(EditTask))}")
        self.task: EditTask = options.task
        self.experiment = experiment
        self.model = check_model(experiment.model, self.task)
        self.mask = None if options.mask is None else read_mask(options.mask)
        check_mask(self.model, self.task, self.mask)
        if options.factor is not None and self.task != "superres":
            raise ValueError(f"--factor is {options.factor}, but task {self.task!r} takes none; leave it out")
        self.factor = options.factor
        dataset = experiment.data
        self.settings = ImageEdit(
            task=self.task,
            image_range=experiment.image_range(),
            blur=options.blur,
            strength=options.strength,
            noise=options.noise,
            method=options.method,
            num_steps=options.num_steps,
            label=None if options.label is None else class_number(options.label, dataset),
            guidance=options.guidance,
        )

    @property
    def channels(self) -> int:
        """Number of channels of the images to edit."""
        return 1 if self.task == "colourize" else self.model.shape[-1]

    def refusal(self, size: Size) -> str | None:
        """Return why images of a size cannot be edited, or None if they can."""
        reason = refusal(self.model, self.task, (*size, self.channels))
        if reason is None and self.factor not in (None, self.model.shape[0] // size[0]):
            height, width, _ = self.model.shape
            return f"--factor {self.factor} needs {height / self.factor:g} x {width / self.factor:g} pixels"
        return reason

    def function(self, variables: Variables) -> Callable[[Array, Array], Array]:
        """Return a function from keys (B,) and images (B, h, w, C) in [0, 1] to edited images (B, H, W, C)."""
        mask = None if self.mask is None else jnp.asarray(self.mask)
        return functools.partial(editor(self.model, self.settings), variables, mask)

    def shown(self, image: np.ndarray) -> np.ndarray:
        """Return an image as a picture beside its result: at the result's size, with unknown pixels grey."""
        height, width, channels = self.model.shape
        image = image.repeat(height // image.shape[0], axis=0).repeat(width // image.shape[1], axis=1)
        if self.mask is not None:
            image = np.where(self.mask[..., None], image, UNKNOWN)
        return np.broadcast_to(image, (height, width, channels))


def read_mask(path: Path) -> np.ndarray:
    """Return the mask in an image file, bool (H, W), True where it is white."""
    return read_image(require_file(path), 1)[..., 0] >= 128


def check_picture(out: Path, *, overwrite: bool) -> None:
    """Raise ValueError if the picture of images beside their results would replace a file."""
    picture = picture_of(out)
    if picture.exists() and not overwrite:
        raise ValueError(f"{picture} exists; pass --overwrite to replace it, or another folder for --out")


def write_edits(results: Iterator[ImageResult], out: Path, editor: Editor) -> int:
    """Write results into a folder, and the first beside their images into a picture next to it; return their number."""
    count, pairs = 0, []
    for file, image, result in results:
        shown = np.asarray(editor.experiment.to_display(result[None]))
        save_picture(target_of(out, file.name), to_rgb(shown)[0])
        count += 1
        if len(pairs) < MAX_PAIRS:
            pairs.append((editor.shown(image), shown[0]))
    if pairs:
        rows = [np.stack(row) for row in zip(*pairs, strict=True)]
        save_picture(picture_of(out), row_picture(rows, columns=min(COLUMNS, count)))
    return count


def picture_of(out: Path) -> Path:
    """Return the path of the picture of images beside their results."""
    return out.with_name(f"{out.name}.png")
