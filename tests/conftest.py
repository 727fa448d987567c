"""Strict settings for every test: two virtual devices, no silent rank promotion, no reused key."""

import gc
import os
import shutil
from importlib.metadata import version
from pathlib import Path

# Set before jax is imported: every test must run sharded code on more than one device. Tests spend most of their time
# in the compiler, and the other two flags halve it; XLA aborts on unknown flags, hence the check of the version.
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_force_host_platform_device_count=2"
    + " --xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"
    * version("jaxlib").startswith("0.10."),
)
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("MPLBACKEND", "agg")
# Compiled programs outlive the session, so that a second run compiles only what has changed. Workers and the processes
# that tests start share the folder; the name of a program in it is a hash of the program, the flags and the version.
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR",
    f"{os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'}/genjax/tests-xla/jaxlib-{version('jaxlib')}",
)
# Single operations compile as quickly as they would be read, and writing them all makes a cold run slower.
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.05")

import jax
import pytest

from genjax.cli.main import main
from tests.running import TINY
from tests.tiers import compiles_quickly, is_fast

# Prepared TFDS sets may be in a folder beside the repository; tests that need them are skipped otherwise.
beside = Path(__file__).parents[2] / "shared" / "data" / "tfds"
if beside.is_dir():
    os.environ.setdefault("TFDS_DATA_DIR", str(beside))

# A tenth of the time went into looking for cycles among the many objects that tracing makes.
gc.set_threshold(200_000, 20, 50)

jax.config.update("jax_debug_key_reuse", True)
jax.config.update("jax_numpy_rank_promotion", "raise")


# The longest files start first, so that no worker is still running one when the others have finished.
LONGEST = ("tests/test_notebooks.py", "tests/contract/test_models.py", "tests/test_experiments.py")


def pytest_addoption(parser):
    parser.addoption("--fast", action="store_true", help="run the fast tier, as -m fast does")


def pytest_configure(config):
    if config.getoption("--fast"):
        config.option.markexpr = "fast"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Start with the longest files, mark the fast tier, and skip the slow tier unless ``-m`` selects it."""
    order = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.nodeid.split("::")[0], len(LONGEST)))
    for item in items:
        if is_fast(item.nodeid) and "slow" not in item.keywords:
            item.add_marker(pytest.mark.fast)
    if "slow" in (config.getoption("-m") or ""):
        return
    skip = pytest.mark.skip(reason="slow: run with -m slow")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Compile with few optimizations, which takes half the time, except tests that compute longer than they compile."""
    change = not jax.config.read("jax_disable_most_optimizations") and compiles_quickly(item)
    if change:
        jax.config.update("jax_disable_most_optimizations", True)
    try:
        return (yield)
    finally:
        if change:
            jax.config.update("jax_disable_most_optimizations", False)


@pytest.fixture(scope="session", autouse=True)
def cache_home(tmp_path_factory):
    """Keep decoded data and trained feature networks for this session only, shared by its workers."""
    base = tmp_path_factory.getbasetemp()
    home = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(home))
        yield home


@pytest.fixture
def genjax(capfd):
    """Run the command line in this process: ``genjax(*arguments) -> (status, stdout, stderr)``."""

    def run(*arguments):
        capfd.readouterr()
        try:
            main([str(a) for a in arguments])
        except SystemExit as stop:
            status = stop.code
        captured = capfd.readouterr()
        return status, captured.out, captured.err

    return run


@pytest.fixture(scope="module")
def browser():
    """Return a real browser; tests are skipped where there is none."""
    api = pytest.importorskip("playwright.sync_api")
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
    if program is None:
        pytest.skip("no Chromium is installed")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory):
    """Return the folder of a finished run of the tiny experiment."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    with pytest.raises(SystemExit) as stop:
        main(["train", str(TINY), "--workdir", str(folder)])
    assert stop.value.code == 0
    return folder
