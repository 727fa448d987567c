"""Pairs stay together; the two sets of unpaired data run through permutations of their own, in every kind of feed."""

import itertools
import json

import jax
import numpy as np
import pytest
from PIL import Image

from genjax import data
from genjax.core import stream_key
from genjax.data.deferred import defer_datasets, record_datasets
from genjax.runner.batches import make_feed
from genjax.sharding import Placement


def numbered(count, channels=1, shift=0):
    """Images whose pixels are their number, plus ``shift``."""
    numbers = np.arange(count, dtype=np.uint8) + np.uint8(shift)
    return np.broadcast_to(numbers[:, None, None, None], (count, 4, 4, channels)).copy()


def numbers(images):
    return np.asarray(images)[..., 0, 0, 0]


def write(folder, names, *, size=(4, 4), shift=0):
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full(size, number + shift, np.uint8)).save(path, lossless=True)


def folders(tmp_path, names_x, names_y, **settings):
    write(tmp_path / "x", names_x)
    write(tmp_path / "y", names_y, shift=100, **settings)
    return tmp_path / "x", tmp_path / "y"


def test_arrays_stay_together_in_every_split():
    pairs = data.paired(numbered(20, 3), numbered(20, shift=100)[..., 0], validation=0.2, test=3, name="toy")
    assert (pairs.name, pairs.levels, pairs.paired) == ("toy", 256, True)
    assert {name: len(source) for name, source in pairs.splits.items()} == {"train": 13, "validation": 4, "test": 3}
    for source in pairs.splits.values():
        batch = source.take(np.arange(len(source)))
        np.testing.assert_array_equal(numbers(batch["y"]), numbers(batch["x"]) + 100)
    assert pairs.spec()["y"].shape == (4, 4, 1)
    assert data.paired(numbered(5) / 255, numbered(5) / 255).levels is None


def test_files_are_matched_by_name(tmp_path):
    """Sorted by whole names, "b-2.png" precedes "b.png", but "b.bmp" precedes "b-2.bmp" nowhere."""
    names = ("deep/b-2.png", "deep/b.png", "other/a.webp")
    others = ("deep/b-2.bmp", "deep/b.tif", "other/a.png")
    x, y = folders(tmp_path, names, others)
    pairs = data.paired(x, y, channels=3, y_channels=1, validation=1)
    assert (pairs.spec()["x"].shape, pairs.spec()["y"].shape, pairs.num_classes) == ((4, 4, 3), (4, 4, 1), None)
    assert {name: len(source) for name, source in pairs.splits.items()} == {"train": 2, "validation": 1}
    for source in pairs.splits.values():
        batch = source.take(np.arange(len(source)))
        np.testing.assert_array_equal(numbers(batch["y"]), numbers(batch["x"]) + 100)


def test_folders_may_hold_splits(tmp_path):
    x, y = folders(tmp_path, ("train/a.png", "train/b.png", "val/a.png"), ("Train/b.png", "Train/a.png", "dev/a.png"))
    pairs = data.paired(x, y)
    assert {name: len(source) for name, source in pairs.splits.items()} == {"train": 2, "validation": 1}
    batch = pairs.splits["train"].take(np.arange(2))
    assert dict(zip(numbers(batch["x"]).tolist(), numbers(batch["y"]).tolist(), strict=True)) == {0: 101, 1: 100}
    with pytest.raises(ValueError, match=r"already has the splits \['train', 'validation'\]; leave validation and"):
        data.paired(x, y, test=1)


def test_sizes_are_those_asked_for(tmp_path):
    x, y = folders(tmp_path, ("a.png", "b.png"), ("a.png", "b.png"), size=(6, 6))
    with pytest.raises(ValueError, match=r"x of 'paired' has size \(4, 4\), but y has \(6, 6\); .*size=\(height"):
        data.paired(x, y)
    pairs = data.paired(x, y, size=(5, 5))
    assert pairs.spec()["x"].shape == pairs.spec()["y"].shape == (5, 5, 3)
    write(x, ("b.png",), size=(3, 3))
    with pytest.raises(ValueError, match=r"b.png has size \(3, 3\), but .*a.png has \(4, 4\); use size="):
        data.paired(x, y)


