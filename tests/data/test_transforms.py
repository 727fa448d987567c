"""Preprocessing: known values and known probabilities."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import data
from genjax.data.transforms import _bits16, bin_width


def test_scale_ends_and_middle():
    batch = {"x": jnp.array([[0, 5, 8, 16]], jnp.uint8), "label": jnp.array([3])}
    out = jax.jit(data.scale(levels=17, low=-1.0))(jax.random.key(0), batch)
    np.testing.assert_array_equal(out["x"], [[-1.0, -0.375, 0.0, 1.0]])
    assert out["x"].dtype == jnp.float32
    np.testing.assert_array_equal(out["label"], [3])


@pytest.mark.parametrize("levels", [2, 17, 255, 256])
def test_dynamic_binarization_probabilities(levels):
    """Each level's frequency of ones lies within 5 binomial standard deviations of k / (levels - 1)."""
    n = 20_000
    k = np.arange(levels)
    x = jnp.asarray(np.broadcast_to(k, (n, levels)).astype(np.uint8))
    out = np.asarray(jax.jit(data.dynamic_binarization(levels))(jax.random.key(1), {"x": x})["x"])
    assert out.dtype == np.float32
    assert set(np.unique(out)) == {0.0, 1.0}
    p = np.linspace(0, 1, levels)
    assert (np.abs(out.mean(axis=0) - p) <= 5 * np.sqrt(p * (1 - p) / n)).all()  # so exact at both ends


def test_dynamic_binarization_of_16_bits():
    x = jnp.asarray(np.tile([0, 16384, 65535], (20_000, 1)).astype(np.uint16))
    mean = data.dynamic_binarization(2**16)(jax.random.key(0), {"x": x})["x"].mean(axis=0)
    np.testing.assert_allclose(mean, [0, 0.25, 1], atol=5 * np.sqrt(0.25 * 0.75 / 20_000))
    assert mean[0] == 0
    assert mean[2] == 1


def test_elements_are_independent():
    """No two pixels of an odd-shaped image, nor two neighbouring rows, are correlated: all |r| below 5 / sqrt(n)."""
    n = 20_000
    x = jnp.full((n, 3, 3, 1), 8, jnp.uint8)
    out = np.asarray(data.dynamic_binarization(17)(jax.random.key(2), {"x": x})["x"]).reshape(n, 9)
    r = np.corrcoef(np.concatenate([out[:-1], out[1:]], axis=1).T)
    assert np.abs(r - np.eye(18)).max() < 5 / np.sqrt(n)


@pytest.mark.parametrize("shape", [(64, 8, 8, 1), (4096,), (3, 5461)])
@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_bits_are_uniform(shape, impl):
    bits = np.asarray(_bits16(jax.random.key(0, impl=impl), shape))
    assert bits.shape == shape
    assert bits.max() < 2**16
    ones = (bits.reshape(-1, 1) >> np.arange(16) & 1).mean(axis=0)
    assert (np.abs(ones - 0.5) < 5 * 0.5 / np.sqrt(bits.size)).all()
    assert len(np.unique(bits)) == pytest.approx(2**16 * (1 - np.exp(-bits.size / 2**16)), rel=0.05)


def test_a_replica_equals_its_lone_run():
    keys = jax.random.split(jax.random.key(0), 3)
    x = jnp.full((4, 6), 100, jnp.uint8)
    transform = data.dynamic_binarization()
    together = jax.vmap(lambda key: transform(key, {"x": x})["x"])(keys)
    for key, out in zip(keys, together, strict=True):
        np.testing.assert_array_equal(out, jax.jit(transform)(key, {"x": x})["x"])
    assert (together[0] != together[1]).any()


def test_static_binarization():
    x = jnp.arange(17, dtype=jnp.uint8)[None]
    out = data.static_binarization(17)(jax.random.key(0), {"x": x})["x"]
    np.testing.assert_array_equal(out[0], [0.0] * 9 + [1.0] * 8)
    x = jnp.array([[127, 128]], jnp.uint8)
    np.testing.assert_array_equal(data.static_binarization()(jax.random.key(0), {"x": x})["x"], [[0, 1]])


@pytest.mark.parametrize("levels", [17, 255, 256])
def test_dequantize_fills_each_bin(levels):
    n = 2_000
    x = jnp.asarray(np.broadcast_to(np.arange(levels), (n, levels)).astype(np.uint8))
    out = np.asarray(jax.jit(data.dequantize(levels))(jax.random.key(0), {"x": x})["x"], np.float64)
    assert out.min() >= 0
    assert out.max() < 1
    within = out * levels - np.arange(levels)
    assert within.min() > -1e-4
    assert within.max() < 1 + 1e-4
    assert abs(within.mean() - 1 / 2) < 5 * np.sqrt(1 / 12 / within.size) + 2**-17
    assert abs(within.var() - 1 / 12) < 5 * np.sqrt(1 / 180 / within.size) + 1e-6


