"""Sources, and the errors of data sets, which name the entry."""

import jax
import numpy as np
import pytest

from genjax import data
from genjax.data.source import select


def dataset(**splits):
    return data.Dataset(name="toy", splits={name: data.ArraySource(arrays) for name, arrays in splits.items()})


def test_array_source():
    source = data.ArraySource({"x": np.arange(12.0).reshape(4, 3), "label": np.arange(4)})
    assert isinstance(source, data.Source)
    assert source.resident
    assert len(source) == 4
    assert source.spec == {"x": jax.ShapeDtypeStruct((3,), np.float32), "label": jax.ShapeDtypeStruct((), np.int32)}
    batch = source.take(np.array([3, 0]))
    np.testing.assert_array_equal(batch["x"], [[9, 10, 11], [0, 1, 2]])
    np.testing.assert_array_equal(batch["label"], [3, 0])


def test_large_arrays_are_not_resident():
    row = np.zeros((1, 2**20), np.uint8)
    assert data.ArraySource({"x": np.broadcast_to(row, (2048, 2**20))}).resident
    assert not data.ArraySource({"x": np.broadcast_to(row, (2049, 2**20))}).resident


def test_record_source_and_materialize():
    source = data.RecordSource([{"value": i} for i in range(700)], lambda r: {"x": np.full(2, r["value"], np.float64)})
    assert isinstance(source, data.Source)
    assert not source.resident
    assert source.spec == {"x": jax.ShapeDtypeStruct((2,), np.float32)}
    np.testing.assert_array_equal(source.take(np.array([5, 2]))["x"], [[5, 5], [2, 2]])
    whole = data.materialize(source)
    np.testing.assert_array_equal(whole.arrays["x"][:, 1], np.arange(700))
    assert data.materialize(whole) is whole


def test_bulk_reading_is_used():
    class Bulk(list):
        def __getitems__(self, indices):
            assert all(type(i) is int for i in indices)
            return [{"x": 10 * i} for i in indices]

    source = data.RecordSource(Bulk([{"x": 0}] * 9))
    np.testing.assert_array_equal(source.take(np.array([4, 7]))["x"], [40, 70])
    np.testing.assert_array_equal(select(source, np.array([8, 4, 7])).take(np.array([0, 2]))["x"], [80, 70])


def test_select():
    source = data.ArraySource({"x": np.arange(10)})
    np.testing.assert_array_equal(select(source, np.arange(2, 5)).arrays["x"], [2, 3, 4])
    assert np.shares_memory(select(source, np.arange(2, 5)).arrays["x"], source.arrays["x"])
    np.testing.assert_array_equal(select(source, np.array([7, 1])).arrays["x"], [7, 1])


def test_spec_of_splits():
    toy = dataset(train={"x": np.zeros((5, 3))}, test={"x": np.zeros((2, 3))})
    assert toy.spec("test") == toy.spec() == {"x": jax.ShapeDtypeStruct((3,), np.float32)}
    with pytest.raises(ValueError, match=r"'toy' has no split 'validation'; it has \['test', 'train'\]"):
        toy.spec("validation")


def with_nans():
    x = np.zeros((40, 2), np.float32)
    x[17, 1] = np.nan
    x[20] = np.inf
    return x


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: data.ArraySource({}), "arrays is empty"),
        (lambda: data.ArraySource({"x": np.zeros(3), "label": np.zeros(2, int)}), r"\{'x': 3, 'label': 2\}"),
        (lambda: data.ArraySource({"x": np.array(["a"])}), "x has dtype <U1"),
        (lambda: data.ArraySource({"x": np.array([None])}), "x has dtype object"),
        (lambda: data.ArraySource({"x": np.float32(3)}), "x is the single number 3"),
        (lambda: data.ArraySource({"x": np.array([2**40])}), "x holds 1099511627776"),
        (
            lambda: dataset(train={"x": with_nans()}),
            "x of split 'train' holds 3 non-finite values, first at index 17; remove or replace",
        ),
        (
            lambda: dataset(train={"x": np.zeros((3, 2))}, test={"x": with_nans()[:19]}),
            "x of split 'test' holds 1 non-finite value, first at index 17",
        ),
        (lambda: dataset(train={"x": np.array([1e300])}), "x of split 'train' holds 1 non-finite value"),
        (lambda: dataset(test={"x": np.zeros(3)}), r"no split 'train', only \['test'\]"),
        (lambda: dataset(train={"x": np.zeros(3)}, val={"x": np.zeros(3)}), "split 'val'; call it 'validation'"),
        (lambda: dataset(train={"x": np.zeros(3)}, test={"x": np.zeros(0)}), "split 'test' of 'toy' is empty"),
        (lambda: dataset(train={"x": np.zeros(3)}, test={"x": np.zeros((3, 2))}), r"float32\[2\].*float32\[\]"),
        (lambda: dataset(train={"x": np.zeros(3)}, test={"y": np.zeros(3)}), "'y'.*'x'"),
        (
            lambda: data.arrays(np.arange(18, dtype=np.uint8), levels=17),
            "x of split 'train' holds 0 … 17, but levels=17",
        ),
        (lambda: data.arrays(np.zeros(4), levels=17), "x of 'arrays' is float32, but levels=17 is for integers"),
        (lambda: data.arrays(np.zeros(4), label=[0, 1, -1, 0]), "label of split 'train' holds -1"),
        (lambda: data.arrays(np.zeros(4), label=[0.5, 1, 1, 0]), r"label is float64\[4\]"),
        (
            lambda: data.Dataset(name="r", splits={"train": data.RecordSource([{"x": np.nan}])}),
            "x of split 'train' holds 1 non-finite value, first at index 0",
        ),
    ],
)
def test_refused_by_name(make, message):
    with pytest.raises(ValueError, match=message) as error:
        make()
    assert "\n" not in str(error.value)


