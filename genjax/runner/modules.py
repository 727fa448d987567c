"""Modules beside an experiment file, which it may import, as scripts may."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
import zlib
from pathlib import Path
from types import ModuleType

_PREFIX = "genjax_experiment_"
_path: list[Path] = []  # folder of the newest experiment file
_imported_before: set[str] = set()


def import_file(file: Path) -> ModuleType:
    """Import an experiment file, with its folder first on the path of modules.

    Modules beside the experiment file before are forgotten, so that each finds its own, as it is now.
    """
    file = file.resolve()
    for folder in _path:
        for name in _beside(folder):
            del sys.modules[name]
        with contextlib.suppress(ValueError):
            sys.path.remove(str(folder))
    _imported_before.update(name.partition(".")[0] for name in sys.modules)
    _path[:] = [file.parent]
    sys.path.insert(0, str(file.parent))
    importlib.invalidate_caches()
    name = f"{_PREFIX}{file.stem}_{zlib.crc32(str(file).encode()):08x}"
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses of the file look their module up
    spec.loader.exec_module(module)
    return module


def modules_beside(file: Path) -> tuple[Path, ...]:
    """Return the files of the modules that an experiment file has imported from its folder, relative to that."""
    folder = file.resolve().parent
    return tuple(sorted({path.relative_to(folder) for path in _beside(folder).values()}))


def _beside(folder: Path) -> dict[str, Path]:
    """Return the files of modules that were imported from a folder, by the modules' names."""
    files = {}
    for name, module in list(sys.modules.items()):
        top, file = name.partition(".")[0], getattr(module, "__file__", None)
        if file is None or top in _imported_before or top.startswith(_PREFIX):
            continue
        path = Path(file)
        if path.is_relative_to(folder) and path.relative_to(folder).parts[0] in (top, f"{top}.py"):
            files[name] = path
    return files
