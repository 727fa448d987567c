"""Editing of images by a diffusion model, shared by runs and the command line."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, final

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Gt, Interval

from genjax.arguments import Cure, PositiveInt, check_arguments
from genjax.compilation import jit
from genjax.core import Array, Variables
from genjax.diffusion import Diffusion, edit, restore
from genjax.diffusion.editing import Strength
from genjax.diffusion.guidance import GuidanceWeight
from genjax.diffusion.operators import AveragePool, GaussianBlur, Grayscale, Mask, Operator
from genjax.diffusion.posterior import MethodName, PiGDM
from genjax.evaluation.image_batches import BATCH_SIZE, map_images
from genjax.metrics.progress import ProgressCallback
from genjax.ops import check_values

EditTask = Literal["superres", "inpaint", "colourize", "deblur", "variation"]


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class ImageEdit:
    """What to make of an image, and how.

    Attributes:
      task: "superres" for larger images whose means over squares are the given pixels, "inpaint" for new pixels where a
        mask is False, "colourize" for colours of grey images, "deblur" for sharp images of blurred ones, "variation"
        for other images with the same coarse features.
      image_range: values of black and white in the model's images.
      blur: standard deviation of the blur in pixels, for "deblur".
      strength: fraction of the noise that "variation" adds, in (0, 1].
      noise: standard deviation of the noise in the given images, on [0, 1].
      method: method of posterior guidance, see ``genjax.diffusion.posterior``.
      num_steps: number of sampling steps; None for the model's own.
      label: class of the images, for models with classes.
      guidance: weight of classifier-free guidance.
    """

    task: EditTask
    image_range: tuple[float, float] = (0.0, 1.0)
    blur: Annotated[float, Gt(0), Cure("; 1 to 3 pixels are usual")] = 1.0
    strength: Strength = 0.5
    noise: Annotated[float, Interval(ge=0, le=1), Cure("; 0.02 is usual")] = 0.02
    method: MethodName = "pigdm"
    num_steps: PositiveInt | None = None
    label: int | None = None
    guidance: GuidanceWeight = 1.0

    def operator(self, shape: tuple[int, ...], size: tuple[int, ...], mask: Array | None) -> Operator:
        """Return the operator whose results are the given images, of a height and width."""
        if self.task == "superres":
            return AveragePool(shape[0] // size[0])
        if self.task == "inpaint":
            assert mask is not None
            return Mask(mask[..., None])
        return Grayscale() if self.task == "colourize" else GaussianBlur(self.blur)


@check_arguments
def edit_images(
    model: object,
    variables: Variables,
    keys: Array,
    x: Array,
    settings: ImageEdit,
    *,
    mask: Array | None = None,
    batch_size: PositiveInt = BATCH_SIZE,
    progress: ProgressCallback | None = None,
) -> Array:
    """Edit images (N, h, w, C) in [0, 1], and return images (N, H, W, C) on the scale of the model's data.

    Each image is edited alone, as a batch of one with its own key, so that neither the batch size nor the other images
    change the result.

    Args:
      model: trained diffusion model of images.
      variables: its variables.
      keys: typed keys (N,), one for each image.
      x: images.
      settings: task and its settings.
      mask: for "inpaint", bool (H, W), True where x is known; None for other tasks.
      batch_size: number of images edited at once, which sets memory.
      progress: function that is called with the number of images in each finished batch.

    Raises:
      ValueError: if the model is no diffusion model of images, or the images or the mask do not fit the task.
    """
    if x.ndim != 4:
        raise ValueError(f"x has shape {x.shape}, but must be images (N, h, w, C); add the missing axes")
    if not jnp.issubdtype(x.dtype, jnp.floating):
        raise ValueError(f"x has dtype {x.dtype}, but must be real numbers in [0, 1]; divide bytes by 255")
    check_values(x, lambda x: ~((x >= 0) & (x <= 1)), "images must be in [0, 1]; scale them")
    check_model(model, settings.task)
    check_mask(model, settings.task, mask)
    if (reason := refusal(model, settings.task, x.shape[1:])) is not None:
        raise ValueError(f"images have shape {x.shape[1:]}: {reason}")
    function = functools.partial(editor(model, settings), variables, mask)
    batches = map_images(function, keys, lambda numbers: x[numbers], batch_size=batch_size, progress=progress)
    return jnp.concatenate([batch.results for batch in batches])


def check_model(model: object, task: EditTask) -> Diffusion:
    """Return the model; ValueError if it is no diffusion model of images that can do the task."""
    if not isinstance(model, Diffusion):
        raise ValueError(f"{type(model).__name__} does not edit images; use a diffusion model of images")
    if len(model.shape) != 3 or model.shape[-1] not in (1, 3):
        raise ValueError(
            f"the model's data have shape {model.shape}, but editing needs images (H, W, 1 or 3); call "
            "genjax.diffusion.restore in Python"
        )
    if task == "colourize" and model.shape[-1] != 3:
        raise ValueError("the model's images are grey, but task 'colourize' needs a model of colour images")
    return model


def check_mask(model: object, task: EditTask, mask: Array | np.ndarray | None) -> None:
    """Raise ValueError if a mask is missing, unexpected, or of another size than the model's images."""
    if task != "inpaint":
        if mask is not None:
            raise ValueError(f"a mask is given, but task {task!r} takes none; use task 'inpaint', or leave it out")
        return
    if mask is None:
        raise ValueError("the mask is missing: task 'inpaint' needs one, True (white) where the image is known")
    size = check_model(model, task).shape[:2]
    if mask.dtype != bool or mask.shape != size:
        raise ValueError(f"the mask has shape {mask.shape} and type {mask.dtype}, but must be bool of shape {size}")
    if mask.all():
        raise ValueError("the mask is True (white) everywhere, so that nothing is left to draw; False is unknown")


