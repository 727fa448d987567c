"""Augmentations, with random parameters recovered from the images."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from genjax import gan

COLOR = gan.DifferentiableAugmentation(policies=("color",))
TRANSLATION = gan.DifferentiableAugmentation(policies=("translation",))
CUTOUT = gan.DifferentiableAugmentation(policies=("cutout",))
ALL = gan.DifferentiableAugmentation()
IMAGE = np.random.default_rng(0).uniform(-0.4, 1, (6, 12, 3)).astype(np.float32)


def many(augment, image, count, seed=0):
    return np.asarray(jax.jit(augment)(jax.random.key(seed), jnp.broadcast_to(image, (count, *image.shape))))


def shifted(image, down, right):
    height, width, _ = image.shape
    result = np.zeros_like(image)
    result[max(down, 0) : height + down, max(right, 0) : width + right] = image[
        max(-down, 0) : height - down, max(-right, 0) : width - right
    ]
    return result


def test_color_is_brightness_saturation_and_contrast_and_nothing_else():
    """T(x) = m + b + k (c − m) + k s (x − c): three coefficients explain every image."""
    mean, grey = IMAGE.mean(), IMAGE.mean(axis=-1, keepdims=True)
    directions = np.stack([np.ones_like(IMAGE), np.broadcast_to(grey, IMAGE.shape) - mean, IMAGE - grey], axis=-1)
    images = many(COLOR, IMAGE, 2000).reshape(2000, -1)
    coefficients, squares, *_ = np.linalg.lstsq(directions.reshape(-1, 3).astype(float), images.T - mean, rcond=None)
    assert squares.max() < 1e-9
    b, k, s = coefficients[0], coefficients[1], coefficients[2] / coefficients[1]
    for draws, low, high in ((b, -0.5, 0.5), (s, 0.0, 2.0), (k, 0.5, 1.5)):
        assert stats.kstest(draws, stats.uniform(low, high - low).cdf).pvalue > 1e-3
    np.testing.assert_allclose(np.corrcoef([b, k, s]), np.eye(3), atol=4 / np.sqrt(2000))


def test_color_of_a_constant_image_is_brightness_alone():
    images = many(COLOR, np.full((2, 2, 3), 0.25, np.float32), 50).reshape(50, -1)
    np.testing.assert_allclose(images, images[:, :1] + np.zeros_like(images), atol=1e-6)


def test_translations_are_uniform_and_pad_with_zeros():
    """At most one row and two columns (6/8 and 12/8, rounded), and pixels are copied exactly."""
    moves = [(down, right) for down in (-1, 0, 1) for right in (-2, -1, 0, 1, 2)]
    expected = np.stack([shifted(IMAGE, *move) for move in moves])
    images = many(TRANSLATION, IMAGE, 1500)
    same = np.all(images[:, None] == expected[None], axis=(2, 3, 4))
    np.testing.assert_array_equal(same.sum(axis=1), 1)
    assert stats.chisquare(same.sum(axis=0)).pvalue > 1e-3


@pytest.mark.parametrize(("ratio", "sides"), [(0.5, (3, 6)), (0.3, (2, 4)), (1.0, (6, 12))])
def test_cutout_zeros_one_rectangle_that_extends_over_the_border_by_half_at_most(ratio, sides):
    augment = gan.DifferentiableAugmentation(policies=("cutout",), cutout_ratio=ratio)
    images = many(augment, IMAGE, 3000)
    hidden = np.all(images == 0, axis=-1)
    np.testing.assert_array_equal(images, np.where(hidden[..., None], 0, IMAGE))
    for axis, side in ((1, sides[0]), (2, sides[1])):
        length = hidden.shape[axis]
        starts = range(-(side // 2), length - (side - side // 2) + 1)
        allowed = np.array([[start <= i < start + side for i in range(length)] for start in starts])
        same = np.all(hidden.any(axis=3 - axis)[:, None] == allowed[None], axis=-1)
        np.testing.assert_array_equal(same.sum(axis=1), 1)
        assert stats.chisquare(same.sum(axis=0)).pvalue > 1e-3
    counts = hidden.sum(axis=(1, 2))
    np.testing.assert_array_equal(counts, hidden.any(axis=2).sum(axis=1) * hidden.any(axis=1).sum(axis=1))
    assert counts.max() == sides[0] * sides[1]


def test_it_is_affine_and_its_gradient_is_the_transpose():
    """With T(x) = A x + t, A column by column from unit vectors, ∇ ½ ‖T(x)‖² = Aᵀ T(x)."""
    shape = (2, 4, 4, 2)
    augment = gan.DifferentiableAugmentation(translation_ratio=0.25)

    def flat(x):
        return augment(jax.random.key(0), x.reshape(shape)).reshape(-1)

    x = jax.random.normal(jax.random.key(1), (64,))
    origin, value, *ends = np.asarray(jax.jit(jax.vmap(flat))(jnp.stack([jnp.zeros(64), x, *jnp.eye(64)])))
    columns = np.stack(ends) - origin
    np.testing.assert_allclose(value, np.asarray(x) @ columns + origin, atol=1e-5)
    gradient = jax.jit(jax.grad(lambda x: 0.5 * jnp.sum(jnp.square(flat(x)))))(x)
    np.testing.assert_allclose(gradient, columns @ value, atol=1e-5)
    np.testing.assert_allclose(columns.reshape(2, 32, 2, 32)[(0, 1), :, (1, 0)], 0, atol=1e-6)  # images do not mix


@pytest.mark.parametrize("augment", [COLOR, TRANSLATION, CUTOUT, ALL], ids=lambda a: "+".join(a.policies))
def test_parameters_differ_between_images_and_keys(augment):
    big = np.random.default_rng(1).uniform(-1, 1, (40, 40, 3)).astype(np.float32)
    images = np.concatenate([many(augment, big, 4, seed) for seed in (0, 1)])
    assert len(np.unique(images.reshape(8, -1), axis=0)) >= 7  # one of the 121 translations may repeat
    assert jax.eval_shape(augment, jax.random.key(0), jnp.zeros((4, 8, 8, 1), jnp.bfloat16)).dtype == jnp.bfloat16


def test_steps_are_taken_in_turn():
    """Cutout leaves zeros if it is last, and a change of brightness afterwards removes them."""
    first = gan.DifferentiableAugmentation(policies=("cutout", "color"))
    last = gan.DifferentiableAugmentation(policies=("color", "cutout"))
    assert np.all(np.any(many(last, IMAGE, 20) == 0, axis=(1, 2, 3)))
    assert not np.any(many(first, IMAGE, 20) == 0)


def test_the_identity():
    still = gan.DifferentiableAugmentation(policies=("translation", "cutout"), translation_ratio=0, cutout_ratio=0)
    for augment in (still, gan.DifferentiableAugmentation(policies=())):
        np.testing.assert_array_equal(many(augment, IMAGE, 1), IMAGE[None])


def test_bad_input():
    with pytest.raises(ValueError, match=r"every entry is 'color', 'translation' or 'cutout', and 'flip' is not"):
        gan.DifferentiableAugmentation(policies=("color", "flip"))
    with pytest.raises(ValueError, match=r"translation_ratio is 1.5, but must be in \[0, 1\]; use 0 to leave"):
        gan.DifferentiableAugmentation(translation_ratio=1.5)
    with pytest.raises(ValueError, match=r"cutout_ratio is nan, but must be a finite number; use 0 to leave"):
        gan.DifferentiableAugmentation(cutout_ratio=float("nan"))
    with pytest.raises(ValueError, match=r"x has shape \(6, 12, 3\), but must be images \(B, H, W, C\); reshape"):
        ALL(jax.random.key(0), jnp.asarray(IMAGE))
