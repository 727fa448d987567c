"""A stream gives exactly the batches that resident arrays give by ``shuffle_indices``."""

import itertools

import jax
import numpy as np
import pytest

from genjax import data


@pytest.fixture(scope="module")
def sources():
    rng = np.random.default_rng(0)
    arrays = {"x": rng.integers(0, 256, (50, 3, 2)).astype(np.uint8), "label": np.arange(50, dtype=np.int32)}
    records = [{name: array[i] for name, array in arrays.items()} for i in range(50)]
    return data.ArraySource(arrays), data.RecordSource(records)


def resident_batch(source, key, step, batch_size, minibatches=1):
    """Return batches of resident arrays as the runner takes them."""
    positions = np.arange(step * batch_size * minibatches, (step + 1) * batch_size * minibatches)
    shape = (batch_size,) if minibatches == 1 else (minibatches, batch_size)
    indices = data.shuffle_indices(key, positions.reshape(shape), len(source))
    return {name: array[indices] for name, array in source.arrays.items()}


def assert_equal(batch, expected):
    assert batch.keys() == expected.keys()
    for name, array in batch.items():
        np.testing.assert_array_equal(array, expected[name])
        assert array.dtype == expected[name].dtype


@pytest.mark.parametrize(("minibatches", "start_step", "num_threads"), [(1, 0, 4), (1, 17, 0), (3, 5, 2)])
def test_equals_resident(sources, minibatches, start_step, num_threads):
    resident, records = sources
    key = jax.random.key(2)
    batches = data.stream(
        records,
        key,
        batch_size=16,
        start_step=start_step,
        num_steps=9,
        minibatches=minibatches,
        num_threads=num_threads,
    )
    batches = list(batches)
    assert len(batches) == 9
    for step, batch in enumerate(batches, start_step):
        assert_equal(batch, resident_batch(resident, key, step, 16, minibatches))


@pytest.mark.parametrize("minibatches", [1, 2])
def test_shards_make_up_the_whole(sources, minibatches):
    key = jax.random.key(4)
    settings = {"batch_size": 12, "start_step": 3, "num_steps": 4, "minibatches": minibatches, "num_threads": 1}
    whole = data.stream(sources[1], key, **settings)
    shards = [data.stream(sources[1], key, shard=(i, 3), **settings) for i in range(3)]
    for batch, *parts in zip(whole, *shards, strict=True):
        joined = {k: np.concatenate([p[k] for p in parts], axis=min(minibatches, 2) - 1) for k in batch}
        assert_equal(joined, batch)


def test_endless(sources):
    batches = data.stream(sources[1], jax.random.key(0), batch_size=50)
    labels = [np.sort(batch["label"]) for batch in itertools.islice(batches, 5)]
    assert (np.array(labels) == np.arange(50)).all()


def test_errors_of_reading_arrive():
    records = [{"x": np.zeros(2)}] * 3 + [{"x": np.zeros(5)}]
    batches = data.stream(data.RecordSource(records), jax.random.key(0), batch_size=4, num_steps=1)
    with pytest.raises(ValueError, match=r"record 3 holds float32\[5\] as x, but record 0 holds float32\[2\]"):
        next(batches)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 51}, r"batch_size is 51, but there are 50 examples; use 1 … 50"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"batch_size": 10, "minibatches": 0}, "minibatches is 0"),
        ({"batch_size": 10, "start_step": -1}, "start_step is -1"),
        ({"batch_size": 10, "shard": (0, 3)}, "batch_size is 10, but must be divisible by 3 shards"),
        ({"batch_size": 10, "shard": (2, 2)}, r"shard is \(2, 2\)"),
    ],
)
def test_bad_settings(sources, settings, message):
    with pytest.raises(ValueError, match=message):
        data.stream(sources[1], jax.random.key(0), **settings)