@pytest.mark.parametrize(
    ("names_x", "names_y", "message"),
    [
        (("a.png", "b.png", "c.png"), ("a.png",), r"x has 3 images, of which 2 have no partner in .*y: 'b', 'c'; add"),
        (("a.png",), ("a.png", "b.png"), r"y has 2 images, of which 1 have no partner in .*x: 'b'; add the partners"),
        (("a.png",), ("b.png",), r"no file of .*x and .*y has the same name \('a', 'b'\); name partners alike"),
        (("a.png", "a.bmp"), ("a.png",), r"a.bmp and .*a.png have one name but for the suffix; rename or remove one"),
        (("train/a.png",), ("train/a.png", "test/a.png"), r"x has the splits \['train'\], but .* has \['test', 'train"),
        (("a.png",), ("a.txt.png", "b.png"), "no file of"),
    ],
)
def test_partners_that_are_missing_are_named(tmp_path, names_x, names_y, message):
    with pytest.raises(ValueError, match=message):
        data.paired(*folders(tmp_path, names_x, names_y))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: data.paired(numbered(3), numbered(4)),
            "x has 3 examples, but y has 4; leave out those without a part",
        ),
        (lambda: data.paired(numbered(3), numbered(3)[:, :2]), r"has size \(4, 4\), but y has \(2, 4\); resize one"),
        (lambda: data.unpaired(numbered(3), numbered(3)[:, :2]), r"has size \(4, 4\), but y has \(2, 4\); resize one"),
        (lambda: data.paired(np.zeros((3, 2)), np.zeros((3, 2))), r"images have shape \(3, 2\), but must have shape"),
        (lambda: data.paired("photos", numbered(3)), "x is a path, but y is an array; give two folders or two arrays"),
        (lambda: data.unpaired(numbered(3), "maps"), "x is an array, but y is a path; give two folders or two arrays"),
        (lambda: data.unpaired(numbered(3), numbered(30), test=3), r"take 0 \+ 3 of 3 examples; leave some for train"),
        (lambda: data.unpaired(numbered(3), numbered(9), test=0.1), r"splits \['train'\], but y has \['test', 'train'"),
        (
            lambda: data.UnpairedSource(data.ArraySource({"x": [1]}), data.ArraySource({"x": [1]})),
            "x and y both have an entry 'x'; rename it in one of them",
        ),
        (
            lambda: data.Dataset(name="d", splits={"train": data.ArraySource({"x": [1]})}, paired=False),
            "paired is False, but the entries of split 'train' of 'd' are shuffled together; make it an UnpairedSource",
        ),
        (
            lambda: data.unpaired(numbered(3) / 255, np.full((3, 4, 4, 1), np.nan)),
            "y of split 'train' holds 48 non-finite values, first at index 0",
        ),
    ],
)
def test_what_does_not_fit_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_missing_and_empty_folders_are_named(tmp_path):
    (tmp_path / "empty").mkdir()
    write(tmp_path / "x", ("a.png",))
    for open_dataset in (data.paired, data.unpaired):
        with pytest.raises(FileNotFoundError, match=r"no folder .*none; check the path"):
            open_dataset(tmp_path / "x", tmp_path / "none")
        with pytest.raises(ValueError, match=r"no .png or .* files in .*empty; check the path"):
            open_dataset(tmp_path / "x", tmp_path / "empty")


def test_an_npz_of_pairs_is_read_and_labels_stay_labels(tmp_path):
    np.savez(tmp_path / "pairs.npz", x=numbered(6, 3), y=numbered(6, shift=100)[..., 0])
    pairs = data.npz(tmp_path / "pairs.npz", test=2)
    batch = pairs.splits["test"].take(np.arange(2))
    assert (batch["y"].shape, numbers(batch["y"]).tolist(), pairs.num_classes) == ((2, 4, 4, 1), [104, 105], None)
    np.savez(tmp_path / "both.npz", x_train=numbered(6), y_train=numbered(6), label_train=np.arange(6) % 2)
    assert sorted(data.npz(tmp_path / "both.npz").spec()) == ["label", "x", "y"]
    np.savez(tmp_path / "wide.npz", x=numbered(6), y=np.zeros((6, 2), int))
    with pytest.raises(ValueError, match=r"label is int64\[6, 2\], but must be integers of shape \(N,\)"):
        data.npz(tmp_path / "wide.npz")
    with pytest.raises(ValueError, match=r"label is uint8\[6, 4, 4\], but must be integers"):
        data.npz(tmp_path / "pairs.npz", label="y")


def test_two_folders_of_different_sizes(tmp_path):
    x, y = folders(tmp_path, [f"{i}.png" for i in range(4)], [f"{i}.png" for i in range(10)])
    toy = data.unpaired(x, y, channels=1, y_channels=3, test=0.5)
    assert not toy.paired
    assert {name: (len(s.x), len(s.y), len(s)) for name, s in toy.splits.items()} == {
        "train": (2, 5, 2),
        "test": (2, 5, 2),
    }
    assert (toy.spec()["x"].shape, toy.spec()["y"].shape) == ((4, 4, 1), (4, 4, 3))


def unpaired_sources():
    """The same two sets of 7 and 10 examples: in memory, one in memory and one on disk, both on disk."""
    x, y = data.ArraySource({"x": numbered(7)}), data.ArraySource({"y": numbered(10, shift=100)})
    records = [
        data.RecordSource([{name: array[i] for name, array in s.arrays.items()} for i in range(len(s))]) for s in (x, y)
    ]
    return [data.UnpairedSource(x, y), data.UnpairedSource(x, records[1]), data.UnpairedSource(*records)]


