"""Adaptive discriminator augmentation (ADA): random transformations, as many as keep a discriminator from memorizing.

The discriminator sees only transformed data and samples. Each transformation of an image is applied with probability p,
independently for each image. As long as p < 1 the untransformed images stand out among the transformed ones, so that
samples do not look transformed. A discriminator that memorizes data is certain of them; after every n steps on batches
of B images, p moves by a fixed amount towards the certainty

    r = E sign D(x) = r*,        p ← p + sign(r − r*) · n B / N, clipped to [0, 1],                               (1)

so that it takes N images from 0 to 1. Coordinates u from the center of the image map to the transformed image by

    y(u) = x(A₁⁻¹ A₂⁻¹ … A_k⁻¹ u)                                                                                 (2)

with bilinear interpolation between the pixels of x and mirrored borders, where the A_i are, in this order,

    xflip      left becomes right, with probability ½
    rotate90   by a multiple of 90°
    xint       translation by U(−⅛, ⅛) of each side, rounded to pixels
    scale      by 2^(0.2 n)
    rotate     by U(−π, π)
    aniso      horizontally by 2^(0.2 n), vertically by its inverse
    rotate     once more; both with probability 1 − √(1 − p), so that one of them is applied with probability p
    xfrac      translation by ⅛ n of each side

with independent n ~ N(0, 1). Then colors c, with the unit vector v of grey, change by

    brightness c + n / 5                    contrast    2^(n / 2) c
    lumaflip   c − 2 v vᵀ c, with prob. ½   hue         rotation about v by U(−π, π)                              (3)
    saturation v vᵀ c + 2^n (c − v vᵀ c)

The last two leave images of one channel as they are.

Tero Karras, Miika Aittala, Janne Hellsten, Samuli Laine, Jaakko Lehtinen and Timo Aila 2020, arXiv:2006.06676, equation
1 and appendix B. Difference from the paper: images are interpolated bilinearly, without its wavelet filters.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple, final

import jax
import jax.numpy as jnp
from annotated_types import Interval
from jax.scipy.ndimage import map_coordinates

from genjax.arguments import Cure, Fraction, PositiveInt, check_arguments
from genjax.core import Array

Transformation = Literal[
    "xflip", "rotate90", "xint", "scale", "rotate", "aniso", "xfrac",
    "brightness", "contrast", "lumaflip", "hue", "saturation",
]  # fmt: skip
GEOMETRIC = ("xflip", "rotate90", "xint", "scale", "rotate", "aniso", "rotate", "xfrac")
COLOR = ("brightness", "contrast", "lumaflip", "hue", "saturation")


class AugmentationState(NamedTuple):
    """What the controller of equation 1 remembers.

    Attributes:
      probability: p, ().
      sign_sum: sum of E sign D(x) over the steps since the last change of p, ().
      num_steps: number of these steps, int32 ().
    """

    probability: Array
    sign_sum: Array
    num_steps: Array


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class AdaptiveAugmentation:
    """Random transformations with an adaptive probability, for ``augment`` of a GAN.

    Attributes:
      transformations: names of the transformations in use, in any order.
      target: r*, in [−1, 1]; higher values allow more memorization.
      every: n, number of discriminator steps between changes of p.
      num_images: N, number of images in which p could rise from 0 to 1.
      initial_probability: p at the start.

    >>> augment = AdaptiveAugmentation(transformations=("lumaflip",), num_images=100)
    >>> state = augment.init()
    >>> for _ in range(4):
    ...     state = augment.update(state, jnp.ones(5))  # a discriminator that is certain of its 5 images
    >>> round(state.probability.item(), 3)
    0.2
    """

    transformations: tuple[Transformation, ...] = (*dict.fromkeys(GEOMETRIC), *COLOR)
    target: Annotated[float, Interval(ge=-1, le=1), Cure("; 0.6 is usual")] = 0.6
    every: PositiveInt = 4
    num_images: PositiveInt = 500_000
    initial_probability: Fraction = 0.0

    def init(self) -> AugmentationState:
        """Return the state at the start of training."""
        return AugmentationState(jnp.float32(self.initial_probability), jnp.float32(0), jnp.int32(0))

    def update(self, state: AugmentationState, outputs: Array) -> AugmentationState:
        """Return the state after a step, from the discriminator's outputs for augmented data (B,); equation 1."""
        sign_sum, num_steps = state.sign_sum + jnp.mean(jnp.sign(outputs)), state.num_steps + 1
        change = jnp.sign(sign_sum / num_steps - self.target) * (self.every * outputs.shape[0] / self.num_images)
        due = num_steps == self.every
        probability = jnp.where(due, jnp.clip(state.probability + change, 0, 1), state.probability)
        return AugmentationState(probability, jnp.where(due, 0, sign_sum), jnp.where(due, 0, num_steps))

    def __call__(self, key: Array, x: Array, probability: Array | float) -> Array:
        """Transform images (B, H, W, C) in [−1, 1]; raise ValueError if x does not have four axes."""
        if x.ndim != 4:
            raise ValueError(f"x has shape {x.shape}, but must be images (B, H, W, C); reshape it")
        batch, height, width, channels = x.shape
        probability = jnp.asarray(probability, jnp.float32)
        geometry_key, color_key = jax.random.split(key)
        inverses = [
            _gated(key, _geometric_inverse(name, (height, width)), _probability(name, probability), (batch, 3, 3))
            for name, key in zip(GEOMETRIC, jax.random.split(geometry_key, len(GEOMETRIC)), strict=True)
            if name in self.transformations
        ]
        if inverses:
            x = _warp(x, functools.reduce(jnp.matmul, inverses))
        size = channels + 1
        colors = [
            _gated(key, _color_matrix(name, channels), probability, (batch, size, size))
            for name, key in zip(COLOR, jax.random.split(color_key, len(COLOR)), strict=True)
            if name in self.transformations
        ]
        if colors:
            matrix = functools.reduce(lambda before, after: after @ before, colors)
            linear, offset = matrix[:, :channels, :channels], matrix[:, :channels, channels]
            x = jnp.einsum("bhwc,bdc->bhwd", x, linear) + offset[:, None, None]
        return x


