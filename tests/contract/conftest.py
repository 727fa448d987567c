"""One compiled training run per case, shared by all the tests that look at it."""

import jax
import pytest

from tests.contract.registry import CASES, Case
from tests.contract.training import Run


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(config, items):
    """Keep the tests of one case on one worker, so that each case compiles once (``--dist loadgroup``)."""
    if not config.pluginmanager.hasplugin("xdist"):
        return
    for item in items:
        params = getattr(item, "callspec", None)
        if params is not None and isinstance(params.params.get("case"), Case):
            item.add_marker(pytest.mark.xdist_group(params.params["case"].name))


@pytest.fixture(scope="module", autouse=True)
def quick_compilation():
    """Compile with few optimizations: these programs are tiny, and their tests spend all their time in the compiler."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture(scope="module", params=CASES, ids=lambda case: case.name)
def case(request) -> Case:
    return request.param


@pytest.fixture(scope="module")
def run(case: Case) -> Run:
    return Run(case)
