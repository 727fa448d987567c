"""Words and their tokens, captions of classes, and pairs of digits with held-out compositions."""

import json

import numpy as np
import pytest

from genjax import data
from genjax.data.captions import CORNERS, RELATIONS, held_out, parts_of
from genjax.data.deferred import defer_datasets, record_datasets

WORDS = data.Words("a above boot digits t two , -")


@pytest.fixture(scope="module")
def pairs():
    return data.digit_pairs(num_train=2_000)


def named(label, names=("Trouser", "Ankle boot", "T-shirt")):
    source = data.ArraySource({"x": np.zeros((len(label), 2, 2, 1), np.uint8), "label": np.asarray(label)})
    return data.Dataset(name="clothes", splits={"train": source}, class_names=names)


class TestWords:
    def test_texts_and_tokens(self):
        tokens = WORDS.encode("Two digits, above a T-boot")
        np.testing.assert_array_equal(tokens, [6, 4, 7, 2, 1, 5, 8, 3])
        assert WORDS.decode([*tokens, 0, 0]) == "two digits, above a t - boot"
        assert (WORDS.num_tokens, WORDS.num_bytes.tolist()) == (9, [0, 1, 5, 4, 6, 1, 3, 1, 1])
        assert WORDS.encode("").size == 0

    def test_the_vocabulary_of_texts(self):
        assert data.Words.of(["two boots", "a boot, two"]).vocabulary == ", a boot boots two"

    def test_unknown_words_are_named(self):
        with pytest.raises(
            ValueError, match=r"'red', 'cats' are not among the 8 words of the vocabulary: a above boot"
        ):
            WORDS.encode("two red cats above a red boot")
        with pytest.raises(ValueError, match=r"'red' is not among"):
            WORDS.encode("a red boot")

    @pytest.mark.parametrize("vocabulary", ["", "a a", "A", "a  b"])
    def test_wrong_vocabularies(self, vocabulary):
        with pytest.raises(ValueError, match="must be words in lower case, separated by spaces"):
            data.Words(vocabulary)

    def test_a_word_with_a_mark_is_several(self):
        with pytest.raises(ValueError, match=r"vocabulary has 't-shirt', which is \['t', '-', 'shirt'\]"):
            data.Words("t-shirt")


class TestCaptions:
    def test_they_are_those_of_the_class(self):
        dataset = data.captioned(named([0, 1, 2, 1] * 20))
        tokenizer, arrays = dataset.condition_tokenizers["prompt"], dataset.splits["train"].arrays
        texts = {
            label: {tokenizer.decode(row) for row in arrays["prompt"][arrays["label"] == label]} for label in range(3)
        }
        assert texts == {
            0: {"a photo of a trouser", "trouser"},
            1: {"a photo of an ankle boot", "ankle boot"},
            2: {"a photo of a t - shirt", "t - shirt"},
        }
        assert arrays["prompt"].shape == (80, 7)
        assert (dataset.name, dataset.class_names[1]) == ("clothes_captioned", "Ankle boot")

    def test_what_they_need(self):
        unlabelled = data.arrays(np.zeros((3, 2, 2, 1), np.uint8))
        with pytest.raises(ValueError, match="captions need 'label'"):
            data.captioned(unlabelled)
        with pytest.raises(ValueError, match=r"must have \{name\} or \{a_name\}"):
            data.captioned(named([0]), ("a photo",))


class TestPairs:
    def test_a_canvas_shows_two_digits_of_its_split_where_the_caption_says(self, pairs):
        digits = data.digits().splits
        for split in ("train", "test"):
            arrays, known = pairs.splits[split].arrays, digits[split].arrays
            images = {image.tobytes(): label for image, label in zip(known["x"], known["label"], strict=True)}
            for x, label in zip(arrays["x"][::97], arrays["label"][::97].tolist(), strict=True):
                relation, pair = parts_of(label)
                corners = CORNERS[relation]
                crops = [x[top : top + 8, left : left + 8] for top, left in corners]
                assert tuple(images[np.ascontiguousarray(crop).tobytes()] for crop in crops) == pair
                assert x.sum() == sum(int(crop.sum()) for crop in crops)

    def test_captions_have_four_forms_of_each_composition(self, pairs):
        arrays, tokenizer = pairs.splits["train"].arrays, pairs.condition_tokenizers["prompt"]
        a_b, b_a = "3 left of 7", "7 right of 3"
        expected = {a_b, b_a, "a 3 left of a 7", "two digits, 3 left of 7"}
        rows = arrays["prompt"][arrays["label"] == 137]
        assert {tokenizer.decode(row) for row in rows} <= expected
        everything = {tokenizer.decode(row) for row in arrays["prompt"]}
        assert len(everything & {"1 above 3", "3 below 1", "a 1 above a 3", "two digits, 1 above 3"}) >= 2

    def test_a_fifth_of_the_compositions_is_held_out_but_no_digit_in_any_place(self, pairs):
        everything = np.arange(200)
        assert held_out(everything).reshape(2, 100).sum(axis=1).tolist() == [20, 20]
        trained = everything[~held_out(everything)]
        for split in ("train", "validation"):
            assert set(pairs.splits[split].arrays["label"].tolist()) <= set(trained.tolist())
        shown = {
            (relation, place, pair[place]) for relation, pair in map(parts_of, trained.tolist()) for place in (0, 1)
        }
        assert len(shown) == len(RELATIONS) * 2 * 10
        np.testing.assert_array_equal(np.bincount(pairs.splits["test"].arrays["label"]), 10)

    def test_sampling_needs_no_examples(self):
        with record_datasets() as descriptions:
            data.digit_pairs(num_train=10)
        with defer_datasets(json.loads(json.dumps(descriptions))):
            dataset = data.digit_pairs(num_train=10)
        assert dataset.condition_tokenizers["prompt"].decode([12, 5]) == "a 3"
        assert len(dataset.splits["train"]) == 10
