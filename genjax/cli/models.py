"""All models, with family, file, capabilities and the experiments that use them.

Settings can rule out a capability, so capabilities are those of an instance: the model that the first example of the
docstring builds.
"""

from __future__ import annotations

import ast
import doctest
import importlib
import inspect
from pathlib import Path
from typing import Any, get_type_hints

from genjax.capabilities import CAPABILITIES, Lacks, supports

FAMILIES = ("vae", "gan", "autoregressive", "flow", "diffusion", "boltzmann", "energy", "moment_matching", "latent")


def list_models(experiments: Path) -> list[dict[str, Any]]:
    """Return one entry per model, with ``family, model, file, summary, capabilities, experiments``.

    Capabilities are in the order in which ``genjax.capabilities`` lists them. The files of experiments are read, not
    run.
    """
    attributes = {file: _attributes(file) for file in sorted(experiments.glob("*.py"))}
    entries = []
    for family in FAMILIES:
        package = importlib.import_module(f"genjax.{family}")
        for name, member in vars(package).items():
            if not is_model(member):
                continue
            module, example = importlib.import_module(member.__module__), example_of(member)
            entries.append(
                {
                    "family": family,
                    "model": name,
                    "file": f"{member.__module__.replace('.', '/')}.py",
                    "summary": (inspect.getdoc(module) or "").splitlines()[0],
                    "capabilities": [c.__name__ for c in CAPABILITIES if c is not Lacks and supports(example, c)],
                    "experiments": [str(file) for file, names in attributes.items() if f"{family}.{name}" in names],
                }
            )
    return entries


def is_model(member: object) -> bool:
    """Return whether a member of a package is a class of models, or a function that returns a model."""
    kind = get_type_hints(member).get("return") if inspect.isfunction(member) else member
    methods = (getattr(kind, name, None) for name in ("init", "objectives", "sample"))
    return inspect.isclass(kind) and all(map(callable, methods)) and not getattr(kind, "_is_protocol", False)


def example_of(member: Any) -> Any:
    """Return the model that the first example of a docstring assigns to ``model``; raise ValueError without one."""
    namespace = dict(vars(importlib.import_module(member.__module__)))
    namespace.pop("model", None)
    for example in doctest.DocTestParser().get_examples(inspect.getdoc(member) or ""):
        exec(example.source, namespace)
        if "model" in namespace:
            return namespace["model"]
    raise ValueError(f"no example in the docstring of {member.__name__} assigns 'model'; begin with one that does")


def _attributes(file: Path) -> set[str]:
    """Return ``family.Model`` for every such attribute in a file."""
    return {
        f"{node.value.id}.{node.attr}"
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }
