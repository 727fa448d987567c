"""The models under the contract tests: one file in ``cases`` per family.

A new model is one entry in ``CASES`` of its family's file; a new method of several stages is one in ``PIPELINES``.
``OWN_METHODS`` names a model's public methods that no Protocol declares, because only its own users call them.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from tests.contract.case import Case, Pipeline

FILES = sorted((Path(__file__).parent / "cases").glob("*.py"))
FAMILIES = [import_module(f"tests.contract.cases.{path.stem}") for path in FILES]
CASES: tuple[Case, ...] = tuple(case for family in FAMILIES for case in family.CASES)
OWN_METHODS: dict[str, tuple[str, ...]] = {
    model: methods for family in FAMILIES for model, methods in getattr(family, "OWN_METHODS", {}).items()
}
PIPELINES: tuple[Pipeline, ...] = tuple(
    pipeline for family in FAMILIES for pipeline in getattr(family, "PIPELINES", ())
)
