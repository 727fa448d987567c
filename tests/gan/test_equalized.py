"""Layers of progressive and style-based GANs against plain NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import gan

KEY = jax.random.key(0)


def gradient_of(layer, variables, x):
    return jax.grad(lambda params: jnp.sum(jnp.sin(layer.apply({"params": params}, x))))(variables["params"])


def normal(*shape):
    return jax.random.normal(jax.random.key(1), shape)


class TestEqualizedLearningRate:
    """W = m g / √n · w and b = m β."""

    @pytest.mark.parametrize(("gain", "multiplier"), [(1.0, 1.0), (2.0, 0.01)])
    def test_dense(self, gain, multiplier):
        layer, x = gan.EqualizedDense(3, gain=gain, multiplier=multiplier, initial_bias=0.5), normal(4, 5)
        outputs, variables = layer.init_with_output(KEY, x)
        kernel, bias = (np.asarray(variables["params"][name]) for name in ("kernel", "bias"))
        scale = multiplier * gain / np.sqrt(5)
        np.testing.assert_allclose(multiplier * bias, 0.5, rtol=1e-6)
        expected = np.asarray(x) @ (scale * kernel) + 0.5
        np.testing.assert_allclose(outputs, expected, rtol=1e-4, atol=1e-5)
        gradients = gradient_of(layer, variables, x)
        np.testing.assert_allclose(
            gradients["kernel"], scale * np.asarray(x).T @ np.cos(expected), rtol=1e-3, atol=1e-5
        )
        np.testing.assert_allclose(gradients["bias"], multiplier * np.cos(expected).sum(0), rtol=1e-3, atol=1e-5)

    def test_convolution(self):
        layer, x = gan.EqualizedConv(2, gain=1.5), normal(1, 4, 5, 3)
        outputs, variables = layer.init_with_output(KEY, x)
        kernel = np.asarray(variables["params"]["kernel"]) * 1.5 / np.sqrt(27)
        padded = np.pad(np.asarray(x)[0], ((1, 1), (1, 1), (0, 0)))
        expected = [
            [np.einsum("hwc,hwcf->f", padded[i : i + 3, j : j + 3], kernel) for j in range(5)] for i in range(4)
        ]
        np.testing.assert_allclose(outputs[0], expected, rtol=1e-4, atol=1e-5)

    def test_stored_weights_have_deviation_one_over_the_multiplier(self):
        variables = gan.EqualizedDense(200, multiplier=0.1).init(KEY, jnp.zeros((1, 200)))
        assert float(jnp.std(variables["params"]["kernel"])) == pytest.approx(10, rel=0.02)


class TestPixelNorm:
    def test_mean_square_over_channels_is_one(self):
        y = gan.pixel_norm(normal(2, 3, 3, 5))
        np.testing.assert_allclose(jnp.mean(jnp.square(y), axis=-1), 1, rtol=1e-5)

    def test_zero_has_a_finite_gradient(self):
        assert jnp.all(jnp.isfinite(jax.grad(lambda x: jnp.sum(gan.pixel_norm(x)))(jnp.zeros((2, 3)))))


class TestMinibatchStd:
    def test_against_numpy_with_gradients(self):
        x = normal(6, 2, 2, 3)
        outputs = gan.MinibatchStd(3).apply({}, x)
        groups = np.asarray(x).reshape(2, 3, 2, 2, 3)
        deviation = np.sqrt(groups.var(axis=1) + 1e-8)
        expected = np.repeat(deviation.mean(axis=(1, 2, 3)), 3)
        np.testing.assert_array_equal(outputs[..., :3], x)
        np.testing.assert_allclose(outputs[..., 3], np.broadcast_to(expected[:, None, None], (6, 2, 2)), rtol=1e-5)
        gradient = jax.grad(lambda x: jnp.sum(gan.MinibatchStd(3).apply({}, x)[0, 0, 0, 3]))(x)
        by_hand = (groups - groups.mean(axis=1, keepdims=True))[0] / (3 * deviation[0]) / 12
        np.testing.assert_allclose(gradient[:3], by_hand, rtol=1e-4, atol=1e-6)
        np.testing.assert_array_equal(gradient[3:], 0)

    def test_other_batches_have_groups_of_the_greatest_common_divisor(self):
        x = normal(6, 1, 1, 1)
        np.testing.assert_array_equal(gan.MinibatchStd(4).apply({}, x), gan.MinibatchStd(2).apply({}, x))


class TestGroupsInAGAN:
    """Data and samples never share a group, because the discriminator would see the mixture's variety."""

    @pytest.mark.parametrize("batch_size", [4, 6])
    def test_data_alone_have_no_variety(self, batch_size):
        import flax.linen as nn

        class Discriminator(nn.Module):
            group_size: int = 4

            @nn.compact
            def __call__(self, x):
                return gan.MinibatchStd(self.group_size)(x[:, None, None])[:, 0, 0, -1:] + 0 * nn.Dense(1)(x)

        model = gan.GAN(
            latent_dim=2,
            generator=gan.MLPGenerator((4,), output_shape=(1,)),
            discriminator=Discriminator(),
            adversarial_loss=gan.Wasserstein(),
        )
        batch = {"x": jnp.ones((batch_size, 1))}
        variables = model.init(jax.random.key(0), batch)
        real, fake, _ = model._discriminate_both(
            variables, jax.random.key(2), (batch["x"],), (jnp.arange(1.0 * batch_size)[:, None],)
        )
        np.testing.assert_allclose(real.output, 1e-4, rtol=1e-3)
        assert jnp.all(fake.output > 0.4)
