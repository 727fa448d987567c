"""Texts: tokens decode to their text, validation data stay out of training, and errors name the file."""

import gzip
import os
import subprocess
import sys
import sysconfig

import numpy as np
import pytest
import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st

from genjax import data
from genjax.data import bpe

PROPERTY = settings(deadline=None, max_examples=50, derandomize=True, database=None)
VERSE = "the cat and the hat, the bat and the rat; " * 8 + "naïve 🍌\n\tdef f(x):\r\n        return x\x00\n" * 4
PIECES = data.BPE.train(VERSE, num_tokens=280)


def decoded(dataset, split):
    """Return the texts of the examples of a split."""
    return [dataset.tokenizer.decode(row) for row in dataset.splits[split].arrays["x"]]


def write(path, content):
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


class TestTokenizers:
    @pytest.mark.parametrize("tokenizer", [data.Bytes(), PIECES], ids=repr)
    @given(text=st.text(max_size=40) | st.text("the cat\n\r\t\x00🍌'1", max_size=40))
    @settings(PROPERTY, max_examples=200)
    def test_any_text_comes_back_and_its_bytes_are_counted(self, tokenizer, text):
        tokens = tokenizer.encode(text)
        assert tokens.dtype == np.int32
        assert tokenizer.decode(tokens) == text
        assert tokenizer.num_bytes[tokens].sum() == len(text.encode())

    @given(vocabulary=st.lists(st.characters(), min_size=1, max_size=20, unique=True), draw=st.data())
    @PROPERTY
    def test_characters_of_any_vocabulary(self, vocabulary, draw):
        text = draw.draw(st.text(vocabulary, max_size=20))
        characters = data.Characters("".join(vocabulary))
        tokens = characters.encode(text)
        assert tokens.tolist() == [vocabulary.index(character) for character in text]
        assert characters.decode(tokens) == text
        assert characters.num_bytes[tokens].sum() == len(text.encode())

    @pytest.mark.parametrize("tokenizer", [data.Bytes(), data.Characters("abc"), PIECES], ids=repr)
    @pytest.mark.parametrize("token", [-1, 300])
    def test_a_token_outside_the_vocabulary_is_named(self, tokenizer, token):
        with pytest.raises(ValueError, match=f"tokens holds {token}, but the vocabulary is 0 … "):
            tokenizer.decode([0, token])

    def test_a_character_outside_the_vocabulary_is_named(self):
        with pytest.raises(ValueError, match="'z' is not among the 3 characters of the vocabulary, 'acb'"):
            data.Characters("acb").encode("abzy")

    def test_all_are_tokenizers(self):
        assert all(isinstance(t, data.Tokenizer) for t in (data.Bytes(), data.Characters("a"), PIECES))


class TestBPE:
    def test_the_most_frequent_pair_comes_first(self):
        learned = data.BPE.train("banana", num_tokens=257)
        assert [learned.decode([token]) for token in learned.encode("banana")] == ["b", "an", "an", "a"]
        assert learned.encode("an").tolist() == [256]
        assert data.BPE.train(["ban", "ana"], num_tokens=257).encode("an").tolist() == [256]

    @given(text=st.text("ab1 .\n\r\t'é", max_size=60))
    @settings(PROPERTY, max_examples=200)
    def test_pieces_that_the_library_gets_change_nothing(self, text):
        whole = PIECES.encode(text)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(bpe, "PIECE", 3)
            assert "".join(bpe._pieces(text)) == text
            np.testing.assert_array_equal(PIECES.encode(text), whole)

    def test_another_process_learns_the_same(self):
        code = f"from genjax import data; print(data.BPE.train({VERSE!r}, num_tokens=280).definition)"
        environment = {**os.environ, "PYTHONHASHSEED": "7", "TOKENIZERS_PARALLELISM": "false"}
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, env=environment)
        assert other.stdout.decode().rstrip("\n") == PIECES.definition

    def test_files(self, tmp_path):
        PIECES.save(tmp_path / "tokenizer.json")
        assert data.BPE.load(tmp_path / "tokenizer.json") == PIECES
        assert repr(PIECES) == "BPE(num_tokens=280)"
        with pytest.raises(FileNotFoundError, match="no file"):
            data.BPE.load(tmp_path / "vocab.json")
        with pytest.raises(ValueError, match=r"cannot use .*words\.json: the definition is not that of a tokenizer"):
            data.BPE.load(write(tmp_path / "words.json", b"{}"))

    def test_files_of_others(self, tmp_path):
        """Tokenizers of other libraries may truncate, pad, or add special tokens."""
        theirs = tokenizers.Tokenizer.from_str(PIECES.definition)
        theirs.add_special_tokens(["<|end of téxt|>"])
        theirs.enable_truncation(2)
        theirs.enable_padding(length=9)
        theirs.save(str(tmp_path / "theirs.json"))
        tokenizer = data.BPE.load(tmp_path / "theirs.json")
        text = "the cat<|end of téxt|>🍌"
        tokens = tokenizer.encode(text)
        assert (tokenizer.num_tokens, 280 in tokens, tokenizer.decode(tokens)) == (281, True, text)
        assert tokenizer.num_bytes[tokens].sum() == len(text.encode())

    def test_bytes_without_tokens(self):
        words = tokenizers.Tokenizer(tokenizers.models.BPE({"a": 0, "b": 1}, []))
        with pytest.raises(ValueError, match="254 of the 256 bytes have no token"):
            data.BPE(words.to_str())

    @pytest.mark.parametrize(
        ("num_tokens", "message"),
        [
            (255, "num_tokens is 255, but must be at least 256: one for each byte"),
            (9000, r"must be at most \d+: no other pair occurs twice"),
        ],
    )
    def test_numbers_of_tokens_that_cannot_be(self, num_tokens, message):
        with pytest.raises(ValueError, match=message):
            data.BPE.train(VERSE, num_tokens=num_tokens)

    def test_without_the_library(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "tokenizers", None)
        with pytest.raises(ImportError, match=r'pip install "genjax-models\[bpe\]"'):
            data.BPE.train(VERSE, num_tokens=280)


