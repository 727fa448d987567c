"""Samplers: rules for one step from noise to data. Every sampler is a ``Sampler``.

``SAMPLERS`` holds samplers with their usual settings by name, as the command line takes them; a new sampler needs a row
there and its name in ``SamplerName``.

>>> SAMPLERS["heun"]
Heun(churn=None)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from genjax.diffusion.samplers.ancestral import DDIM, Ancestral
from genjax.diffusion.samplers.base import Denoise, Sampler, SelfConditioned, Step, unless_last
from genjax.diffusion.samplers.deis import DEIS
from genjax.diffusion.samplers.dpm_solver import DPMSolver2, DPMSolverPP
from genjax.diffusion.samplers.ode import Churn, Euler, Heun, flow_velocity
from genjax.diffusion.samplers.predictor_corrector import PredictorCorrector
from genjax.diffusion.samplers.probability_flow import ProbabilityFlow
from genjax.diffusion.samplers.sde import EulerMaruyama

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
    "deis",
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
    "deis": DEIS(),
    "euler-maruyama": EulerMaruyama(),
    "predictor-corrector": PredictorCorrector(Ancestral()),
    "annealed-langevin": PredictorCorrector(),
    "probability-flow": ProbabilityFlow(),
}

__all__ = [
    "DDIM",
    "DEIS",
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
    "SelfConditioned",
    "Step",
    "flow_velocity",
    "unless_last",
]
