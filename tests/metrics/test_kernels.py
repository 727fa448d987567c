"""MMD² and the kernel distance against double loops, deletion of single points, closed forms, and another library."""

from __future__ import annotations

import itertools

import jax
import numpy as np
import pytest

from genjax.metrics import kernels


def cubic(x, y):
    return (x @ y / len(x) + 1) ** 3


def gaussian(widths):
    return lambda x, y: np.mean([np.exp(-((x - y) ** 2).sum() / (2 * width**2)) for width in widths])


def double_loop(kernel, x, y):
    x, y = x.astype(np.float64), y.astype(np.float64)
    within = [np.mean([kernel(a, b) for a, b in itertools.permutations(side, 2)]) for side in (x, y)]
    return sum(within) - 2 * np.mean([kernel(a, b) for a, b in itertools.product(x, y)])


def jackknife(statistic, x, y):
    without_x = np.array([statistic(np.delete(x, i, axis=0), y) for i in range(len(x))])
    without_y = np.array([statistic(x, np.delete(y, j, axis=0)) for j in range(len(y))])
    return np.sqrt(
        sum((len(side) - 1) / len(side) * ((side - side.mean()) ** 2).sum() for side in (without_x, without_y))
    )


@pytest.fixture(scope="module")
def pair():
    rng = np.random.default_rng(0)
    return np.abs(rng.normal(size=(13, 5))).astype(np.float32), np.abs(rng.normal(size=(9, 5)) + 0.3).astype(np.float32)


@pytest.mark.parametrize("chunk_size", [4, 1024])
def test_kernel_distance_is_the_double_loop(pair, chunk_size):
    values = kernels.kernel_distance(*pair, chunk_size=chunk_size)
    np.testing.assert_allclose(values["kernel_distance"], double_loop(cubic, *pair), rtol=1e-5)
    error = jackknife(lambda x, y: double_loop(cubic, x, y), *pair)
    np.testing.assert_allclose(values["kernel_distance_standard_error"], error, rtol=1e-5)


def test_two_points_have_a_distance_and_no_standard_error(pair):
    x, y = pair[0][:2], pair[1]
    values = kernels.kernel_distance(x, y)
    np.testing.assert_allclose(values["kernel_distance"], double_loop(cubic, x, y), rtol=1e-5)
    assert np.isnan(values["kernel_distance_standard_error"])


@pytest.mark.parametrize("offset", [0.0, 1000.0])
def test_mmd_is_the_double_loop_wherever_the_data_lies(pair, offset):
    x, y = (side + np.float32(offset) for side in pair)
    values = kernels.mmd_squared(x, y, bandwidths=(0.5, 2.0), chunk_size=5)
    np.testing.assert_allclose(values["mmd2"], double_loop(gaussian((0.5, 2.0)), x, y), rtol=2e-4)
    error = jackknife(lambda a, b: double_loop(gaussian((0.5, 2.0)), a, b), x, y)
    np.testing.assert_allclose(values["mmd2_standard_error"], error, rtol=2e-4)


def test_mmd_of_two_gaussians_in_closed_form():
    """For N(0, 1) and N(μ, 1), E k = (σ²/(σ²+2))^½ exp(−μ²/(2(σ²+2)))."""
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2000, 1)), rng.normal(size=(1500, 1)) + 0.7
    values = kernels.mmd_squared(x, y, bandwidths=(1.0,))
    expected = 2 * 3**-0.5 * (1 - np.exp(-(0.7**2) / 6))
    assert abs(float(values["mmd2"]) - expected) < 4 * float(values["mmd2_standard_error"]) < 0.5 * expected


def test_estimates_are_unbiased_and_their_standard_errors_are_true():
    """In 200 repetitions, the mean is within four standard errors, and the spread agrees with its estimate."""
    rng = np.random.default_rng(2)
    results = [
        kernels.mmd_squared(rng.normal(size=(30, 2)), rng.normal(size=(20, 2)) + 0.5, bandwidths=(1.0,))
        for _ in range(200)
    ]
    values, errors = (np.array([float(result[name]) for result in results]) for name in ("mmd2", "mmd2_standard_error"))
    expected = 2 / 3 * (1 - np.exp(-0.5 / 6))  # two dimensions of σ²/(σ²+2) = 1/3, |μ|² = ½
    assert abs(values.mean() - expected) < 4 * values.std() / np.sqrt(200)
    np.testing.assert_allclose(np.sqrt((errors**2).mean()), values.std(), rtol=0.25)


def test_equal_distributions_give_values_around_zero_and_errors_on_the_safe_side():
    """The jackknife variance is twice the true one, as for all degenerate U-statistics."""
    rng = np.random.default_rng(3)
    results = [kernels.mmd_squared(*rng.normal(size=(2, 40, 2)), bandwidths=(1.0,)) for _ in range(200)]
    values, errors = (np.array([float(result[name]) for result in results]) for name in ("mmd2", "mmd2_standard_error"))
    assert 50 < np.sum(values < 0) < 150
    assert abs(values.mean()) < 4 * values.std() / np.sqrt(200)
    np.testing.assert_allclose((errors**2).mean() / values.var(), 2, rtol=0.3)


