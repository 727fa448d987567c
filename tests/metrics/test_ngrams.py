"""N-grams: shares of single tokens by definition, what tells texts apart, and how evenly the hash spreads them."""

import jax.numpy as jnp
import numpy as np
import pytest

from genjax import data
from genjax.metrics import frechet_distance
from genjax.metrics.__main__ import Options, run
from genjax.metrics.features import extract, feature_network, ngrams
from genjax.metrics.features.ngrams import NUM_BUCKETS, buckets
from genjax.metrics.progress import no_progress

TEXTS = ["the cat sat", "tas tac eht"]


def tokens(*texts):
    return np.stack([np.frombuffer(text[:11].encode(), np.uint8) for text in texts])


def features(*texts):
    return np.asarray(extract(ngrams(), [tokens(*texts)], len(texts)).features)


def test_features_are_roots_of_shares():
    y = features(TEXTS[0])[0]
    expected = np.bincount(tokens(TEXTS[0])[0], minlength=256) / 11
    np.testing.assert_allclose(y[:256] ** 2, expected, atol=1e-6)
    np.testing.assert_allclose((y**2).reshape(3, NUM_BUCKETS).sum(axis=1), 1, atol=1e-5)
    pairs = np.asarray(buckets(jnp.asarray(tokens(TEXTS[0]), jnp.uint32), 2))[0]
    np.testing.assert_allclose(y[256:512] ** 2, np.bincount(pairs, minlength=256) / 10, atol=1e-6)


def test_order_matters_to_pairs_and_triples_alone():
    first, second = features(*TEXTS)
    np.testing.assert_array_equal(first[:256], second[:256])
    assert np.abs(first - second)[256:512].max() > 0.1
    assert np.abs(first - second)[512:].max() > 0.1


def test_hashes_depend_on_the_ngram_and_not_on_its_place():
    x = jnp.asarray(np.random.default_rng(0).integers(0, 256, (2, 9)), jnp.uint32)
    for order in (1, 2, 3):
        shifted = buckets(jnp.concatenate([x[:, :1] + 1, x], axis=1), order)
        np.testing.assert_array_equal(shifted[:, 1:], buckets(x, order))


@pytest.mark.parametrize("order", [2, 3])
def test_hashes_spread_letters_evenly(order):
    """With 26^n strings thrown at random into 256 buckets, the variance of a bucket would be its mean."""
    letters = np.stack(np.meshgrid(*[np.arange(97, 123)] * order), axis=-1).reshape(-1, order)
    counts = np.bincount(np.asarray(buckets(jnp.asarray(letters, jnp.uint32), order)).ravel(), minlength=256)
    assert counts.var() < 3 * counts.mean()


def test_distances_grow_as_fewer_neighbours_are_known():
    """Texts of a chain, texts whose tokens are drawn independently, and uniform ones, against the chain."""
    rng = np.random.default_rng(0)
    transition = rng.dirichlet(np.full(8, 0.2), 8)

    def chain(num):
        rows = [rng.integers(8, size=num)]
        for _ in range(29):
            rows.append((transition[rows[-1]].cumsum(axis=1) > rng.random((num, 1))).argmax(axis=1))
        return np.stack(rows, axis=1)

    real = chain(1_000)
    others = (chain(1_000), rng.permuted(chain(1_000), axis=1), rng.integers(8, size=(1_000, 30)))
    y = np.asarray(extract(ngrams(), [real], 1_000).features)
    distances = [
        float(frechet_distance(y, np.asarray(extract(ngrams(), [x], 1_000).features))["frechet_distance"])
        for x in others
    ]
    assert distances[0] < distances[1] / 3 < distances[2] / 3


def test_tokens_in_floating_point_are_rounded():
    """A vocabulary of 142 values on which (n − 1) · (k / (n − 1)) is not k."""
    x = np.array([[40, 50, 60, 70]])
    near = (np.float32(141) * x.astype(np.float32) / np.float32(141)) - np.float32(4e-6)
    assert (near < x).all()
    np.testing.assert_array_equal(*(extract(ngrams(), [each], 1).features for each in (x, near)))


@pytest.mark.parametrize("dtype", [np.uint8, np.int32])
def test_files_of_tokens_are_compared_as_they_are(tmp_path, dtype):
    rng = np.random.default_rng(0)
    samples = {"real": rng.integers(3, size=(60, 12)), "generated": rng.integers(250, size=(60, 12))}
    paths = [tmp_path / f"{name}.npy" for name in samples]
    for path, x in zip(paths, samples.values(), strict=True):
        np.save(path, x.astype(dtype))
    options = Options(real=paths[0], generated=paths[1], features="ngrams", metrics=("frechet_distance",))
    (result, *_), protocol = run(options, no_progress)
    features = [np.asarray(extract(ngrams(), [x], 60).features) for x in samples.values()]
    assert result.value == pytest.approx(float(frechet_distance(*features)["frechet_distance"]), rel=1e-3)
    assert "bytes_divided_by" not in protocol
    np.save(paths[1], samples["generated"].astype(np.float32))
    with pytest.raises(ValueError, match="because ngrams compare tokens; use features=pixels"):
        run(options, no_progress)


def test_what_has_no_ngrams_is_refused():
    with pytest.raises(ValueError, match=r"tokens have shape \(1, 2\), but ngrams takes \(B, T\) with T ≥ 3"):
        extract(ngrams(), [np.zeros((1, 2), np.uint8)], 1)
    with pytest.raises(ValueError, match="features is 'ngrams', but digits holds no texts; use pixels or classifier"):
        feature_network("ngrams", data.digits())
