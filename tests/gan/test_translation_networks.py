"""Networks from images to images, and discriminators of patches, at random parameters."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import gan
from genjax.nets import apply_net, init_net
from tests.gan.test_networks import num_parameters, silent, start

GENERATORS = {
    "unet": gan.UNetGenerator((4, 6, 8), output_channels=2, dropout=0.5, num_dropout_stages=1),
    "resnet": gan.TranslationResNet((4, 6), output_channels=2, num_blocks=2, dropout=0.5),
}
Y = jax.random.normal(jax.random.key(0), (3, 8, 16, 1))


@functools.cache
def applied(name):
    """Images in evaluation mode of a batch and of one example, in training mode with two keys, and gradients."""
    net = GENERATORS[name]
    params, state = start(net, Y)

    @jax.jit
    def program(params):
        def loss(params):
            images = apply_net(net, params, state, Y, key=jax.random.key(1), train=True)[0]
            return jnp.sum(images * jnp.sin(jnp.arange(images.size)).reshape(images.shape)), images

        other = apply_net(net, params, state, Y, key=jax.random.key(2), train=True)[0]
        gradients, one = jax.grad(loss, has_aux=True)(params)
        return apply_net(net, params, state, Y)[0], apply_net(net, params, state, Y[1:2])[0], one, other, gradients

    return program(params)


@pytest.mark.parametrize("name", GENERATORS)
class TestGenerators:
    def test_images_have_the_size_of_their_source(self, name):
        images, _, _, _, _ = applied(name)
        assert images.shape == (3, 8, 16, 2)
        assert np.abs(images).max() <= 1

    def test_an_image_does_not_depend_on_its_batch(self, name):
        images, alone, _, _, _ = applied(name)
        np.testing.assert_allclose(images[1:2], alone, atol=1e-5)

    def test_dropout_is_on_in_training_only(self, name):
        images, _, one, other, _ = applied(name)
        differences = [np.abs(a - b).max(axis=(1, 2, 3)).min() for a, b in ((images, one), (one, other))]
        assert min(differences) > 1e-3

    def test_every_parameter_gets_gradient(self, name):
        assert not silent(applied(name)[4])

    def test_types_and_sizes(self, name):
        net = GENERATORS[name].clone(dtype=jnp.bfloat16)
        images, variables = jax.eval_shape(net.init_with_output, jax.random.key(0), jnp.zeros((2, 24, 32, 3)))
        assert (images.shape, images.dtype) == ((2, 24, 32, 2), jnp.bfloat16)
        assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
        assert net == net.clone()
        assert hash(net) == hash(net.clone())


def test_a_bottleneck_of_one_pixel_and_the_skips_past_it_both_matter():
    """A normalized pixel would be zero, and give no gradient to what comes before."""
    net = gan.UNetGenerator((3, 4, 5, 6), output_channels=1, output_activation=None)
    y = jax.random.normal(jax.random.key(0), (1, 16, 16, 1))
    params, state = start(net, y)

    @jax.jit
    def gradients(params, y):
        return jax.grad(lambda params, y: apply_net(net, params, state, y)[0][0, 5, 9, 0], argnums=(0, 1))(params, y)

    of_params, _ = gradients(params, y)
    assert not silent(of_params)
    cut = params | {"Conv_3": jax.tree.map(jnp.zeros_like, params["Conv_3"])}  # to the bottleneck
    _, of_y = gradients(cut, y)
    assert np.count_nonzero(np.abs(np.asarray(of_y)) > 1e-6) > 16


def test_a_residual_block_adds_to_its_input():
    """With a gain of zero at its end, a block changes nothing."""
    with_block, without = (gan.TranslationResNet((2, 3), num_blocks=count) for count in (1, 0))
    params, state = start(with_block, Y)
    rest = {"Conv_4": "Conv_2", "Conv_5": "Conv_3", "GroupNorm_4": "GroupNorm_2"}
    others = {name: params[name] for name in ("Conv_0", "Conv_1", "GroupNorm_0", "GroupNorm_1")}
    others |= {short: params[name] for name, short in rest.items()}
    idle = params | {"GroupNorm_3": {"scale": jnp.zeros(3)}}
    outputs = apply_net(with_block, idle, state, Y)[0]
    np.testing.assert_allclose(outputs, apply_net(without, others, state, Y)[0], atol=1e-5)
    assert np.abs(apply_net(with_block, params, state, Y)[0] - outputs).max() > 1e-2


def test_a_residual_translator_sees_neither_brightness_nor_contrast():
    """Instance normalization after the first convolution, which continues the image by reflections, removes both."""
    net = gan.TranslationResNet((4, 4), num_blocks=0)
    params, state = start(net, Y)
    outputs, others = (apply_net(net, params, state, y)[0] for y in (Y, 2 * Y + 3))
    np.testing.assert_allclose(outputs, others, atol=1e-3)


def test_the_first_decoder_stages_alone_have_dropout():
    """With all entries of e₁'s counterpart dropped or not, the first skip still reaches the output."""
    y = Y[:1, :, :8]
    for stages, changes in ((0, False), (1, True), (5, True)):
        net = gan.UNetGenerator((4, 4, 4), num_dropout_stages=stages)
        params, state = start(net, y)
        one, other = (apply_net(net, params, state, y, key=jax.random.key(i), train=True)[0] for i in range(2))
        assert (np.abs(one - other).max() > 0) == changes


