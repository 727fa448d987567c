import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax.nets import ConvDecoder, ConvEncoder


def test_each_stage_halves_or_doubles_the_image():
    encoder, decoder = ConvEncoder((3, 4), 5), ConvDecoder((4, 3), (8, 12, 2))
    code, encoder_variables = encoder.init_with_output(jax.random.key(0), jnp.ones((2, 8, 12, 1)))
    image, decoder_variables = decoder.init_with_output(jax.random.key(1), code)
    assert code.shape == (2, 5)
    assert image.shape == (2, 8, 12, 2)
    assert encoder_variables["params"]["Dense_0"]["kernel"].shape == (2 * 3 * 4, 5)
    assert decoder_variables["params"]["Dense_0"]["kernel"].shape == (5, 2 * 3 * 4)


def test_every_pixel_of_the_input_and_the_output_is_reached():
    encoder, decoder = ConvEncoder((3, 4), 5), ConvDecoder((4, 3), (8, 8, 2))
    x, latent = jax.random.normal(jax.random.key(2), (1, 8, 8, 1)), jax.random.normal(jax.random.key(3), (1, 5))
    encoder_variables = encoder.init(jax.random.key(0), x)
    decoder_variables = decoder.init(jax.random.key(1), latent)
    into = jax.jacobian(lambda x: encoder.apply(encoder_variables, x))(x)
    out = jax.jacobian(lambda z: decoder.apply(decoder_variables, z))(latent)
    assert (jnp.abs(into).sum(axis=(0, 1, 2)) > 0).all()
    assert (jnp.abs(out).sum(axis=(4, 5)) > 0).all()


def test_condition_and_compute_dtype():
    condition = jnp.eye(3)[:2]
    for net, x in (
        (ConvEncoder((3,), 5, dtype=jnp.bfloat16), jnp.ones((2, 4, 4, 1))),
        (ConvDecoder((3,), (4, 4, 1), dtype=jnp.bfloat16), jnp.ones((2, 5))),
    ):
        y, variables = net.init_with_output(jax.random.key(0), x, condition)
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
