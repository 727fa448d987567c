"""Priors: densities integrate to one, samples follow them, and classes mix to the whole."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from genjax.ops.priors import GaussianMixture, Prior, StandardNormal, SwissRoll

PETALS = GaussianMixture(num_components=5, radius=1.5, radial_scale=0.4, tangential_scale=0.2)
ROLL = SwissRoll(num_classes=4, radius=2.5, num_turns=1.5, scale=0.2)
PLANE = [StandardNormal(2), PETALS, ROLL]
EDGES = np.linspace(-6, 6, 61)  # bins of histograms, 0.2 wide
FINE = 4  # points of the grid along a bin


def named(priors):
    return [pytest.param(prior, id=type(prior).__name__) for prior in priors]


def grid():
    """Return midpoints of cells 0.05 wide, (240 * 240, 2), and the area of a cell."""
    width = (EDGES[1] - EDGES[0]) / FINE
    middles = EDGES[0] + width * (np.arange(FINE * (len(EDGES) - 1)) + 0.5)
    return np.stack(np.meshgrid(middles, middles, indexing="ij"), axis=-1).reshape(-1, 2).astype(np.float32), width**2


@pytest.fixture(scope="module")
def mass():
    """Return the probability of every bin, by prior."""
    points, area = grid()
    side = len(EDGES) - 1
    return {
        prior: (np.exp(np.float64(jax.jit(prior.log_prob)(points))) * area)
        .reshape(side, FINE, side, FINE)
        .sum(axis=(1, 3))
        for prior in PLANE
    }


def histogram(z):
    return np.histogram2d(*np.asarray(z).T, bins=(EDGES, EDGES))[0]


@pytest.mark.parametrize("prior", named(PLANE))
def test_density_integrates_to_one(prior, mass):
    np.testing.assert_allclose(mass[prior].sum(), 1.0, atol=1e-4)


@pytest.mark.parametrize("prior", named(PLANE))
def test_draws_follow_the_density(prior, mass):
    """Apply Pearson's test to all bins with an expected count of at least five, and the rest as one."""
    count = 100_000
    observed, expected = histogram(prior.sample(jax.random.key(0), count)), count * mass[prior]
    frequent = expected >= 5
    observed = [*observed[frequent], observed[~frequent].sum()]
    expected = np.array([*expected[frequent], expected[~frequent].sum()])
    assert sum(observed) == count  # none outside the bins
    assert stats.chisquare(observed, expected * count / expected.sum()).pvalue > 1e-3


@pytest.mark.parametrize("prior", named([PETALS, ROLL]))
def test_classes_in_equal_parts_are_the_whole(prior, mass):
    count = 100_000
    labels = jnp.arange(count, dtype=jnp.int32) % prior.num_classes
    observed, expected = histogram(prior.sample(jax.random.key(1), count, labels)), count * mass[prior]
    frequent = expected >= 5
    deviation = (observed - expected)[frequent] ** 2 / expected[frequent]
    # Samples of fixed classes never vary more than unconditional ones.
    assert deviation.sum() < stats.chi2.isf(1e-3, frequent.sum())


def test_petals_are_gaussians_around_a_circle():
    for component in range(5):
        z = np.asarray(PETALS.sample(jax.random.key(component), 40_000, component))
        angle = 2 * np.pi * component / 5
        along, across = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
        np.testing.assert_allclose(z.mean(0), 1.5 * along, atol=0.01)
        covariance = 0.4**2 * np.outer(along, along) + 0.2**2 * np.outer(across, across)
        np.testing.assert_allclose(np.cov(z.T), covariance, atol=0.004)


def test_petals_have_the_density_of_their_gaussians():
    z = np.random.default_rng(0).normal(size=(50, 2))
    total = np.zeros(50)
    for component in range(5):
        angle = 2 * np.pi * component / 5
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        covariance = turn @ np.diag([0.4**2, 0.2**2]) @ turn.T
        total += stats.multivariate_normal.pdf(z, 1.5 * turn[:, 0], covariance) / 5
    np.testing.assert_allclose(PETALS.log_prob(jnp.float32(z)), np.log(total), rtol=1e-4, atol=1e-4)


