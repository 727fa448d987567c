"""Parametrizations: what a denoiser's network predicts. Every one is a ``Parametrization``."""

from genjax.diffusion.parametrizations.base import Parametrization, Prediction, broadcast_level
from genjax.diffusion.parametrizations.conversion import convert
from genjax.diffusion.parametrizations.mixed import Flow, Preconditioned, Velocity
from genjax.diffusion.parametrizations.single import Data, Noise, Score

__all__ = [
    "Data",
    "Flow",
    "Noise",
    "Parametrization",
    "Preconditioned",
    "Prediction",
    "Score",
    "Velocity",
    "broadcast_level",
    "convert",
]
