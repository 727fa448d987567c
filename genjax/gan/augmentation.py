"""Differentiable augmentation of images, against a discriminator that memorizes a small data set.

The discriminator sees only T(x) and T(G(z)), and the generator's gradient passes through T. For an image x (H, W, C) in
[−1, 1] with mean m, and channel mean c at each pixel, T applies some of these steps in turn, with fresh random
parameters for each image:

    color          b + m + k ((c − m) + s (x − c))                        b on [−½, ½), s on [0, 2), k on [½, 3⁄2)  (1)
    translation    by u rows and v columns, padded with zeros             u in −⌊rH⌉ … ⌊rH⌉, v in −⌊rW⌉ … ⌊rW⌉      (2)
    cutout         zeros in h = ⌊qH⌉ rows and w = ⌊qW⌉ columns            first row in −⌊h/2⌋ … H − ⌈h/2⌉, first
                                                                          column in −⌊w/2⌋ … W − ⌈w/2⌉              (3)

All parameters are uniform. Color is brightness b, then saturation s about c, which leaves a single channel unchanged,
then contrast k about the mean. Zero is grey. The cutout may extend over the border by at most half its side. At fixed
parameters T is affine in x; values outside [−1, 1] are not clipped.

Shengyu Zhao, Zhijian Liu, Ji Lin, Jun-Yan Zhu and Song Han 2020, arXiv:2006.10738.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal, final

import jax
import jax.numpy as jnp
import numpy as np

from genjax.arguments import Cure, Fraction, check_arguments
from genjax.core import Array

Augment = Callable[[Array, Array], Array]  # (key, (B, ...)) -> (B, ...), independent for each example
Policy = Literal["color", "translation", "cutout"]
Ratio = Annotated[Fraction, Cure("; use 0 to leave images unchanged")]


@final
@check_arguments
@dataclass(frozen=True, kw_only=True)
class DifferentiableAugmentation:
    """Random image transformation T of equations 1 to 3, an ``Augment``.

    Attributes:
      policies: steps in order, "color", "translation" or "cutout"; () is the identity.
      translation_ratio: r in [0, 1], largest translation as a fraction of the side.
      cutout_ratio: q in [0, 1], side of the cutout as a fraction of the image's side.

    >>> augment = DifferentiableAugmentation(policies=("cutout",))
    >>> augment(jax.random.key(1), jnp.ones((1, 4, 4, 1)))[0, :, :, 0].astype(int).tolist()
    [[1, 1, 1, 1], [0, 0, 1, 1], [0, 0, 1, 1], [1, 1, 1, 1]]
    """

    policies: tuple[Policy, ...] = ("color", "translation", "cutout")
    translation_ratio: Ratio = 1 / 8
    cutout_ratio: Ratio = 1 / 2

    def __call__(self, key: Array, x: Array) -> Array:
        """Return T(x) for images (B, H, W, C) in [−1, 1]; raise ValueError if x does not have four axes."""
        if x.ndim != 4:
            raise ValueError(f"x has shape {x.shape}, but must be images (B, H, W, C); reshape it")
        for policy, policy_key in zip(self.policies, jax.random.split(key, len(self.policies)), strict=True):
            match policy:
                case "color":
                    x = _recolor(policy_key, x)
                case "translation":
                    x = _translate(policy_key, x, _fraction(x, self.translation_ratio))
                case "cutout":
                    x = _cut_out(policy_key, x, _fraction(x, self.cutout_ratio))
        return x


def _fraction(x: Array, ratio: float) -> np.ndarray:
    """Return a fraction of height and width in whole pixels; halves round up, as in the authors' code."""
    return np.floor(ratio * np.array(x.shape[1:3]) + 0.5).astype(int)


def _recolor(key: Array, x: Array) -> Array:
    """Equation 1."""
    keys = jax.random.split(key, 3)

    def uniform(key: Array, low: float, high: float) -> Array:
        return jax.random.uniform(key, (x.shape[0], 1, 1, 1), x.dtype, low, high)

    b, s, k = uniform(keys[0], -0.5, 0.5), uniform(keys[1], 0.0, 2.0), uniform(keys[2], 0.5, 1.5)
    c = jnp.mean(x, axis=3, keepdims=True)
    m = jnp.mean(c, axis=(1, 2), keepdims=True)
    # One pass, because saturation changes no mean, and brightness adds b to all.
    return b + m + k * ((c - m) + s * (x - c))


def _translate(key: Array, x: Array, max_shift: np.ndarray) -> Array:
    """Equation 2."""
    starts = jax.random.randint(key, (x.shape[0], 2), 0, 2 * max_shift[None] + 1)
    padded = jnp.pad(x, ((0, 0), *((n, n) for n in max_shift), (0, 0)))

    # One gather of whole windows: 5 to 40 times as fast on a CPU as products with shift matrices.
    def window(image: Array, start: Array) -> Array:
        return jax.lax.dynamic_slice(image, (start[0], start[1], 0), x.shape[1:])

    return jax.vmap(window)(padded, starts)


def _cut_out(key: Array, x: Array, sizes: np.ndarray) -> Array:
    """Equation 3."""
    sides = np.array(x.shape[1:3])
    starts = jax.random.randint(key, (x.shape[0], 2), -(sizes // 2)[None], (sides - (sizes + 1) // 2 + 1)[None])

    def inside(axis: int) -> Array:
        position, start = jnp.arange(sides[axis])[None], starts[:, axis, None]
        return (start <= position) & (position < start + sizes[axis])

    return jnp.where(inside(0)[:, :, None, None] & inside(1)[:, None, :, None], 0, x)
