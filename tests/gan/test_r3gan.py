"""The networks of R3GAN against numpy, at the start and at random parameters."""

import importlib
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.signal import correlate2d

from genjax import gan
from genjax.gan.r3gan import (
    GAIN,
    R3GANBlock,
    _grouped_convolution,
    _sum_over_window,
    grouped_convolution,
)
from genjax.nets import apply_net
from tests.running import ROOT

RNG = np.random.default_rng(0)
SHAPE, LABEL = (4, 6, 2), np.eye(3, dtype=np.float32)[[0, 2, 1]]
GENERATOR = gan.R3GANGenerator((6, 4), SHAPE, num_blocks=1, group_size=4)
DISCRIMINATOR = gan.R3GANDiscriminator((4, 6), num_outputs=2, num_blocks=1, group_size=4)
Z, X = (np.float32(RNG.normal(size=(3, *shape))) for shape in ((5,), SHAPE))


def leaky(x):
    return np.where(x > 0, x, 0.2 * x)


def convolved(x, kernel):
    """Convolution in groups, by scipy."""
    batch, size, features = x.shape[0], kernel.shape[2], kernel.shape[3]
    per_group = features // (x.shape[3] // size)
    out = np.zeros((*x.shape[:3], features))
    for n in range(batch):
        for o in range(features):
            for i in range(size):
                channel = x[n, :, :, o // per_group * size + i]
                out[n, :, :, o] += correlate2d(channel, kernel[:, :, i, o], mode="same")
    return out


def interpolated(side):
    """Matrix of bilinear interpolation at half-pixel positions, with zeros beyond the border."""
    positions = (np.arange(2 * side) + 0.5) / 2 - 0.5
    return np.maximum(0, 1 - np.abs(positions[:, None] - np.arange(side)))


def upsampled(x):
    return np.einsum("bhwc,Hh,Ww->bHWc", x, interpolated(x.shape[1]), interpolated(x.shape[2]))


def downsampled(x):
    return np.einsum("bHWc,Hh,Ww->bhwc", x, interpolated(x.shape[1] // 2), interpolated(x.shape[2] // 2)) / 4


def block(params, x):
    """Equation 1."""
    hidden = leaky(x @ params["Dense_0"]["kernel"] + params["Dense_0"]["bias"])
    hidden = leaky(convolved(hidden, params["kernel"]) + params["bias"])
    return x + hidden @ params["Dense_1"]["kernel"]


def generated(params, z, blocks=block):
    first = (z @ params["Dense_0"]["kernel"])[:, None, None] * params["basis"]
    hidden = blocks(params["R3GANBlock_0"], first)
    hidden = blocks(params["R3GANBlock_1"], upsampled(hidden @ params["Dense_1"]["kernel"]))
    return hidden @ params["Dense_2"]["kernel"]


def discriminated(params, x, label, blocks=block):
    hidden = downsampled(blocks(params["R3GANBlock_0"], x @ params["Dense_0"]["kernel"]))
    hidden = blocks(params["R3GANBlock_1"], hidden @ params["Dense_1"]["kernel"])
    products = np.einsum("bhwc,hwc->bc", hidden, params["basis"])
    head = params["DiscriminatorHead_0"]
    embedded = (label @ head["embedding"]["kernel"]).reshape(len(x), products.shape[1], -1)
    linear = products @ head["linear"]["kernel"]
    return linear + np.einsum("bf,bfo->bo", products, embedded)


def as_numpy(tree):
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree)


def random_like(tree):
    return jax.tree.map(lambda leaf: np.float32(RNG.normal(size=leaf.shape)), tree)


INPUTS = {"generator": (GENERATOR, (np.concatenate([Z, LABEL], axis=1),), (Z, LABEL), generated)}
INPUTS["discriminator"] = (DISCRIMINATOR, (X, LABEL), (X, LABEL), discriminated)


@pytest.mark.parametrize("name", INPUTS)
def test_networks_start_without_blocks_and_are_those_of_the_equations(name):
    net, plain, arguments, expected = INPUTS[name]
    initial = net.init(jax.random.key(0), *arguments)["params"]
    params = random_like(initial)
    program = jax.jit(lambda params: apply_net(net, params, {}, *arguments, train=True)[0])
    at_start = expected(as_numpy(initial), *plain, blocks=lambda _, x: x)  # blocks are the identity
    np.testing.assert_allclose(program(initial), at_start, rtol=1e-4, atol=1e-5)
    outputs = expected(as_numpy(params), *plain)
    np.testing.assert_allclose(program(params), outputs, rtol=1e-4, atol=1e-4 * np.abs(outputs).max())


def test_weights_start_with_the_variances_of_equation_2():
    net = gan.R3GANGenerator((64, 96), (8, 8, 64), num_blocks=2, expansion=2, group_size=32)
    params = as_numpy(net.init(jax.random.key(0), jnp.zeros((1, 50)))["params"])
    scale = 2 / 1.04 * 4**-0.5  # four blocks
    np.testing.assert_allclose(GAIN**2, 2 / 1.04)
    for index, width in enumerate((64, 64, 96, 96)):
        own = params[f"R3GANBlock_{index}"]
        assert np.var(own["Dense_0"]["kernel"]) == pytest.approx(scale / width, rel=0.1)
        assert np.var(own["kernel"]) == pytest.approx(scale / (9 * 32), rel=0.1)
        assert not np.any(own["Dense_1"]["kernel"])
        assert not np.any(own["bias"])
        assert not np.any(own["Dense_0"]["bias"])
    assert np.var(params["basis"]) == pytest.approx(1, rel=0.1)
    for index, inputs in enumerate((50, 64, 96)):
        assert np.var(params[f"Dense_{index}"]["kernel"]) == pytest.approx(1 / inputs, rel=0.1)
    params = gan.R3GANDiscriminator((32, 64), num_blocks=1).init(jax.random.key(0), jnp.zeros((1, 16, 16, 64)))
    params = as_numpy(params["params"])
    assert np.var(params["basis"]) == pytest.approx(1 / 64, rel=0.1)
    assert np.var(params["R3GANBlock_1"]["Dense_0"]["kernel"]) == pytest.approx(2 / 1.04 * 2**-0.5 / 64, rel=0.1)


def test_grouped_convolutions_and_their_second_gradients():
    x, kernel = np.float32(RNG.normal(size=(2, 4, 6, 6))), np.float32(RNG.normal(size=(3, 3, 2, 9)))
    np.testing.assert_allclose(grouped_convolution(x, kernel), convolved(x, kernel), rtol=1e-4, atol=1e-4)

    def penalty(convolution, kernel):
        gradient = jax.grad(lambda x: jnp.sum(jnp.tanh(convolution(x, kernel))))(x)
        return jnp.sum(jnp.square(gradient))

    values = [
        jax.jit(jax.value_and_grad(lambda k, f=f: penalty(f, k)))(kernel)
        for f in (grouped_convolution, _sum_over_window, _grouped_convolution)
    ]
    for value, gradient in values:
        np.testing.assert_allclose(value, values[-1][0], rtol=1e-4)
        np.testing.assert_allclose(gradient, values[-1][1], rtol=1e-3, atol=1e-3)


def test_numbers_of_parameters():
    def num_parameters(net, *args):
        shapes = jax.eval_shape(net.init, jax.random.key(0), *args)["params"]
        return sum(leaf.size for leaf in jax.tree.leaves(shapes))

    def of_block(width):
        expanded = 2 * width
        return width * expanded + expanded + 9 * 16 * expanded + expanded + expanded * width

    widths = (768,) * 4  # CIFAR-10 in the paper
    blocks = 2 * sum(of_block(width) for width in widths)
    generator = gan.R3GANGenerator(widths, (32, 32, 3))
    assert num_parameters(generator, jnp.zeros((1, 64)), jnp.zeros((1, 10))) == blocks + (64 + 10 + 16 + 3) * 768
    discriminator = gan.R3GANDiscriminator(widths)
    images, label = jnp.zeros((1, 32, 32, 3)), jnp.zeros((1, 10))
    assert num_parameters(discriminator, images, label) == blocks + (3 + 16 + 1 + 10) * 768
    narrowing = gan.R3GANGenerator((32, 16), (8, 8, 1), num_blocks=1)
    expected = of_block(32) + of_block(16) + (5 + 16) * 32 + 32 * 16 + 16
    assert num_parameters(narrowing, jnp.zeros((1, 5))) == expected


@pytest.mark.parametrize("size", [8, 28, 32])
def test_sizes_and_dtypes(size):
    generator = gan.R3GANGenerator((16, 8, 8), (size, size, 3), dtype=jnp.bfloat16)
    discriminator = gan.R3GANDiscriminator((8, 16), dtype=jnp.bfloat16)
    for net, x, outputs in (
        (generator, jnp.zeros((2, 5)), (2, size, size, 3)),
        (discriminator, jnp.zeros((2, size, size, 3)), (2, 1)),
    ):
        y, variables = jax.eval_shape(net.init_with_output, jax.random.key(0), x, jnp.zeros((2, 10)))
        assert (y.shape, y.dtype) == (outputs, jnp.bfloat16)
        assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
        assert hash(net) == hash(net.clone())


def test_the_recipe():
    model = gan.r3gan((16, 8), (8, 8, 1), latent_dim=3, penalty=0.5, num_classes=4, dtype=jnp.bfloat16)
    assert model == gan.GAN(
        latent_dim=3,
        generator=gan.R3GANGenerator((16, 8), (8, 8, 1), dtype=jnp.bfloat16),
        discriminator=gan.R3GANDiscriminator((8, 16), dtype=jnp.bfloat16),
        adversarial_loss=gan.Relativistic(),
        penalties=(gan.R1(weight=0.5, fake_weight=0.5),),
        num_classes=4,
    )


@pytest.mark.parametrize(
    ("make", "shape", "message"),
    [
        (
            lambda: gan.R3GANGenerator((16,) * 4, (28, 28, 1)),
            None,
            "R3GANGenerator halves the image 3 times, but 28x28 is not divisible by 8; pad or resize it to 32x32",
        ),
        (
            lambda: gan.R3GANGenerator((16,), (8,)),
            None,
            "output_shape=(8,), but needs at least one stage and (H, W, C)",
        ),
        (
            lambda: gan.R3GANGenerator((16, 12), (8, 8, 1)),
            None,
            "R3GANGenerator has blocks of 2 x 12 = 24 channels, which are not divisible by group_size=16; "
            "use group_size=8",
        ),
        (
            lambda: gan.R3GANDiscriminator((6,), expansion=1, group_size=4),
            None,
            "R3GANDiscriminator has blocks of 1 x 6 = 6 channels, which are not divisible by group_size=4",
        ),
        (lambda: gan.R3GANDiscriminator((8, 8, 8)), (2, 6, 8, 1), "halves the image 2 times, but 6x8"),
        (lambda: gan.R3GANDiscriminator((8,)), (2, 64), "R3GANDiscriminator got shape (2, 64), but takes images"),
        (lambda: gan.R3GANGenerator((8,), (8, 8, 1)), (2, 8, 8), "noise has shape (2, 8, 8), but must be (B, L)"),
        (lambda: gan.r3gan((8,), (8, 8, 1), penalty=-1.0), None, "penalty is -1.0, but must be at least 0"),
    ],
)
def test_errors_come_before_anything_compiles(make, shape, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        jax.eval_shape(make().init, jax.random.key(0), jnp.zeros(shape or (2, 5)))


def test_a_block_keeps_the_size_of_features_at_the_start():
    """With K₃ at the scale of the others, two convolutions keep the mean square up to L^(-1)."""
    net = R3GANBlock(num_blocks=1, expansion=4, group_size=32)
    x = np.float32(RNG.normal(size=(8, 8, 8, 64)))
    params = net.init(jax.random.key(0), x)["params"]
    params = params | {"Dense_1": {"kernel": jnp.float32(RNG.normal(size=(256, 64)) / 16)}}
    change = net.apply({"params": params}, x)[:, 1:-1, 1:-1] - x[:, 1:-1, 1:-1]
    assert np.mean(np.square(change)) == pytest.approx(1, rel=0.15)


@pytest.mark.slow
def test_without_r2_the_relativistic_loss_loses_half_of_25_gaussians(monkeypatch):
    """Three seeds had 23.3 ± 1.5 modes with R1 and R2, and 12.3 ± 1.5 with R1 alone."""
    monkeypatch.syspath_prepend(ROOT / "experiments" / "benchmarks")
    ablation = importlib.import_module("gan_ablation")
    task = ablation.gaussians()
    both, alone = (
        ablation.trained(task, f"relativistic + {penalties}", num_seeds=3) for penalties in ("R1 + R2", "R1")
    )
    assert np.mean(both["modes_captured"]) >= 20
    assert np.mean(both["high_quality_share"]) >= 0.8
    assert np.mean(alone["modes_captured"]) <= 16
    assert np.mean(alone["kl_to_uniform"]) >= 0.5 > np.mean(both["kl_to_uniform"])