def test_dequantize_to_an_interval():
    x = jnp.asarray(np.tile(np.arange(17), (500, 1)).astype(np.uint8))
    unit, wide = (
        np.asarray(transform(jax.random.key(0), {"x": x})["x"])
        for transform in (data.dequantize(17), data.dequantize(17, low=-1.0, high=2.4))
    )
    np.testing.assert_allclose(wide, 3.4 * unit - 1, atol=1e-6)
    assert wide.min() >= -1
    assert wide.max() < np.float32(2.4)


def test_the_width_of_bins_is_that_of_what_is_dequantized_last():
    def flip(key, batch):
        return {**batch, "x": jnp.where(jax.random.bernoulli(key), batch["x"][:, ::-1], batch["x"])}

    wide = data.dequantize(17, low=-1.0)
    x = jnp.full((4000, 1), 3, jnp.uint8)
    out = np.asarray(wide(jax.random.key(0), {"x": x})["x"], np.float64)
    assert wide.bin_width == 2 / 17
    assert np.ptp(out) == pytest.approx(2 / 17, rel=5e-3)  # 4,000 draws fill a bin but for about 2 / 4000
    for transform in (data.chain(flip, wide), data.chain(flip, data.chain(wide))):
        assert bin_width(transform) == 2 / 17
    for transform in (flip, data.chain(), data.chain(wide, flip), data.scale(), data.dynamic_binarization()):
        assert bin_width(transform) is None


def test_chain_applies_in_order_with_keys_of_their_own():
    def add_noise(key, batch):
        return {**batch, "x": batch["x"] + jax.random.uniform(key, batch["x"].shape)}

    batch = {"x": jnp.zeros((1000,), jnp.uint8)}
    out = data.chain(data.scale(low=10.0, high=20.0), add_noise, add_noise)(jax.random.key(0), batch)["x"]
    # The sum of two independent uniforms has variance 1/6; twice the same one would have 1/3.
    assert out.min() >= 10
    assert abs(out.var() - 1 / 6) < 0.03


def test_values_compare_hash_and_print():
    assert data.scale(17) == data.scale(levels=17)
    assert hash(data.chain(data.scale(17))) == hash(data.chain(data.scale(17)))
    assert data.scale(17) != data.dequantize(17)
    assert repr(data.static_binarization()) == "static_binarization(levels=256, threshold=0.5)"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: data.scale(1), r"levels is 1, but must be in \[2, 16777216\]; use 256 for 8-bit images"),
        (lambda: data.dynamic_binarization(2**17), r"levels is 131072, but must be in \[2, 65536\]"),
        (lambda: data.static_binarization(threshold=1.0), r"threshold is 1.0, but must be in \[0, 1\)"),
        (lambda: data.dequantize(low=1.0), "low is 1.0 and high is 1.0, but low must be below high"),
        (
            lambda: data.dequantize()(jax.random.key(0), {"x": jnp.zeros((2, 2))}),
            "x has dtype float32, but this transform needs integers",
        ),
    ],
)
def test_bad_settings(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_gaussian_noise_has_its_scale():
    noisy = data.gaussian_noise(0.3)(jax.random.key(0), {"x": jnp.full((20_000, 2), 5.0)})["x"]
    np.testing.assert_allclose(noisy.mean(axis=0), 5.0, atol=5 * 0.3 / 20_000**0.5)
    np.testing.assert_allclose(noisy.std(axis=0), 0.3, rtol=5 / (2 * 20_000) ** 0.5)
    with pytest.raises(ValueError, match=r"scale is 0.0, but must be above 0; 0.1 is usual for standardized data"):
        data.gaussian_noise(0.0)


def test_scale_of_another_entry():
    both = data.chain(data.dequantize(17), data.scale(17, high=2.0, entry="y"))
    batch = {"x": jnp.array([[3]], jnp.uint8), "y": jnp.array([[0, 8, 16]], jnp.uint8)}
    out = both(jax.random.key(0), batch)
    np.testing.assert_array_equal(out["y"], [[0.0, 1.0, 2.0]])
    assert 3 / 17 <= float(out["x"][0, 0]) < 4 / 17
    values = data.transforms.Values(0, 16, 17)
    assert data.transforms.map_values(both, values) == data.transforms.Values(0.0, 1.0)
    assert data.transforms.map_values(data.scale(entry="y"), values) == values
    assert bin_width(both) == 1 / 17
    assert repr(data.scale(entry="y")) == "scale(levels=256, low=0.0, high=1.0, entry='y')"
    assert data.scale() != data.scale(entry="y")
    with pytest.raises(ValueError, match=r"entry='y'\) transforms 'y', but the batch has \['x'\]; name one of these"):
        data.scale(entry="y")(jax.random.key(0), {"x": batch["x"]})
    with pytest.raises(ValueError, match="y has dtype float32, but this transform needs integers; leave it out"):
        data.scale(entry="y")(jax.random.key(0), {"y": jnp.zeros((1, 2))})
