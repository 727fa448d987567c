"""The mistakes of the campaign can be planted, and a sample of them is caught."""

import ast
import collections
import os
import random

import pytest

from tests.mutation.campaign import LISTS, ROOT, all_mistakes, campaign, read, recorded

KINDS = {
    "sign",
    "factor",
    "axis",
    "off by one",
    "dropped term",
    "swapped arguments",
    "stale state",
    "train flag",
    "key reuse",
}
NUMBER = int(os.environ.get("GENJAX_MISTAKES", "20"))
SEED = int(os.environ.get("GENJAX_MISTAKES_SEED", "0"))


@pytest.mark.parametrize("mistakes", read(), ids=[path.stem for path in LISTS])
def test_every_mistake_can_be_planted(mistakes):
    for mistake, tests in mistakes.items():
        text = (ROOT / "genjax" / mistake.file).read_text()
        assert text.count(mistake.old) == 1, f"{mistake.file} no longer has {mistake.old!r} once: update the list"
        assert mistake.old != mistake.new
        ast.parse(text.replace(mistake.old, mistake.new))
        assert all((ROOT / path).is_file() for path in tests), tests


def test_mistakes_are_of_every_kind_and_in_every_room():
    mistakes = list(all_mistakes())
    assert len(mistakes) == sum(map(len, read())) >= 150
    assert set(collections.Counter(mistake.kind for mistake in mistakes)) == KINDS
    families = {path.stem for path in (ROOT / "tests" / "contract" / "cases").glob("*.py")}
    assert families | {"ops", "nets", "metrics"} <= {mistake.room for mistake in mistakes}


def test_results_are_those_of_the_list():
    assert recorded().keys() <= all_mistakes().keys(), "remove outcomes of mistakes that are gone"


@pytest.mark.slow
def test_a_sample_of_mistakes_is_caught():
    """``GENJAX_MISTAKES`` mistakes, 20 by default, drawn with the seed ``GENJAX_MISTAKES_SEED``."""
    mistakes = random.Random(SEED).sample(list(all_mistakes()), NUMBER)
    outcomes = list(campaign(mistakes, thorough=True))
    survivors = [outcome for outcome in outcomes if outcome.outcome != "caught"]
    assert len(survivors) <= 0.05 * NUMBER, survivors
