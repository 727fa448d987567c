"""Adaptive augmentation: its controller, and its transformations against NumPy's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import gan
from genjax.gan import adaptive_augmentation as ada

GEOMETRIC = tuple(dict.fromkeys(ada.GEOMETRIC))


def images(batch=64, height=6, width=6, channels=3):
    return jax.random.uniform(jax.random.key(0), (batch, height, width, channels), minval=-1)


def transformed(*names, seed=1, probability=1.0, x=None):
    augment = gan.AdaptiveAugmentation(transformations=names)
    return np.asarray(jax.jit(augment)(jax.random.key(seed), images() if x is None else x, probability))


class TestController:
    """p ← p + sign(r − r*) · n B / N."""

    def test_probability_follows_the_mean_sign(self):
        augment = gan.AdaptiveAugmentation(target=0.6, every=2, num_images=100, initial_probability=0.5)
        outputs = [[1, 1, 1, 1], [1, 1, 1, -1], [1, -1, -1, 1], [1, 1, 1, 1], [1, 1, 1, 1], [1, -1, 1, 1]]
        p, state, expected = 0.5, augment.init(), []
        for t, values in enumerate(outputs):
            state = augment.update(state, jnp.array(values, jnp.float32))
            if t % 2:
                p += np.sign(np.mean(np.sign(outputs[t - 1 : t + 1])) - 0.6) * 2 * 4 / 100
            expected.append(p)
            np.testing.assert_allclose(state.probability, p, rtol=1e-6)
        assert expected[1] > 0.5 > expected[3] - 1e-9  # both directions were seen

    @pytest.mark.parametrize(("outputs", "limit"), [(jnp.ones(8), 1.0), (-jnp.ones(8), 0.0)])
    def test_probability_stays_between_zero_and_one(self, outputs, limit):
        augment = gan.AdaptiveAugmentation(every=1, num_images=20, initial_probability=0.5)
        state = augment.init()
        for _ in range(5):
            state = augment.update(state, outputs)
        assert float(state.probability) == limit

    def test_the_game_updates_it_with_outputs_for_data(self):
        """Discriminator and generator both see images augmented with the stored probability."""
        augment = gan.AdaptiveAugmentation(transformations=("brightness",), every=1, num_images=8, target=-1.0)
        model = gan.GAN(
            latent_dim=2,
            generator=gan.DCGANGenerator((4,), (4, 4, 1)),
            discriminator=gan.DCGANDiscriminator((4,)),
            augment=augment,
        )
        batch = {"x": images(4, 4, 4, 1)}
        params, state = model.init(jax.random.key(0), batch)
        assert float(state["augment"].probability) == 0
        loss = jax.jit(model.discriminator_loss)
        _, (state, metrics) = loss(params, state, jax.random.key(1), batch, jnp.int32(0))
        assert float(state["augment"].probability) == float(metrics["augment_probability"]) == 0.5
        _, (state, _) = model.generator_loss(params, state, jax.random.key(2), batch, jnp.int32(0))
        assert float(state["augment"].probability) == 0.5


class TestTransformations:
    def test_nothing_changes_at_probability_zero(self):
        np.testing.assert_allclose(transformed(*GEOMETRIC, *ada.COLOR, probability=0.0), images(), atol=2e-6)

    def test_each_image_is_transformed_with_the_probability(self):
        x = images(4_000, 2, 2, 1)
        y = transformed("brightness", probability=0.3, x=x)
        assert np.mean(np.abs(y - x).max(axis=(1, 2, 3)) > 0) == pytest.approx(0.3, abs=0.03)  # 4 se

    def test_one_of_two_rotations_is_applied_with_the_probability(self):
        x = images(4_000, 3, 3, 1)
        y = transformed("rotate", probability=0.3, x=x)
        assert np.mean(np.abs(y - x).max(axis=(1, 2, 3)) > 1e-4) == pytest.approx(0.3, abs=0.03)

    @pytest.mark.parametrize(
        ("name", "choices"),
        [
            ("xflip", [lambda x: x, lambda x: x[:, ::-1]]),
            ("rotate90", [lambda x, k=k: np.rot90(x, k) for k in range(4)]),
            ("lumaflip", [lambda x: x, lambda x: x - 2 * x.mean(axis=2, keepdims=True)]),
        ],
    )
    def test_discrete_transformations_are_numpys_and_equally_likely(self, name, choices):
        x = images()
        counts = np.zeros(len(choices))
        for before, after in zip(np.asarray(x), transformed(name), strict=True):
            errors = [np.abs(after - choice(before)).max() for choice in choices]
            assert min(errors) < 1e-4
            counts[np.argmin(errors)] += 1
        expected = len(x) / len(choices)
        assert np.all(np.abs(counts - expected) < 4 * np.sqrt(expected)), counts

    def test_integer_translations_mirror_the_border(self):
        x = images(32, 16, 16, 1)
        moved = 0
        for before, after in zip(np.asarray(x), transformed("xint", x=x), strict=True):
            padded = np.pad(before, ((2, 2), (2, 2), (0, 0)), mode="reflect")
            errors = {
                (i, j): np.abs(after - padded[2 - i : 18 - i, 2 - j : 18 - j]).max()
                for i in range(-2, 3)
                for j in range(-2, 3)
            }
            assert min(errors.values()) < 1e-4
            moved += min(errors, key=errors.__getitem__) != (0, 0)
        assert moved > 16

    def test_scale_enlarges_about_the_center(self):
        """Pixels of a linear image x(u) = u tell the factor: y(u) = x(u / s)."""
        ramp = jnp.broadcast_to(jnp.arange(-8.0, 9.0)[None, :, None, None], (2_000, 17, 17, 1))
        y = transformed("scale", x=ramp)[:, :, 8, 0]
        slopes = y[:, 9] - y[:, 7]  # 2 / s, s = 2^(0.2 n)
        logs = -np.log2(slopes / 2) / 0.2
        assert abs(logs.mean()) < 4 / np.sqrt(2_000)
        assert logs.std() == pytest.approx(1, abs=0.07)

    def test_aniso_keeps_areas(self):
        columns = jnp.broadcast_to(jnp.arange(-8.0, 9.0)[None, None, :, None], (16, 17, 17, 1))
        rows = jnp.broadcast_to(jnp.arange(-8.0, 9.0)[None, :, None, None], (16, 17, 17, 1))
        y = transformed("aniso", x=jnp.concatenate([rows, columns], axis=-1))
        vertical = y[:, 9, 8, 0] - y[:, 7, 8, 0]
        horizontal = y[:, 8, 9, 1] - y[:, 8, 7, 1]
        np.testing.assert_allclose(vertical * horizontal, 4, rtol=1e-3)
        assert np.std(vertical) > 0.1

    def test_colors_change_as_the_equations_say(self):
        x = images(2_000, 2, 2, 3)
        shift = (transformed("brightness", x=x) - x)[:, 0, 0]
        np.testing.assert_allclose(shift, shift[:, :1].repeat(3, 1), atol=1e-5)
        assert shift.std() == pytest.approx(0.2, rel=0.07)
        factor = transformed("contrast", x=x) / x
        np.testing.assert_allclose(factor, factor[:, :1, :1, :1] * np.ones((1, 2, 2, 3)), rtol=1e-3)
        assert np.log2(factor[:, 0, 0, 0]).std() == pytest.approx(0.5, rel=0.07)
        mean = x.mean(axis=3, keepdims=True)
        saturated = transformed("saturation", x=x)
        ratio = (saturated - mean) / (x - mean)
        np.testing.assert_allclose(ratio, np.median(ratio, axis=(1, 2, 3), keepdims=True) * np.ones_like(x), rtol=0.02)
        assert np.log2(np.median(ratio, axis=(1, 2, 3))).std() == pytest.approx(1, rel=0.07)

    def test_hue_turns_colors_about_grey(self):
        x = images()
        y = transformed("hue")
        np.testing.assert_allclose(y.mean(axis=3), np.mean(x, axis=3), atol=1e-5)
        np.testing.assert_allclose(np.square(y).sum(axis=3), np.square(x).sum(axis=3), rtol=1e-4)
        assert np.mean(np.abs(y - x).max(axis=(1, 2, 3)) > 0.1) > 0.8

    def test_grey_images_have_no_hue(self):
        x = images(channels=1)
        np.testing.assert_allclose(transformed("hue", "saturation", x=x), x, atol=1e-6)

    def test_gradients_pass_through_to_the_image(self):
        augment = gan.AdaptiveAugmentation()
        x = images(2)
        gradient = jax.grad(lambda x: jnp.sum(augment(jax.random.key(1), x, 0.8)))(x)
        assert jnp.all(jnp.isfinite(gradient))
        assert jnp.sum(jnp.abs(gradient)) > 0

    def test_vectors_are_refused(self):
        with pytest.raises(ValueError, match=r"must be images \(B, H, W, C\)"):
            gan.AdaptiveAugmentation()(jax.random.key(0), jnp.zeros((2, 3)), 0.5)
