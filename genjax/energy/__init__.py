"""Energy-based models: any network as an energy, training rules that combine, and MCMC kernels with diagnostics."""

from genjax.energy import kernels, rules
from genjax.energy.annealing import annealed_importance_sampling
from genjax.energy.bases import Base, Bernoulli, Gaussian, Pretrained, Uniform
from genjax.energy.composition import Expert, Negation, Product
from genjax.energy.density import EnergyDensity
from genjax.energy.energy_model import EnergyModel
from genjax.energy.kernels import (
    HMC,
    MALA,
    NUTS,
    AnnealedLangevin,
    Chains,
    GibbsWithGradients,
    Kernel,
    Langevin,
    ParallelTempering,
    RandomWalk,
    run_chains,
)
from genjax.energy.rules import (
    Classification,
    ContrastiveDivergence,
    DenoisingScoreMatching,
    EnergyMagnitude,
    FlowMatching,
    GradientPenalty,
    NoiseContrastive,
    Penalty,
    Rule,
    SlicedScoreMatching,
)

__all__ = [
    "HMC",
    "MALA",
    "NUTS",
    "AnnealedLangevin",
    "Base",
    "Bernoulli",
    "Chains",
    "Classification",
    "ContrastiveDivergence",
    "DenoisingScoreMatching",
    "EnergyDensity",
    "EnergyMagnitude",
    "EnergyModel",
    "Expert",
    "FlowMatching",
    "Gaussian",
    "GibbsWithGradients",
    "GradientPenalty",
    "Kernel",
    "Langevin",
    "Negation",
    "NoiseContrastive",
    "ParallelTempering",
    "Penalty",
    "Pretrained",
    "Product",
    "RandomWalk",
    "Rule",
    "SlicedScoreMatching",
    "Uniform",
    "annealed_importance_sampling",
    "kernels",
    "rules",
    "run_chains",
]