def _probability(name: str, probability: Array) -> Array:
    """Return the probability of one of the transformations of a name: there are two rotations."""
    return 1 - jnp.sqrt(1 - probability) if name == "rotate" else probability


def _gated(key: Array, draw: Callable[[Array, int], Array], probability: Array, shape: tuple[int, int, int]) -> Array:
    """Return matrices (B, n, n), each drawn with the probability, and the identity otherwise."""
    gate_key, draw_key = jax.random.split(key)
    applied = jax.random.bernoulli(gate_key, probability, (shape[0], 1, 1))
    return jnp.where(applied, draw(draw_key, shape[0]), jnp.eye(shape[1])[None])


def _geometric_inverse(name: str, sides: tuple[int, int]) -> Callable[[Array, int], Array]:
    """Return a function that draws A⁻¹ of equation 2, homogeneous matrices (B, 3, 3) of (row, column, 1)."""
    size = jnp.array(sides, jnp.float32)[None]

    def draw(key: Array, batch: int) -> Array:
        normal = functools.partial(jax.random.normal, key)
        match name:
            case "xflip":
                return _linear(_diagonal(jnp.ones(batch), 1.0 - 2.0 * jax.random.bernoulli(key, 0.5, (batch,))))
            case "rotate90":
                return _linear(_rotation(-math.pi / 2 * jax.random.randint(key, (batch,), 0, 4)))
            case "xint":
                return _translation(-jnp.round(jax.random.uniform(key, (batch, 2), minval=-1 / 8, maxval=1 / 8) * size))
            case "scale":
                factor = jnp.exp2(-0.2 * normal((batch,)))
                return _linear(_diagonal(factor, factor))
            case "rotate":
                return _linear(_rotation(jax.random.uniform(key, (batch,), minval=-math.pi, maxval=math.pi)))
            case "aniso":
                factor = jnp.exp2(-0.2 * normal((batch,)))
                return _linear(_diagonal(1 / factor, factor))
            case _:
                return _translation(normal((batch, 2)) / 8 * size)

    return draw


