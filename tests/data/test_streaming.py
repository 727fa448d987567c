"""A stream gives exactly the batches that resident arrays give by ``shuffle_indices``."""

import itertools
import json
import subprocess
import sys

import jax
import numpy as np
import pytest

from genjax import data
from tests.running import ROOT


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


class Counted(list):
    """Records that count how often each is read."""

    def __init__(self, records):
        super().__init__(records)
        self.counts = np.zeros(len(records), int)

    def __getitem__(self, index):
        self.counts[index] += 1
        return super().__getitem__(index)


@pytest.mark.parametrize("minibatches", [1, 2])
def test_each_of_two_processes_reads_its_own_examples(minibatches):
    shards = []
    for index in range(2):
        records = Counted([{"x": np.float32(i)} for i in range(48)])
        source = data.RecordSource(records)
        source.spec  # noqa: B018 - reads the first record
        records.counts[:] = 0
        settings = {"batch_size": 12, "minibatches": minibatches, "num_steps": 4 // minibatches, "num_threads": 0}
        for _ in data.stream(source, jax.random.key(1), shard=(index, 2), **settings):
            pass
        shards.append(records.counts)
    assert [counts.sum() for counts in shards] == [24, 24]
    assert (shards[0] + shards[1] == 1).all()


def test_a_mapped_file_gives_the_batches_of_arrays(tmp_path):
    x = np.random.default_rng(0).integers(0, 256, (50, 3, 2), dtype=np.uint8)
    np.save(tmp_path / "x.npy", x)
    mapped, resident = (data.npy(tmp_path / "x.npy", validation=8, resident=resident) for resident in (False, True))
    assert mapped.spec() == resident.spec()
    assert (mapped.levels, mapped.values) == (resident.levels, resident.values)
    assert not mapped.splits["train"].resident
    batches = data.stream(mapped.splits["train"], jax.random.key(3), batch_size=16, num_steps=4)
    for step, batch in enumerate(batches):
        assert_equal(batch, resident_batch(resident.splits["train"], jax.random.key(3), step, 16))
    rows = np.arange(8)
    assert_equal(mapped.splits["validation"].take(rows), {"x": x[42:, ..., None]})


def test_mapped_numbers_are_narrowed_and_checked_when_they_are_read(tmp_path):
    np.save(tmp_path / "x.npy", np.array([[0.5, 1.5], [2.5, np.nan]]))
    source = data.npy(tmp_path / "x.npy", resident=False).splits["train"]
    assert source.take([0])["x"].dtype == source.spec["x"].dtype == np.float32
    with pytest.raises(ValueError, match="x of split 'train' holds 1 non-finite value, first at index 1"):
        source.take([1])
    np.save(tmp_path / "x.npy", np.array([[1], [2**40]]))
    with pytest.raises(ValueError, match="integers must fit in 32 bits"):
        data.npy(tmp_path / "x.npy", resident=False).splits["train"].take([1])


def test_files_above_the_limit_of_resident_data_are_mapped(tmp_path, monkeypatch):
    np.save(tmp_path / "x.npy", np.zeros((100, 4), np.float32))
    assert data.npy(tmp_path / "x.npy").splits["train"].resident
    monkeypatch.setattr(sys.modules["genjax.data.arrays"], "RESIDENT_BYTES", 1_000)  # the function has its name
    assert not data.npy(tmp_path / "x.npy").splits["train"].resident
    (tmp_path / "x.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:-400])
    with pytest.raises(ValueError, match="holds no plain array"):
        data.npy(tmp_path / "x.npy")


@pytest.mark.slow
def test_the_benchmark_trains_on_a_file_within_its_memory(tmp_path):
    file = ROOT / "experiments" / "benchmarks" / "streaming.py"
    flags = ("--folder", tmp_path, "--gigabytes", "0.1", "--steps", "20", "--repeats", "1", "--json")
    command = [sys.executable, file, *flags]
    output = subprocess.run([*map(str, command)], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    rate, memory = (json.loads(line)["ratio"] for line in output.splitlines())
    assert rate > 0
    assert 0 < memory < 1
    assert not list(tmp_path.iterdir())
