"""StyleGAN2 against plain NumPy and closed forms."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import gan
from genjax.gan import style_networks

SHAPE = (8, 8, 1)


def normal(seed, *shape):
    return jax.random.normal(jax.random.key(seed), shape)


class Linear(nn.Module):
    """Images Σ_l A_l w_l + n, with layers l and noise n."""

    shape: tuple[int, ...] = (2, 2, 1)
    num_styles: int = 3
    num_noise: int = 4

    @nn.compact
    def __call__(self, styles, noise=None):
        matrix = self.param("matrix", nn.initializers.normal(1.0), (*styles.shape[1:], 4))
        image = jnp.einsum("bld,ldp->bp", styles, matrix) + (0 if noise is None else noise)
        return image.reshape(-1, *self.shape)


def linear_model(**options):
    fields = {
        "latent_dim": 5,
        "mapping": gan.MappingNetwork(6, num_layers=1, multiplier=1.0),
        "synthesis": Linear(),
        "discriminator": gan.MLPDiscriminator((4,)),
    }
    return gan.StyleGAN2(**(fields | options))


def initialized(model, batch_size=8):
    return model.init(jax.random.key(0), {"x": normal(1, batch_size, *model.synthesis.shape)})


@pytest.fixture(scope="module")
def model():
    return gan.StyleGAN2(
        latent_dim=4,
        mapping=gan.MappingNetwork(6, num_layers=2),
        synthesis=gan.SynthesisNetwork((8, 6), output_shape=SHAPE),
        discriminator=gan.StyleDiscriminator((4, 6)),
    )


@pytest.fixture(scope="module")
def variables(model):
    return model.init(jax.random.key(0), {"x": jnp.zeros((4, *SHAPE))})


def convolved(image, kernel):
    """Convolve (H, W, C) with (3, 3, C, F) by sums over windows, in 64 bits."""
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)))
    height, width = image.shape[:2]
    windows = [[padded[i : i + 3, j : j + 3] for j in range(width)] for i in range(height)]
    return np.einsum("xyijc,ijcf->xyf", np.array(windows), kernel)


class TestModulatedConvolution:
    """A convolution with the kernel W s / ‖W s‖ for each example."""

    def inputs(self):
        arrays = (normal(0, 2, 4, 5, 3), normal(1, 3, 3, 3, 2), normal(2, 2, 3))
        return [np.asarray(array, np.float64) for array in arrays]

    def by_hand(self, x, kernel, styles, demodulate=True):
        outputs = []
        for image, style in zip(x, styles, strict=True):
            modulated = kernel * style[None, None, :, None]
            norm = np.sqrt(np.square(modulated).sum(axis=(0, 1, 2)) + 1e-8) if demodulate else 1.0
            outputs.append(convolved(image, modulated / norm))
        return np.array(outputs)

    @pytest.mark.parametrize("demodulate", [True, False])
    def test_values(self, demodulate):
        x, kernel, styles = self.inputs()
        outputs = gan.modulated_conv(*map(jnp.float32, (x, kernel, styles)), demodulate=demodulate)
        np.testing.assert_allclose(outputs, self.by_hand(x, kernel, styles, demodulate), rtol=1e-3, atol=1e-4)

    @pytest.mark.parametrize("argument", [0, 1, 2])
    def test_gradients_are_difference_quotients(self, argument):
        inputs = self.inputs()
        weights = np.asarray(normal(3, 2, 4, 5, 2), np.float64)
        direction = np.asarray(normal(4, *inputs[argument].shape), np.float64)

        def value(step):
            moved = list(inputs)
            moved[argument] = inputs[argument] + step * direction
            return np.sum(weights * self.by_hand(*moved))

        def loss(argument_value):
            arguments = [jnp.float32(value) for value in inputs]
            arguments[argument] = argument_value
            return jnp.sum(jnp.float32(weights) * gan.modulated_conv(*arguments))

        gradient = jax.grad(loss)(jnp.float32(inputs[argument]))
        expected = (value(1e-5) - value(-1e-5)) / 2e-5
        assert float(jnp.sum(gradient * direction)) == pytest.approx(expected, rel=1e-3, abs=1e-3)


class TestNetworks:
    def test_layers_keep_unit_variance(self):
        layer = style_networks.StyleLayer(64, jnp.float32)
        x, w = normal(0, 8, 8, 8, 32), normal(1, 8, 16)
        hidden, _ = layer.init_with_output(jax.random.key(2), x, w, None)
        assert float(jnp.mean(jnp.square(hidden[:, 1:-1, 1:-1]))) == pytest.approx(1, abs=0.15)

    def test_noise_enters_with_a_learned_scale_of_zero(self, model, variables):
        styles, noise = normal(0, 2, 4, 6), normal(1, 2, model.synthesis.num_noise)

        def image(params, noise):
            return model.synthesis.apply({"params": params}, styles, noise)

        params = variables.params["synthesis"]
        np.testing.assert_array_equal(image(params, noise), image(params, None))
        scaled = jax.tree_util.tree_map_with_path(
            lambda path, leaf: leaf + 1 if "noise_scale" in jax.tree_util.keystr(path) else leaf, params
        )
        assert jnp.max(jnp.abs(image(scaled, noise) - image(scaled, None))) > 0.1
        np.testing.assert_array_equal(image(scaled, jnp.zeros_like(noise)), image(scaled, None))
        gradient = jax.grad(lambda noise: jnp.sum(jnp.sin(image(scaled, noise))))(noise)
        assert np.all(np.abs(gradient).max(axis=0) > 0), "each layer has noise of its own"

    def test_noise_is_one_value_for_each_pixel_of_a_layer(self):
        layer = style_networks.StyleLayer(2, jnp.float32)
        x, w, noise = normal(0, 1, 3, 4, 2), normal(1, 1, 5), normal(2, 1, 12)
        variables = layer.init(jax.random.key(3), x, w, None)
        before = layer.apply(variables, x, w, None)
        params = variables["params"] | {"noise_scale": jnp.float32(0.5)}
        after = layer.apply({"params": params}, x, w, noise)
        slope = np.sqrt(2) * 0.5

        def unscaled(h):  # inverts √2 max(a, a / 5)
            h = np.asarray(h) / np.sqrt(2)
            return np.where(h > 0, h, 5 * h)

        difference = unscaled(after) - unscaled(before)
        expected = slope / np.sqrt(2) * np.asarray(noise).reshape(1, 3, 4, 1)
        np.testing.assert_allclose(difference, np.broadcast_to(expected, (1, 3, 4, 2)), atol=1e-5)

    def test_each_style_moves_its_own_layer(self, model, variables):
        """Styles of layers after the first resolution leave the small image unchanged."""
        styles = jnp.broadcast_to(normal(0, 1, 1, 6), (1, 4, 6))
        gradient = jax.grad(lambda s: jnp.sum(jnp.sin(model.decode(variables, s))))(styles)
        assert np.all(np.abs(gradient).max(axis=(0, 2)) > 0)
        assert model.synthesis.num_noise == 4 * 4 + 2 * 8 * 8

    def test_strided_convolution_of_a_block_is_a_downsampled_one(self):
        x = normal(0, 2, 8, 8, 3)
        block = style_networks.ResidualDownBlock(4, jnp.float32)
        outputs, variables = block.init_with_output(jax.random.key(1), x)
        assert outputs.shape == (2, 4, 4, 4)
        params = variables["params"]

        def act(h):
            return np.sqrt(2) * np.where(h > 0, h, 0.2 * h)

        def down(image):
            for axis in (0, 1):
                padded = np.pad(image, [(1, 1) if i == axis else (0, 0) for i in range(3)])
                taps = [np.take(padded, np.arange(4) * 2 + k, axis) for k in range(4)]
                image = (taps[0] + 3 * taps[1] + 3 * taps[2] + taps[3]) / 8
            return image

        for image, output in zip(np.asarray(x), np.asarray(outputs), strict=True):
            first = act(convolved(image, np.asarray(params["EqualizedConv_0"]["kernel"]) / np.sqrt(27)))
            second = act(down(convolved(first, np.asarray(params["kernel"]) / np.sqrt(27))))
            skip = down(image) @ np.asarray(params["EqualizedConv_1"]["kernel"])[0, 0] / np.sqrt(3)
            # The stride skips the border of the blurred image, where the two orders differ.
            np.testing.assert_allclose(output[1:-1, 1:-1], ((second + skip) / np.sqrt(2))[1:-1, 1:-1], atol=1e-4)

    def test_discriminator_projects_on_the_class(self):
        net = gan.StyleDiscriminator((4, 6))
        x, one_hot = normal(0, 4, 8, 8, 1), jnp.eye(4)
        outputs, variables = net.init_with_output(jax.random.key(1), x, one_hot)
        assert outputs.shape == (4, 1)
        params = variables["params"]
        swapped = net.apply(variables, x, one_hot[::-1])
        assert jnp.max(jnp.abs(swapped - outputs)) > 1e-3
        assert params["embedding"]["kernel"].shape == (4, 6)

    def test_sides_that_no_growth_reaches_are_refused(self):
        with pytest.raises(ValueError, match="halves the image 2 times, but 10x8 is not divisible by 4"):
            gan.StyleDiscriminator((4, 4, 4)).init(jax.random.key(0), jnp.zeros((2, 10, 8, 1)))


def test_synthesis_sides_are_checked_at_construction():
    with pytest.raises(ValueError, match="not divisible by 4"):
        gan.SynthesisNetwork((4, 4, 4), (10, 8, 1))


class TestStyles:
    def test_truncation_moves_styles_to_the_mean(self, model, variables):
        mean = normal(0, 6)
        variables = variables._replace(state=variables.state | {"style_mean": mean})
        z = normal(1, 3, 4)
        full = model.styles(variables, z)
        np.testing.assert_allclose(model.styles(variables, z, truncation=0.0), jnp.stack([mean] * 3), rtol=1e-6)
        np.testing.assert_allclose(
            model.styles(variables, z, truncation=0.25), 0.75 * mean[None] + 0.25 * full, rtol=1e-4, atol=1e-5
        )

    def test_mean_style_is_a_moving_average_over_generator_steps(self):
        model = linear_model(mixing_probability=0.0, mean_decay=0.9, path_length=None)
        params, state = initialized(model)
        batch = {"x": normal(1, 8, 2, 2, 1)}
        _, (new, _) = model.discriminator_loss(params, state, jax.random.key(2), batch, jnp.int32(0))
        np.testing.assert_array_equal(new["style_mean"], 0)
        _, (new, _) = model.generator_loss(params, state, jax.random.key(3), batch, jnp.int32(0))
        game_key = jax.random.split(jax.random.key(3))[0]
        style_key = jax.random.split(jax.random.split(game_key, 4)[0], 3)[0]
        z = jax.random.normal(jax.random.split(style_key, 4)[0], (8, 5))
        w = model.styles(gan.style_gan2.Variables(params, state), z)
        np.testing.assert_allclose(new["style_mean"], 0.1 * jnp.mean(w, axis=0), rtol=1e-4, atol=1e-6)

    @pytest.mark.parametrize("probability", [0.0, 0.6])
    def test_mixing_starts_at_a_uniform_layer(self, probability):
        """Layers 0 … L − 1 with w, from layer l ~ U{1, …, L − 1} on with another, with probability p."""
        model = linear_model(mixing_probability=probability)
        variables, count = initialized(model), 6_000
        mixed = jax.jit(lambda key: model._mixed_styles(variables, key, count, None, True)[0])
        styles = np.asarray(mixed(jax.random.key(1)))
        changed = np.abs(styles - styles[:, :1]).max(axis=2) > 1e-6  # (N, L)
        assert not changed[:, 0].any()
        expected = probability * np.array([0, 1 / 2, 1])
        np.testing.assert_allclose(changed.mean(axis=0), expected, atol=4 * np.sqrt(0.25 / count))
        assert np.all(changed[:, 1:] >= changed[:, :-1])

    def test_samples_are_not_mixed(self):
        model = linear_model()
        styles, states = model._mixed_styles(initialized(model), jax.random.key(1), 50, None, False)
        np.testing.assert_array_equal(styles, jnp.broadcast_to(styles[:, :1], styles.shape))
        assert set(states) == {"mapping"}


class TestPathLength:
    """For g(w) = Σ A_l w_l, ∇_{w_l} ⟨g, y⟩ = A_l y."""

    def lengths(self, matrix, key):
        projection_key = jax.random.split(key, 3)[2]
        y = np.asarray(jax.random.normal(projection_key, (4, 2, 2, 1))).reshape(4, 4) / 2  # √(H W) = 2
        gradients = np.einsum("ldp,bp->bld", matrix, y)
        return np.sqrt(np.square(gradients).sum(axis=(1, 2)) / 3), y

    def test_penalty_its_mean_and_its_gradient(self):
        penalty = gan.PathLength(weight=3.0, every=5, decay=0.1)
        model = linear_model(path_length=penalty)
        params, state = initialized(model)
        state = state | {"path_length": jnp.float32(2.0)}

        def value(synthesis):
            variables = gan.style_gan2.Variables(params | {"synthesis": synthesis}, state)
            return model._path_length_penalty(penalty, variables, jax.random.key(7), (4, 2, 2, 1), None)

        (result, mean), gradient = jax.value_and_grad(value, has_aux=True)(params["synthesis"])
        matrix = np.asarray(params["synthesis"]["matrix"], np.float64)
        lengths, y = self.lengths(matrix, jax.random.key(7))
        new_mean = 2 + 0.1 * (lengths.mean() - 2)
        assert float(mean) == pytest.approx(new_mean, rel=1e-5)
        assert float(result) == pytest.approx(5 * 3 * np.mean((lengths - new_mean) ** 2), rel=1e-4)
        # d/dA_l: 5 · 3 · mean 2 (ℓ − a) / ℓ · A_l y yᵀ / L
        factor = 15 * 2 * (lengths - new_mean) / lengths / 3 / 4
        by_hand = np.einsum("b,ldp,bp,bq->ldq", factor, matrix, y, y)
        np.testing.assert_allclose(gradient["matrix"], by_hand, rtol=1e-3, atol=1e-4)

    def test_it_is_lazy_and_shrinks_the_batch(self):
        model = linear_model(path_length=gan.PathLength(every=2), mixing_probability=0.0)
        params, state = initialized(model)
        batch = {"x": normal(1, 8, 2, 2, 1)}

        def loss(step):
            key = jax.random.key(3)
            return model.generator_loss(params, state, key, batch, jnp.int32(step))

        with_penalty, (moved, metrics) = loss(0)
        without, (kept, idle) = loss(1)
        penalty = float(metrics["path_length_penalty"])
        assert penalty > 0
        assert float(with_penalty - without) == pytest.approx(penalty, rel=1e-3, abs=1e-5)
        assert float(idle["path_length_penalty"]) == 0
        assert float(kept["path_length"]) == 0 < float(moved["path_length"])
        lengths, _ = self.lengths(np.asarray(params["synthesis"]["matrix"]), jax.random.split(jax.random.key(3))[1])
        assert float(moved["path_length"]) == pytest.approx(0.01 * lengths.mean(), rel=1e-4)

    def test_generators_without_gradient_have_a_finite_one(self):
        model = linear_model()
        params, state = initialized(model)
        params = params | {"synthesis": jax.tree.map(jnp.zeros_like, params["synthesis"])}
        batch = {"x": normal(1, 8, 2, 2, 1)}
        loss = jax.grad(lambda p: model.generator_loss(p, state, jax.random.key(3), batch, jnp.int32(0))[0])
        assert all(jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(loss(params)))


class TestEncode:
    def test_finds_the_style_of_an_image(self):
        """Least squares: with 12 pixels, 6 style entries and a linear generator the optimum is exact."""
        model = linear_model(synthesis=Linear(shape=(2, 2, 1)), mapping=gan.MappingNetwork(3, num_layers=1))
        variables = initialized(model)
        x = normal(4, 5, 2, 2, 1)
        styles = model.encode(variables, x, num_steps=400, learning_rate=0.1)
        matrix = np.asarray(variables.params["synthesis"]["matrix"], np.float64).sum(axis=0)  # (D, P)
        solution = np.linalg.lstsq(matrix.T, np.asarray(x, np.float64).reshape(5, 4).T, rcond=None)[0].T
        np.testing.assert_allclose(styles, solution, atol=2e-2)

    def test_examples_do_not_depend_on_each_other(self, model, variables):
        x = normal(5, 2, *SHAPE)
        both = model.encode(variables, x, num_steps=3)
        alone = model.encode(variables, x[:1], num_steps=3)
        np.testing.assert_allclose(both[:1], alone, rtol=1e-3, atol=1e-4)

    def test_mixed_styles_decode(self, model, variables):
        w = normal(6, 2, 6)
        layers = jnp.stack([w[:1], w[:1], w[1:], w[1:]], axis=1)
        assert model.decode(variables, layers).shape == (1, *SHAPE)
        same = jnp.broadcast_to(w[:, None], (2, 4, 6))
        np.testing.assert_array_equal(model.decode(variables, same), model.decode(variables, w))
