"""One public name means one thing, and the text that users meet keeps to the voice of the field."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NAMESPACES = (
    "ops",
    "nets",
    "vae",
    "gan",
    "autoregressive",
    "flow",
    "diffusion",
    "diffusion.grids",
    "diffusion.operators",
    "diffusion.parametrizations",
    "diffusion.posterior",
    "diffusion.processes",
    "diffusion.samplers",
    "diffusion.times",
    "diffusion.weightings",
    "boltzmann",
    "moment_matching",
    "latent",
    "data",
    "data.synthetic",
    "metrics",
    "estimators",
)
# Public names that mean two things, with the reason.
COLLISIONS = {
    "Flow": "the parametrization of flow matching, diffusion.parametrizations.Flow, is its papers' word",
    "RBM": "estimators.RBM is scikit-learn's face of boltzmann.RBM, and named after it as its users expect",
}
VOICE = {
    r"^ +[a-z_]+: (of|whether of) ": "an argument described by a phrase without its noun",
    r"[Ll]ikewise\.": '"likewise."',
    r"(which is none|\bis none[,.;]|\bare none[,.;]|\bof that what)": "a sentence to read twice",
    r"^ +(told|said|given|moved|gone|seen)(, [a-z_]+)* = ": "a participle as a variable",
    r"^_?(MOST|SMALLEST|LARGEST|LEAST)[A-Z_]* = ": "a superlative as a constant: MAX_ or MIN_",
}
ALLOWED = ("if there are none", "when there are none", "where there are none")
TEXTS = sorted([*ROOT.glob("genjax/**/*.py"), *ROOT.glob("experiments/*.py"), *ROOT.glob("*.md")])


def public(namespace: str) -> dict[str, object]:
    module = importlib.import_module(f"genjax.{namespace}")
    names = getattr(module, "__all__", None) or [name for name in vars(module) if not name.startswith("_")]
    members = {name: getattr(module, name) for name in names}
    return {
        name: member
        for name, member in members.items()
        if not inspect.ismodule(member) and getattr(member, "__module__", "").startswith("genjax")
    }


def test_one_public_name_means_one_thing():
    meanings: dict[str, dict[int, str]] = {}
    for namespace in NAMESPACES:
        for name, member in public(namespace).items():
            meanings.setdefault(name, {}).setdefault(id(member), namespace)
    twice = {name: sorted(places.values()) for name, places in meanings.items() if len(places) > 1}
    assert twice.keys() == COLLISIONS.keys(), twice


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_voice(path):
    faults = [
        f"{path.name}:{number}: {fault}: {line.strip()}"
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        for pattern, fault in VOICE.items()
        if re.search(pattern, line) and not any(phrase in line for phrase in ALLOWED)
    ]
    assert not faults, "\n".join(faults)
