"""Properties of generators and discriminators at random parameters, on 8x8 images."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import gan
from genjax.nets import apply_net, init_net

SHAPE, NUM_CLASSES, NUM_PASSES = (8, 8, 1), 3, 300
X = jax.random.normal(jax.random.key(0), (6, *SHAPE))
Z = jax.random.normal(jax.random.key(1), (6, 7))
LABEL = jax.nn.one_hot(jnp.arange(6) % NUM_CLASSES, NUM_CLASSES)
OTHER = jnp.roll(LABEL, 1, axis=1)

GENERATORS = {
    "mlp": gan.MLPGenerator((6,), SHAPE, normalization="batch", output_activation=jnp.tanh),
    "dcgan": gan.DCGANGenerator((16, 6, 4), SHAPE),  # from a single pixel, where normalization would cancel a bias
    "resnet": gan.ResNetGenerator((4, 4), SHAPE, spectral=True, attention_at=4),
    "resnet_without_norm": gan.ResNetGenerator((4,), SHAPE, normalization=None),
    "biggan": gan.BigGANGenerator((4, 4), SHAPE, embedding_dim=2, attention_at=4),
}
DISCRIMINATORS = {
    "mlp": gan.MLPDiscriminator((6, 5), num_outputs=2, normalization="spectral"),
    "dcgan": gan.DCGANDiscriminator((4, 6), num_outputs=2, normalization="spectral"),
    "resnet": gan.ResNetDiscriminator((4, 4, 4), num_outputs=2, attention_at=2),
    "biggan": gan.BigGANDiscriminator((4, 6), num_outputs=2, num_downsamplings=1, attention_at=4),
}
OTHERS = {
    "mlp_layer": gan.MLPDiscriminator((6,), normalization="layer", conditioning="concatenation"),
    "dcgan_batch": gan.DCGANDiscriminator((4, 4), normalization="batch", conditioning="concatenation"),
    "resnet_layer": gan.ResNetDiscriminator((4, 4), normalization="layer", conditioning="concatenation"),
}


def start(net, *args):
    """Random variables from NumPy: unlike ``init``, no gain or attention is zero, and faster."""
    random = np.random.default_rng(0)
    params, state = jax.eval_shape(functools.partial(init_net, net), jax.random.key(0), *args)

    def draw(leaf):
        return np.float32(random.normal(size=leaf.shape) / max(1, np.prod(leaf.shape[:-1])) ** 0.5)

    return jax.tree.map(draw, params), jax.tree.map(lambda leaf: 0.1 + np.abs(draw(leaf)), state)


def trained(net, params, state, x):
    """Gradients of a loss over all outputs in training mode, the outputs, and the new state."""

    def loss(params):
        outputs, new_state = apply_net(net, params, state, x, LABEL, train=True)
        return jnp.sum(outputs * jnp.sin(jnp.arange(outputs.size)).reshape(outputs.shape)), (outputs, new_state)

    return jax.grad(loss, has_aux=True)(params)


def of_labels(net, params, state, x, *labels):
    """Outputs in evaluation mode, for each array of labels."""
    return jax.vmap(lambda label: apply_net(net, params, state, x, label)[0])(jnp.stack(labels))


def silent(gradients):
    """Names of parameters whose gradient is zero up to rounding."""
    sizes = {jax.tree_util.keystr(path): np.abs(g).max() for path, g in jax.tree_util.tree_leaves_with_path(gradients)}
    return [name for name, size in sizes.items() if not size > 1e-5 * max(sizes.values())]


@functools.cache
def generated(name):
    """State of a generator, its images for two arrays of labels, and the results of ``trained``."""
    params, state = start(GENERATORS[name], Z, LABEL)

    @functools.partial(jax.jit)
    def program(params, state):
        images = of_labels(GENERATORS[name], params, state, Z, LABEL, OTHER)
        return images, trained(GENERATORS[name], params, state, Z)

    return state, *program(params, state)


@functools.cache
def discriminator_outputs(name):
    """Parameters, state with converged σ, outputs for three conditions, and gradients of a discriminator."""
    net = DISCRIMINATORS[name]

    @functools.partial(jax.jit)
    def program(params, state):
        def one(state, _):
            return apply_net(net, params, state, X, LABEL, train=True)[1], None

        state, _ = jax.lax.scan(one, state, length=NUM_PASSES)
        outputs = of_labels(net, params, state, X, LABEL, OTHER, 0.25 * LABEL + 0.75 * OTHER)
        return state, outputs, trained(net, params, state, X)[0]

    params, state = start(net, X, LABEL)
    return params, *program(params, state)


@pytest.mark.parametrize("name", GENERATORS)
class TestGenerators:
    def test_labels_and_the_batch_change_the_images(self, name):
        state, (one, other), (_, (of_batch, new_state)) = generated(name)
        assert one.shape == of_batch.shape == (6, *SHAPE)
        assert np.abs(one).max() <= 1
        assert np.abs(one - other).max(axis=(1, 2, 3)).min() > 1e-3
        if state:
            assert np.abs(one - of_batch).max() > 1e-3
            same = [
                np.array_equal(a, b) for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(new_state), strict=True)
            ]
            assert not any(same)

    def test_every_parameter_gets_gradient(self, name):
        assert not silent(generated(name)[-1][0])


@pytest.mark.parametrize("name", DISCRIMINATORS)
class TestDiscriminators:
    def test_weights_are_divided_by_their_largest_singular_values(self, name):
        params, state, _, _ = discriminator_outputs(name)
        vectors = dict(flattened(state["batch_stats"]))
        kernels = {path: leaf for path, leaf in flattened(params) if path[-1] == "kernel"}
        assert {(*path[:-2], f"spectral_{path[-2]}", "u") for path in kernels} == set(vectors)
        for path, kernel in kernels.items():
            matrix = np.float64(kernel).reshape(-1, kernel.shape[-1])
            norm = np.linalg.norm(matrix @ vectors[(*path[:-2], f"spectral_{path[-2]}", "u")])
            np.testing.assert_allclose(norm, np.linalg.norm(matrix, 2), rtol=1e-3, err_msg=str(path))

    def test_outputs_are_affine_in_the_label(self, name):
        one, other, mixture = discriminator_outputs(name)[2]
        assert one.shape == (6, 2)
        np.testing.assert_allclose(mixture, 0.25 * one + 0.75 * other, rtol=1e-4, atol=1e-5)
        assert np.abs(one - other).min() > 1e-4

    def test_every_parameter_gets_gradient(self, name):
        assert not silent(discriminator_outputs(name)[3])


def flattened(tree):
    """Pairs of path and leaf."""
    return [(tuple(entry.key for entry in path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]


@pytest.mark.parametrize("name", OTHERS)
def test_other_normalizations_and_concatenated_labels(name):
    net = OTHERS[name]

    @functools.partial(jax.jit)
    def program(params, state):
        alone = apply_net(net, params, state, X[:2], LABEL[:2], train=True)[0]
        return of_labels(net, params, state, X, LABEL, OTHER), alone, trained(net, params, state, X)

    (one, other), alone, (gradients, (together, _)) = program(*start(net, X, LABEL))
    assert one.shape == (6, 1)
    assert np.abs(one - other).min() > 1e-4
    assert not silent(gradients)
    # A gradient penalty needs outputs that depend on their own example only.
    assert np.allclose(alone, together[:2], atol=1e-5) == ("batch" not in name)


def test_a_spectral_network_of_dense_layers_is_1_lipschitz():
    net = gan.MLPDiscriminator((16, 16), normalization="spectral")
    x, step = jax.random.normal(jax.random.key(5), (2, 256, 4))

    params, state = start(net, x)

    @functools.partial(jax.jit)
    def slopes(scale):
        scaled = jax.tree.map(lambda p: scale * p, params)
        converged, _ = jax.lax.scan(lambda s, _: (apply_net(net, scaled, s, x, train=True)[1], None), state, length=300)
        rises = [
            apply_net(either, scaled, converged, x + step)[0] - apply_net(either, scaled, converged, x)[0]
            for either in (net, net.clone(normalization=None))
        ]
        return jnp.abs(jnp.stack(rises))[..., 0] / jnp.linalg.norm(step, axis=1)[None]

    for scale in (0.3, 10.0):
        spectral, plain = slopes(scale)
        assert 0.05 < spectral.max() <= 1 + 1e-4
        assert (plain.max() > 1) == (scale == 10)


def test_the_projection_is_an_inner_product():
    head = gan.DiscriminatorHead(num_outputs=2)
    features = jax.random.normal(jax.random.key(7), (6, 5))
    params, state = init_net(head, jax.random.key(8), features, LABEL)
    outputs = apply_net(head, params, state, features, LABEL)[0]
    linear = np.float64(features) @ np.float64(params["linear"]["kernel"]) + np.float64(params["linear"]["bias"])
    embedding = np.float64(params["embedding"]["kernel"]).reshape(NUM_CLASSES, 5, 2)
    for i in range(6):
        expected = linear[i] + np.float64(features)[i] @ embedding[i % NUM_CLASSES]
        np.testing.assert_allclose(outputs[i], expected, rtol=1e-4, atol=1e-5)
    unconditional, _ = init_net(head, jax.random.key(8), features)
    assert set(unconditional) == {"linear"}


@pytest.mark.parametrize("size", [8, 28, 32])
def test_sizes(size):
    image = (size, size, 3)
    generators = (
        gan.DCGANGenerator((8, 4), image),
        gan.ResNetGenerator((8, 4), image, attention_at=size // 2),
        gan.BigGANGenerator((8, 4), image, attention_at=size),
    )
    discriminators = (
        gan.DCGANDiscriminator((4, 8)),
        gan.ResNetDiscriminator((4, 8, 8), attention_at=size // 4),
        gan.BigGANDiscriminator((4, 8), attention_at=size // 2),
    )
    for net, x, outputs in [
        *((net, jnp.zeros((2, 5)), (2, *image)) for net in generators),
        *((net, jnp.zeros((2, *image)), (2, 1)) for net in discriminators),
    ]:
        for condition in ((), (LABEL[:2],)):
            y, variables = jax.eval_shape(
                net.clone(dtype=jnp.bfloat16).init_with_output, jax.random.key(0), x, *condition
            )
            assert (y.shape, y.dtype) == (outputs, jnp.bfloat16)
            assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
        assert net == net.clone()
        assert hash(net) == hash(net.clone())


def num_parameters(net, *args):
    shapes = jax.eval_shape(net.init, jax.random.key(0), *args)["params"]
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


def test_published_networks_have_the_published_numbers_of_parameters():
    """Except biases that batch normalization cancels, and the values of attention; see ``biggan``."""
    sn_generator = gan.ResNetGenerator((256, 256, 256), (32, 32, 3))
    assert num_parameters(sn_generator, jnp.zeros((1, 128))) == 4_276_739 - 3 * 3 * 256
    assert num_parameters(gan.ResNetDiscriminator((128,) * 4), jnp.zeros((1, 32, 32, 3))) == 1_053_825
    up, down = ([96 * n for n in widths] for widths in ((16, 8, 4, 2, 1), (1, 2, 4, 8, 16, 16)))
    generator = gan.BigGANGenerator(up, (128, 128, 3), attention_at=64)
    discriminator = gan.BigGANDiscriminator(down, num_downsamplings=5, attention_at=64)
    label = jnp.zeros((1, 1000))
    narrower = [2 * c * (c // 2 - c // 8) for c in (2 * 96, 96)]
    assert num_parameters(generator, jnp.zeros((1, 120)), label) == 70_433_988 - 3 * sum(up) - narrower[0]
    assert num_parameters(discriminator, jnp.zeros((1, 128, 128, 3)), label) == 87_982_370 - narrower[1]


X_SHAPE, Z_SHAPE = (2, 8, 8, 1), (2, 5)


@pytest.mark.parametrize(
    ("make", "shape", "message"),
    [
        (
            lambda: gan.DCGANGenerator((4, 4, 4), (28, 28, 1)),
            None,
            "DCGANGenerator halves the image 3 times, but 28x28",
        ),
        (
            lambda: gan.BigGANGenerator((4,) * 3, (28, 28, 1)),
            None,
            "BigGANGenerator halves the image 3 times, but 28x28",
        ),
        (lambda: gan.ResNetGenerator((), (8, 8, 1)), None, "ResNetGenerator has features=() and"),
        (lambda: gan.DCGANGenerator((4,), (8,)), None, "output_shape=(8,), but needs at least one stage and (H, W, C)"),
        (
            lambda: gan.MLPGenerator((0,), (2,)),
            None,
            "features is (0,), but must be a sequence whose every entry is at least 1",
        ),
        (lambda: gan.MLPGenerator((4,), (2,), "layer"), None, "normalization is 'layer', but must be 'batch' or None"),
        (
            lambda: gan.DCGANDiscriminator((4,), normalization="instance"),
            None,
            "normalization is 'instance', but must be 'spectral', 'layer', 'batch' or None",
        ),
        (
            lambda: gan.MLPDiscriminator((4,), conditioning="sum"),
            None,
            "conditioning is 'sum', but must be 'projection' or 'concatenation'",
        ),
        (lambda: gan.MLPDiscriminator((4,), num_outputs=0), None, "num_outputs is 0"),
        (lambda: gan.ResNetDiscriminator((4,)), None, "num_downsamplings is 2, but must be between 0 and"),
        (
            lambda: gan.ResNetGenerator((4, 4), (8, 8, 1), attention_at=2),
            None,
            "attention_at is 2, but must be 4, 8 or None",
        ),
        (
            lambda: gan.ResNetDiscriminator((4, 4, 4), attention_at=8),
            X_SHAPE,
            "attention_at is 8, but must be 4, 2 or None",
        ),
        (lambda: gan.DCGANDiscriminator((4,) * 4), X_SHAPE, "halves the image 4 times, but 8x8 is not divisible by 16"),
        (lambda: gan.BigGANDiscriminator((4,) * 2), (2, 64), "BigGANDiscriminator got shape (2, 64), but takes images"),
        (
            lambda: gan.DCGANGenerator((4,), (8, 8, 1)),
            X_SHAPE,
            "noise has shape (2, 8, 8, 1), but must be (B, L) with L",
        ),
        (lambda: gan.BigGANGenerator((4,) * 2, (8, 8, 1)), (2, 2), "must be (B, L) with L at least 3"),
    ],
)
def test_errors_come_before_anything_compiles(make, shape, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        jax.eval_shape(make().init, jax.random.key(0), jnp.zeros(shape or Z_SHAPE))
