import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.nets import ConvDecoder, ConvEncoder, ResidualCNN


def shapes(net, *args):
    return jax.eval_shape(net.init_with_output, jax.random.key(0), *args)


def test_each_stage_halves_or_doubles_the_image():
    code, encoder_variables = shapes(ConvEncoder((3, 4), 5), jnp.ones((2, 8, 12, 1)))
    image, decoder_variables = shapes(ConvDecoder((4, 3), (8, 12, 2)), jnp.ones((2, 5)))
    assert code.shape == (2, 5)
    assert image.shape == (2, 8, 12, 2)
    assert encoder_variables["params"]["Dense_0"]["kernel"].shape == (2 * 3 * 4, 5)
    assert decoder_variables["params"]["Dense_0"]["kernel"].shape == (5, 2 * 3 * 4)


@jax.jit
def encoder_gradient(key):
    encoder, x = ConvEncoder((3, 4), 5), jnp.ones((1, 8, 8, 1))
    return jax.grad(lambda x: encoder.init_with_output(key, x)[0].sum())(x)


@jax.jit
def decoder_tangent(key):
    decoder, latent = ConvDecoder((4, 3), (8, 8, 2)), jnp.ones((1, 5))
    return jax.jvp(lambda z: decoder.init_with_output(key, z)[0], (latent,), (latent,))[1]


def test_every_pixel_of_the_input_and_the_output_is_reached():
    assert (encoder_gradient(jax.random.key(0)) != 0).all()
    assert (decoder_tangent(jax.random.key(1)) != 0).all()


@pytest.mark.parametrize(
    ("net", "x"),
    [
        (ConvEncoder((3,), 5, dtype=jnp.bfloat16), np.ones((2, 4, 4, 1), np.float32)),
        (ConvDecoder((3,), (4, 4, 1), dtype=jnp.bfloat16), np.ones((2, 5), np.float32)),
    ],
    ids=["encoder", "decoder"],
)
def test_condition_and_compute_dtype(net, x):
    y, variables = jax.jit(net.init_with_output)(jax.random.key(0), x, jnp.eye(3)[:2])
    assert y.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    assert not np.allclose(y[0], y[1])  # equal inputs, unequal conditions


def test_refuses_images_that_cannot_be_divided():
    with pytest.raises(ValueError, match=r"ConvDecoder halves the image 3 times, but 28x28 is not divisible by 8; pad"):
        ConvDecoder((4, 4, 4), (28, 28, 1))
    with pytest.raises(ValueError, match=r"28x30 is not divisible by 4; pad or resize it to 28x32, or give fewer"):
        jax.eval_shape(ConvEncoder((4, 4), 8).init, jax.random.key(0), jnp.zeros((1, 28, 30, 1)))
    with pytest.raises(ValueError, match=r"got shape \(1, 64\), but takes images .* use an MLP"):
        jax.eval_shape(ConvEncoder((4,), 8).init, jax.random.key(0), jnp.zeros((1, 64)))
    with pytest.raises(ValueError, match=r"needs at least one stage and \(H, W, C\); give for example"):
        ConvDecoder((4,), (64,))


RESIDUAL_CNN = ResidualCNN(features=2, output_shape=(4, 6, 2, 3))


def test_residual_cnn_keeps_the_pixels_and_reaches_their_neighbours():
    """Three 3x3 convolutions see three pixels in every direction, and nothing beyond."""
    net = ResidualCNN(features=3, output_shape=(1, 9, 1), activation=jnp.tanh)
    x = jax.random.normal(jax.random.key(0), (1, 9, 1))

    @functools.partial(jax.jit)
    def jacobian(key):
        variables = net.init(key, x[None])
        return jax.jacfwd(lambda x: net.apply(variables, x[None])[0, 0, :, 0])(x)

    gradients = np.abs(jacobian(jax.random.key(1))).max(axis=(1, 3))
    places = np.arange(9)
    np.testing.assert_array_equal(gradients > 0, np.abs(places[:, None] - places) <= 3)


def test_residual_cnn_takes_a_condition_for_the_image_or_for_each_pixel():
    x, vectors = jnp.ones((2, 4, 6, 1)), jnp.eye(3)[:2]
    y, variables = jax.jit(RESIDUAL_CNN.init_with_output)(jax.random.key(0), x, vectors)
    assert y.shape == (2, 4, 6, 2, 3)
    assert not np.allclose(y[0], y[1])  # equal inputs, unequal conditions
    for_pixels = jnp.broadcast_to(vectors[:, None, None], (2, 4, 6, 3))
    np.testing.assert_allclose(jax.jit(RESIDUAL_CNN.apply)(variables, x, for_pixels), y, atol=1e-6)


def test_residual_cnn_may_begin_at_zero():
    net = RESIDUAL_CNN.clone(output_scale=0.0, dtype=jnp.bfloat16)
    y, variables = jax.jit(net.init_with_output)(jax.random.key(0), jnp.ones((2, 4, 6, 1)))
    assert y.dtype == jnp.bfloat16
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    assert (y == 0).all()


@pytest.mark.parametrize(("shape", "output_shape"), [((4, 4), (4, 4, 1)), ((4, 4, 1), (4, 5, 1)), ((4, 4, 1), None)])
def test_residual_cnn_refuses_other_sizes(shape, output_shape):
    net = ResidualCNN(features=3, output_shape=output_shape)
    with pytest.raises(
        ValueError, match=r"ResidualCNN got shape .* but maps images .*; give it the image's own H and W"
    ):
        jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((2, *shape)))
