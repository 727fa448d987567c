"""Precision, recall, density and coverage against double loops, exact answers, ties, and the package ``prdc``."""

from __future__ import annotations

import math

import jax
import numpy as np
import pytest

from genjax.metrics import neighbours
from genjax.metrics.distances import TILE
from genjax.metrics.neighbours import neighbour_radii, precision_recall_density_coverage

NAMES = ("precision", "recall", "density", "coverage")


def evaluate(reference, generated, k=5, **options) -> tuple[float, ...]:
    reference, generated = np.asarray(reference), np.asarray(generated)
    values = precision_recall_density_coverage(reference, generated, num_neighbours=k, **options)
    assert tuple(values) == NAMES
    return tuple(float(values[name]) for name in NAMES)


def loops(reference, generated, k) -> np.ndarray:
    """Apply the definitions to each pair, with distances that are exact for integers."""

    def squared(a, b):
        return sum((p - q) ** 2 for p, q in zip(a, b, strict=True))

    def radius(points, i):
        return sorted(squared(points[i], other) for j, other in enumerate(points) if j != i)[k - 1]

    reference, generated = (np.asarray(x, np.float64).tolist() for x in (reference, generated))
    radii = [radius(reference, i) for i in range(len(reference))]
    generated_radii = [radius(generated, j) for j in range(len(generated))]
    precise = [any(squared(x, y) <= r for x, r in zip(reference, radii, strict=True)) for y in generated]
    recalled = [any(squared(x, y) <= r for y, r in zip(generated, generated_radii, strict=True)) for x in reference]
    covered = [any(squared(x, y) <= r for y in generated) for x, r in zip(reference, radii, strict=True)]
    mass = 0.0
    for x, r in zip(reference, radii, strict=True):
        inside, edge = sum(squared(x, z) < r for z in reference), sum(squared(x, z) == r for z in reference)
        for y in generated:
            mass += 1 if squared(x, y) < r else (k - inside) / edge if squared(x, y) == r else 0
    return np.array([np.mean(precise), np.mean(recalled), mass / (k * len(generated)), np.mean(covered)])


@pytest.fixture(scope="module")
def samples() -> tuple[np.ndarray, np.ndarray]:
    """Two partially overlapping distributions."""
    generator = np.random.default_rng(0)
    x, y = generator.normal(size=(50, 3)), 0.8 * generator.normal(size=(40, 3)) + 0.7
    return x.astype(np.float32), y.astype(np.float32)


@pytest.mark.parametrize("k", [1, 3, 5, 39])
def test_double_loop(samples, k):
    values = evaluate(*samples, k=k)
    np.testing.assert_allclose(values, loops(*samples, k=k), atol=1e-6)
    if k == 3:
        assert all(0.1 < value < 0.95 for value in values)  # none of them is trivial


@pytest.mark.parametrize("k", [1, 2, 5])
def test_double_loop_with_ties(k):
    generator = np.random.default_rng(k)
    reference = generator.integers(0, 4, size=(50, 3))
    generated = generator.integers(1, 6, size=(40, 3))
    np.testing.assert_allclose(evaluate(reference, generated, k), loops(reference, generated, k), atol=1e-6)


def test_without_ties_density_counts_the_open_ball():
    # The radii are 1, 1 and 2: the sample 2 is on the boundary of the ball around 1, and inside the one around 3.
    values = evaluate([[0.0], [1.0], [3.0]], [[3.0], [2.0], [0.1]], 1)
    np.testing.assert_allclose(values, (1, 1, (1 + 1 + 2) / 3, 1), atol=1e-6)


@pytest.mark.parametrize("chunk_size", [7, 49])
def test_chunks_change_nothing(samples, chunk_size):
    assert evaluate(*samples, chunk_size=chunk_size) == evaluate(*samples)