def _color_matrix(name: str, channels: int) -> Callable[[Array, int], Array]:
    """Return a function that draws the matrices of equation 3, homogeneous (B, C + 1, C + 1)."""
    identity = jnp.eye(channels)[None]
    grey = jnp.full((1, channels, channels), 1 / channels)  # v vᵀ

    def draw(key: Array, batch: int) -> Array:
        normal = functools.partial(jax.random.normal, key, (batch, 1, 1))
        match name:
            case "brightness":
                shift = normal()[:, :, 0] / 5
                return jnp.eye(channels + 1)[None].repeat(batch, 0).at[:, :channels, channels].set(shift)
            case "contrast":
                linear = jnp.exp2(normal() / 2) * identity
            case "lumaflip":
                linear = identity - 2 * grey * jax.random.bernoulli(key, 0.5, (batch, 1, 1))
            case "hue" if channels == 3:
                angle = jax.random.uniform(key, (batch, 1, 1), minval=-math.pi, maxval=math.pi)
                cross = jnp.array([[[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]]) / math.sqrt(3)  # u -> v × u
                linear = grey + jnp.cos(angle) * (identity - grey) + jnp.sin(angle) * cross
            case "saturation":
                linear = grey + jnp.exp2(normal()) * (identity - grey)
            case _:
                linear = identity
        return _linear(jnp.broadcast_to(linear, (batch, channels, channels)))

    return draw


def _diagonal(rows: Array, columns: Array) -> Array:
    """Return the matrices (B, 2, 2) that scale rows and columns."""
    return jnp.stack([rows, columns], axis=-1)[..., None] * jnp.eye(2)[None]


def _rotation(angle: Array) -> Array:
    """Return rotation matrices (B, 2, 2)."""
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    return jnp.stack([jnp.stack([cos, -sin], axis=-1), jnp.stack([sin, cos], axis=-1)], axis=-2)


def _linear(matrix: Array) -> Array:
    """Return the homogeneous matrices (B, n + 1, n + 1) of linear maps (B, n, n)."""
    size = matrix.shape[-1]
    return jnp.zeros((matrix.shape[0], size + 1, size + 1)).at[:, :size, :size].set(matrix).at[:, size, size].set(1)


def _translation(shift: Array) -> Array:
    """Return the homogeneous matrices (B, 3, 3) of translations (B, 2)."""
    return jnp.eye(3)[None].repeat(shift.shape[0], 0).at[:, :2, 2].set(shift)


def _warp(x: Array, inverse: Array) -> Array:
    """Interpolate images (B, H, W, C) at transformed coordinates, equation 2."""
    height, width = x.shape[1:3]
    center = jnp.array([(height - 1) / 2, (width - 1) / 2])[:, None, None]
    grid = jnp.stack(jnp.meshgrid(jnp.arange(1.0 * height), jnp.arange(1.0 * width), indexing="ij")) - center
    # Exact at multiples of 90°, where a product in lower precision would blur.
    positions = jnp.einsum("bij,jhw->bihw", inverse[:, :2, :2], grid, precision=jax.lax.Precision.HIGHEST)
    positions = positions + inverse[:, :2, 2, None, None] + center[None]

    def channel(image: Array, positions: Array) -> Array:
        return map_coordinates(image, [positions[0], positions[1]], order=1, mode="mirror")

    warp: Any = jax.vmap(jax.vmap(channel, (2, None), 2))
    return warp(x, positions).astype(x.dtype)