def refusal(model: object, task: EditTask, shape: tuple[int, ...]) -> str | None:
    """Return why images (h, w, C) do not fit a task, or None if they do."""
    height, width, channels = check_model(model, task).shape
    expected = 1 if task == "colourize" else channels
    if shape[-1] != expected:
        return f"they have {shape[-1]} channels, but must have {expected}"
    if task != "superres":
        cure = f"resize them to {height} x {width}"
        return None if shape[:2] == (height, width) else f"task {task!r} takes {height} x {width} pixels; {cure}"
    factor = height // shape[0]
    if factor < 2 or (factor * shape[0], factor * shape[1]) != (height, width):
        return (
            f"task 'superres' takes images whose height and width are those of the model, {height} x {width}, divided "
            "by the same whole number above 1"
        )
    return None


@functools.lru_cache(maxsize=8)
def editor(model: object, settings: ImageEdit) -> Callable[[Variables, Array | None, Array, Array], Array]:
    """Return a compiled function of variables, mask, keys (B,) and images (B, h, w, C) that edits each image alone."""
    diffusion = check_model(model, settings.task)
    low, high = settings.image_range
    method = PiGDM(data_scale=0.5 * (high - low)) if settings.method == "pigdm" else settings.method
    label: dict[str, Any] = {} if settings.label is None else {"label": settings.label}
    options = {"num_steps": settings.num_steps, "guidance": settings.guidance, **label}

    def edit_one(variables: Variables, mask: Array | None, key: Array, image: Array) -> Array:
        y = low + (high - low) * image[None]
        if settings.task == "variation":
            return edit(diffusion, variables, key, y, strength=settings.strength, **options)[0]
        operator = settings.operator(diffusion.shape, image.shape[:2], mask)
        guide = {"noise_scale": (high - low) * settings.noise, "method": method}
        x = restore(diffusion, variables, key, y, operator, **guide, **options)
        return (x if mask is None else jnp.where(mask[None, ..., None], y, x))[0]

    return jit(jax.vmap(edit_one, in_axes=(None, None, 0, 0)))