def test_more_columns_than_one_tile():
    x, y = np.random.default_rng(7).normal(size=(2, TILE + 30, 3)).astype(np.float32)
    values, k = evaluate(x, y[:-5], 4), 4
    x, y = x.astype(np.float64), y[:-5].astype(np.float64)
    own, own_generated, cross = (np.linalg.norm(a[:, None] - b[None], axis=-1) for a, b in ((x, x), (y, y), (x, y)))
    radii, generated_radii = (np.sort(distances, axis=1)[:, [k]] for distances in (own, own_generated))
    inside, inside_generated = cross <= radii, cross <= generated_radii.T
    expected = inside.any(0).mean(), inside_generated.any(1).mean(), inside.sum() / (k * len(y)), inside.any(1).mean()
    np.testing.assert_allclose(values, expected, atol=1e-6)


def equal_sets() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(1)
    normal = generator.normal(size=(60, 20))
    return {
        "continuous": normal,
        "offset": normal + 1e3,
        "lattice": generator.integers(0, 2, size=(60, 20)) * (np.arange(20) < 5),
        "every point twice": np.repeat(normal[:30], 2, axis=0),
        "every point ten times": np.repeat(normal[:6], 10, axis=0),
        "far duplicates": np.concatenate([np.repeat(normal[:6] + 1e4, 9, axis=0), normal[:6] * 1e-3]),
        "constant": np.full((60, 20), 0.1),
        "constant images": np.repeat(generator.random((6, 1)), 10, axis=0) * np.ones((1, 800)),
        "zeros": np.zeros((60, 20)),
    }


@pytest.mark.parametrize("order", ["same", "permuted"])
@pytest.mark.parametrize("name", equal_sets())
def test_a_set_is_perfect_in_itself(name, order):
    x = equal_sets()[name].astype(np.float32)
    y = x if order == "same" else x[np.random.default_rng(2).permutation(len(x))]
    assert evaluate(x, y) == (1, 1, 1, 1)


def test_constant_features_elsewhere():
    assert evaluate(np.zeros((60, 20)), np.ones((60, 20))) == (0, 0, 0, 0)


def test_an_offset_changes_nothing():
    generator = np.random.default_rng(3)
    x, y = (np.round(generator.normal(size=(60, 20)) * 512) / 512 for _ in range(2))  # exact in float32 even near 1,000
    assert evaluate(x + 1000, y + 1000) == evaluate(x, y)


@pytest.mark.parametrize("power", [-100, 100])
def test_scale_changes_nothing(samples, power):
    reference, generated = samples
    assert evaluate(reference * 2.0**power, generated * 2.0**power) == evaluate(reference, generated)


def test_modes_much_narrower_than_their_distance():
    generator = np.random.default_rng(4)
    means = 1000 * generator.integers(-2, 3, size=(2, 60, 2))
    x, y = (means + 0.02 * generator.normal(size=means.shape)).astype(np.float32)
    np.testing.assert_allclose(evaluate(x, y, 2), loops(x, y, 2), atol=1e-6)


def test_which_is_which():
    generator = np.random.default_rng(5)
    modes = np.array([[-20.0, 0.0, 0.0], [20.0, 0.0, 0.0]]).repeat(100, axis=0)
    reference = modes + generator.normal(size=(200, 3))
    precision, recall, density, coverage = evaluate(reference, modes[0] + 0.7 * generator.normal(size=(200, 3)))
    assert precision > 0.95
    assert 0.3 < recall <= 0.5
    assert density > 0.9
    assert 0.3 < coverage <= 0.5
    half_is_far = np.where(np.arange(200)[:, None] % 2 == 0, reference, 1000 + reference)
    precision, recall, density, coverage = evaluate(reference, half_is_far)
    assert precision == 0.5
    assert recall > 0.9  # fewer samples have larger balls
    assert 0.4 < density <= 0.5
    assert coverage > 0.9
    blurred = modes + 4 * generator.normal(size=(200, 3))
    precision, recall, density, _ = evaluate(reference, blurred)
    assert precision < 0.3
    assert density < 0.1
    assert recall > 0.6


def test_copies_of_one_mode_of_two():
    mode = np.random.default_rng(8).normal(size=(30, 20))
    values = evaluate(np.concatenate([mode, mode + 100]), np.repeat(mode, 2, axis=0), 5)
    np.testing.assert_allclose(values, (1, 0.5, 1, 0.5), atol=1e-6)