class TestText:
    def test_pieces_are_learned_from_the_training_part_alone(self, tmp_path):
        path = write(tmp_path / "halves.txt", b"xyxy " * 100 + b"uvuv " * 100)
        dataset = data.load(path, tokenizer="bpe", num_tokens=258, length=5, validation=0.5)
        assert dataset.tokenizer == data.BPE.train("xyxy " * 100, num_tokens=258)
        assert (dataset.levels, dataset.spec()["x"].dtype) == (258, np.int32)
        assert "".join(decoded(dataset, "validation")) == "uvuv " * 100  # a byte is a token there
        assert len(dataset.splits["train"]) < len(dataset.splits["validation"]) / 2

    def test_a_tokenizer_of_ones_own(self, tmp_path):
        path = write(tmp_path / "verse.txt.gz", VERSE.encode())
        dataset = data.text(path, tokenizer=PIECES, length=7, validation=0)
        assert dataset.tokenizer is PIECES
        assert VERSE.startswith(PIECES.decode(dataset.splits["train"].arrays["x"].ravel()))
        same = data.text(path, tokenizer=data.Bytes(), length=7, validation=0)
        assert (same.levels, same.spec()["x"].dtype) == (256, np.uint8)

    @pytest.mark.parametrize(
        ("keywords", "message"),
        [
            ({"tokenizer": "bpe"}, "tokenizer is 'bpe', but num_tokens is missing"),
            ({"num_tokens": 300}, "num_tokens is 300, but only tokenizer='bpe' uses it"),
            (
                {"tokenizer": "words"},
                "tokenizer is 'words', but must be 'bytes', 'characters', 'bpe' or a Tokenizer",
            ),
        ],
    )
    @pytest.mark.parametrize("open_set", [data.text, data.lines, lambda _, **keywords: data.stdlib(**keywords)])
    def test_bad_choices(self, tmp_path, open_set, keywords, message):
        with pytest.raises(ValueError, match=message):
            open_set(write(tmp_path / "a.txt", b"abc\ndef\n" * 9), **{"tokenizer": "bytes"} | keywords)

    @pytest.mark.parametrize("open_set", [data.text, data.lines])
    def test_bad_files(self, tmp_path, open_set):
        with pytest.raises(ValueError, match=r"none\.txt is empty; there is nothing to learn from"):
            open_set(write(tmp_path / "none.txt", b""))
        with pytest.raises(ValueError, match=r"none\.txt\.gz is empty"):
            open_set(write(tmp_path / "none.txt.gz", b""))
        latin = write(tmp_path / "latin.txt", "a\nnaïve\n".encode("latin-1"))
        for tokenizer in ("characters", PIECES):
            with pytest.raises(ValueError, match="not UTF-8 at byte 4; convert it, or use tokenizer='bytes'"):
                open_set(latin, tokenizer=tokenizer)
        with pytest.raises(FileNotFoundError, match="no file"):
            open_set(tmp_path / "nowhere.txt")


