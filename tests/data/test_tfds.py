"""TFDS sets by name, and ``load``."""

import os
from pathlib import Path

import jax
import numpy as np
import pytest

from genjax import data
from genjax.data import cache, tfds_sets


def data_dir(name):
    """Find a prepared set in ``$TFDS_DATA_DIR``."""
    folder = Path(os.environ.get("TFDS_DATA_DIR", ""))
    return folder if (folder / name).is_dir() else pytest.skip(f"{name} is not prepared in TFDS_DATA_DIR={folder}")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def test_mnist(monkeypatch):
    """Check all in one test, because decoding takes seconds and each worker would repeat it."""
    folder = data_dir("mnist")
    dataset = data.tfds("mnist", validation=10_000, data_dir=folder)
    monkeypatch.setattr(tfds_sets, "materialize", None)  # the second time nothing is decoded
    check_published_facts(dataset)
    check_same(dataset, data.tfds("mnist", data_dir=folder))
    check_agrees_with_tfds(dataset, folder)
    monkeypatch.setattr(tfds_sets, "SMALL_BYTES", 0)
    monkeypatch.setenv("TFDS_DATA_DIR", str(folder))
    check_streamed(dataset, data.load("mnist", validation=10_000))


def check_published_facts(dataset):
    assert {name: len(source) for name, source in dataset.splits.items()} == {
        "train": 50_000,
        "validation": 10_000,
        "test": 10_000,
    }
    assert dataset.spec() == {
        "x": jax.ShapeDtypeStruct((28, 28, 1), np.uint8),
        "label": jax.ShapeDtypeStruct((), np.int32),
    }
    assert (dataset.levels, dataset.num_classes) == (256, 10)
    assert dataset.splits["train"].resident
    # Published statistics of the training images and the test labels.
    x = np.concatenate([dataset.splits[name].arrays["x"] for name in ("train", "validation")])
    assert x.mean() / 255 == pytest.approx(0.1307, abs=5e-5)
    counts = np.bincount(dataset.splits["test"].arrays["label"])
    np.testing.assert_array_equal(counts, [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009])


def check_same(dataset, again):
    for name in ("x", "label"):
        train = again.splits["train"].arrays[name]
        np.testing.assert_array_equal(train[:50_000], dataset.splits["train"].arrays[name])
        np.testing.assert_array_equal(train[50_000:], dataset.splits["validation"].arrays[name])


def check_agrees_with_tfds(dataset, folder):
    import tensorflow_datasets

    records = tensorflow_datasets.data_source("mnist", split="test", data_dir=folder)
    source = dataset.splits["test"]
    for i in (0, 77, 9_999):
        np.testing.assert_array_equal(source.arrays["x"][i], records[i]["image"])
        assert source.arrays["label"][i] == records[i]["label"]


def check_streamed(dataset, streamed):
    source = streamed.splits["validation"]
    assert not source.resident
    assert len(streamed.splits["train"]) == 50_000
    key = jax.random.key(0)
    (batch,) = data.stream(source, key, batch_size=32, start_step=1000, num_steps=1)
    resident = dataset.splits["validation"]
    expected = resident.take(data.shuffle_indices(key, np.arange(32_000, 32_032), 10_000))
    np.testing.assert_array_equal(batch["x"], expected["x"])
    np.testing.assert_array_equal(batch["label"], expected["label"])


def test_tiny_shakespeare():
    folder = data_dir("tiny_shakespeare")
    text = data.load("tfds:tiny_shakespeare", data_dir=folder, length=100)
    assert set(text.splits) == {"train", "validation", "test"}
    assert (text.levels, text.num_classes, text.spec()["x"].shape) == (256, None, (100,))
    assert bytes(text.splits["train"].arrays["x"][0]).startswith(b"First Citizen:\nBefore we proceed any further")
    assert len(text.splits["train"]) == 1_003_854 // 100
    characters = data.tfds("tiny_shakespeare", data_dir=folder, length=100, tokenizer="characters")
    assert characters.levels == 65
    for split in text.splits:
        one, same = (dataset.tokenizer.decode(dataset.splits[split].arrays["x"][3]) for dataset in (text, characters))
        assert one == same


def test_unprepared_set(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        data.tfds("cifar10", data_dir=tmp_path)
    message = str(error.value)
    assert "\n" not in message
    assert f"'cifar10' is not prepared in {tmp_path}" in message
    assert 'pip install "genjax-models[tfds]" && python -c "import tensorflow_datasets as tfds; ' in message
    call = f"tfds.builder('cifar10', data_dir='{tmp_path}', file_format='array_record').download_and_prepare()\""
    assert message.endswith(call)


@pytest.mark.parametrize(
    ("open_it", "message"),
    [
        (lambda: data.tfds("mnits"), r"TFDS knows no set 'mnits'; did you mean .*'mnist'"),
        (lambda: data.tfds("mnist:9.9.9"), "TFDS cannot open 'mnist:9.9.9': "),
        (lambda: data.load("digit"), r"no data set or file 'digit'; did you mean 'digits'"),
        (lambda: data.load("gausians_25"), r"did you mean 'gaussians_25'"),
        (lambda: data.load("fashion-mnist"), r"did you mean 'fashion_mnist'"),
        (lambda: data.load("qqqqqqqq"), r"no data set or file 'qqqqqqqq'; digits, iris"),
        (lambda: data.load("digits", validation=3), r"cannot open 'digits': .*'validation'; it takes \['size'\]"),
        (lambda: data.load("two_moons"), "cannot open 'two_moons': missing a required argument: 'key'"),
        (lambda: data.load(__file__), r"has the unknown suffix '\.py'"),
        (lambda: data.bundled("irises"), r"no bundled table 'irises', .*; did you mean 'iris'\?"),
    ],
)
def test_unknown_names_and_settings(open_it, message):
    with pytest.raises(ValueError, match=message) as error:
        open_it()
    assert "\n" not in str(error.value)


def test_load_by_name():
    assert data.load("digits").name == "digits"
    assert data.load("wine").num_classes == 3
    moons = data.load("two_moons", key=jax.random.key(0), num_train=30, num_test=0)
    assert {name: len(source) for name, source in moons.splits.items()} == {"train": 30}
    assert "ring_8" in data.names()


def test_cache_survives_damage_and_no_place_to_write(tmp_path, monkeypatch):
    def make():
        return {"x": np.arange(1000)}

    assert len(cache.cache_arrays("some/set:1.0", make, data.ArraySource)) == 1000
    (entry,) = (tmp_path / "cache" / "genjax").iterdir()
    assert entry.name == "some-set-1.0.npz"
    entry.write_bytes(entry.read_bytes()[:-500])
    again = cache.cache_arrays("some/set:1.0", make, data.ArraySource)
    np.testing.assert_array_equal(again.arrays["x"], np.arange(1000))
    kept = cache.cache_arrays(
        "some/set:1.0", lambda: pytest.fail("the damaged entry was not replaced"), data.ArraySource
    )
    assert len(kept) == 1000
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert len(cache.cache_arrays("other", make, data.ArraySource)) == 1000


def test_import_is_light():
    import subprocess
    import sys

    heavy = "tensorflow_datasets grain sklearn PIL scipy.stats tqdm orbax matplotlib"
    code = f"import sys, genjax.data; print(*[m for m in '{heavy}'.split() if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
