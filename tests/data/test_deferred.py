"""Data that have changed since training are told, and refused where their values mean something else."""

import json
import warnings

import numpy as np
import pytest

from genjax import data
from genjax.data.deferred import defer_datasets, record_datasets


def open_text(text, tmp_path):
    (tmp_path / "verse.txt").write_text(text)
    return data.text(tmp_path / "verse.txt", length=8, stride=1, tokenizer="characters")


def recorded(open_dataset):
    with record_datasets() as descriptions:
        open_dataset()
    return json.loads(json.dumps(descriptions))


def test_the_same_data_pass_in_silence():
    x = np.arange(60, dtype=np.uint8).reshape(20, 3)
    with defer_datasets(recorded(lambda: data.arrays(x, test=5))):
        dataset = data.arrays(x, test=5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(
            dataset.splits["test"].take(np.arange(5))["x"], dataset.splits["test"].arrays["x"]
        )


@pytest.mark.parametrize("change", [lambda x: x[:-1], lambda x: x + 1], ids=["fewer", "other"])
def test_other_examples_are_told(change):
    x = np.arange(60, dtype=np.uint8).reshape(20, 3)
    with defer_datasets(recorded(lambda: data.arrays(x))):
        dataset = data.arrays(change(x))
    with pytest.warns(UserWarning, match=r"examples of split 'train' of '.*' have changed since training"):
        dataset.splits["train"].take(np.arange(2))


def test_a_text_in_another_alphabet_is_refused_and_the_old_alphabet_is_kept(tmp_path):
    descriptions = recorded(lambda: open_text("to be or not to be " * 9, tmp_path))
    with defer_datasets(descriptions):
        dataset = open_text("the question is another " * 9, tmp_path)
    assert dataset.tokenizer.decode(dataset.tokenizer.encode("to be")) == "to be"
    with pytest.raises(ValueError, match=r"data set '.*' has changed since training: its levels was 7, but is"):
        dataset.splits["train"].take(np.arange(2))