class TestLines:
    def test_lines_end_and_are_filled_up(self, tmp_path):
        path = write(tmp_path / "names.txt.gz", "bo\r\n\nadaé\nb\n\r\n".encode())
        dataset = data.lines(path, validation=0)
        assert dataset.tokenizer == data.Characters("\nabdoé")
        assert (dataset.name, dataset.levels, data.end_of_line(dataset)) == ("names", 6, 0)
        np.testing.assert_array_equal(
            dataset.splits["train"].arrays["x"], np.array([[2, 4, 0, 0, 0], [1, 3, 1, 5, 0], [2, 0, 0, 0, 0]], np.uint8)
        )
        longer = data.load(f"lines:{path}", tokenizer="bytes", validation=0, length=8)
        assert [bytes(row) for row in longer.splits["train"].arrays["x"]] == [
            line.encode().ljust(8, b"\n") for line in ("bo", "adaé", "b")
        ]

    def test_splits_are_evenly_spaced_so_that_sorted_lines_keep_their_shares(self, tmp_path):
        path = write(tmp_path / "sorted.txt", "\n".join(f"{i:03d}" for i in range(100)).encode())
        dataset = data.lines(path, validation=10, test=0.2)
        numbers = {split: np.array([int(text) for text in decoded(dataset, split)]) for split in dataset.splits}
        assert {split: len(some) for split, some in numbers.items()} == {"train": 70, "validation": 10, "test": 20}
        assert sorted(np.concatenate(list(numbers.values()))) == list(range(100))
        assert all(abs(some.mean() - 49.5) < 2 for some in numbers.values())

    def test_pieces_lie_within_lines(self, tmp_path):
        path = write(tmp_path / "lines.txt", b"ab\nab\n" * 30 + b"\xc3\xa9\n")
        dataset = data.lines(path, tokenizer="bpe", num_tokens=257, validation=0)
        assert set(decoded(dataset, "train")) == {"ab\n\n", "é\n"}
        assert [len(row) for row in dataset.splits["train"].arrays["x"][:1]] == [3]
        with pytest.raises(ValueError, match=r"num_tokens is 258, but must be at most 257"):
            data.lines(path, tokenizer="bpe", num_tokens=258, validation=0)  # none with an end in it

    def test_bytes_that_are_no_text(self, tmp_path):
        dataset = data.lines(write(tmp_path / "raw.txt", b"\xff\xfe\n\x80\n"), tokenizer="bytes", validation=0)
        assert [bytes(row) for row in dataset.splits["train"].arrays["x"]] == [b"\xff\xfe\n", b"\x80\n\n"]

    def test_bad_lines(self, tmp_path):
        path = write(tmp_path / "lines.txt", b"a\n\nabc\nabcd\n")
        with pytest.raises(ValueError, match=r"length is 3, .* but line 3 of .* has 3 tokens; use length=5"):
            data.lines(path, length=3)
        with pytest.raises(ValueError, match="has only empty lines"):
            data.lines(write(tmp_path / "blank.txt", b"\n\r\n\n"))
        with pytest.raises(ValueError, match=r"'\\n' is not among the 4 characters"):
            data.lines(path, tokenizer=data.Characters("abcd"))
        with pytest.raises(ValueError, match="'digits' has no tokenizer"):
            data.end_of_line(data.digits())


class TestStandardLibrary:
    @pytest.fixture
    def library(self, tmp_path, monkeypatch):
        for name in ("a.py", "b.py", "site-packages/c.py", "d/tests/e.py", "d/f.py", "d/g.txt", "z.py"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            write(tmp_path / name, f"# {name}\n".encode())
        write(tmp_path / "z.py", b"# \xff, which is no UTF-8")
        monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
        return tmp_path

    def test_validation_is_other_files(self, library):
        dataset = data.stdlib(tokenizer="characters", length=7, validation=1)
        assert decoded(dataset, "validation") == ["# b.py\n"]
        assert "".join(decoded(dataset, "train")) == "# a.py\n# d/f.py\n"[:14]

    def test_an_interpreter_without_sources(self, library):
        for path in library.rglob("*.py"):
            path.unlink()
        with pytest.raises(FileNotFoundError, match=r"no sources of the standard library in .*; use an interpreter"):
            data.stdlib()

    def test_that_of_this_interpreter(self):
        dataset = data.load("stdlib", length=100)
        assert "stdlib" in data.names()
        assert all(len(dataset.splits[split]) > 1000 for split in ("train", "validation"))
        assert "import" in " ".join(data.Bytes().decode(row) for row in dataset.splits["train"].arrays["x"][:1000])
