"""Boltzmann machines with exact likelihoods, or estimates with confidence intervals."""

from genjax.boltzmann.annealing import annealed_importance_sampling
from genjax.boltzmann.bipartite import RBMParams, TemperedRBM, log_partition, sample_exactly
from genjax.boltzmann.class_rbm import ClassRBM
from genjax.boltzmann.deep_belief_net import DeepBeliefNet
from genjax.boltzmann.deep_boltzmann_machine import DBMState, DeepBoltzmannMachine
from genjax.boltzmann.fully_connected import BoltzmannMachine
from genjax.boltzmann.negative_phase import (
    ChainState,
    ContrastiveDivergence,
    FastWeights,
    FastWeightsState,
    NegativePhase,
    ParallelTempering,
    Persistent,
)
from genjax.boltzmann.rbm import RBM, RBMState
from genjax.boltzmann.units import BinaryUnits, BinomialUnits, GaussianUnits, MixedUnits, SoftmaxUnits, Units
from genjax.ops.importance import LogPartition

__all__ = [
    "RBM",
    "BinaryUnits",
    "BinomialUnits",
    "BoltzmannMachine",
    "ChainState",
    "ClassRBM",
    "ContrastiveDivergence",
    "DBMState",
    "DeepBeliefNet",
    "DeepBoltzmannMachine",
    "FastWeights",
    "FastWeightsState",
    "GaussianUnits",
    "LogPartition",
    "MixedUnits",
    "NegativePhase",
    "ParallelTempering",
    "Persistent",
    "RBMParams",
    "RBMState",
    "SoftmaxUnits",
    "TemperedRBM",
    "Units",
    "annealed_importance_sampling",
    "log_partition",
    "sample_exactly",
]
