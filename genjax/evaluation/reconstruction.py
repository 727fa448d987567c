"""Reconstruction of a split: squared error of any data, PSNR and SSIM of images in [0, 1]."""

from __future__ import annotations

from typing import Any

from genjax import core, metrics
from genjax.capabilities import Reconstructs, conditioning, supports
from genjax.compilation import jit
from genjax.core import stream_key
from genjax.evaluation.context import Evaluation
from genjax.metrics import Result
from genjax.metrics.result import results_of


def no_reconstruction(evaluation: Evaluation) -> str | None:
    """Return the reason why a model cannot reconstruct, or None if it can."""
    return None if supports(evaluation.model, Reconstructs) else f"{evaluation.model_name} has no reconstruct"


def reconstruction(evaluation: Evaluation, index: int) -> list[Result]:
    """Compare the split with its reconstructions."""
    model: Any = evaluation.model
    metric = _metric(evaluation)
    reconstruct = jit(model.reconstruct)
    variables, name = evaluation.replica(index), f"reconstructions of seed {evaluation.seeds[index]}"
    update, state = jit(metric.update), metric.init()
    for number, batch in enumerate(evaluation.batches(evaluation.split, name)):
        key = core.step_key(stream_key(evaluation.key, "reconstructions"), number)
        x_hat = reconstruct(variables, key, batch["x"], **conditioning(model, batch))
        state = update(state, *map(evaluation.to_display, (batch["x"], x_hat)))
    values = metric.compute(state)
    protocol = {"examples": int(values["count"]), "split": evaluation.split}
    details: dict[str, dict[str, Any]] = {"mse": {"units": "squared, mean over dimensions"}}
    if metric.window_size is not None:
        details |= {"psnr": {"units": "decibels, range 1"}, "ssim": {"window": metric.window_size}}
    return results_of(values, {name: detail | protocol for name, detail in details.items()})


def _metric(evaluation: Evaluation) -> metrics.Reconstruction:
    """Return the metric, with SSIM for images in [0, 1]; its window has the published size or the largest that fits."""
    x = evaluation.to_display(next(evaluation.batches(evaluation.split, "reading"))["x"])
    is_image = x.ndim == 4 and bool((x >= 0).all() & (x <= 1).all())
    window = min(metrics.SSIM_WINDOW, *(side - 1 + side % 2 for side in x.shape[1:3])) if is_image else None
    return metrics.Reconstruction(data_range=1.0, window_size=window)