def test_expectation_for_equal_distributions():
    """Naeem et al. (2020), section 3.3: density 1, coverage 1 − (n − 1)⋯(n − k) / (2n − 1)⋯(2n − k)."""
    generator, n, k = np.random.default_rng(6), 100, 3
    draws = [evaluate(*generator.normal(size=(2, n, 4)), k=k) for _ in range(60)]
    mean, error = np.mean(draws, axis=0), np.std(draws, axis=0) / math.sqrt(len(draws))
    coverage = 1 - math.prod((n - i) / (2 * n - i) for i in range(1, k + 1))
    assert abs(mean[2] - 1) < 4 * error[2]
    assert abs(mean[3] - coverage) < 4 * error[3]
    assert max(error[2:]) < 0.02


def test_radii(samples):
    x = samples[0].astype(np.float64)
    distances = np.linalg.norm(x[:, None] - x[None], axis=-1)
    np.testing.assert_allclose(neighbour_radii(x, num_neighbours=4), np.sort(distances, axis=1)[:, 4], rtol=1e-6)
    duplicates = np.array([[1.0], [1.0], [1.0], [5.0]])
    assert neighbour_radii(duplicates, num_neighbours=2).tolist() == [0, 0, 0, 4]


def test_no_square_matrix():
    size, rows, dim = 4096, 64, 8
    shapes = (size, dim), (dim,), (rows,)
    x, center, indices = (jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in zip(shapes, "ffi", strict=True))
    with jax.enable_x64(True):
        compiled = neighbours._measure.lower(x, center, indices, num_neighbours=5, dtype="float32").compile()
    memory = compiled.memory_analysis()
    assert memory is not None
    assert memory.temp_size_in_bytes < 8 * (size * rows * 4) < size * size * 4


def test_progress_counts_every_row_once(samples):
    reference, generated = samples
    rows = []
    generated = np.concatenate([generated, reference[:8]])  # ties, which float64 must decide
    evaluate(reference, generated, chunk_size=16, progress=rows.append)
    assert sum(rows) == 2 * len(reference) + len(generated)
    assert len(rows) > 10


@pytest.mark.parametrize(
    ("reference", "generated", "options", "message"),
    [
        (np.zeros((5, 2)), np.zeros((9, 2)), {}, "reference has 5 samples, but num_neighbours=5 needs at least 6"),
        (np.zeros((9, 2)), np.zeros((5, 2)), {}, "generated has 5 samples, but num_neighbours=5 needs at least 6"),
        (np.zeros((9, 2)), np.zeros((9, 3)), {}, "generated has 3 features, but reference has 2"),
        (np.zeros((9, 2)), np.full((9, 2), np.nan), {}, "9 of 9 samples of generated are not finite"),
        (np.zeros((0, 2)), np.zeros((9, 2)), {}, "reference has 0 samples"),
        (np.zeros((9, 2)), np.zeros((9, 2)), {"k": 0}, "num_neighbours is 0, but must be at least 1"),
        (np.zeros((9, 2)), np.zeros((9, 2)), {"chunk_size": 0}, "chunk_size is 0, but must be at least 1"),
    ],
)
def test_errors(reference, generated, options, message):
    with pytest.raises(ValueError, match=message):
        evaluate(reference, generated, **options)


@pytest.mark.peers
@pytest.mark.parametrize("k", [3, 5])
@pytest.mark.parametrize("dim", [2, 64, 2048])
def test_agrees_with_prdc(dim, k):
    prdc = pytest.importorskip("prdc")
    generator = np.random.default_rng(dim)
    reference = generator.normal(size=(300, dim)).astype(np.float32)
    generated = (0.97 * generator.normal(size=(250, dim)) + 0.5 / math.sqrt(dim)).astype(np.float32)
    peer = prdc.compute_prdc(reference, generated, nearest_k=k)
    np.testing.assert_allclose(evaluate(reference, generated, k), [peer[name] for name in NAMES], atol=1e-6)
