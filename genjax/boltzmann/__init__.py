"""Boltzmann machines, with likelihoods: exact, or estimated with an interval."""

from genjax.boltzmann.annealing import LogPartition, annealed_importance
from genjax.boltzmann.class_rbm import ClassRBM
from genjax.boltzmann.deep_belief_net import DeepBeliefNet
from genjax.boltzmann.deep_boltzmann_machine import DeepBoltzmannMachine
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
from genjax.boltzmann.units import Binary, Binomial, Gaussian, Joined, Softmax, Units

__all__ = [
    "RBM",
    "Binary",
    "Binomial",
    "BoltzmannMachine",
    "ClassRBM",
    "ContrastiveDivergence",
    "DeepBeliefNet",
    "DeepBoltzmannMachine",
    "FastWeights",
    "Gaussian",
    "Joined",
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
