"""The order of training examples: epochs are uniform permutations, from any position, in any pieces."""

import jax
import numpy as np
import pytest

from genjax import data


def test_every_example_comes_once_an_epoch():
    epochs = data.shuffle_indices(jax.random.key(3), np.arange(7 * 50), 50).reshape(7, 50)
    assert (np.sort(epochs, axis=1) == np.arange(50)).all()
    assert len({tuple(epoch) for epoch in epochs}) == 7
    assert epochs.dtype == np.int32


def test_any_piece_equals_the_whole():
    key = jax.random.key(1)
    whole = data.shuffle_indices(key, np.arange(1000), 37)
    shuffled = np.random.default_rng(0).permutation(1000)
    np.testing.assert_array_equal(data.shuffle_indices(key, shuffled, 37), whole[shuffled])
    np.testing.assert_array_equal(
        data.shuffle_indices(key, np.arange(990, 1000).reshape(2, 5), 37), whole[990:].reshape(2, 5)
    )


def test_the_key_decides():
    positions = np.arange(100)
    first = data.shuffle_indices(jax.random.key(0), positions, 100)
    assert (first == data.shuffle_indices(jax.random.key(0), positions, 100)).all()
    assert (first != data.shuffle_indices(jax.random.key(1), positions, 100)).any()
    assert (first != data.shuffle_indices(jax.random.fold_in(jax.random.key(0), 1), positions, 100)).any()


def test_permutations_are_uniform():
    """All 24 orders of four examples are equally frequent, by a chi-squared test at 5 standard deviations."""
    epochs = data.shuffle_indices(jax.random.key(5), np.arange(4 * 4800), 4).reshape(-1, 4)
    _, counts = np.unique(epochs, axis=0, return_counts=True)
    assert len(counts) == 24
    assert ((counts - 200) ** 2 / 200).sum() < 23 + 5 * np.sqrt(2 * 23)


def test_far_positions():
    start = 10**12 * 6
    assert sorted(data.shuffle_indices(jax.random.key(0), np.arange(start, start + 6), 6)) == list(range(6))


@pytest.mark.parametrize(
    ("key", "positions", "size", "message"),
    [
        (jax.random.key(0), np.arange(3), 0, "size is 0"),
        (jax.random.key(0), np.array([-1]), 3, "positions holds -1"),
        (jax.random.split(jax.random.key(0), 2), np.arange(3), 3, r"shape \(2,\); give one typed key"),
        (
            np.zeros(2, np.uint32),
            np.arange(3),
            3,
            r"key is .* type uint32, but must be a typed key, such as jax.random.key\(0\)",
        ),
    ],
)
def test_bad_input(key, positions, size, message):
    with pytest.raises(ValueError, match=message):
        data.shuffle_indices(key, positions, size)