def test_streamed_values_are_checked_when_they_are_read():
    records = [{"x": np.float32(i), "label": i % 3} for i in range(8)] + [{"x": np.float32("nan"), "label": 3}]
    toy = data.Dataset(name="toy", splits={"train": data.RecordSource(records)}, num_classes=3)
    assert toy.splits["train"].take(np.arange(8))["label"].max() == 2
    with pytest.raises(ValueError, match="x of split 'train' holds 1 non-finite value, first at index 8; remove"):
        toy.splits["train"].take(np.array([2, 8]))
    toy = data.Dataset(name="toy", splits={"train": data.RecordSource(records)}, class_names=("a", "b", "c"))
    records[8]["x"] = np.float32(0)
    with pytest.raises(ValueError, match="label of split 'train' holds 1 … 3, but num_classes=3 allows 0 … 2"):
        toy.splits["train"].take(np.array([4, 8]))


def test_numbers_that_float32_would_merge_are_refused():
    seconds = 1.7e9 + np.arange(256.0)
    for x in (seconds, np.stack([np.zeros(256), seconds], axis=1), seconds.reshape(1, 16, 16, 1)):
        with pytest.raises(
            ValueError, match=r"x holds numbers from 1700000000.0 to 1700000255.0, .* subtract 1700000000"
        ):
            data.arrays(x)
    for x in (seconds - 1.7e9, 2.0**24 + np.arange(0, 256, 2.0), np.full(256, 0.1) + 1e-17, np.random.rand(256)):
        assert data.arrays(x).spec()["x"].dtype == np.float32


def test_names_of_classes_go_with_their_number():
    splits = {"train": data.ArraySource({"x": np.zeros(2), "label": np.arange(2)})}
    toy = data.Dataset(name="toy", splits=splits, class_names=("a", "b"))
    assert (toy.num_classes, [toy.class_name(label) for label in range(3)]) == (2, ["a", "b", "2"])
    with pytest.raises(
        ValueError, match="class_names of 'toy' has 2 names, but num_classes=3; give one name per class"
    ):
        data.Dataset(name="toy", splits=splits, class_names=("a", "b"), num_classes=3)
    assert data.bundled("iris").class_names == ("setosa", "versicolor", "virginica")


def test_a_data_set_keeps_the_tokenizers_of_its_conditions():
    arrays = {"x": np.zeros((2, 3), np.float32), "caption": np.array([[0, 1], [2, 1]])}
    splits = {"train": data.ArraySource(arrays)}
    tokenizer = data.Characters("abc")
    dataset = data.Dataset(name="captioned", splits=splits, condition_tokenizers={"caption": tokenizer})
    assert (
        dataset.condition_tokenizers["caption"].decode(dataset.splits["train"].take(np.array([1]))["caption"][0])
        == "cb"
    )
    assert data.digits().condition_tokenizers == {}
    with pytest.raises(
        ValueError, match=r"condition_tokenizers has 'text', but the conditions of 'c' are \['caption'\]"
    ):
        data.Dataset(name="c", splits=splits, condition_tokenizers={"text": tokenizer})
    with pytest.raises(ValueError, match=r"holds 0 … 2, but num_tokens=2 allows 0 … 1"):
        data.Dataset(name="c", splits=splits, condition_tokenizers={"caption": data.Characters("ab")})