def test_sections_follow_one_another_along_the_roll():
    """With almost no noise, radius and angle of a sample agree on its position, inside its section."""
    roll = SwissRoll(num_classes=4, radius=2.5, num_turns=1.5, scale=0.01)
    labels = jnp.array([2, 0, 3, 1] * 500)
    z = np.asarray(roll.sample(jax.random.key(0), 2_000, labels))
    t = np.linalg.norm(z, axis=1) / 2.5
    turned = np.arctan2(z[:, 1], z[:, 0]) / (2 * np.pi) - 1.5 * t
    far = t > 0.2  # near the center, noise changes the angle
    np.testing.assert_allclose((turned - np.round(turned))[far], 0.0, atol=0.03)
    place = 4 * t**2 - np.asarray(labels)
    assert (place > -0.1).all()
    assert (place < 1.1).all()
    for section in range(4):
        inside = np.clip(place[np.asarray(labels) == section], 0, 1)
        assert stats.kstest(inside, "uniform").pvalue > 1e-3


@pytest.mark.parametrize("scale", [0.01, 0.2])
def test_quadrature_along_the_roll_is_converged(scale):
    """Compare with a sum over half a million points of the spiral, in float64."""
    roll = SwissRoll(radius=2.5, num_turns=1.5, scale=scale)
    z = np.asarray(roll.sample(jax.random.key(3), 20))
    t = (np.arange(500_000) + 0.5) / 500_000
    spiral = 2.5 * t[:, None] * np.stack([np.cos(3 * np.pi * t), np.sin(3 * np.pi * t)], axis=-1)
    squared = np.array([((point - spiral) ** 2).sum(1) for point in np.float64(z)])
    density = np.mean(2 * t * np.exp(-squared / (2 * scale**2)) / (2 * np.pi * scale**2), axis=1)
    np.testing.assert_allclose(jax.jit(roll.log_prob)(z), np.log(density), atol=2e-3 if scale == 0.01 else 1e-5)


@pytest.mark.parametrize("dim", [1, 3])
def test_standard_normal_in_any_dimension(dim):
    prior = StandardNormal(dim)
    z = prior.sample(jax.random.key(0), 5_000)
    assert z.shape == (5_000, dim)
    np.testing.assert_allclose(prior.log_prob(z), stats.norm.logpdf(z).sum(1), rtol=1e-5)
    assert stats.kstest(np.asarray(z).ravel(), "norm").pvalue > 1e-3


def test_densities_far_away_are_finite():
    for prior in PLANE:
        value = prior.log_prob(jnp.array([[1e3, -1e3]]))
        assert np.isfinite(value).all()
        assert value[0] < -1e5


@pytest.mark.parametrize("prior", named(PLANE))
def test_are_priors_and_values(prior):
    assert isinstance(prior, Prior)
    assert hash(prior) == hash(type(prior)(**vars(prior)))
    assert prior.dim == 2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: StandardNormal(0), "dim is 0, but must be at least 1"),
        (lambda: GaussianMixture(num_components=0), "num_components is 0, but must be at least 1"),
        (lambda: GaussianMixture(tangential_scale=0.0), "tangential_scale is 0.0, but must be above 0"),
        (lambda: SwissRoll(num_classes=0), "num_classes is 0, but must be at least 1"),
        (lambda: SwissRoll(scale=0.001), "scale is 0.001, but must be at least 0.01, for the quadrature"),
        (lambda: SwissRoll(radius=-1.0), "radius is -1.0, but must be above 0"),
    ],
)
def test_refuses_settings(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_refuses_labels_and_counts():
    key = jax.random.key(0)
    with pytest.raises(ValueError, match="label is given, but this model has num_classes=None"):
        StandardNormal(2).sample(key, 3, 1)
    for prior in (PETALS, ROLL):
        with pytest.raises(ValueError, match=r"label is 5, but must be in 0, \.\.\., [34]"):
            prior.sample(jax.random.key(0), 3, 5)
    for prior in PLANE:
        with pytest.raises(ValueError, match="num_samples is 0, but must be at least 1"):
            prior.sample(jax.random.key(0), 0)