@pytest.mark.parametrize(("scale", "typical"), [(0.5, 1.5), (5.0, 5000.0)])
def test_float32_features_lose_nothing_that_matters(scale, typical):
    """Positive features of mean 0.4, as networks give them, and of mean 4.

    Distances are below 1e-3 of a kernel value. A kernel value has a relative error of about 1e-7 in float32, and a mean
    of 160,000 values a far smaller one if errors do not accumulate.
    """
    rng = np.random.default_rng(4)
    x, y = (np.abs(rng.normal(size=(400, 256)) * s).astype(np.float32) for s in (scale, scale * 1.006))
    wide = [side.astype(np.float64) for side in (x, y)]
    gram = [(a @ b.T / 256 + 1) ** 3 for a, b in ((wide[0],) * 2, (wide[1],) * 2, wide)]
    np.testing.assert_allclose(gram[2].mean(), typical, rtol=0.1)
    inner = [(g.sum() - np.trace(g)) / (400 * 399) for g in gram[:2]]
    values = kernels.kernel_distance(x, y)
    np.testing.assert_allclose(values["kernel_distance"], sum(inner) - 2 * gram[2].mean(), atol=1e-8 * typical)


def test_sums_of_many_equal_numbers_do_not_drift():
    x, y = np.full((3000, 4), 0.7), np.full((2500, 4), 0.7)
    values = kernels.kernel_distance(x, y)
    assert abs(float(values["kernel_distance"])) < 1e-9
    assert float(values["kernel_distance_standard_error"]) < 1e-9


def test_default_bandwidths_follow_the_median_distance():
    x = np.array([[0.0], [1.0], [3.0]])  # distances 1, 2, 3
    values = kernels.mmd_squared(x, x + 1)
    np.testing.assert_allclose(values["bandwidths"], [1.0, 2.0, 4.0], rtol=1e-6)
    duplicates = kernels.mmd_squared(np.array([[0.1], [0.1], [0.1], [0.1], [2.1]]), x)
    np.testing.assert_allclose(duplicates["bandwidths"], [1.0, 2.0, 4.0], rtol=1e-6)


def test_constant_features_are_at_no_distance_or_at_the_largest():
    x = np.full((4, 7), 0.1)
    same = kernels.mmd_squared(x, x[:3])
    assert (float(same["mmd2"]), float(same["mmd2_standard_error"])) == (0.0, 0.0)
    assert same["bandwidths"].tolist() == [0.5, 1.0, 2.0]
    assert float(kernels.mmd_squared(x, x + 100)["mmd2"]) == 2.0


def test_subsets_of_everything_are_the_whole(pair):
    x, y = pair[0][:9], pair[1]
    values = kernels.kernel_distance_subsets(jax.random.key(0), x, y, num_subsets=3, subset_size=9)
    np.testing.assert_allclose(values["kernel_distance"], double_loop(cubic, x, y), rtol=1e-5)
    assert float(values["kernel_distance_sd"]) < 1e-6 * float(values["kernel_distance"])


def test_subsets_average_to_the_whole_and_vary_more(pair):
    """A hundred random subsets of 5 out of 9 and 13 points have the mean and spread of all subsets."""
    x, y = pair
    done = []
    values = kernels.kernel_distance_subsets(
        jax.random.key(1), x, y, num_subsets=100, subset_size=5, progress=done.append
    )
    rng = np.random.default_rng(0)
    expected = [double_loop(cubic, x[rng.permutation(13)[:5]], y[rng.permutation(9)[:5]]) for _ in range(300)]
    np.testing.assert_allclose(values["kernel_distance_sd"], np.std(expected), rtol=0.25)
    whole = float(kernels.kernel_distance(x, y)["kernel_distance"])
    assert abs(float(values["kernel_distance"]) - whole) < 4 * np.std(expected) / np.sqrt(100)
    assert sum(done) == 100


def test_progress_counts_every_row(pair):
    done = []
    kernels.kernel_distance(*pair, chunk_size=4, progress=done.append)
    assert sum(done) == 2 * 13 + 9


def test_what_cannot_be_compared_is_refused(pair):
    x, y = pair
    with pytest.raises(ValueError, match="generated has 1 samples, but at least 2"):
        kernels.kernel_distance(x, y[:1])
    with pytest.raises(ValueError, match="generated has 4 features, but reference has 5"):
        kernels.mmd_squared(x, y[:, :4])
    with pytest.raises(ValueError, match=r"bandwidths are \(0.0,\), but must be at least one, and between"):
        kernels.mmd_squared(x, y, bandwidths=(0.0,))
    with pytest.raises(ValueError, match="chunk_size is 0"):
        kernels.kernel_distance(x, y, chunk_size=0)
    with pytest.raises(ValueError, match=r"kernel values overflow float32 for features up to 2.*e\+14"):
        kernels.kernel_distance(x * 1e14, y)
    with pytest.raises(ValueError, match="a side has 9 samples, but subset_size is 10"):
        kernels.kernel_distance_subsets(jax.random.key(0), x, y, subset_size=10)


@pytest.mark.peers
def test_subsets_of_torch_fidelity_average_to_the_whole(torch_fidelity):
    rng = np.random.default_rng(5)
    x, y = (np.abs(rng.normal(size=(600, 32)) * scale).astype(np.float32) for scale in (1.0, 1.1))
    peer = torch_fidelity.metric_kid
    torch = pytest.importorskip("torch")
    theirs = peer.kid_features_to_metric(
        torch.from_numpy(x), torch.from_numpy(y), kid_subsets=100, kid_subset_size=300, rng_seed=0, verbose=False
    )
    mean, sd = theirs[peer.KEY_METRIC_KID_MEAN], theirs[peer.KEY_METRIC_KID_STD]
    whole = kernels.kernel_distance(x, y)
    assert abs(float(whole["kernel_distance"]) - mean) < 4 * sd / np.sqrt(100)
    ours = kernels.kernel_distance_subsets(jax.random.key(0), x, y, num_subsets=100, subset_size=300)
    assert abs(float(ours["kernel_distance"]) - mean) < 4 * sd * np.sqrt(2 / 100)
    np.testing.assert_allclose(ours["kernel_distance_sd"], sd, rtol=0.4)
