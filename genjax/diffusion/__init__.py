"""Diffusion models: a noise process, a denoiser, a sampler."""

from genjax.diffusion.ancestral import DDIM, Ancestral
from genjax.diffusion.dpm_solver import DPMSolver2, DPMSolverPP
from genjax.diffusion.grid import Grid, Karras, LogSNR, Times, Uniform, levels
from genjax.diffusion.ode import Churn, Euler, EulerMaruyama, Heun, PredictorCorrector, ProbabilityFlow
from genjax.diffusion.parametrization import (
    Data,
    Flow,
    Noise,
    Parametrization,
    Preconditioned,
    Prediction,
    Score,
    Velocity,
    convert,
)
from genjax.diffusion.process import (
    EDM,
    Cosine,
    DiscreteVariancePreserving,
    Level,
    LinearPath,
    NoiseProcess,
    SubVariancePreserving,
    VarianceExploding,
    VariancePreserving,
    check_process,
    level,
)
from genjax.diffusion.sampling import Denoise, Moment, Sampler, walk

__all__ = [
    "DDIM",
    "EDM",
    "Ancestral",
    "Churn",
    "Cosine",
    "DPMSolver2",
    "DPMSolverPP",
    "Data",
    "Denoise",
    "DiscreteVariancePreserving",
    "Euler",
    "EulerMaruyama",
    "Flow",
    "Grid",
    "Heun",
    "Karras",
    "Level",
    "LinearPath",
    "LogSNR",
    "Moment",
    "Noise",
    "NoiseProcess",
    "Parametrization",
    "Preconditioned",
    "Prediction",
    "PredictorCorrector",
    "ProbabilityFlow",
    "Sampler",
    "Score",
    "SubVariancePreserving",
    "Times",
    "Uniform",
    "VarianceExploding",
    "VariancePreserving",
    "Velocity",
    "check_process",
    "convert",
    "level",
    "levels",
    "walk",
]