@pytest.mark.parametrize("num_stages", [1, 2, 3])
def test_the_receptive_field_is_where_an_output_has_gradient(num_stages):
    net = gan.PatchDiscriminator((2,) * num_stages, normalization=None)
    side = {1: 12, 2: 24, 3: 48}[num_stages]
    x = jax.random.normal(jax.random.key(0), (1, side, side, 1))
    params, state = start(net, x)

    def central(x):
        outputs = apply_net(net, params, state, x)[0]
        return outputs[0, outputs.shape[1] // 2, outputs.shape[2] // 2, 0]

    gradient = jax.jit(jax.grad(central))(x)
    rows, columns = np.nonzero(np.asarray(gradient)[0, :, :, 0])
    assert np.ptp(rows) + 1 == np.ptp(columns) + 1 == net.receptive_field == {1: 7, 2: 16, 3: 34}[num_stages]


def test_outputs_are_patches_whose_number_grows_with_the_image():
    net = gan.PatchDiscriminator((4, 4, 4, 4))
    for height, width, shape in ((64, 64, (2, 6, 6, 1)), (32, 48, (2, 2, 4, 1))):
        x = jnp.zeros((2, height, width, 3))
        outputs = jax.eval_shape(lambda x: net.init_with_output(jax.random.key(0), x, x)[0], x)
        assert outputs.shape == shape


@pytest.mark.parametrize("normalization", ["instance", "spectral", None])
def test_a_patch_discriminator_sees_the_source(normalization):
    net = gan.PatchDiscriminator((4, 4), normalization=normalization)
    x, y = Y[:, :8, :8], jax.random.normal(jax.random.key(3), (3, 8, 8, 2))
    params, state = start(net, x, y)

    @jax.jit
    def program(params, y):
        def loss(params):
            outputs = apply_net(net, params, state, x, y, train=True)[0]
            return jnp.sum(outputs * jnp.sin(jnp.arange(outputs.size)).reshape(outputs.shape)), outputs

        return jax.grad(loss, has_aux=True)(params)

    gradients, outputs = program(params, y)
    assert outputs.shape == (3, 2, 2, 1)
    assert not silent(gradients)
    _, others = program(params, y.at[1].add(1.0))
    changed = np.abs(np.asarray(outputs - others)).max(axis=(1, 2, 3))
    assert changed[1] > 1e-3
    assert changed[[0, 2]].max() < 1e-5


def test_published_networks_have_the_published_numbers_of_parameters():
    """Gains and biases of normalizations, where the code of CycleGAN has biases of convolutions, are counted apart."""
    patches = gan.PatchDiscriminator((64, 128, 256, 512))
    assert patches.receptive_field == 70
    assert num_parameters(patches, jnp.zeros((1, 256, 256, 3)), jnp.zeros((1, 256, 256, 3))) == 2_768_705
    assert num_parameters(patches, jnp.zeros((1, 256, 256, 3))) == 2_764_737 + 128 + 256 + 512
    normalized = 64 + 128 + 256 + 9 * 256 + 128 + 64  # biases that normalization does not cancel
    resnet = gan.TranslationResNet(num_blocks=9)
    assert num_parameters(resnet, jnp.zeros((1, 256, 256, 3))) == 11_378_179 + normalized


@pytest.mark.parametrize(
    ("net", "shape", "message"),
    [
        (gan.UNetGenerator((4, 4, 4)), (2, 12, 16, 1), "UNetGenerator halves the image 3 times, but 12x16 is not"),
        (gan.UNetGenerator((4,)), (2, 64), "UNetGenerator got shape (2, 64), but takes images (B, H, W, C)"),
        (gan.TranslationResNet((4, 4, 4)), (2, 6, 8, 1), "TranslationResNet halves the image 2 times, but 6x8"),
        (gan.PatchDiscriminator((4, 4, 4)), (2, 18, 16, 1), "PatchDiscriminator halves the image 2 times, but 18x16"),
        (
            gan.PatchDiscriminator((4, 4, 4)),
            (2, 8, 16, 1),
            "PatchDiscriminator with 3 stages got 8x16 pixels, but needs at least 12x12; give fewer features",
        ),
    ],
)
def test_sides_that_do_not_fit(net, shape, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        jax.eval_shape(functools.partial(init_net, net), jax.random.key(0), jnp.zeros(shape))
