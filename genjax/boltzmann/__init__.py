"""Boltzmann machines, with likelihoods: exact, or estimated with an interval."""

from genjax.boltzmann.annealing import LogPartition, annealed_importance
from genjax.boltzmann.fully_connected import BoltzmannMachine
from genjax.boltzmann.layers import Layers, Path, log_partition, sample_exactly
from genjax.boltzmann.negative_phase import (
    ContrastiveDivergence,
    FastWeights,
    NegativePhase,
    ParallelTempering,
    Persistent,
)
from genjax.boltzmann.rbm import RBM
from genjax.boltzmann.units import Binary, Gaussian, Softmax, Units

__all__ = [
    "RBM",
    "Binary",
    "BoltzmannMachine",
    "ContrastiveDivergence",
    "FastWeights",
    "Gaussian",
    "Layers",
    "LogPartition",
    "NegativePhase",
    "ParallelTempering",
    "Path",
    "Persistent",
    "Softmax",
    "Units",
    "annealed_importance",
    "log_partition",
    "sample_exactly",
]
