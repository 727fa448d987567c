"""The fast tier names existing tests."""

import pytest

from tests.contract.registry import CASES
from tests.running import ROOT
from tests.tiers import FAST, FAST_CASES


@pytest.mark.parametrize("entry", FAST)
def test_a_fast_test_is_there(entry):
    path, _, name = entry.partition("::")
    text = (ROOT / path).read_text()
    assert not name or f"def {name}(" in text


def test_fast_cases_are_in_the_registry():
    assert set(FAST_CASES) <= {case.name for case in CASES}
