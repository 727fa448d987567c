"""Which rooms may import which, what ``import genjax`` loads, and what every module documents."""

from __future__ import annotations

import ast
import doctest
import graphlib
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import genjax

PACKAGE = Path(genjax.__file__).parent
FILES = {".".join(("genjax", *path.relative_to(PACKAGE).with_suffix("").parts)): path for path in PACKAGE.rglob("*.py")}

# The rooms that each room may import from, besides itself.
SHARED = {"core", "arguments", "capabilities", "ops", "nets"}
FAMILIES = {"vae", "gan", "autoregressive", "flow", "diffusion", "boltzmann", "energy", "moment_matching"}
MODELS = SHARED | {"learners", "latent", "data"}
MAY_IMPORT = {
    "core": set(),
    "terminal": set(),
    "arguments": {"core"},
    "capabilities": {"core", "arguments"},
    "ops": {"core", "arguments"},
    "nets": {"core", "arguments", "ops"},
    "averages": {"core", "arguments"},
    "learners": {"core", "arguments", "averages"},
    "optimizers": {"core", "arguments", "ops"},
    "testing": SHARED | {"learners"},
    "latent": SHARED | {"learners"},
    "data": {"core", "arguments", "ops"},
    "compilation": set(),
    "roofline": set(),
    "sharding": {"core", "ops"},
    "metrics": SHARED | {"data", "compilation", "terminal"},
    "monitoring": MODELS | {"metrics", "compilation"},
    "figures": MODELS | {"metrics", "compilation"},
    "evaluation": MODELS | {"metrics", "compilation", "sharding", "monitoring"} | {"diffusion"},  # edits images
    "experiment": MODELS | {"averages", "evaluation"},
    "runner": MODELS
    | {
        "averages",
        "experiment",
        "metrics",
        "compilation",
        "sharding",
        "evaluation",
        "monitoring",
        "figures",
        "roofline",
    },
    "comparison": SHARED
    | {"data", "experiment", "metrics", "compilation", "evaluation", "figures", "runner"}
    | {"vae"},  # whose factorized categorical distribution is a floor
    "racing": SHARED | FAMILIES | {"data", "experiment", "metrics", "runner", "comparison", "genjax"},
    "judging": SHARED | {"data", "experiment", "metrics", "evaluation", "figures", "runner"},
    "export": SHARED | {"data", "experiment", "runner"},
    "serving": {"compilation", "export"},
    "estimators": {"core", "arguments", "ops", "learners", "latent", "data"}
    | {"boltzmann", "compilation", "experiment", "runner"},
    "cli": MODELS
    | {
        "averages",
        "experiment",
        "metrics",
        "compilation",
        "evaluation",
        "figures",
        "runner",
        "comparison",
        "judging",
        "racing",
        "export",
        "serving",
        "sharding",
        "terminal",
        "genjax",
        "diffusion",
    },
    "__main__": {"cli"},
    **dict.fromkeys(FAMILIES, SHARED),
}
UNSAFE = {"pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
HEAVY = {
    "tensorflow_datasets": "datasets",
    "tensorflow": "datasets",
    "orbax": "checkpoints",
    "grain": "streams",
    "matplotlib": "pictures",
    "sklearn": "bundled datasets",
    "tensorboardX": "logs",
    "PIL": "pictures",
    "safetensors": "weights of other tools",
    "tqdm": "progress bars",
    "tyro": "the command line",
    "diffrax": "differential equations",
    "aiohttp": "the server",
    "flatbuffers": "exported programs",
    "equinox": "networks of another library",
    "tokenizers": "byte-pair encoding",
    "rdkit": "molecules",
    "jinja2": "pages",
}


def room(module: str) -> str:
    """Return the room of a module: ``vae`` for ``genjax.vae.vae``, and ``genjax`` for the public package itself."""
    _, _, rest = module.partition(".")
    name = rest.partition(".")[0]
    return name if (PACKAGE / name).is_dir() or (PACKAGE / f"{name}.py").is_file() else "genjax"


def imports(tree: ast.AST) -> Iterator[str]:
    """Return the full names of all imports of a file, including those inside functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import; write the absolute one"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def top(module: str) -> str:
    return module.partition(".")[0]


@pytest.fixture(scope="module")
def trees() -> dict[str, ast.Module]:
    return {module: ast.parse(path.read_text()) for module, path in FILES.items()}


def test_every_file_is_in_a_room(trees):
    rooms = {room(module) for module in trees if module != "genjax.__init__"}
    assert rooms <= set(MAY_IMPORT), f"{rooms - set(MAY_IMPORT)}: add the room and whom it may import"


def test_rooms_look_only_where_they_may(trees):
    faults = [
        f"{module} imports {name}"
        for module, tree in trees.items()
        for name in imports(tree)
        if module != "genjax.__init__" and top(name) == "genjax"
        if room(name) not in MAY_IMPORT[room(module)] | {room(module)}
    ]
    assert not faults


def defining(name: str) -> str | None:
    """Return the module that provides an imported name; for ``genjax.data.Dataset``, the room's ``__init__``."""
    while name and name not in FILES and f"{name}.__init__" not in FILES:
        name = name.rpartition(".")[0]
    return name if name in FILES else f"{name}.__init__" if name else None


def test_no_imports_in_circles(trees):
    """Imports within rooms, inside functions and under TYPE_CHECKING count too."""
    graph = {module: {defining(name) for name in imports(tree)} - {None, module} for module, tree in trees.items()}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as circle:
        pytest.fail(f"imports in a circle: {' <- '.join(circle.args[1])}")


def test_models_know_no_optimizers(trees):
    """The one exception optimizes codes, not parameters: ``StyleGAN2.encode`` searches the style of an image."""
    faults = [
        f"{module} imports {name}"
        for module, tree in trees.items()
        for name in imports(tree)
        if room(module) in FAMILIES | SHARED and top(name) == "optax" and module != "genjax.gan.style_gan2"
    ]
    assert not faults


def test_nothing_reads_pickles(trees):
    for module, tree in trees.items():
        faults = [name for name in imports(tree) if top(name) in UNSAFE]
        assert not faults, f"{module} imports {faults}"
        for node in ast.walk(tree):
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert isinstance(node.value, ast.Constant), f"{module}, line {node.lineno}"
                assert node.value.value is False, f"{module}, line {node.lineno}"


def test_every_module_says_what_it_is(trees):
    silent = [module for module, tree in trees.items() if not ast.get_docstring(tree)]
    assert not silent, f"{silent} lack a docstring"


@pytest.mark.parametrize("module", sorted(FILES))
def test_files_are_short(module):
    length = len(FILES[module].read_text().splitlines())
    assert length <= 500, f"{FILES[module]} has {length} lines; split it"


@pytest.fixture(scope="module")
def fresh_import() -> subprocess.CompletedProcess[str]:
    """Return the result of a new process that imports genjax while JAX finds no device."""
    code = "import json, sys, genjax; print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    environment = os.environ | {"JAX_PLATFORMS": "no_such_platform"}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)


def test_importing_genjax_starts_no_device(fresh_import):
    assert fresh_import.returncode == 0, f"an array is made while a module is imported:\n{fresh_import.stderr}"


def test_importing_genjax_loads_nothing_heavy(fresh_import):
    loaded = set(HEAVY) & set(json.loads(fresh_import.stdout))
    assert not loaded, f"import {loaded} inside the functions that need them: {[HEAVY[name] for name in loaded]}"


def test_scipy_is_imported_where_it_is_used():
    """Its statistics take as long to import as the command line."""
    statements = [(name, node) for name, path in FILES.items() for node in ast.parse(path.read_text()).body]
    imports = [(name, ast.unparse(node)) for name, node in statements if isinstance(node, ast.Import | ast.ImportFrom)]
    assert not [each for each in imports if each[1].startswith(("import scipy", "from scipy"))]


@pytest.mark.parametrize("module", sorted(module for module, path in FILES.items() if ">>> " in path.read_text()))
def test_examples_in_docstrings_print_what_they_say(module):
    results = doctest.testmod(importlib.import_module(module.removesuffix(".__init__")))
    assert results.attempted > 0
    assert results.failed == 0, "see the captured output"
