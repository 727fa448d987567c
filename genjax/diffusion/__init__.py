"""Diffusion models: a noise process, a denoiser, a sampler."""

from genjax.diffusion.ancestral import DDIM, Ancestral
from genjax.diffusion.coupling import Coupling, SinkhornCoupling
from genjax.diffusion.diffusion import Diffusion
from genjax.diffusion.dpm_solver import DPMSolver2, DPMSolverPP
from genjax.diffusion.editing import edit, inpaint
from genjax.diffusion.grid import Grid, Karras, LogSNR, Times, Uniform, levels
from genjax.diffusion.guidance import by_classifier, classifier_free, thresholded
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
from genjax.diffusion.process import Level, NoiseProcess, check_process, level
from genjax.diffusion.processes import (
    EDM,
    Cosine,
    DiscreteVariancePreserving,
    LinearPath,
    SubVariancePreserving,
    VarianceExploding,
    VariancePreserving,
)
from genjax.diffusion.reflow import pairs
from genjax.diffusion.sampling import Denoise, Moment, Sampler, walk
from genjax.diffusion.score_matching import Denoising, ScoreMatching, Sliced
from genjax.diffusion.weighting import (
    DiscreteTimes,
    Errors,
    LogitNormal,
    LogNormal,
    MinSNR,
    Output,
    Simple,
    TimeDistribution,
    UniformLogSNR,
    UniformTimes,
    VariationalBound,
    Weighting,
)

__all__ = [
    "DDIM",
    "EDM",
    "Ancestral",
    "Churn",
    "Cosine",
    "Coupling",
    "DPMSolver2",
    "DPMSolverPP",
    "Data",
    "Denoise",
    "Denoising",
    "Diffusion",
    "DiscreteTimes",
    "DiscreteVariancePreserving",
    "Errors",
    "Euler",
    "EulerMaruyama",
    "Flow",
    "Grid",
    "Heun",
    "Karras",
    "Level",
    "LinearPath",
    "LogNormal",
    "LogSNR",
    "LogitNormal",
    "MinSNR",
    "Moment",
    "Noise",
    "NoiseProcess",
    "Output",
    "Parametrization",
    "Preconditioned",
    "Prediction",
    "PredictorCorrector",
    "ProbabilityFlow",
    "Sampler",
    "Score",
    "ScoreMatching",
    "Simple",
    "SinkhornCoupling",
    "Sliced",
    "SubVariancePreserving",
    "TimeDistribution",
    "Times",
    "Uniform",
    "UniformLogSNR",
    "UniformTimes",
    "VarianceExploding",
    "VariancePreserving",
    "VariationalBound",
    "Velocity",
    "Weighting",
    "by_classifier",
    "check_process",
    "classifier_free",
    "convert",
    "edit",
    "inpaint",
    "level",
    "levels",
    "pairs",
    "thresholded",
    "walk",
]
