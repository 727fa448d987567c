"""Images with captions, which are generated from what is known of the images.

A caption is the entry ``prompt`` of an example: tokens of words, int32 (L,), padded with token 0 to the length of the
longest caption.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from genjax.arguments import PositiveInt
from genjax.data.bundled import digits
from genjax.data.dataset import Dataset
from genjax.data.deferred import opens_dataset
from genjax.data.source import ArraySource, materialize
from genjax.data.tokenizers import Words

NUM_DIGITS, SIDE = 10, 8
RELATIONS = ("above", "left of")
TEMPLATES = {
    "above": ("{a} above {b}", "{b} below {a}", "a {a} above a {b}", "two digits, {a} above {b}"),
    "left of": ("{a} left of {b}", "{b} right of {a}", "a {a} left of a {b}", "two digits, {a} left of {b}"),
}
CORNERS = {"above": ((0, 4), (8, 4)), "left of": ((4, 0), (4, 8))}  # row and column of both digits, by relation


@opens_dataset
def captioned(
    dataset: Dataset, templates: Sequence[str] = ("a photo of {a_name}", "{name}"), *, seed: int = 0
) -> Dataset:
    """Add captions of the classes to a data set with labels.

    Args:
      dataset: data set with ``label``, and names of its classes, or else their numbers.
      templates: captions with ``{name}``, the name of the class in lower case, or ``{a_name}``, the name after "a" or
        "an". Each example has one of them, drawn at random.
      seed: seed of the choice of templates.

    >>> shirts = Dataset(
    ...     name="shirts",
    ...     splits={"train": ArraySource({"x": np.zeros((1, 8, 8, 1), np.uint8), "label": [1]})},
    ...     class_names=("Trouser", "Ankle boot"),
    ... )
    >>> data = captioned(shirts, ("a photo of {a_name}",))
    >>> data.condition_tokenizers["prompt"].decode(data.splits["train"].take([0])["prompt"][0])
    'a photo of an ankle boot'
    """
    if "label" not in dataset.spec() or dataset.num_classes is None:
        raise ValueError(f"{dataset.name!r} has the entries {sorted(dataset.spec())}, but captions need 'label'")
    wrong = [template for template in templates if "{name}" not in template and "{a_name}" not in template]
    if wrong or not templates:
        raise ValueError(f"templates are {list(templates)}, but each must have {{name}} or {{a_name}}; name the class")
    names = [dataset.class_name(label).lower() for label in range(dataset.num_classes)]
    captions = [[template.format(name=name, a_name=_with_article(name)) for template in templates] for name in names]
    rng, texts, arrays = np.random.default_rng(seed), {}, {}
    for split, source in dataset.splits.items():
        arrays[split] = materialize(source).arrays
        choices = rng.integers(0, len(templates), len(source))
        texts[split] = [captions[label][choice] for label, choice in zip(arrays[split]["label"], choices, strict=True)]
    return _with_prompts(
        f"{dataset.name}_captioned", arrays, texts, [text for row in captions for text in row], dataset
    )


@opens_dataset
def digit_pairs(*, num_train: PositiveInt = 20_000, seed: int = 0) -> Dataset:
    """Compose pairs of scikit-learn's digits on canvases of 16 x 16 pixels, with captions.

    ``x`` is uint8 (16, 16, 1) with grey levels 0 … 16; ``label`` numbers the composition, 100 r + 10 a + b for digits a
    and b and the relation r: 0 if a is above b, 1 if it is left of b. ``class_names`` are such as "3 above 7". Each
    caption is one of "3 above 7", "7 below 3", "a 3 above a 7" and "two digits, 3 above 7", or of the same with "left
    of" and "right of".

    The digits of each split are those of this split of ``digits``. Compositions with (a + 2 b + r) mod 5 = 0, a fifth
    of them, are held out: only the test split, which has 10 canvases of each composition, shows them. Their digits
    occur in the training split, in both places, with other partners.

    Args:
      num_train: number of training canvases; validation has 1,000 of the same compositions.
      seed: seed of the choice of compositions, digits and captions.

    >>> data = digit_pairs(num_train=100)
    >>> example = data.splits["test"].take([370])
    >>> data.class_name(example["label"][0]), data.condition_tokenizers["prompt"].decode(example["prompt"][0])
    ('3 above 7', '3 above 7')
    """
    rng, everything = np.random.default_rng(seed), np.arange(len(RELATIONS) * NUM_DIGITS**2)
    trained = everything[~held_out(everything)]
    compositions = {
        "train": rng.choice(trained, num_train),
        "validation": rng.choice(trained, 1_000),
        "test": np.repeat(everything, 10),
    }
    texts, arrays = {}, {}
    for split, source in digits().splits.items():
        examples = materialize(source).arrays
        rows = [np.flatnonzero(examples["label"] == digit).tolist() for digit in range(NUM_DIGITS)]
        x = np.zeros((len(compositions[split]), 2 * SIDE, 2 * SIDE, 1), np.uint8)
        texts[split] = []
        for canvas, composition, draws in zip(x, compositions[split].tolist(), rng.random((len(x), 3)), strict=True):
            relation, pair = parts_of(composition)
            for digit, (top, left), draw in zip(pair, CORNERS[relation], draws, strict=False):
                canvas[top : top + SIDE, left : left + SIDE] = examples["x"][_choose(rows[digit], draw)]
            texts[split].append(_choose(TEMPLATES[relation], draws[-1]).format(a=pair[0], b=pair[1]))
        arrays[split] = {"x": x, "label": compositions[split].astype(np.int32)}
    vocabulary = [
        template.format(a=a, b=a) for row in TEMPLATES.values() for template in row for a in range(NUM_DIGITS)
    ]
    names = tuple(f"{a} {relation} {b}" for relation, (a, b) in map(parts_of, everything.tolist()))
    base = Dataset(name="digits", splits={"train": ArraySource(arrays["train"])}, levels=17, class_names=names)
    return _with_prompts("digit_pairs", arrays, texts, vocabulary, base)


def parts_of(composition: int) -> tuple[str, tuple[int, int]]:
    """Return the relation and the two digits of a composition of ``digit_pairs``.

    >>> parts_of(137)
    ('left of', (3, 7))
    """
    relation, pair = divmod(composition, NUM_DIGITS**2)
    return RELATIONS[relation], divmod(pair, NUM_DIGITS)


def held_out(composition: np.ndarray) -> np.ndarray:
    """Return which compositions (N,) ``digit_pairs`` holds out of training, bool (N,).

    >>> int(held_out(np.arange(200)).sum())
    40
    """
    relation, pair = np.divmod(composition, NUM_DIGITS**2)
    a, b = np.divmod(pair, NUM_DIGITS)
    return (a + 2 * b + relation) % 5 == 0


def _choose(choices: Sequence[Any], draw: float) -> Any:
    """Return the choice that a number in [0, 1) selects."""
    return choices[int(draw * len(choices))]


def _with_article(name: str) -> str:
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _with_prompts(
    name: str,
    arrays: Mapping[str, Mapping[str, np.ndarray]],
    texts: Mapping[str, Sequence[str]],
    vocabulary: Sequence[str],
    like: Dataset,
) -> Dataset:
    """Return a data set of arrays and texts by split, with the levels and classes of another one."""
    tokenizer = Words.of(vocabulary)
    length = max(len(tokenizer.encode(text)) for text in vocabulary)
    tokens = {text: np.pad(tokenizer.encode(text), (0, length))[:length] for text in set().union(*texts.values())}
    splits = {
        split: ArraySource({**arrays[split], "prompt": np.stack([tokens[text] for text in texts[split]])})
        for split in arrays
    }
    return Dataset(
        name=name,
        splits=splits,
        levels=like.levels,
        num_classes=like.num_classes,
        class_names=like.class_names,
        condition_tokenizers={"prompt": tokenizer},
    )
