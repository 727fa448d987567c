"""Time distributions: the times at which the denoiser is trained. Every one is a ``TimeDistribution``."""

from genjax.diffusion.times.base import TimeDistribution, stratified
from genjax.diffusion.times.normal import LogitNormal, LogNormal
from genjax.diffusion.times.uniform import DiscreteTimes, UniformLogSNR, UniformTimes

__all__ = [
    "DiscreteTimes",
    "LogNormal",
    "LogitNormal",
    "TimeDistribution",
    "UniformLogSNR",
    "UniformTimes",
    "stratified",
]
