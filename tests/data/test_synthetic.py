"""Exact densities: they integrate to one, and their entropies and samples agree with them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from genjax import data
from genjax.data import synthetic

NUM_SAMPLES = 40_000
NAMES = sorted(synthetic.DENSITIES)

# Twice the reach of the density, and cells at most half as wide as its narrowest feature.
BOXES = {
    "checkerboard": (5.0, 400),
    "circles": (3.0, 200),
    "gaussians_25": (4.5, 400),
    "pinwheel": (3.0, 300),
    "ring_8": (2.2, 440),
    "two_moons": (3.0, 200),
}


@functools.cache
def on_grid(name):
    """Return the mass of each cell of a box, shape (n, n), by the midpoint rule."""
    reach, n = BOXES[name]
    centres = (np.arange(n) + 0.5) / n * 2 * reach - reach
    points = np.stack(np.meshgrid(centres, centres, indexing="ij"), axis=-1).reshape(-1, 2)
    log_prob = jax.jit(synthetic.DENSITIES[name].log_prob)
    blocks = [np.asarray(log_prob(jnp.asarray(b, jnp.float32)), np.float64) for b in np.split(points, 10)]
    return np.exp(np.concatenate(blocks)).reshape(n, n) * (2 * reach / n) ** 2


@functools.cache
def samples(name):
    density = synthetic.DENSITIES[name]
    x = jax.jit(density.sample, static_argnums=1)(jax.random.key(7), NUM_SAMPLES)
    return np.asarray(x), np.asarray(jax.jit(density.log_prob)(x), np.float64)


@pytest.mark.parametrize("name", NAMES)
def test_integrates_to_one(name):
    assert on_grid(name).sum() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_entropy_is_the_mean_of_minus_log_prob(name):
    _, log_prob = samples(name)
    error = log_prob.std() / np.sqrt(NUM_SAMPLES)
    assert abs(-log_prob.mean() - synthetic.DENSITIES[name].entropy) <= 4 * error + 1e-5


@pytest.mark.parametrize("name", NAMES)
def test_entropy_by_another_grid(name):
    mass = on_grid(name)
    cell = (2 * BOXES[name][0] / BOXES[name][1]) ** 2
    entropy = -np.sum(mass * np.log(np.where(mass > 0, mass, cell) / cell))
    assert synthetic.DENSITIES[name].entropy == pytest.approx(entropy, abs=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_histogram_follows_the_density(name):
    """Test counts in 20 x 20 cells of the plane by a chi-squared test at 5 standard deviations."""
    reach, n = BOXES[name]
    x, _ = samples(name)
    edges = np.linspace(-reach, reach, 21)
    counts = np.histogram2d(x[:, 0], x[:, 1], bins=(edges, edges))[0]
    expected = NUM_SAMPLES * on_grid(name).reshape(20, n // 20, 20, n // 20).sum(axis=(1, 3))
    often = expected > 5
    assert counts[~often].sum() <= expected[~often].sum() + 5 * np.sqrt(expected[~often].sum()) + 1
    statistic = ((counts - expected)[often] ** 2 / expected[often]).sum()
    assert statistic < often.sum() + 5 * np.sqrt(2 * often.sum())


def test_known_entropies():
    expected = {"gaussians_25": 0.065, "ring_8": -2.907, "checkerboard": 3.466}
    for name, value in expected.items():
        assert synthetic.DENSITIES[name].entropy == pytest.approx(value, abs=5e-4)


def test_entropy_of_one_gaussian_by_every_route():
    """Coincident modes, round petals and a circle of radius near zero are a single Gaussian."""
    sigma = 0.3
    exact = np.log(2 * np.pi * np.e * sigma**2)
    assert synthetic.GaussianGrid(size=1, scale=sigma).entropy == pytest.approx(exact, abs=1e-6)
    assert synthetic.GaussianGrid(size=2, spacing=1e-4, scale=sigma).entropy == pytest.approx(exact, abs=1e-4)
    assert synthetic.GaussianRing(num_modes=3, radius=1e-4, scale=sigma).entropy == pytest.approx(exact, abs=1e-4)
    assert synthetic.Circles(radii=(1e-4,), scale=sigma).entropy == pytest.approx(exact, abs=1e-4)
    petal = synthetic.Pinwheel(num_arms=1, radial_scale=sigma, tangential_scale=sigma)
    assert petal.entropy == pytest.approx(exact, abs=1e-4)


@pytest.mark.parametrize("scale", [0.02, 0.1, 0.5])
def test_two_moons_against_fine_quadrature(scale):
    from scipy.integrate import simpson

    x = np.array([[0.0, 1.0], [1.02, 0.03], [0.5, 0.25], [1.0, -0.52], [-1.05, -0.02]])
    t = np.linspace(0, np.pi, 20_001)
    density = 0.0
    for centre in (np.stack([np.cos(t), np.sin(t)], -1), np.stack([1 - np.cos(t), 0.5 - np.sin(t)], -1)):
        noise = np.exp(-((x[:, None] - centre) ** 2).sum(-1) / (2 * scale**2)) / (2 * np.pi * scale**2)
        density = density + simpson(noise, x=t) / np.pi / 2
    got = synthetic.TwoMoons(scale=scale).log_prob(jnp.asarray(x, jnp.float32))
    # Far from the arcs the exponent is large, and float32 rounds it.
    np.testing.assert_allclose(got, np.log(density), atol=1e-5, rtol=1e-6)


def test_modes():
    grid = synthetic.GaussianGrid().modes
    assert sorted(map(tuple, grid.tolist())) == [(a, b) for a in (-4, -2, 0, 2, 4) for b in (-4, -2, 0, 2, 4)]
    ring = synthetic.GaussianRing().modes
    np.testing.assert_allclose(np.linalg.norm(ring, axis=1), 2, rtol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(ring - np.roll(ring, 1, axis=0), axis=1), 1.530734, rtol=1e-5)


def test_entropy_inside_jit():
    density = synthetic.Pinwheel(num_arms=3, radial_scale=0.2, tangential_scale=0.1)
    gap = jax.jit(lambda x: -jnp.mean(density.log_prob(x)) - density.entropy)
    assert jnp.isfinite(gap(jnp.ones((4, 2))))


def test_log_prob_is_differentiable_and_finite_far_away():
    for name in set(NAMES) - {"checkerboard"}:
        density = synthetic.DENSITIES[name]
        x = jnp.array([[30.0, -20.0], [0.1, 0.2]])
        value, grad = jax.jit(jax.value_and_grad(lambda x, d=density: d.log_prob(x).sum()))(x)
        assert jnp.isfinite(value), name
        assert jnp.isfinite(grad).all(), name


def test_dataset():
    density = synthetic.GaussianRing()
    key = jax.random.key(0)
    ring = synthetic.dataset(density, key, num_train=60, num_validation=20, num_test=20)
    assert {name: len(source) for name, source in ring.splits.items()} == {"train": 60, "validation": 20, "test": 20}
    assert ring.spec() == {"x": jax.ShapeDtypeStruct((2,), np.float32)}
    everything = np.concatenate([source.arrays["x"] for source in ring.splits.values()])
    np.testing.assert_array_equal(everything, density.sample(jax.random.clone(key), 100))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: synthetic.GaussianGrid(scale=0.0), "scale is 0.0"),
        (lambda: synthetic.Checkerboard(size=3), "size is 3"),
        (lambda: synthetic.TwoMoons(scale=0.001), "scale is 0.001"),
        (lambda: synthetic.Circles(radii=()), r"radii is \(\), but must be at least one radius"),
        (lambda: synthetic.dataset(synthetic.TwoMoons(), jax.random.key(0), num_train=0), "num_train is 0"),
        (lambda: data.load("gaussians_25"), "key"),
    ],
)
def test_bad_settings(make, message):
    with pytest.raises(ValueError, match=message):
        make()
