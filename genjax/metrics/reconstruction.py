"""Reconstruction error of each example: MSE, PSNR and SSIM.

With n numbers x_i in an example, reconstructions y_i, and R the range of the data,

    MSE = 1/n Σ (x_i − y_i)²,        PSNR = 10 log₁₀ (R² / MSE)  in decibels,

and with means, variances and covariance under a Gaussian window around each pixel

    SSIM = mean over windows of  (2 μ_x μ_y + C₁) (2 σ_xy + C₂) / ((μ_x² + μ_y² + C₁) (σ_x² + σ_y² + C₂)),        (1)

C₁ = (0.01 R)², C₂ = (0.03 R)². The window has 11 × 11 pixels and a standard deviation of 1.5, and only windows inside
the image count. SSIM is computed for each channel and averaged, without downsampling the image first.

Data and reconstructions are floats or integers of one shape (B, ...). Errors are float32 of shape (B,), NaN for
examples with NaN. ``data_range`` is R > 0: 1 on [0, 1], 2 on [-1, 1], 255 for bytes. Other shapes and settings raise
``ValueError``.

Zhou Wang, Alan Bovik, Hamid Sheikh and Eero Simoncelli, "Image quality assessment: from error visibility to structural
similarity", IEEE Transactions on Image Processing 13, 2004.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, final

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Gt

from genjax.arguments import Cure, PositiveInt, check_arguments
from genjax.core import Array
from genjax.metrics.metric import Mean, MeanState, Values

SSIM_WINDOW = 11
SSIM_SCALE = 1.5
Range = Annotated[float, Gt(0), Cure("; for images on [0, 1] it is 1")]


@check_arguments
@jax.jit
def mse(x: Array, reconstruction: Array) -> Array:
    """Return the mean squared error of each example, in squared units of the data; 0 if they are equal."""
    x, reconstruction = _checked(x, reconstruction)
    return jnp.mean(jnp.square(x - reconstruction), axis=tuple(range(1, x.ndim)))


@check_arguments
@functools.partial(jax.jit, static_argnames="data_range")
def psnr(x: Array, reconstruction: Array, *, data_range: Range) -> Array:
    """Return the peak signal-to-noise ratio of each example in decibels; infinite if they are equal.

    >>> psnr(jnp.zeros((1, 4)), jnp.full((1, 4), 0.1), data_range=1.0).round(3).tolist()
    [20.0]
    """
    return 20 * math.log10(data_range) - 10 * jnp.log10(mse(x, reconstruction))


@check_arguments
@functools.partial(jax.jit, static_argnames=("data_range", "window_size"))
def ssim(x: Array, reconstruction: Array, *, data_range: Range, window_size: PositiveInt = SSIM_WINDOW) -> Array:
    """Return the structural similarity of each pair of images, in [-1, 1]; 1 if they are equal.

    Images have shape (B, H, W, C). SSIM of signed data depends on the position of zero: use [0, 1] to compare with
    papers. ``window_size`` is the width of the window in pixels, an odd number, 11 in the paper; images smaller than
    that need a smaller window, which should be reported.

    Two constant images a and b differ in their means alone, which leaves (2ab + C₁) / (a² + b² + C₁):

    >>> image = jnp.full((1, 11, 11, 1), 0.2)
    >>> round(float(ssim(image, 2 * image, data_range=1.0)[0]), 4)
    0.8001
    """
    x, reconstruction = _checked(x, reconstruction)
    _check_window(x.shape, window_size)
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    # Variances do not depend on the origin; squares cancel least relative to the image's mean.
    centers = [jnp.mean(image, axis=(1, 2), keepdims=True) for image in (x, reconstruction)]
    a, b = x - centers[0], reconstruction - centers[1]
    mean_a, mean_b, a_squared, b_squared, product = _windowed(jnp.stack([a, b, a * a, b * b, a * b]), window_size)
    variances = a_squared - mean_a**2 + b_squared - mean_b**2
    covariance = product - mean_a * mean_b
    mean_x, mean_y = mean_a + centers[0], mean_b + centers[1]
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * covariance + c2) / (variances + c2)
    return jnp.mean(luminance * structure, axis=(1, 2, 3))  # equation 1


def _windowed(maps: Array, size: int) -> Array:
    """Average maps (K, B, H, W, C) under the window at each position inside; the window is separable."""
    weights = np.exp(-0.5 * ((np.arange(size) - size // 2) / SSIM_SCALE) ** 2)
    weights = (weights / weights.sum()).astype(np.float32)
    for axis in (2, 3):
        places = maps.shape[axis] - size + 1
        shifted = (jax.lax.slice_in_dim(maps, i, i + places, axis=axis) for i in range(size))
        maps = functools.reduce(jnp.add, (weight * part for weight, part in zip(weights, shifted, strict=True)))
    return maps


def _checked(x: Array, reconstruction: Array) -> tuple[Array, Array]:
    if x.shape != reconstruction.shape or x.ndim < 2:
        raise ValueError(
            f"x has shape {x.shape} and reconstruction {reconstruction.shape}, "
            "but they must be equal and start with the batch axis; reshape one, or add a batch axis to single examples"
        )
    return x.astype(jnp.float32), reconstruction.astype(jnp.float32)


def _check_window(shape: tuple[int, ...], size: int) -> None:
    if len(shape) != 4:
        raise ValueError(f"x has shape {shape}, but SSIM needs images (B, H, W, C); use mse and psnr for other data")
    if size % 2 == 0:
        raise ValueError(f"window_size is {size}, but must be odd; the paper's is {SSIM_WINDOW}")
    smallest = min(shape[1:3])
    if smallest < size:
        raise ValueError(
            f"images of {shape[1]} x {shape[2]} pixels are smaller than window_size={size}; "
            f"give window_size={smallest - 1 + smallest % 2}"
        )


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class Reconstruction:
    """Streaming means of MSE, PSNR and SSIM over examples.

    Attributes:
      data_range: largest minus smallest possible value, see ``psnr``.
      window_size: window of SSIM, see ``ssim``; None omits SSIM, for data other than images.

    >>> metric = Reconstruction(data_range=1.0, window_size=None)
    >>> state = metric.update(metric.init(), jnp.zeros((2, 4)), jnp.array([[0.1] * 4, [0.01] * 4]))
    >>> {name: round(float(value), 4) for name, value in metric.compute(state).items() if "error" not in name}
    {'mse': 0.0051, 'psnr': 30.0, 'count': 2.0}
    """

    data_range: Range
    window_size: PositiveInt | None = SSIM_WINDOW

    def init(self) -> dict[str, MeanState]:
        """Return an empty state."""
        names = ("mse", "psnr") if self.window_size is None else ("mse", "psnr", "ssim")
        return {name: Mean().init() for name in names}

    def update(self, state: Mapping[str, MeanState], x: Array, reconstruction: Array) -> dict[str, MeanState]:
        """Add examples and their reconstructions, shape (B, ...) each."""
        values = {"mse": mse(x, reconstruction), "psnr": psnr(x, reconstruction, data_range=self.data_range)}
        if self.window_size is not None:
            values["ssim"] = ssim(x, reconstruction, data_range=self.data_range, window_size=self.window_size)
        return {name: Mean().update(state[name], value) for name, value in values.items()}

    def merge(self, a: Mapping[str, MeanState], b: Mapping[str, MeanState]) -> dict[str, MeanState]:
        """Combine two states."""
        return {name: Mean().merge(a[name], b[name]) for name in a}

    def compute(self, state: Mapping[str, MeanState]) -> Values:
        """Return each mean over examples with its standard error, and the number of examples.

        The mean PSNR is infinite if one reconstruction is perfect. It is not the PSNR of the mean MSE.
        """
        values: dict[str, Array] = {}
        for name, part in state.items():
            summary = Mean().compute(part)
            values |= {name: summary["mean"], f"{name}_standard_error": summary["standard_error"]}
        return values | {"count": state["mse"].count}
