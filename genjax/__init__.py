"""Generative models of every family in JAX, under one functional contract.

>>> from genjax import data, nets, ops, vae  # the parts
>>> from genjax import Experiment, train  # the runner

A part is imported when it is first used, so that a program waits only for the families that it needs.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from genjax import (
        autoregressive,
        boltzmann,
        data,
        diffusion,
        energy,
        flow,
        gan,
        latent,
        moment_matching,
        nets,
        ops,
        vae,
    )
    from genjax.core import GenerativeModel, Learner, Objective, TrainState, Variables
    from genjax.experiment import Experiment, StopTraining
    from genjax.learners import Stage, gradient_learner, warm_start
    from genjax.optimizers import clip_params
    from genjax.runner import Run, load_run, train

__version__ = "0.1.0"

__all__ = [
    "Experiment",
    "GenerativeModel",
    "Learner",
    "Objective",
    "Run",
    "Stage",
    "StopTraining",
    "TrainState",
    "Variables",
    "autoregressive",
    "boltzmann",
    "clip_params",
    "data",
    "diffusion",
    "energy",
    "flow",
    "gan",
    "gradient_learner",
    "latent",
    "load_run",
    "moment_matching",
    "nets",
    "ops",
    "train",
    "vae",
    "warm_start",
]

_MODULES = {
    "genjax.core": ("GenerativeModel", "Learner", "Objective", "TrainState", "Variables"),
    "genjax.experiment": ("Experiment", "StopTraining"),
    "genjax.learners": ("Stage", "gradient_learner", "warm_start"),
    "genjax.optimizers": ("clip_params",),
    "genjax.runner": ("Run", "load_run", "train"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    """Import a part on its first use (PEP 562)."""
    if name in _MODULE_OF:
        return getattr(importlib.import_module(_MODULE_OF[name]), name)
    if name in __all__:
        return importlib.import_module(f"genjax.{name}")
    raise AttributeError(f"module 'genjax' has no attribute {name!r}")


def __dir__() -> list[str]:
    """Return the public names, imported or not."""
    return sorted({*globals(), *__all__})