def test_evaluation_reads_fixed_pairs():
    for source in unpaired_sources():
        assert (len(source), source.resident) == (7, False)
        batch = source.take(np.array([2, 6]))
        np.testing.assert_array_equal(numbers(batch["x"]), [2, 6])
        np.testing.assert_array_equal(numbers(batch["y"]), [102, 106])


def test_each_set_runs_through_its_own_permutations():
    """Positions of a stream of 70 examples are 10 epochs of x and 7 of y."""
    batches = list(data.stream(unpaired_sources()[0], jax.random.key(3), batch_size=7, num_steps=10, num_threads=0))
    x, y = (np.concatenate([numbers(batch[name]) for batch in batches]) for name in ("x", "y"))
    np.testing.assert_array_equal(np.sort(x.reshape(10, 7)), np.tile(np.arange(7), (10, 1)))
    np.testing.assert_array_equal(np.sort(y.reshape(7, 10)), np.tile(np.arange(100, 110), (7, 1)))
    assert len({(a, b) for a, b in zip(x.tolist(), y.tolist(), strict=True)}) > 35  # of 70 pairs; 7 if pairs were kept
    expected = data.shuffle_indices(stream_key(jax.random.key(3), "y"), np.arange(70), 10)
    np.testing.assert_array_equal(y, 100 + expected)


@pytest.mark.parametrize("seeds", [1, 2])
@pytest.mark.parametrize("minibatches", [1, 3])
def test_every_feed_sends_the_same_batches_from_any_step(seeds, minibatches):
    keys = list(jax.random.split(jax.random.key(0), seeds))

    def sent(source, *parts):
        """Return the batches that a feed makes of some first steps and numbers of steps."""
        feed = make_feed(source, keys, 6, minibatches, Placement())
        pick = jax.vmap(feed.pick, (None, 0))
        pick = pick if seeds == 1 else jax.vmap(pick, (None, 0))
        return [jax.tree.map(np.asarray, pick(feed.constants, feed.send(*part))) for part in parts]

    shape = (*([seeds] if seeds > 1 else []), 4, *([minibatches] if minibatches > 1 else []), 6, 4, 4, 1)
    whole = [sent(source, (2, 4))[0] for source in unpaired_sources()]
    for batch in whole:
        assert batch["x"].shape == batch["y"].shape == shape
        for name in ("x", "y"):
            np.testing.assert_array_equal(batch[name], whole[0][name])
    axis = 0 if seeds == 1 else 1
    for source in unpaired_sources():
        parts = sent(source, (2, 1), (3, 3))
        for name in ("x", "y"):
            np.testing.assert_array_equal(np.concatenate([p[name] for p in parts], axis=axis), whole[0][name])


def test_shards_of_a_stream_make_up_the_whole():
    source = unpaired_sources()[2]
    settings = {"batch_size": 6, "start_step": 1, "num_steps": 3, "num_threads": 1}
    whole = data.stream(source, jax.random.key(4), **settings)
    shards = [data.stream(source, jax.random.key(4), shard=(i, 2), **settings) for i in range(2)]
    for batch, *parts in zip(whole, *shards, strict=True):
        for name in ("x", "y"):
            np.testing.assert_array_equal(np.concatenate([part[name] for part in parts]), batch[name])


def test_streams_are_endless_and_check_each_set():
    batches = data.stream(unpaired_sources()[2], jax.random.key(0), batch_size=7)
    assert len(list(itertools.islice(batches, 5))) == 5
    with pytest.raises(ValueError, match="batch_size is 8, but there are 7 examples"):
        data.stream(unpaired_sources()[2], jax.random.key(0), batch_size=8)


def test_a_data_set_says_that_it_is_unpaired_before_it_is_opened():
    def make():
        return data.unpaired(numbered(7), numbered(10), test=2)

    with record_datasets() as descriptions:
        make()
    with defer_datasets(json.loads(json.dumps(descriptions))):
        toy = make()
    assert not toy.paired
    assert type(toy.splits["train"]).__name__ == "DeferredSource"
    np.testing.assert_array_equal(toy.splits["test"].take(np.arange(2))["y"], numbered(10)[8:])


def test_train_may_be_unpaired_and_test_paired():
    splits = {"train": unpaired_sources()[2], "test": data.ArraySource({"x": numbered(3), "y": numbered(3)})}
    toy = data.Dataset(name="toy", splits=splits, levels=256)
    assert not toy.paired
    assert str(toy.values) == "256 values from 0 to 255"
    assert str(data.unpaired(numbered(3) / 255, numbered(3)).values) == f"numbers from 0 to {2 / 255:g}"
