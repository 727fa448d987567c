"""Samplers: rules for one step from noise to data. Every sampler is a ``Sampler``.

``SAMPLERS`` holds samplers with their usual settings by name, as the command line takes them; a new sampler needs a row
there and its name in ``SamplerName``.

>>> by_name("heun")
Heun(churn=None)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from genjax.diffusion.samplers.ancestral import DDIM, Ancestral
from genjax.diffusion.samplers.base import Denoise, Sampler, Step, unless_last
from genjax.diffusion.samplers.dpm_solver import DPMSolver2, DPMSolverPP
from genjax.diffusion.samplers.ode import Churn, Euler, Heun, flow_velocity
from genjax.diffusion.samplers.predictor_corrector import PredictorCorrector
from genjax.diffusion.samplers.probability_flow import ProbabilityFlow
from genjax.diffusion.samplers.sde import EulerMaruyama
from genjax.ops import check_choice

SamplerName = Literal[
    "ddpm",
    "ancestral",
    "ddim",
    "euler",
    "heun",
    "dpm-solver-2",
    "dpm-solver++-2m",
    "dpm-solver++-3m",
    "dpm-solver++-2m-sde",
    "euler-maruyama",
    "predictor-corrector",
    "annealed-langevin",
    "probability-flow",
]

SAMPLERS: Mapping[str, Sampler] = {
    "ddpm": Ancestral(),
    "ancestral": Ancestral(),
    "ddim": DDIM(),
    "euler": Euler(),
    "heun": Heun(),
    "dpm-solver-2": DPMSolver2(),
    "dpm-solver++-2m": DPMSolverPP(2),
    "dpm-solver++-3m": DPMSolverPP(3),
    "dpm-solver++-2m-sde": DPMSolverPP(2, stochastic=True),
    "euler-maruyama": EulerMaruyama(),
    "predictor-corrector": PredictorCorrector(Ancestral()),
    "annealed-langevin": PredictorCorrector(),
    "probability-flow": ProbabilityFlow(),
}


def by_name(name: str) -> Sampler:
    """Return a sampler of ``SAMPLERS``.

    Raises:
      ValueError: if there is no sampler of this name.
    """
    check_choice("sampler", name, tuple(SAMPLERS))
    return SAMPLERS[name]


def as_sampler(sampler: Sampler | str | None, default: Sampler) -> Sampler:
    """Return a sampler passed as a value or by name, or the default for None."""
    if sampler is None:
        return default
    return by_name(sampler) if isinstance(sampler, str) else sampler


__all__ = [
    "DDIM",
    "SAMPLERS",
    "Ancestral",
    "Churn",
    "DPMSolver2",
    "DPMSolverPP",
    "Denoise",
    "Euler",
    "EulerMaruyama",
    "Heun",
    "PredictorCorrector",
    "ProbabilityFlow",
    "Sampler",
    "SamplerName",
    "Step",
    "as_sampler",
    "by_name",
    "flow_velocity",
    "unless_last",
]
