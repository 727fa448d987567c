"""Noise processes: how data become noise. Every process is a ``NoiseProcess``."""

from genjax.diffusion.processes.base import (
    LOG_SNR_BOUND,
    Level,
    NoiseProcess,
    ProcessRates,
    check_process,
    conditional_variance,
    level_at,
    network_level,
    rates,
)
from genjax.diffusion.processes.cosine import Cosine
from genjax.diffusion.processes.discrete import DiscreteVariancePreserving
from genjax.diffusion.processes.linear_path import LinearPath
from genjax.diffusion.processes.variance_exploding import EDM, VarianceExploding
from genjax.diffusion.processes.variance_preserving import SubVariancePreserving, VariancePreserving

__all__ = [
    "EDM",
    "LOG_SNR_BOUND",
    "Cosine",
    "DiscreteVariancePreserving",
    "Level",
    "LinearPath",
    "NoiseProcess",
    "ProcessRates",
    "SubVariancePreserving",
    "VarianceExploding",
    "VariancePreserving",
    "check_process",
    "conditional_variance",
    "level_at",
    "network_level",
    "rates",
]
