"""What there is: every model with its family, file, capabilities and the experiments that use it."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path
from typing import Any, get_type_hints

FAMILIES = ("vae", "gan", "autoregressive", "flow", "diffusion", "boltzmann", "moment_matching")

# The one attribute that makes each capability Protocol of ``genjax.core``.
_CAPABILITIES = {
    "sample": "sample",
    "log_prob": "log_prob",
    "log_prob_lower_bound": "log_prob_lower_bound",
    "log_prob_estimate": "log_prob_estimate",
    "encode": "encode",
    "decode": "decode",
    "reconstruct": "reconstruct",
    "interpolate": "interpolate",
    "conditional": "num_classes",
}


def catalogue(experiments: Path) -> list[dict[str, Any]]:
    """Return one entry for each model.

    Args:
      experiments: folder of experiment files; they are read, not run.

    Returns:
      Entries with ``family, model, file, summary, capabilities, experiments``.
    """
    used = {file: _models_used(file) for file in sorted(experiments.glob("*.py"))}
    entries = []
    for family in FAMILIES:
        package = importlib.import_module(f"genjax.{family}")
        for name, model in vars(package).items():
            kind = _kind(model)
            if kind is None:
                continue
            module = importlib.import_module(model.__module__)
            entries.append(
                {
                    "family": family,
                    "model": name,
                    "file": f"{model.__module__.replace('.', '/')}.py",
                    "summary": (inspect.getdoc(module) or "").splitlines()[0],
                    "capabilities": [c for c, attribute in _CAPABILITIES.items() if hasattr(kind, attribute)],
                    "experiments": [str(file) for file, models in used.items() if f"{family}.{name}" in models],
                }
            )
    return entries


def _kind(member: object) -> type | None:
    """Return the class of a model: of a class itself, and of a function what it returns; None where it is no model."""
    kind = get_type_hints(member).get("return") if inspect.isfunction(member) else member
    methods = (getattr(kind, name, None) for name in ("init", "objectives", "sample"))
    return kind if inspect.isclass(kind) and all(map(callable, methods)) else None


def _models_used(file: Path) -> set[str]:
    """Return ``family.Model`` for every such attribute that a file mentions."""
    tree = ast.parse(file.read_text())
    return {
        f"{node.value.id}.{node.attr}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
    }
