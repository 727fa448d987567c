"""One compiled training run per case, shared by its tests."""

import pytest

from tests.contract.case import Case
from tests.contract.registry import CASES
from tests.contract.training import Run

# The mark runs the tests of one case on one worker, so that each case compiles once (pytest -n 2 --dist loadgroup).
GROUPED = [pytest.param(case, id=case.name, marks=pytest.mark.xdist_group(case.name)) for case in CASES]


@pytest.fixture(scope="module", params=GROUPED)
def case(request) -> Case:
    return request.param


@pytest.fixture(scope="module")
def run(case: Case) -> Run:
    return Run(case)
